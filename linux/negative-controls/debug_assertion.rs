// SPDX-License-Identifier: GPL-2.0

//! Negative control: a debug assertion that does not hold, which panics: an oops that ends the
//! machine.
//!
//! Also says whether `pr_debug!` and the checks inside `core` and `kernel` are compiled in: they
//! hang on the same switch.
//!
//! expect: assertion failed: black_box\(false\)

use core::hint::black_box;
use kernel::prelude::*;

module! {
    type: DebugAssertion,
    name: "debug_assertion",
    authors: ["The Exo developers"],
    description: "Negative control for Rust's debug assertions",
    license: "GPL",
}

struct DebugAssertion;

impl kernel::Module for DebugAssertion {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // The bug.
        debug_assert!(black_box(false));
        pr_info!("debug assertions are off\n");
        Ok(Self)
    }
}
