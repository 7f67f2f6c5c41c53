// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of a program that has entered the kernel, of which only why it did is known.

/// Why the kernel was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Call(u64),
    Trap(u64),
}

/// A program's registers.
#[derive(Clone, Copy, Debug)]
pub struct Regs(Entry);

impl Regs {
    /// For tests: those of a program that has done system call `number`.
    pub fn of_call(number: u64) -> Self {
        Self(Entry::Call(number))
    }

    /// For tests: those of a program that was interrupted, by exception or interrupt `vector`.
    pub fn of_trap(vector: u8) -> Self {
        Self(Entry::Trap(vector.into()))
    }

    /// The vector; for a system call a number beyond all vectors.
    pub fn vector(&self) -> u64 {
        match self.0 {
            Entry::Call(_) => 0x100,
            Entry::Trap(vector) => vector,
        }
    }

    /// The number of the system call, or 0.
    pub fn error(&self) -> u64 {
        match self.0 {
            Entry::Call(number) => number,
            Entry::Trap(_) => 0,
        }
    }

    /// Whether they are those of a system call.
    pub fn is_system_call(&self) -> bool {
        matches!(self.0, Entry::Call(_))
    }
}
