// SPDX-License-Identifier: GPL-2.0

//! Negative control: an addition that overflows, which the kernel's Rust turns into a panic: an
//! oops that ends the machine.
//!
//! expect: attempt to add with overflow

use core::hint::black_box;
use kernel::prelude::*;

module! {
    type: Overflow,
    name: "overflow",
    authors: ["The Exo developers"],
    description: "Negative control for Rust's overflow checks",
    license: "GPL",
}

struct Overflow;

impl kernel::Module for Overflow {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // The bug.
        let sum = black_box(u32::MAX) + black_box(1);
        pr_info!("wrapped to {sum}\n");
        Ok(Self)
    }
}
