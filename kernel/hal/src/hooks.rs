// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel proper gives to this crate: functions that it defines under these names. They are ordinary safe
//! functions; link-time optimisation inlines them into their callers.

use crate::{
    boot::boot_info::BootInfo,
    trap::regs::{Fault, Regs},
};

pub use crate::trap::lean::{LeanCall, LeanResult};

unsafe extern "Rust" {
    /// Runs once on the boot CPU, with memory, console and time working and no other CPU started.
    pub safe fn exo_main(boot: &'static BootInfo) -> !;
    /// Runs once on each other CPU.
    pub safe fn exo_cpu_main() -> !;
    /// Called first on every way from user mode that is neither `exo_syscall` nor the short path.
    pub safe fn exo_enter();
    /// A system call with all registers saved. Runs everything that must happen before user mode goes on.
    pub safe fn exo_syscall(regs: &mut Regs);
    /// A fault in user mode.
    pub safe fn exo_user_fault(regs: &mut Regs, fault: Fault);
    /// A page fault of the kernel inside a copy to or from user memory; true if the access may be tried again. It sleeps only if it
    /// `may_wait`.
    pub safe fn exo_copy_fault(address: usize, write: bool, may_wait: bool) -> bool;
    /// The timer's interrupt.
    pub safe fn exo_timer();
    /// An interrupt line of the IO-APIC.
    pub safe fn exo_interrupt(line: u8);
    /// Called last on every way back from an interrupt to user mode.
    pub safe fn exo_return_to_user(regs: &mut Regs);
    /// The first thing a new thread runs, before it goes to user mode.
    pub safe fn exo_thread_start(regs: &mut Regs);
    /// A crash was reported: sends on what programs have written. It may take no lock that somebody holds.
    pub safe fn exo_last_words();
    /// An allocation that may fail found all memory taken. Whoever calls may hold locks.
    pub safe fn exo_out_of_memory();
    /// Whether an allocation that may fail has to. Asked after [`let_allocations_fail`](crate::mm::frame::let_allocations_fail) alone.
    pub(crate) safe fn exo_refuses_allocation() -> bool;
    /// Names the running program for a crash report.
    pub safe fn exo_describe(out: &mut dyn core::fmt::Write);
}
