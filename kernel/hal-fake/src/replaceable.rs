// SPDX-License-Identifier: MIT OR Apache-2.0
//! A shared value that can be replaced, a bounded number of times, while it is borrowed.

use std::{
    array,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

/// Values that can follow the first one.
const MOST: usize = 64;

/// The cell has been replaced as often as it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// See the module's documentation.
pub struct Replaceable<T> {
    first: Arc<T>,
    later: [OnceLock<Arc<T>>; MOST],
    /// How many of `later` there are; the last is the current value.
    count: AtomicUsize,
    replacing: Mutex<()>,
}

impl<T> Replaceable<T> {
    /// A cell that holds `first`.
    pub fn new(first: Arc<T>) -> Self {
        let later = array::from_fn(|_| OnceLock::new());
        Self { first, later, count: AtomicUsize::new(0), replacing: Mutex::new(()) }
    }

    fn current(&self) -> &Arc<T> {
        let last = self.count.load(Ordering::Acquire).checked_sub(1);
        last.and_then(|last| self.later[last].get()).unwrap_or(&self.first)
    }

    /// The current value.
    pub fn get(&self) -> &T {
        self.current()
    }

    /// A counted reference to the current value.
    pub fn arc(&self) -> Arc<T> {
        self.current().clone()
    }

    /// Puts `value` in the place of the current one, which lives on until the cell is dropped.
    pub fn replace(&self, value: Arc<T>) -> Result<(), Exhausted> {
        let _replacing = self.replacing.lock();
        let count = self.count.load(Ordering::Relaxed);
        let place = self.later.get(count).ok_or(Exhausted)?;
        place.set(value).map_err(|_| Exhausted)?;
        self.count.store(count + 1, Ordering::Release);
        Ok(())
    }
}
