// SPDX-License-Identifier: MIT OR Apache-2.0
//! Crash reports: who, where, which CPU, which program, and the names on the stack.

use core::{
    fmt::Write,
    panic::PanicInfo,
    slice,
    sync::atomic::{AtomicUsize, Ordering},
};

use exo_logic::symbols::SymbolTable;

use crate::{
    cpu::{self, percpu},
    dev::apic::local,
    hooks,
    log::{self, Console},
    mm::paging::kernel,
    power::{self, Exit},
    trap::regs::Regs,
};

/// Room for the symbol table that `exo-symbols` writes into the finished image. Not zero, so that it is in the file.
#[used]
#[unsafe(link_section = ".ksyms")]
static SYMBOLS: [u8; exo_logic::symbols::SPACE] = [0xff; exo_logic::symbols::SPACE];

/// No CPU has crashed.
const NOBODY: usize = usize::MAX;
/// The CPU that reports a crash.
static CRASHED: AtomicUsize = AtomicUsize::new(NOBODY);

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
}

fn is_code(address: u64) -> bool {
    (&raw const __text_start as u64..&raw const __text_end as u64).contains(&address)
}

/// The symbol table in the image, if the build put one there.
fn symbols() -> Option<SymbolTable<'static>> {
    // The table is patched into the file after compilation: the compiler must not take it for a constant.
    let start = core::hint::black_box((&raw const SYMBOLS).cast::<u8>());
    // SAFETY: it points at the static above.
    SymbolTable::new(unsafe { slice::from_raw_parts(start, exo_logic::symbols::SPACE) })
}

fn write_address(out: &mut dyn Write, address: u64) {
    let found = symbols().and_then(|table| table.find(address));
    // A report goes as far as it can.
    let _ = match found {
        Some((name, offset)) => writeln!(out, "  {address:#018x} {name}+{offset:#x}"),
        None => writeln!(out, "  {address:#018x}"),
    };
}

/// Writes the return addresses found by following the frame pointers from `frame`.
fn back_trace(out: &mut dyn Write, mut frame: u64) {
    for _ in 0..32 {
        if frame % 8 != 0 || !kernel::is_mapped(frame) || !kernel::is_mapped(frame + 8) {
            break;
        }
        // SAFETY: aligned, and just seen to be mapped readable kernel memory.
        let (next, address) = unsafe { (*(frame as *const u64), *((frame + 8) as *const u64)) };
        if !is_code(address) {
            break;
        }
        write_address(out, address);
        if next <= frame {
            break;
        }
        frame = next;
    }
}

/// Whether this is the first crash, which is reported. A crash in the report itself is not, and ends it; another CPU's waits for its end.
fn begin() -> bool {
    let me = percpu::cpu_index();
    match CRASHED.compare_exchange(NOBODY, me, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {
            log::take_back();
            local::stop_others();
            true
        }
        Err(first) if first == me => false,
        Err(_) => local::stop_here(),
    }
}

fn describe(out: &mut dyn Write) {
    let _ = write!(out, "  CPU {}, ", percpu::cpu_index());
    hooks::exo_describe(out);
    let _ = writeln!(out);
}

/// Reports a fault of the kernel and ends the machine.
pub(crate) fn fault(what: &str, regs: &Regs, address: Option<u64>) -> ! {
    if begin() {
        let out = &mut Console;
        // A console that fails has no one to tell.
        let _ = write!(out, "\n*** Exo-Kernel: {what} in kernel mode, error {:#x}", regs.error());
        if let Some(address) = address {
            let _ = write!(out, ", address {address:#018x}");
        }
        let _ = writeln!(out);
        describe(out);
        let _ = writeln!(
            out,
            "  rip {:016x} rsp {:016x} flags {:08x} rbp {:016x}\n  rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}\n  rsi {:016x} rdi {:016x} r8  {:016x} r9  {:016x}\n  r10 {:016x} r11 {:016x} r12 {:016x} r13 {:016x}\n  r14 {:016x} r15 {:016x}",
            regs.rip(),
            regs.rsp(),
            regs.flags(),
            regs.rbp,
            regs.rax,
            regs.rbx,
            regs.rcx,
            regs.rdx,
            regs.rsi,
            regs.rdi,
            regs.r8,
            regs.r9,
            regs.r10,
            regs.r11,
            regs.r12,
            regs.r13,
            regs.r14,
            regs.r15
        );
        let _ = writeln!(out, "back trace:");
        write_address(out, regs.rip());
        back_trace(out, regs.rbp);
        hooks::exo_last_words();
    }
    power::power_off(Exit::Panic)
}

#[cfg_attr(target_os = "none", panic_handler)]
fn panic(info: &PanicInfo<'_>) -> ! {
    if begin() {
        let out = &mut Console;
        // A console that fails has no one to tell.
        let _ = writeln!(out, "\n*** Exo-Kernel: {info}");
        describe(out);
        let _ = writeln!(out, "back trace:");
        back_trace(out, cpu::frame_pointer());
        hooks::exo_last_words();
    }
    power::power_off(Exit::Panic)
}
