// SPDX-License-Identifier: GPL-2.0

//! Negative control: takes two locks in one order and then in the other.
//!
//! One thread does both, one after the other, so nothing hangs; two threads could hang each other,
//! and lockdep proves it.
//!
//! expect: WARNING: possible circular locking dependency detected

use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

module! {
    type: LockInversion,
    name: "lock_inversion",
    authors: ["The Exo developers"],
    description: "Negative control for lockdep: AB-BA",
    license: "GPL",
}

struct LockInversion;

impl kernel::Module for LockInversion {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let a: Pin<KBox<Mutex<u32>>> =
            KBox::pin_init(new_mutex!(0_u32, "lock_inversion::a"), GFP_KERNEL)?;
        let b: Pin<KBox<Mutex<u32>>> =
            KBox::pin_init(new_mutex!(0_u32, "lock_inversion::b"), GFP_KERNEL)?;
        {
            let mut first = a.lock();
            *first += *b.lock();
        }
        {
            let mut first = b.lock();
            // The bug: `a` is the outer lock everywhere else.
            *first += *a.lock();
        }
        Ok(Self)
    }
}
