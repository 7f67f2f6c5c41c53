// SPDX-License-Identifier: GPL-2.0

//! Control for the failures on demand: loading it asks each of the three allocators for memory, so
//! that each of the three kinds of failure has a place to happen.
//!
//! With `/proc/<pid>/fail-nth` counting up from 1, limited to what modules ask for, loading must
//! fail with ENOMEM at least three times and end by succeeding with nothing injected. It asks for
//! more than three chances, because an allocator asks others in turn, and so do the detectors;
//! those that only a detector misses do not make the loading fail. Nothing is wrong with this
//! module: any report is an error.
//!
//! expect-with-fail-nth: FAULT_INJECTION: forcing a failure

use core::hint::black_box;
use kernel::{
    page::Page,
    prelude::*, //
};

module! {
    type: FaultInjection,
    name: "fault_injection",
    authors: ["The Exo developers"],
    description: "Control for fault injection: three allocations that may fail",
    license: "GPL",
}

/// Freed on unload; a failed load frees what it already had.
struct FaultInjection {
    _slab: KBox<u64>,
    _page: Page,
    _mapped: VVec<u8>,
}

impl kernel::Module for FaultInjection {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _slab: KBox::new(black_box(1_u64), GFP_KERNEL)?,
            _page: Page::alloc_page(GFP_KERNEL)?,
            _mapped: VVec::with_capacity(black_box(kernel::page::PAGE_SIZE), GFP_KERNEL)?,
        })
    }
}
