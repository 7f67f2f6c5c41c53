// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cell that is written once.

use std::sync::OnceLock;

/// Set once, read often.
pub struct Once<T>(OnceLock<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Sets the value.
    ///
    /// # Panics
    /// When it was set before.
    pub fn set(&self, value: T) -> &T {
        assert!(self.0.set(value).is_ok(), "set twice");
        self.0.get().expect("just set")
    }

    /// The value, if it was set.
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }
}
