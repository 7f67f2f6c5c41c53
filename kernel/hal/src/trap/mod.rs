// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts, exceptions and system calls: who handles what. The ways in are [`entries`].

pub(crate) mod entries;
pub(crate) mod lean;
pub(crate) mod regs;
pub mod vector;

use x86_64::registers::control::Cr2;

use crate::{
    USER_END,
    cpu::{self, fpu},
    dev::{apic::local as local_apic, interrupt},
    hooks,
    mm::{kernel_stack, user},
    panic, power, thread,
    tlb::flush,
};

pub use lean::{LEAN_ENTRIES, LINUX_CALLS, OWN_CALLS, OWN_FIRST, lean_entry};
pub use regs::{Fault, General, Regs};

fn page_fault(regs: &Regs) -> (usize, bool, bool) {
    (Cr2::read_raw() as usize, regs.error & 2 != 0, regs.error & 16 != 0)
}

fn take_interrupt(number: u8) {
    match number {
        vector::TIMER => {
            local_apic::end_of_interrupt();
            hooks::exo_timer();
        }
        vector::RESCHEDULE => local_apic::end_of_interrupt(),
        vector::SHOOTDOWN => {
            local_apic::end_of_interrupt();
            flush::answer();
        }
        vector::STOP => local_apic::stop_here(),
        vector::SPURIOUS => {}
        vector::DEVICES..vector::DEVICES_END => {
            local_apic::end_of_interrupt();
            interrupt::message(number);
        }
        line => {
            let line = line.wrapping_sub(vector::LINES);
            if !interrupt::line(line) {
                hooks::exo_interrupt(line);
            }
            // Not before: a level-triggered line would interrupt again at once.
            local_apic::end_of_interrupt();
        }
    }
}

/// From user mode: `regs` is at the end of the running thread's stack.
#[unsafe(no_mangle)]
extern "C" fn hal_trap_user(regs: &mut Regs) {
    cpu::close_user_memory();
    hooks::exo_enter();
    match regs.vector {
        14 => {
            let (address, write, execute) = page_fault(regs);
            hooks::exo_user_fault(regs, Fault::Page { address, write, execute });
        }
        2 => nmi(regs),
        7 if thread::load_fpu() => {}
        number @ 0..32 => {
            if number == 16 {
                fpu::clear_exceptions();
            }
            hooks::exo_user_fault(regs, Fault::Exception { vector: number as u8, error: regs.error });
        }
        number => take_interrupt(number as u8),
    }
    hooks::exo_return_to_user(regs);
}

/// From kernel mode: a copy's page fault, an interrupt in the idle loop, or the end.
#[unsafe(no_mangle)]
extern "C" fn hal_trap_kernel(regs: &mut Regs) {
    // A copy to or from user memory was perhaps interrupted; IRET opens it again for the rest of the copy.
    cpu::close_user_memory();
    match regs.vector {
        14 => {
            let (address, write, _) = page_fault(regs);
            if let Some(recovery) = user::recovery(regs.rip) {
                if address < USER_END {
                    if !hooks::exo_copy_fault(address, write, recovery.may_wait) {
                        regs.rip = recovery.at;
                    }
                    return;
                }
            }
            panic::fault("page fault", regs, Some(address as u64));
        }
        13 if user::recovery(regs.rip).is_some() => {
            regs.rip = user::recovery(regs.rip).map_or(regs.rip, |recovery| recovery.at);
        }
        8 => {
            // The CPU had no stack to report a page fault on: CR2 still has the address.
            let address = Cr2::read_raw();
            let what = if kernel_stack::is_guard_page(address) {
                "kernel stack overflow (guard page hit)"
            } else {
                "double fault"
            };
            panic::fault(what, regs, Some(address));
        }
        2 => nmi(regs),
        number @ 0..32 => panic::fault(exception_name(number), regs, None),
        number => take_interrupt(number as u8),
    }
}

fn nmi(regs: &Regs) {
    if local_apic::is_stopping() {
        power::stop();
    }
    panic::fault("non-maskable interrupt", regs, None);
}

fn exception_name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        3 => "breakpoint",
        6 => "invalid instruction",
        7 => "no floating-point unit",
        10 => "invalid task state",
        11 => "segment not present",
        12 => "stack segment fault",
        13 => "general protection fault",
        16 => "x87 error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD error",
        _ => "exception",
    }
}

#[unsafe(no_mangle)]
extern "C" fn hal_thread_start(regs: &mut Regs) {
    thread::finish_switch();
    hooks::exo_thread_start(regs);
}

#[unsafe(no_mangle)]
extern "C" fn exo_syscall_full(regs: &mut Regs) {
    hooks::exo_syscall(regs);
}
