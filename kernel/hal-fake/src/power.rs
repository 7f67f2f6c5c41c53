// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ways to end. What runs when the machine ends panics, so that a test fails which did not mean that.

/// What the machine ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// An orderly power-off.
    PowerOff,
    /// A crash of the kernel.
    Panic,
}

/// Ends the machine.
///
/// # Panics
/// Always.
pub fn power_off(exit: Exit) -> ! {
    panic!("the machine is switched off: {exit:?}")
}

/// Resets the machine.
///
/// # Panics
/// Always.
pub fn reset() -> ! {
    panic!("the machine is reset")
}
