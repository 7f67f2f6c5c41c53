// SPDX-License-Identifier: GPL-2.0

//! Negative control: frees the memory of a timer that still runs.
//!
//! The timer is an hour away; DEBUG_OBJECTS sees the memory go and takes the timer off its wheel
//! before it can do harm.
//!
//! expect: ODEBUG: free active \(active state 0\) object: .* object type: timer_list

use core::hint::black_box;
use kernel::{
    bindings,
    prelude::*,
    static_lock_class,
    types::Opaque, //
};

module! {
    type: ObjectMisuse,
    name: "object_misuse",
    authors: ["The Exo developers"],
    description: "Negative control for DEBUG_OBJECTS: an active timer freed",
    license: "GPL",
}

/// How far away the timer is.
const MILLISECONDS: u32 = 3_600_000;

struct ObjectMisuse;

/// Never runs: see [`MILLISECONDS`].
extern "C" fn expired(_timer: *mut bindings::timer_list) {}

impl kernel::Module for ObjectMisuse {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let timer = KBox::new(Opaque::<bindings::timer_list>::zeroed(), GFP_KERNEL)?;
        let delay = kernel::time::msecs_to_jiffies(MILLISECONDS);
        // SAFETY: `timer` is zeroed memory that is in no use and does not move; name and lock class
        // are static. The kernel changes `jiffies` all the time, which is what the volatile read is
        // for.
        unsafe {
            bindings::timer_init_key(
                timer.get(),
                Some(expired),
                0,
                c"object_misuse".as_char_ptr(),
                static_lock_class!().as_ptr(),
            );
            let now = (&raw const bindings::jiffies).read_volatile();
            bindings::mod_timer(timer.get(), now.wrapping_add(delay));
        }
        // The bug: the memory goes back while the timer is still on the wheel.
        drop(black_box(timer));
        Ok(Self)
    }
}
