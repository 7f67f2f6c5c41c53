// SPDX-License-Identifier: GPL-2.0

//! Negative control: adds the same entry to a list twice.
//!
//! expect: list_add double add:

use kernel::{
    bindings,
    prelude::*,
    types::Opaque, //
};

module! {
    type: ListCorruption,
    name: "list_corruption",
    authors: ["The Exo developers"],
    description: "Negative control for DEBUG_LIST: an entry added twice",
    license: "GPL",
}

struct ListCorruption;

impl kernel::Module for ListCorruption {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let head = KBox::new(Opaque::<bindings::list_head>::zeroed(), GFP_KERNEL)?;
        let entry = KBox::new(Opaque::<bindings::list_head>::zeroed(), GFP_KERNEL)?;
        // SAFETY: Both point to memory that stays where it is for as long as the list is in use,
        // which ends with this function.
        unsafe {
            bindings::INIT_LIST_HEAD(head.get());
            bindings::list_add_tail(entry.get(), head.get());
        }
        // SAFETY: None, this is the bug: an entry that is on a list must not be added again.
        unsafe { bindings::list_add_tail(entry.get(), head.get()) };
        Ok(Self)
    }
}
