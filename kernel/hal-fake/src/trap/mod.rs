// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of a program that has entered the kernel: the real ones, which a test sets as its program would, and looks at afterwards.

#[path = "../../../hal/src/trap/regs.rs"]
mod regs;
#[path = "../../../hal/src/trap/vector.rs"]
pub mod vector;

pub use regs::{Fault, General, Regs};

/// Numbers below this are Linux's: each has an entry of its own in the kernel's table of calls on the short path.
pub const LINUX_CALLS: usize = 512;
/// The first number of the kernel's own calls, whose entries come next.
pub const OWN_FIRST: usize = 0x1000;
/// How many numbers there are for them.
pub const OWN_CALLS: usize = 16;
/// Entries of that table: the last one is for every other number.
pub const LEAN_ENTRIES: usize = LINUX_CALLS + OWN_CALLS + 1;

/// The entry of a number in that table.
pub const fn lean_entry(number: u64) -> usize {
    let own = number.wrapping_sub(OWN_FIRST as u64);
    if number < LINUX_CALLS as u64 {
        number as usize
    } else if own < OWN_CALLS as u64 {
        LINUX_CALLS + own as usize
    } else {
        LEAN_ENTRIES - 1
    }
}

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
