// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of a program that has entered the kernel: the real ones, which a test sets as its program would, and looks at afterwards.

#[path = "../../../hal/src/trap/lean.rs"]
pub(crate) mod lean;
#[path = "../../../hal/src/trap/regs.rs"]
mod regs;
#[path = "../../../hal/src/trap/vector.rs"]
pub mod vector;

pub use lean::{LEAN_ENTRIES, LINUX_CALLS, OWN_CALLS, OWN_FIRST, lean_entry};
pub use regs::{Fault, General, Regs};

impl Regs {
    /// For tests: those of a program that has done system call `number`.
    pub fn of_call(number: u64) -> Self {
        let mut regs = Self::at_start(0, 0);
        regs.enter_call(number);
        regs
    }

    /// For tests: those of a program that was interrupted, by exception or interrupt `vector`.
    pub fn of_trap(vector: u8) -> Self {
        let mut regs = Self::at_start(0, 0);
        regs.vector = vector.into();
        regs
    }

    /// For tests: what a CPU and the kernel's entry do at a `syscall` instruction. The other registers stay as they are.
    pub fn enter_call(&mut self, number: u64) {
        (self.vector, self.error) = (vector::SYSCALL, number);
    }

    /// For tests: what they do at an interrupt or exception.
    pub fn enter_trap(&mut self, vector: u8, error: u64) {
        (self.vector, self.error) = (vector.into(), error);
    }
}
