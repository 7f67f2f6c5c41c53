// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine calls: on bare metal functions that the kernel defines, here those that a test hands over.

use std::sync::OnceLock;

use crate::trap::Regs;

pub use crate::trap::lean::{LeanCall, LeanResult};

/// The functions, named as `exo-hal`'s hooks are.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Runs once on each CPU, with its number from [`cpu_index`](crate::cpu::percpu::cpu_index).
    pub cpu_main: fn() -> !,
    /// The first thing that a new thread runs, with the registers that it was made with. It ends by switching away for good.
    pub thread_start: fn(&mut Regs) -> !,
    /// The timer's interrupt.
    pub timer: fn(),
    /// A page fault of the kernel in a copy to or from the memory of a program whose tables are loaded, at this address, to write if true;
    /// true if the access may be tried again.
    pub copy_fault: fn(usize, bool) -> bool,
    /// A program's frame was wanted, and there is none.
    pub out_of_memory: fn(),
    /// Whether an allocation that may fail has to. Asked after [`let_allocations_fail`](crate::mm::frame::let_allocations_fail) alone.
    pub refuses_allocation: fn() -> bool,
}

static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// Sets them, once for all tests of a process; those that come later are ignored.
pub fn set(hooks: Hooks) {
    HOOKS.get_or_init(|| hooks);
}

pub(crate) fn get() -> Hooks {
    *HOOKS.get().expect("a test sets the hooks before it starts a machine")
}
