// SPDX-License-Identifier: GPL-2.0

//! Negative control: forgets heap memory that nothing points to any more.
//!
//! kmemleak reports an object that is older than five seconds and that two scans in a row found
//! unreferenced and unchanged. Several are leaked, because a stale register or stack slot may still
//! hold the address of the last one.
//!
//! expect: kmemleak: [0-9]+ new suspected memory leaks

use core::hint::black_box;
use kernel::prelude::*;

module! {
    type: Leak,
    name: "leak",
    authors: ["The Exo developers"],
    description: "Negative control for kmemleak: lost memory",
    license: "GPL",
}

/// How many objects are lost.
const OBJECTS: u64 = 8;

struct Leak;

impl kernel::Module for Leak {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        for number in 0..OBJECTS {
            let object = KBox::new([black_box(number); 8], GFP_KERNEL)?;
            // The bug: safe Rust, and yet nobody can ever free it.
            core::mem::forget(black_box(object));
        }
        Ok(Self)
    }
}
