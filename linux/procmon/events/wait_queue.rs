// SPDX-License-Identifier: GPL-2.0

//! Waking readers, and not waking them when none waits.
//!
//! Events come by the thousand. A recorder must not take a lock each time to find that nobody
//! waits, and a reader must not miss the event that comes while it goes to sleep. So there is a
//! flag: a reader raises it, then looks for events once more, and only then sleeps; a recorder
//! writes its event and then looks at the flag. Each does the one before the other with a full
//! barrier in between, so at least one of the two sees what the other has done.

use kernel::{
    fs::File,
    new_poll_condvar, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        barrier::{
            smp_mb,
            Full, //
        },
        poll::{
            PollCondVar,
            PollTable, //
        },
        SpinLock, //
    },
};

/// Where readers wait.
#[pin_data]
pub(super) struct ReaderWaitQueue {
    /// Somebody waits, or is about to.
    has_waiters: AtomicFlag,
    /// Held from raising the flag to sleeping, and from lowering it to waking.
    #[pin]
    lock: SpinLock<()>,
    #[pin]
    waiting: PollCondVar,
}

impl ReaderWaitQueue {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            has_waiters: AtomicFlag::new(false),
            lock <- new_spinlock!(()),
            waiting <- new_poll_condvar!(),
        })
    }

    /// Wakes all who wait. To be called after there is something for them.
    pub(super) fn wake(&self) {
        smp_mb(Full);
        if self.has_waiters.load(Relaxed) {
            let _lock = self.lock.lock();
            self.has_waiters.store(false, Relaxed);
            self.waiting.notify_all();
        }
    }

    /// Sleeps until `there_is_something`, which must not sleep.
    ///
    /// # Errors
    ///
    /// [`ERESTARTSYS`] when a signal comes.
    pub(super) fn wait(&self, there_is_something: impl Fn() -> bool) -> Result {
        let mut lock = self.lock.lock();
        loop {
            self.has_waiters.store(true, Relaxed);
            smp_mb(Full);
            if there_is_something() {
                return Ok(());
            }
            if self.waiting.wait_interruptible(&mut lock) {
                return Err(ERESTARTSYS);
            }
        }
    }

    /// For `poll(2)`: says that the program waits here, if there is nothing. To be called before
    /// looking whether there is something.
    pub(super) fn register_poll(&self, file: &File, table: &PollTable<'_>) {
        table.register_wait(file, &self.waiting);
        self.has_waiters.store(true, Relaxed);
        smp_mb(Full);
    }
}
