// SPDX-License-Identifier: MIT OR Apache-2.0
//! A function's access to memory while its driver starts it.

use exo_platform::pci::Function;

/// Lets a function use memory, and takes that away again when dropped, unless it is to [`keep`](Self::keep) it: a driver that gives
/// up half-way frees memory that the device was told of.
#[must_use]
pub struct Access<'a>(Option<&'a Function>);

impl<'a> Access<'a> {
    /// Enables `function`.
    pub fn grant(function: &'a Function) -> Self {
        function.enable();
        Self(Some(function))
    }

    /// The device was started: it stays enabled.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        if let Some(function) = self.0 {
            function.disable();
        }
    }
}
