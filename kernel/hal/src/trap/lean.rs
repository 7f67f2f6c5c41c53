// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls on the short path: what they are, and where the kernel's table of them has each number.

/// A system call on the short path: first three arguments and the number in, no lock, no allocation, no switch. The kernel defines a
/// table of them under the name `lean_calls`, by number.
pub type LeanCall = extern "C" fn(u64, u64, u64, u64) -> LeanResult;

/// What a [`LeanCall`] says.
#[repr(C)]
pub struct LeanResult {
    /// The value for the program, if `handled`.
    pub value: i64,
    /// Zero: not handled here, take the full path.
    pub handled: u64,
}

impl LeanResult {
    /// A call that was answered.
    #[inline(always)]
    pub fn done(value: i64) -> Self {
        Self { value, handled: 1 }
    }

    /// A call that needs the full path after all.
    #[inline(always)]
    pub fn full() -> Self {
        Self { value: 0, handled: 0 }
    }
}

/// Numbers below this are Linux's: each has an entry of its own in the kernel's `lean_calls`.
pub const LINUX_CALLS: usize = 512;
/// The first number of the kernel's own calls, whose entries come next.
pub const OWN_FIRST: usize = 0x1000;
/// How many numbers there are for them.
pub const OWN_CALLS: usize = 16;
/// Entries of `lean_calls`: the last one is for every other number.
pub const LEAN_ENTRIES: usize = LINUX_CALLS + OWN_CALLS + 1;

/// The entry of a number in `lean_calls`, as the assembly finds it.
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
