// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which connections with other machines the thread is to look at.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use alloc::{collections::VecDeque, sync::Arc};

use exo_hal::sync::SpinLock;

use crate::{errno::Result, fallible, interfaces, sched::wait::Observer};

/// Those that are to be looked at. There is room for all.
pub(super) static MARKED: SpinLock<VecDeque<u64>> = SpinLock::new(VecDeque::new());

/// Has the thread look at a connection when a program has done something.
pub(super) struct Mark {
    pub(super) number: u64,
    pub(super) is_set: AtomicBool,
}

impl Mark {
    pub(super) fn new() -> Result<Arc<Self>> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        fallible::arc(Self { number, is_set: AtomicBool::new(false) })
    }
}

impl Observer for Mark {
    fn changed(&self) {
        if !self.is_set.swap(true, Ordering::Relaxed) {
            MARKED.lock().push_back(self.number);
        }
        interfaces::call_thread();
    }
}
