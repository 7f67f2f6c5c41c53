// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is told of what happens to processes, such as procmon.

use exo_hal::once::Once;

use super::{Name, Process, Task};

/// Is told of what happens to processes, in the task that does it and with nothing locked.
pub trait ProcessObserver: Sync {
    /// `maker` has made a process. It is in the table of processes, and does not run yet.
    fn forked(&self, maker: &Task, child: &Process);
    /// A process runs another program from here on; the thread with the number `caller` asked for it.
    fn executes(&self, process: &Process, caller: u32);
    /// The last thread of a process has ended, and its parent does not know yet; `status` is as wait4 has it.
    fn ended(&self, process: &Process, status: u32);
    /// A thread was given another name.
    fn renamed(&self, thread: &Task, name: Name);
}

static OBSERVER: Once<&'static dyn ProcessObserver> = Once::new();

/// Sets who is told from now on. There is one at most.
pub fn set(observer: &'static dyn ProcessObserver) {
    OBSERVER.set(observer);
}

/// Tells the observer, if there is one.
pub(super) fn tell(what: impl FnOnce(&dyn ProcessObserver)) {
    if let Some(observer) = OBSERVER.get() {
        what(*observer);
    }
}

impl Task {
    /// Gives the thread another name.
    pub fn rename(&self, name: Name) {
        *self.name.lock() = name;
        tell(|observer| observer.renamed(self, name));
    }
}
