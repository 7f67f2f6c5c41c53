// SPDX-License-Identifier: MIT OR Apache-2.0
//! A shared value that can be replaced while it is borrowed, and read without a lock.
//!
//! What was replaced stays until the cell is dropped, which is what makes a plain reference to the current value sound. So a cell can be
//! replaced a bounded number of times.

use core::sync::atomic::{AtomicPtr, Ordering};

use alloc::{sync::Arc, vec::Vec};

use crate::sync::SpinLock;

/// Values that can follow the first one.
const MOST: usize = 64;

/// The cell has been replaced as often as it can be, or there is no memory for one value more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// See the module's documentation.
pub struct Replaceable<T> {
    /// Points into `first` or one of `later`.
    current: AtomicPtr<T>,
    first: Arc<T>,
    /// Every other value that there was; only added to.
    later: SpinLock<Vec<Arc<T>>>,
}

impl<T> Replaceable<T> {
    /// A cell that holds `first`.
    pub fn new(first: Arc<T>) -> Self {
        let current = AtomicPtr::new(Arc::as_ptr(&first).cast_mut());
        Self { current, first, later: SpinLock::new(Vec::new()) }
    }

    /// The current value.
    #[inline(always)]
    pub fn get(&self) -> &T {
        // SAFETY: each pointer that is stored comes from an `Arc` that the cell keeps as long as it lives.
        unsafe { &*self.current.load(Ordering::Acquire) }
    }

    /// A counted reference to the current value.
    pub fn arc(&self) -> Arc<T> {
        let value = self.current.load(Ordering::Acquire);
        if core::ptr::eq(value, Arc::as_ptr(&self.first)) {
            return self.first.clone();
        }
        // The newest is the last, so that this finds it at once.
        let later = self.later.lock();
        later.iter().rev().find(|kept| core::ptr::eq(Arc::as_ptr(kept), value)).unwrap_or(&self.first).clone()
    }

    /// Puts `value` in the place of the current one, which lives on until the cell is dropped.
    pub fn replace(&self, value: Arc<T>) -> Result<(), Exhausted> {
        let mut later = self.later.lock();
        if later.len() >= MOST {
            return Err(Exhausted);
        }
        later.try_reserve(1).map_err(|_| Exhausted)?;
        let pointer = Arc::as_ptr(&value).cast_mut();
        later.push(value);
        self.current.store(pointer, Ordering::Release);
        Ok(())
    }
}
