// SPDX-License-Identifier: MIT OR Apache-2.0
//! All sockets of a protocol, for those who list them.

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use exo_hal::sync::SpinLock;

struct Known<T> {
    all: BTreeMap<u64, Weak<T>>,
    last: u64,
}

/// The sockets of a protocol, by numbers that grow.
pub(super) struct Registry<T: 'static>(SpinLock<Known<T>>);

/// A socket's place in it, until it is dropped.
pub(super) struct Place<T: 'static> {
    registry: &'static Registry<T>,
    number: u64,
}

impl<T> Registry<T> {
    #[track_caller]
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(Known { all: BTreeMap::new(), last: 0 }))
    }

    /// A place for a socket that is about to be made.
    pub(super) fn place(&'static self) -> Place<T> {
        let mut known = self.0.lock();
        known.last += 1;
        Place { registry: self, number: known.last }
    }

    /// The first socket behind a number.
    pub(super) fn next_after(&self, number: u64) -> Option<(u64, Option<Arc<T>>)> {
        let known = self.0.lock();
        known.all.range(number + 1..).next().map(|(number, socket)| (*number, socket.upgrade()))
    }
}

impl<T> Place<T> {
    /// Its socket is there.
    pub(super) fn enter(&self, socket: &Arc<T>) {
        self.registry.0.lock().all.insert(self.number, Arc::downgrade(socket));
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.registry.0.lock().all.remove(&self.number);
    }
}
