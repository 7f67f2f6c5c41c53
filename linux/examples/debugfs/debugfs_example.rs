// SPDX-License-Identifier: GPL-2.0

//! Values of a module in debugfs: a counter that can be read and set, and text that can be read.

use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

#[pin_data]
struct Example {
    /// `/sys/kernel/debug/debugfs_example`; the files go with it.
    _folder: Dir,
    #[pin]
    count: File<Atomic<usize>>,
    #[pin]
    _purpose: File<&'static str>,
}

impl kernel::InPlaceModule for Example {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let folder = Dir::new(c"debugfs_example");
        try_pin_init!(Self {
            count <- folder.read_write_file(c"count", Atomic::<usize>::new(41)),
            _purpose <- folder.read_only_file(c"purpose", "to be looked at"),
            _folder: folder,
        })
        .pin_chain(|this| {
            // The module uses the value as any other.
            this.count.fetch_add(1, Relaxed);
            Ok(())
        })
    }
}

module! {
    type: Example,
    name: "debugfs_example",
    authors: ["The Exo authors"],
    description: "Values in debugfs",
    license: "GPL",
}
