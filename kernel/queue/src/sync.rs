// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts that loom replaces when it tries out every order of events (`--cfg loom`).

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell as Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

#[cfg(not(loom))]
pub(crate) use self::plain::Cell;
#[cfg(not(loom))]
pub(crate) use alloc::sync::Arc;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, Ordering};

#[cfg(not(loom))]
mod plain {
    use core::cell::UnsafeCell;

    /// An `UnsafeCell` with the face of loom's.
    pub(crate) struct Cell<T>(UnsafeCell<T>);

    impl<T> Cell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, with: impl FnOnce(*mut T) -> R) -> R {
            with(self.0.get())
        }
    }
}
