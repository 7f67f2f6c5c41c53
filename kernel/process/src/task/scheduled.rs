// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the scheduler, and all that knows threads only, asks of a thread of this kernel.

use exo_core::{limits, thread};
use exo_hal::thread::TaskType;

use super::Task;
use crate::signal;

impl thread::Task for Task {
    #[inline]
    fn has_deliverable_signal(&self) -> bool {
        signal::is_deliverable(self)
    }

    #[inline]
    fn activate_memory(&self) {
        self.process.memory.lock().activate();
    }

    fn tick(&self) {
        self.process.check_cpu_time();
    }

    fn signal(&self, number: u32) {
        signal::send_to_self(number);
    }

    fn soft_limit(&self, which: usize) -> u64 {
        self.process.limits.lock().get(which).map_or(limits::INFINITY, |limit| limit.soft)
    }

    fn soft_limit_now(&self, which: usize) -> Option<u64> {
        self.process.limits.try_lock()?.get(which).map(|limit| limit.soft)
    }
}

#[expect(unsafe_code, reason = "the promise that the machine has one type of tasks")]
// SAFETY: the only type that implements it, in the order of C, with its thread first.
unsafe impl TaskType for Task {
    type Head = thread::Thread;
}
