// SPDX-License-Identifier: MIT OR Apache-2.0
//! pidfd: a descriptor for a process or a thread, which goes on meaning the same when the number means another one already. It can be read
//! when what it stands for has ended.

use core::fmt::{self, Write};

use alloc::sync::{Arc, Weak};

use exo_vfs::{OpenFile, events::Events, file::File};
use linux_raw_sys::general as abi;

use crate::{
    anonymous,
    errno::{Errno, Result},
    sched::wait::WaitQueue,
    task::{Process, Task, table},
};

/// A thread is meant, and not its process (`PIDFD_THREAD`).
pub const THREAD: u32 = abi::O_EXCL;

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It has ended, and nobody has waited for it.
    Ended,
    /// Nothing is left of it.
    Gone,
}

/// What a descriptor stands for.
pub struct PidFd {
    process: Arc<Process>,
    /// The thread and its number, if one is meant.
    thread: Option<(Weak<Task>, u32)>,
}

fn open(pid: PidFd, flags: u32) -> Result<Arc<OpenFile>> {
    anonymous::open(pid, 0o700, abi::O_RDWR | flags & (abi::O_NONBLOCK | THREAD))
}

/// A descriptor's file for the process (or with [`THREAD`] the thread) with a number. Of the `O_` bits `flags`, O_NONBLOCK counts.
///
/// # Errors
/// ESRCH if there is none, ENOENT if a process is meant and the number is that of another thread, ENOMEM.
pub fn create(number: u32, flags: u32) -> Result<Arc<OpenFile>> {
    let thread = table::task(number);
    let process = table::process(number);
    let of_thread = flags & THREAD != 0;
    match (process, thread) {
        (Some(process), thread) => {
            let thread = thread.map_or(Weak::new(), |thread| Arc::downgrade(&thread));
            open(PidFd { process, thread: of_thread.then_some((thread, number)) }, flags)
        }
        (None, Some(thread)) if of_thread => for_task(&thread, flags),
        (None, Some(_)) => Err(Errno::ENOENT),
        (None, None) => Err(Errno::ESRCH),
    }
}

/// The same for the process of a thread, or with [`THREAD`] for the thread.
///
/// # Errors
/// ENOMEM.
pub fn for_task(task: &Arc<Task>, flags: u32) -> Result<Arc<OpenFile>> {
    let thread = (flags & THREAD != 0).then(|| (Arc::downgrade(task), task.tid()));
    open(PidFd { process: task.process.clone(), thread }, flags)
}

/// The process or thread behind an open file; EBADF if that is of another kind.
pub fn of(file: &OpenFile) -> Result<&PidFd> {
    file.file().downcast::<PidFd>().ok_or(Errno::EBADF)
}

impl PidFd {
    /// The process, or that of the thread; ESRCH if nothing is left of it.
    pub fn process(&self) -> Result<&Arc<Process>> {
        if self.state() == State::Gone { Err(Errno::ESRCH) } else { Ok(&self.process) }
    }

    /// Whether a thread is meant, and not its process.
    pub fn is_thread(&self) -> bool {
        self.thread.is_some()
    }

    /// The number, as long as something is left of it.
    pub fn number(&self) -> Option<u32> {
        let number = self.thread.as_ref().map_or(self.process.pid, |(_, tid)| *tid);
        (self.state() != State::Gone).then_some(number)
    }

    /// The thread, or the first of the process, while it runs.
    pub fn task(&self) -> Option<Arc<Task>> {
        match &self.thread {
            None => self.process.any_thread(),
            // Who starts a program becomes the first thread.
            Some((_, tid)) if *tid == self.process.pid => self.process.threads.lock().get(tid).cloned(),
            Some((thread, tid)) => {
                let found = self.process.threads.lock().get(tid).cloned();
                found.filter(|found| core::ptr::eq(Arc::as_ptr(found), thread.as_ptr()))
            }
        }
    }

    /// What has become of it.
    pub fn state(&self) -> State {
        let is_of_first = self.thread.as_ref().is_none_or(|(_, tid)| *tid == self.process.pid);
        let runs = match &self.thread {
            None => !self.process.has_ended(),
            Some(_) => self.task().is_some(),
        };
        let is_known = || table::process(self.process.pid).is_some_and(|p| Arc::ptr_eq(&p, &self.process));
        if runs {
            State::Running
        } else if is_of_first && is_known() {
            State::Ended
        } else {
            State::Gone
        }
    }
}

impl File for PidFd {
    fn events(&self) -> Events {
        match self.state() {
            State::Running => Events::empty(),
            State::Ended => Events::IN,
            State::Gone => Events::IN | Events::HUP,
        }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.process.ended)
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("[pidfd]")
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        let number = self.number().map_or(-1, i64::from);
        writeln!(out, "Pid:\t{number}\nNSpid:\t{number}")
    }
}
