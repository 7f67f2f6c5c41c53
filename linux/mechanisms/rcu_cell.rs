// SPDX-License-Identifier: GPL-2.0

//! A pointer under RCU to a value that is replaced as a whole.
//!
//! A reference borrows from the RCU guard, so it can be neither used after the read section nor
//! held across a sleep. A replaced value is freed by `call_rcu()`; dropping an [`RcuCell`] waits
//! for that.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use core::marker::PhantomPinned;
use kernel::{
    alloc::Flags,
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        rcu, //
    },
    types::Opaque, //
};

/// How many values may wait for their grace period before a writer has to wait with them.
///
/// Grace periods take milliseconds, and a program can write a million times a second: without a
/// limit, what waits to be freed would fill the memory.
const MAX_RETIRED: u32 = 16;

/// A value that readers see without locks and writers replace as a whole.
///
/// `T` is dropped where callbacks of RCU run, which can be a soft interrupt: its destructor must
/// not sleep. Freeing memory is fine.
///
/// # Invariants
///
/// `current` is a [`Node`] that came from [`KBox::into_raw`]. What was taken out of it is freed
/// after a grace period, by a callback that was queued once.
#[pin_data(PinnedDrop)]
pub struct RcuCell<T: Send + Sync + 'static> {
    current: Atomic<*mut Node<T>>,
    /// How many nodes wait for their grace period. Their callbacks hold a pointer to it.
    retired: Atomic<u32>,
    #[pin]
    _pin: PhantomPinned,
}

#[repr(C)] // `rcu` comes first, so that a pointer to it is one to the whole.
struct Node<T> {
    rcu: Opaque<bindings::callback_head>,
    /// The `retired` of the [`RcuCell`] that it was taken out of.
    retired: *const Atomic<u32>,
    value: T,
}

// SAFETY: The values are used and dropped by whichever thread comes.
unsafe impl<T: Send + Sync + 'static> Send for RcuCell<T> {}

// SAFETY: The values are used by several threads at once, and dropped by whichever thread comes.
unsafe impl<T: Send + Sync + 'static> Sync for RcuCell<T> {}

impl<T: Send + Sync + 'static> RcuCell<T> {
    /// Publishes the first value.
    ///
    /// # Safety
    ///
    /// What is initialised must be dropped before the module is unloaded: RCU may call its code
    /// until then.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub unsafe fn new(value: T) -> impl PinInit<Self, Error> {
        // INVARIANT: `Node::new` gives what `current` must hold.
        try_pin_init!(Self {
            current: Atomic::new(Node::new(value, GFP_KERNEL)?),
            retired: Atomic::new(0),
            _pin: PhantomPinned,
        })
    }

    /// Returns the present value. It stays for as long as `guard`, published or not.
    pub fn get<'a>(&'a self, _guard: &'a rcu::Guard) -> &'a T {
        // Acquire, so that the value is seen as its writer has left it.
        let node = self.current.load(Acquire);

        // SAFETY: By the type invariants it is a node, freed at the earliest in a grace period that
        // begins when it is replaced, which does not end before the read section of `_guard`.
        unsafe { &(*node).value }
    }

    /// Replaces the value. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; the old value stays then.
    pub fn replace(&self, value: T, flags: Flags) -> Result {
        let new = Node::new(value, flags)?;

        // Full: what was written to `new` is seen before `new` is.
        // INVARIANT: `Node::new` gives what `current` must hold; the old one is retired below.
        let old = self.current.xchg(new, Full);

        // SAFETY: `old` was in `current`, so it is a node, and by the exchange nobody but us has
        // taken it out. This object outlives the callback: its `drop` waits for all callbacks.
        unsafe { Node::retire(old, &self.retired) };

        if self.retired.load(Relaxed) > MAX_RETIRED {
            rcu::rcu_barrier();
        }
        Ok(())
    }
}

#[pinned_drop]
impl<T: Send + Sync + 'static> PinnedDrop for RcuCell<T> {
    fn drop(self: Pin<&mut Self>) {
        // The callbacks use `retired`, and are code of this module.
        rcu::rcu_barrier();

        // SAFETY: By the type invariants it came from `into_raw`. Nobody can be reading it, because
        // readers borrow `self`.
        drop(unsafe { KBox::from_raw(self.current.load(Relaxed)) });
    }
}

impl<T> Node<T> {
    /// Allocates a node, to be freed with [`KBox::from_raw`].
    fn new(value: T, flags: Flags) -> Result<*mut Self> {
        let node = Self {
            rcu: Opaque::uninit(),
            retired: core::ptr::null(),
            value,
        };
        Ok(KBox::into_raw(KBox::new(node, flags)?))
    }

    /// Frees a node after a grace period.
    ///
    /// # Safety
    ///
    /// `node` must be from [`Node::new`], and nobody else may free it. `retired` must stay until
    /// the callback has run.
    unsafe fn retire(node: *mut Self, retired: &Atomic<u32>) {
        retired.add(1u32, Relaxed);

        // SAFETY: Readers may still look at `value`, but nobody looks at the other two fields.
        unsafe {
            (*node).retired = retired;
            bindings::call_rcu(Opaque::cast_into(&raw const (*node).rcu), Some(Self::free));
        }
    }

    /// Frees a node whose grace period is over.
    ///
    /// # Safety
    ///
    /// `head` must be the `rcu` of a node that was given to [`Node::retire`].
    unsafe extern "C" fn free(head: *mut bindings::callback_head) {
        // SAFETY: `rcu` is the first field of a node that came from `KBox::into_raw`. Every reader
        // who could have seen it has left.
        let node = unsafe { KBox::from_raw(head.cast::<Self>()) };
        let retired = node.retired;
        drop(node);

        // SAFETY: `RcuCell` stays until this callback has run.
        unsafe { (*retired).fetch_sub(1u32, Relaxed) };
    }
}
