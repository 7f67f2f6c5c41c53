// SPDX-License-Identifier: GPL-2.0

//! A counter that other modules share.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

static NEXT: Atomic<u64> = Atomic::new(0);

/// A number that nobody else gets.
#[inline(never)]
pub fn take() -> u64 {
    NEXT.fetch_add(1, Relaxed)
}

struct Counter;

impl kernel::Module for Counter {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        pr_info!("{} numbers were taken\n", NEXT.load(Relaxed));
    }
}

module! {
    type: Counter,
    name: "shared_counter",
    authors: ["The Exo authors"],
    description: "A counter that other modules share",
    license: "GPL",
}
