// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file in /proc/PID or /proc/PID/task/TID tells of.

use core::sync::atomic::Ordering;

use alloc::sync::{Arc, Weak};

use exo_logic::sleep::RunState;

use super::inode::{self, Class};
use crate::{
    errno::{Errno, Result},
    fs::{FileTable, inode::Inode},
    task::{Name, Process, Status, Task, credentials::Which, table},
};

/// What a file here tells of: a process, or one of its threads.
pub(super) struct Subject {
    pub(super) process: Arc<Process>,
    /// The thread; for a process its first, as long as that lives.
    pub(super) thread: Option<Arc<Task>>,
    /// A thread is meant, and not the process.
    pub(super) is_thread: bool,
}

/// A [`Subject`] that need not live any more.
#[derive(Clone)]
pub(super) struct Reference {
    process: Weak<Process>,
    pid: u32,
    /// The thread and its number, if one is meant.
    thread: Option<(Weak<Task>, u32)>,
}

impl Reference {
    pub(super) fn to_process(process: &Arc<Process>) -> Self {
        Self { process: Arc::downgrade(process), pid: process.pid, thread: None }
    }

    pub(super) fn to_thread(&self, thread: &Arc<Task>) -> Self {
        Self { thread: Some((Arc::downgrade(thread), thread.tid())), ..self.clone() }
    }

    /// Whether a thread is meant, and not the process.
    pub(super) fn is_thread(&self) -> bool {
        self.thread.is_some()
    }

    /// What it refers to; ESRCH if that has ended and been waited for.
    pub(super) fn get(&self) -> Result<Subject> {
        let process =
            table::process(self.pid).filter(|p| core::ptr::eq(Arc::as_ptr(p), self.process.as_ptr()));
        let process = process.ok_or(Errno::ESRCH)?;
        let thread = match &self.thread {
            Some((thread, tid)) => {
                let thread = thread.upgrade().ok_or(Errno::ESRCH)?;
                let is_there = process.threads.lock().contains_key(tid);
                Some(is_there.then_some(thread).ok_or(Errno::ESRCH)?)
            }
            None => process.threads.lock().get(&self.pid).cloned(),
        };
        Ok(Subject { process, thread, is_thread: self.is_thread() })
    }

    /// The number of an inode of the subject's own.
    pub(super) fn inode(&self, index: usize) -> u64 {
        match self.thread {
            Some((_, tid)) => inode::number(tid, Class::Thread, index),
            None => inode::number(self.pid, Class::Process, index),
        }
    }

    /// The number of an inode that belongs to a descriptor.
    pub(super) fn descriptor_inode(&self, fd: usize, information: bool) -> u64 {
        let (owner, class) = match (&self.thread, information) {
            (None, false) => (self.pid, Class::Descriptor),
            (None, true) => (self.pid, Class::DescriptorInfo),
            (Some((_, tid)), false) => (*tid, Class::ThreadDescriptor),
            (Some((_, tid)), true) => (*tid, Class::ThreadDescriptorInfo),
        };
        inode::number(owner, class, fd)
    }
}

impl Subject {
    /// Its number: the thread's or the process's.
    pub(super) fn number(&self) -> u32 {
        match &self.thread {
            Some(thread) if self.is_thread => thread.tid(),
            _ => self.process.pid,
        }
    }

    /// The descriptors of the thread, or of the process's first; none if it has ended.
    pub(super) fn files(&self) -> Option<Arc<FileTable>> {
        match &self.thread {
            Some(thread) => Some(thread.files.arc()),
            None => self.process.files(),
        }
    }

    /// Gives a file to the user that the process acts as; one that shows its memory to nobody is the superuser's.
    pub(super) fn own(&self, node: &Inode) {
        let thread = self.thread.clone().or_else(|| self.process.any_thread());
        let Some(thread) = thread.filter(|_| self.process.dumpable.load(Ordering::Relaxed) == 1) else {
            return;
        };
        let ids = &thread.credentials;
        let (uid, gid) = (ids.id(Which::EffectiveUser), ids.id(Which::EffectiveGroup));
        if (uid, gid) != (0, 0) {
            node.change(|metadata| (metadata.uid, metadata.gid) = (uid, gid));
        }
    }

    pub(super) fn name(&self) -> Name {
        match &self.thread {
            Some(thread) => *thread.name.lock(),
            None => self.process.name(),
        }
    }
}

/// A file or directory of a subject's, given to whom it belongs.
pub(super) fn made(of: &Reference, node: Arc<Inode>) -> Arc<Inode> {
    if let Ok(subject) = of.get() {
        subject.own(&node);
    }
    node
}

/// The letter and the word of a state, as status has them.
pub(super) fn state(of: &Subject) -> (char, &'static str) {
    match *of.process.status.lock() {
        Status::Ended(_) => return ('Z', "zombie"),
        Status::Stopped { .. } => return ('T', "stopped"),
        _ => {}
    }
    match of.thread.as_ref().map(|thread| thread.state.get()) {
        Some(RunState::Runnable) => ('R', "running"),
        Some(RunState::Sleeping) => ('S', "sleeping"),
        // The first thread has ended and others live, or the thread is about to go.
        _ => ('Z', "zombie"),
    }
}
