// SPDX-License-Identifier: GPL-2.0

//! Negative control: reads heap memory that it has already freed.
//!
//! expect: BUG: KASAN: slab-use-after-free in

use core::hint::black_box;
use kernel::prelude::*;

module! {
    type: UseAfterFree,
    name: "use_after_free",
    authors: ["The Exo developers"],
    description: "Negative control for KASAN: use after free",
    license: "GPL",
}

struct UseAfterFree;

impl kernel::Module for UseAfterFree {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let stale: *const u64 = {
            let value = KBox::new(black_box(42_u64), GFP_KERNEL)?;
            black_box(&raw const *value)
        };
        // SAFETY: None, this is the bug: `value` was dropped at the end of its block.
        let read = unsafe { stale.read_volatile() };
        pr_info!("read {read:#x} from freed memory\n");
        Ok(Self)
    }
}
