// SPDX-License-Identifier: GPL-2.0

//! Negative control: reads one element behind the end of a heap allocation.
//!
//! The allocator rounds 24 bytes up to 32, so the access stays inside the slab object: only KASAN
//! can tell.
//!
//! expect: BUG: KASAN: slab-out-of-bounds in

use core::hint::black_box;
use kernel::prelude::*;

module! {
    type: OutOfBounds,
    name: "out_of_bounds",
    authors: ["The Exo developers"],
    description: "Negative control for KASAN: out of bounds",
    license: "GPL",
}

/// Elements of the array; 3 × 8 bytes is no size class of the allocator.
const LENGTH: usize = 3;

struct OutOfBounds;

impl kernel::Module for OutOfBounds {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let array = KBox::new(black_box([1_u64; LENGTH]), GFP_KERNEL)?;
        let first: *const u64 = black_box(array.as_ptr());
        // SAFETY: None, this is the bug: the last element is `LENGTH - 1`.
        let read = unsafe { first.wrapping_add(LENGTH).read_volatile() };
        pr_info!("read {read:#x} behind the end\n");
        Ok(Self)
    }
}
