// SPDX-License-Identifier: MIT OR Apache-2.0
//! Doing what a request asks for.

use alloc::sync::Arc;

use exo_logic::uring::{
    Operation,
    entry::{Memory, Target, Transfer},
};

use super::{
    file::is_ring,
    job::{Job, Step},
    ring::Ring,
};
use crate::{
    disk,
    errno::{Errno, Result},
    fs::{
        io::Call,
        poll::{self, Events},
    },
    io_buf::{Frames, IoBuf, IoSource},
    user::IoVec,
};

impl Ring {
    /// Runs a request and those linked behind it, as far as they come without waiting. With `result`, the first has ended.
    pub(super) fn run_from(self: &Arc<Self>, job: Job, result: Option<i32>) {
        self.go_on(match result {
            Some(result) => Step::Done(job, result),
            None => self.attempt(job, true),
        });
    }

    /// Goes on from a step.
    pub(super) fn go_on(self: &Arc<Self>, mut step: Step) {
        loop {
            match step {
                Step::Started => return,
                Step::Blocking(job) => step = self.block(job),
                Step::Wait(job) => return self.park(job),
                Step::Done(job, result) => match self.finish(job, result) {
                    Some(next) => step = self.attempt(next, true),
                    None => return,
                },
            }
        }
    }

    /// Tries to do what a request asks for; `first` tells the first time from a later one.
    pub(super) fn attempt(self: &Arc<Self>, mut job: Job, first: bool) -> Step {
        if let Operation::Transfer(_) | Operation::Sync = job.operation {
            if let Some(disk) = job.file.as_deref().and_then(disk::of).cloned() {
                return self.start_on_disk(job, &disk);
            }
        }
        let done = match job.operation {
            Operation::Nop => Some(Ok(0)),
            Operation::Transfer(transfer) => self.transfer(&job, &transfer),
            Operation::Sync => {
                Some(job.file.as_ref().ok_or(Errno::EBADF).and_then(|f| f.file().sync()).map(|()| 0))
            }
            Operation::Poll { events } => poll(&job, events),
            Operation::Timeout { count, .. } => {
                if first {
                    job.target = (count > 0).then(|| self.tail().wrapping_add(count));
                }
                None
            }
            Operation::PollRemove { target } => Some(self.cancel(false, |job| {
                matches!(job.operation, Operation::Poll { .. }) && job.user_data == target
            })),
            Operation::TimeoutRemove { target } => Some(self.cancel(false, |job| {
                matches!(job.operation, Operation::Timeout { .. }) && job.user_data == target
            })),
            Operation::Cancel { target, all } => Some(self.cancel_target(&job, target, all)),
        };
        match done {
            None => Step::Wait(job),
            Some(result) => Step::Done(job, number(result)),
        }
    }

    /// Does a transfer as a system call does, waiting for the device.
    fn block(&self, job: Job) -> Step {
        let Operation::Transfer(transfer) = job.operation else { return Step::Done(job, -Errno::EINVAL.0) };
        // What was submitted before does not wait for this.
        self.ring_doorbells();
        let result = self.transfer(&job, &transfer).unwrap_or(Err(Errno::EAGAIN));
        Step::Done(job, number(result))
    }

    fn transfer(&self, job: &Job, transfer: &Transfer) -> Option<Result> {
        let Some(file) = &job.file else { return Some(Err(Errno::EBADF)) };
        if transfer.flags != 0 {
            return Some(Err(Errno::EOPNOTSUPP));
        }
        // As Linux checks it: the last byte has a place that a signed number can name.
        if transfer.offset.is_some_and(|at| at > i64::MAX as u64) && file.file().has_offset() {
            return Some(Err(Errno::EINVAL));
        }
        // Files without places take none.
        let offset = transfer.offset.filter(|_| file.file().has_offset());
        let call = Call { no_wait: true, ..file.call(offset) };
        let registered;
        let memory = match transfer.memory {
            Memory::Plain { address, length } => Data::One(address as usize, length as usize),
            Memory::Vector { .. } => Data::Parts(&job.parts),
            Memory::Registered { index, address, length } => {
                registered = self.resources.lock().buffer(index);
                let part = registered.as_ref().and_then(|all| all.part(address as usize, length as usize));
                let Some((frames, offset)) = part else { return Some(Err(Errno::EFAULT)) };
                Data::Frames(frames, offset, length as usize)
            }
        };
        let result = match (transfer.write, memory) {
            (false, Data::One(at, length)) => file.read_as(call, &mut IoBuf::user(at, length)),
            (false, Data::Parts(parts)) => file.read_as(call, &mut IoBuf::vector(parts)),
            (false, Data::Frames(frames, offset, length)) => {
                file.read_as(call, &mut IoBuf::frames(frames, offset, length))
            }
            (true, Data::One(at, length)) => file.write_as(call, &mut IoSource::user(at, length)),
            (true, Data::Parts(parts)) => file.write_as(call, &mut IoSource::vector(parts)),
            (true, Data::Frames(frames, offset, length)) => {
                file.write_as(call, &mut IoSource::frames(frames, offset, length))
            }
        };
        // O_NONBLOCK is for system calls; as on Linux, a request waits all the same.
        if result == Err(Errno::EAGAIN) && file.file().queue().is_some() { None } else { Some(result) }
    }

    fn cancel_target(&self, job: &Job, target: Target, all: bool) -> Result {
        match target {
            Target::UserData(data) => self.cancel(all, |other| other.user_data == data),
            Target::Any => self.cancel(all, |_| true),
            Target::File => {
                let file = job.file.as_ref().ok_or(Errno::EBADF)?;
                self.cancel(all, |other| other.file.as_ref().is_some_and(|other| Arc::ptr_eq(other, file)))
            }
        }
    }
}

/// Where the data of a transfer is.
enum Data<'a> {
    /// In the program's memory: address and length.
    One(usize, usize),
    /// In several parts of that.
    Parts(&'a [IoVec]),
    /// In a buffer that was registered, whatever the program has at its addresses by now: frames, the first byte, and the length.
    Frames(Frames<'a>, usize, usize),
}

/// A system call's result as a completion's.
fn number(result: Result) -> i32 {
    match result {
        Ok(value) => i32::try_from(value).unwrap_or(i32::MAX),
        Err(error) if error.is_restart() => -Errno::EINTR.0,
        Err(error) => -error.0,
    }
}

fn poll(job: &Job, events: u16) -> Option<Result> {
    let Some(file) = &job.file else { return Some(Err(Errno::EBADF)) };
    if is_ring(file) {
        return Some(Err(Errno::EOPNOTSUPP));
    }
    let ready = poll::ready(file, Events::from_bits_truncate(events));
    if ready.is_empty() && file.file().queue().is_some() { None } else { Some(Ok(ready.bits().into())) }
}
