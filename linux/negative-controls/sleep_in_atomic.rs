// SPDX-License-Identifier: GPL-2.0

//! Negative control: allocates with a flag that may sleep while it holds a spinlock.
//!
//! The compiler does not see this and the allocation nearly always succeeds at once, so nothing
//! else shows it.
//!
//! expect: BUG: sleeping function called from invalid context at

use core::hint::black_box;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

module! {
    type: SleepInAtomic,
    name: "sleep_in_atomic",
    authors: ["The Exo developers"],
    description: "Negative control for DEBUG_ATOMIC_SLEEP: a sleeping allocation under a spinlock",
    license: "GPL",
}

struct SleepInAtomic;

impl kernel::Module for SleepInAtomic {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let lock: Pin<KBox<SpinLock<u64>>> = KBox::pin_init(new_spinlock!(0_u64), GFP_KERNEL)?;
        let mut guard = lock.lock();
        // The bug: GFP_KERNEL where only GFP_ATOMIC is allowed.
        let value = KBox::new(black_box(1_u64), GFP_KERNEL)?;
        *guard = *value;
        Ok(Self)
    }
}
