// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every kind of fault that a program can make: the signal kills the program, and nothing else happens.

use std::arch::asm;

use crate::limits::{fork, works};
use crate::{Outcome, failed};

/// A fault: what it is called, the signal that it must be, and how to make it.
type Fault = (&'static str, i32, unsafe fn());

/// Runs the instructions, which fault.
macro_rules! fault {
    ($name:literal, $signal:ident, $($instructions:tt)*) => {
        ($name, libc::$signal, {
            unsafe fn fault() {
                // SAFETY: the process is there to be killed by this.
                unsafe { asm!($($instructions)*) }
            }
            fault as unsafe fn()
        })
    };
}

// Not tried, because of QEMU 11.1's emulation: it dies itself of SIGFPE when the smallest number is divided by -1, and it knows
// neither SSE exceptions nor alignment checks.
const FAULTS: &[Fault] = &[
    fault!("a null pointer read", SIGSEGV, "mov {0}, [{1}]", out(reg) _, in(reg) 0_u64),
    fault!("a null pointer write", SIGSEGV, "mov [{0}], {0}", in(reg) 0_u64),
    fault!("a call to nowhere", SIGSEGV, "call {0}", in(reg) 0x10_u64),
    fault!("a jump into data", SIGSEGV, "jmp rsp"),
    fault!("a read of the kernel", SIGSEGV, "mov {0}, [{0}]", inout(reg) 0xffff_ffff_8020_0000_u64 => _),
    fault!("a write to the kernel", SIGSEGV, "mov [{0}], {0}", in(reg) 0xffff_8000_0000_0000_u64),
    fault!("a jump into the kernel", SIGSEGV, "jmp {0}", in(reg) 0xffff_ffff_8020_0000_u64),
    fault!("a non-canonical address", SIGSEGV, "mov {0}, [{0}]", inout(reg) 0x8000_0000_0000_u64 => _),
    fault!("a non-canonical stack", SIGSEGV, "mov rsp, {0}", "push 1", in(reg) 0x8000_0000_0000_0000_u64),
    fault!("a stack at nothing", SIGSEGV, "xor esp, esp", "push 1"),
    fault!("a division by zero", SIGFPE, "xor edx, edx", "mov eax, 1", "div {0:e}", in(reg) 0_u32, out("rax") _, out("rdx") _),
    fault!("a division overflow", SIGFPE, "mov edx, 1", "xor eax, eax", "mov {0:e}, 1", "idiv {0:e}", out(reg) _, out("rax") _, out("rdx") _),
    fault!("an undefined instruction", SIGILL, "ud2"),
    fault!("a breakpoint", SIGTRAP, "int3"),
    fault!("a single step", SIGTRAP, "pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop"),
    fault!("hlt", SIGSEGV, "hlt"),
    fault!("cli", SIGSEGV, "cli"),
    fault!("an input from a port", SIGSEGV, "in al, 0x60", out("al") _),
    fault!("an output to a port", SIGSEGV, "out 0xf4, eax", in("eax") 0),
    fault!("a control register", SIGSEGV, "mov {0}, cr3", out(reg) _),
    fault!("a model-specific register", SIGSEGV, "rdmsr", in("ecx") 0xc000_0080_u32, out("eax") _, out("edx") _),
    fault!("a descriptor table", SIGSEGV, "lgdt [rsp]"),
    fault!("a kernel segment", SIGSEGV, "mov {0:e}, 0x10", "mov ss, {0:e}", out(reg) _),
    fault!("a far return to the kernel", SIGSEGV, "push 8", "push 0", "retfq"),
    fault!("an interrupt vector", SIGSEGV, "int 0x20"),
    fault!("the vector of Linux's 32-bit calls", SIGSEGV, "int 0x80"),
    fault!("the breakpoint's vector", SIGTRAP, ".byte 0xcd, 3"),
    fault!("the debug vector", SIGSEGV, "int 1"),
    fault!("the non-maskable vector", SIGSEGV, "int 2"),
    fault!("icebp", SIGTRAP, ".byte 0xf1"),
    fault!("into, which 64-bit mode does not have", SIGILL, ".byte 0xce"),
    fault!("a far jump to the task state", SIGSEGV, "push 0x33", "push 0", "retfq"),
    fault!("a local descriptor", SIGSEGV, "mov {0:e}, 7", "mov ds, {0:e}", out(reg) _),
    fault!(
        "an iret to 32-bit code",
        SIGSEGV,
        "push 0x23",
        "push 0x20000",
        "push 2",
        "push 0x1b",
        "push 0x10000",
        "iretq"
    ),
    fault!("the double-fault vector", SIGSEGV, "int 8"),
    fault!("the page-fault vector", SIGSEGV, "int 14"),
    fault!("swapgs", SIGSEGV, ".byte 0x0f, 0x01, 0xf8"),
    fault!("sysret", SIGSEGV, "sysretq"),
    fault!("iret to the kernel", SIGSEGV, "push 0x10", "push 0", "push 2", "push 8", "push 0", "iretq"),
    fault!(
        "an x87 exception",
        SIGFPE,
        "sub rsp, 16",
        "mov word ptr [rsp], 0",
        "fldcw [rsp]",
        "fldz",
        "fldz",
        "fdivp",
        "fwait"
    ),
];

pub(crate) fn run() -> Outcome {
    let mut wrong = String::new();
    for (name, signal, fault) in FAULTS {
        let end = fork(|| {
            // SAFETY: this process is there to be killed by it.
            unsafe { fault() };
            0
        })?
        .wait()?;
        println!("{name}: {end:?}");
        // `Err` is the signal that killed the process.
        if end != Err(*signal) {
            wrong += &format!("{name} ended with {end:?}, expected signal {signal}\n");
        }
    }
    wrong += &other_modes()?;
    works()?;
    if wrong.is_empty() { Ok(()) } else { Err(failed(wrong)) }
}

/// Where code is that a far return to any selector finds: an address of 32 bits.
const LOW_CODE: usize = 0x1_0000;

/// No selector leads a program out of 64-bit mode, where the other entries to the kernel are: what is tried there is a system call.
/// And SYSENTER is none. What was wrong.
fn other_modes() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: nothing of this program is at so low an address; what is written there is run by children alone.
    unsafe {
        if libc::mmap(LOW_CODE as *mut libc::c_void, 4096, protection, flags, -1, 0) as usize != LOW_CODE {
            return Err(std::io::Error::last_os_error().into());
        }
        // `syscall` and `hlt`, which mean the same in all modes.
        std::slice::from_raw_parts_mut(LOW_CODE as *mut u8, 3).copy_from_slice(&[0x0f, 0x05, 0xf4]);
    }
    let mut wrong = String::new();
    // Global and local descriptors, with the privilege of programs.
    for selector in (3..0x100_u64).step_by(4) {
        let end = fork(|| {
            // SAFETY: this process is there to be killed by it.
            unsafe { asm!("push {0}", "push {1}", "retfq", in(reg) selector, in(reg) LOW_CODE, in("eax") libc::SYS_getpid) };
            0
        })?
        .wait()?;
        if end != Err(libc::SIGSEGV) {
            wrong += &format!("a far return to selector {selector:#x} ended with {end:?}\n");
        }
    }
    let ends = [
        // SAFETY: as above.
        fork(|| unsafe {
            asm!("sysenter");
            0
        })?
        .wait()?,
        // SAFETY: as above.
        fork(|| unsafe {
            asm!("sysexit");
            0
        })?
        .wait()?,
    ];
    // AMD's CPUs do not have these two in this mode.
    if ends.iter().any(|end| ![Err(libc::SIGSEGV), Err(libc::SIGILL)].contains(end)) {
        wrong += &format!("sysenter and sysexit ended with {ends:?}\n");
    }
    println!("other modes: tried");
    Ok(wrong)
}
