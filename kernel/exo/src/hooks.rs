// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the hardware layer calls the kernel, and the one place of this crate with unsafe code: the names that the hardware layer
//! expects.
#![expect(unsafe_code, reason = "unmangled names")]

use core::{fmt::Write, sync::atomic::Ordering};

use exo_hal::{
    boot::BootInfo,
    hooks::LeanCall,
    log, thread,
    trap::{Fault, LEAN_ENTRIES, Regs},
};
use exo_syscall as syscall;

use crate::{
    fallible, fault, init, room,
    sched::{self, spans, timer},
    signal::{self, Info, code, number},
    task::{self, current, work},
};

#[unsafe(no_mangle)]
fn exo_main(_boot: &'static BootInfo) -> ! {
    init::main()
}

#[unsafe(no_mangle)]
fn exo_cpu_main() -> ! {
    init::other_cpu()
}

/// The calls that take the short path, for the assembly.
#[unsafe(no_mangle)]
#[used]
static lean_calls: [Option<LeanCall>; LEAN_ENTRIES] = syscall::dispatch::lean_table();

#[unsafe(no_mangle)]
fn exo_enter() {
    spans::enter();
}

#[unsafe(no_mangle)]
fn exo_syscall(regs: &mut Regs) {
    spans::enter();
    syscall::dispatch::full(regs);
    exo_return_to_user(regs);
}

#[unsafe(no_mangle)]
fn exo_return_to_user(regs: &mut Regs) {
    syscall::way_back::to_user(regs);
}

#[unsafe(no_mangle)]
fn exo_thread_start(regs: &mut Regs) {
    sched::finish_switch();
    if regs.begins_in_kernel() {
        task::kernel_thread::run_if_kernel_thread();
        crate::crash::on_demand();
        init::first_program(regs);
    }
    exo_return_to_user(regs);
}

#[unsafe(no_mangle)]
fn exo_timer() {
    timer::expire();
}

#[unsafe(no_mangle)]
fn exo_interrupt(line: u8) {
    log!("interrupt line {line} has no driver");
}

#[unsafe(no_mangle)]
fn exo_copy_fault(address: usize, write: bool, may_wait: bool) -> bool {
    fault::of_copy(address, write, may_wait)
}

#[unsafe(no_mangle)]
fn exo_user_fault(regs: &mut Regs, fault: Fault) {
    let task = current();
    let info = match fault {
        Fault::Page { address, write, execute } => {
            let Some(info) = fault::of_program(address, write, execute) else { return };
            info
        }
        Fault::Exception { vector, .. } => {
            let at = regs.rip() as usize;
            match vector {
                0 => Info::fault(number::SIGFPE, code::FPE_INTDIV, at),
                1 => Info::fault(number::SIGTRAP, code::TRAP_TRACE, at),
                3 => Info::fault(number::SIGTRAP, code::KERNEL, 0),
                4 | 5 | 13 => Info::fault(number::SIGSEGV, code::KERNEL, 0),
                6 => Info::fault(number::SIGILL, code::ILL_ILLOPN, at),
                10..=12 => Info::fault(number::SIGBUS, code::KERNEL, 0),
                16 | 19 => Info::fault(number::SIGFPE, 0, at),
                17 => Info::fault(number::SIGBUS, code::BUS_ADRALN, 0),
                _ => Info::fault(number::SIGSEGV, code::KERNEL, 0),
            }
        }
    };
    signal::force(&task, info);
    debug_assert!(task.work.load(Ordering::Relaxed) & work::SIGNAL != 0);
}

#[unsafe(no_mangle)]
fn exo_last_words() {
    exo_fs::tty::last_words();
}

#[unsafe(no_mangle)]
fn exo_out_of_memory() {
    if thread::has_current() {
        room::refuse(0);
    }
}

#[unsafe(no_mangle)]
fn exo_refuses_allocation() -> bool {
    fallible::is_nth()
}

#[unsafe(no_mangle)]
fn exo_describe(out: &mut dyn Write) {
    if thread::has_current() {
        let task = current();
        let name = task.name.try_lock().map(|n| *n).unwrap_or_default();
        // A report goes as far as it can.
        let _ = write!(out, "task {} of process {} ({})", task.tid(), task.pid, name.bytes().escape_ascii());
    } else {
        let _ = write!(out, "no task yet");
    }
}
