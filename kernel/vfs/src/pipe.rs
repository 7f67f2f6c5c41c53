// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pipes, with and without a name.

mod content;
pub mod end;
mod moves;

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use alloc::sync::Arc;

use exo_core::thread::signal_self;
use exo_hal::{once::Once, sync::SpinLock};
use linux_raw_sys::general as abi;

use self::content::Content;
use super::io::Io;
use crate::{
    errno::{Errno, Result},
    events::Events,
    fallible,
    io_buf::{IoBuf, IoSource},
    room,
    sched::{
        spans,
        wait::{WaitQueue, wait_after_look},
    },
};

/// What a pipe holds at most unless a program changes it, as on Linux.
const CAPACITY: usize = 65536;
/// As high as a program may raise that, as on Linux by default.
pub const MOST_CAPACITY: usize = 1 << 20;
/// What it holds at first; it grows when a writer needs more.
const FIRST_CAPACITY: usize = 4096;
/// Writes of up to this many bytes are not mixed with others.
const ATOMIC: usize = 4096;
/// The most that is moved at a time, with the pipe locked.
const PIECE: usize = 16 << 10;

/// Takes what comes into a pipe by itself, so that no program has to read it.
pub trait Outlet: Send + Sync {
    /// There is more in the pipe. Called by a writer with no lock held.
    fn filled(&self);
    /// A writer has gone.
    fn left(&self);
}

/// A pipe.
pub struct Pipe {
    content: SpinLock<Content>,
    /// What it holds at most; changed with the content locked.
    capacity: AtomicUsize,
    readers: AtomicUsize,
    writers: AtomicUsize,
    /// Openings so far, for those who wait for the other side of a named pipe.
    read_openings: AtomicU64,
    write_openings: AtomicU64,
    readable: WaitQueue,
    writable: WaitQueue,
    outlet: Once<Arc<dyn Outlet>>,
}

impl Pipe {
    /// An empty pipe without ends.
    pub fn new() -> Result<Arc<Self>> {
        fallible::arc(Self {
            // What goes from one pipe to another holds both, in the order of their addresses.
            content: SpinLock::nested_over_faults(Content::new()),
            capacity: AtomicUsize::new(CAPACITY),
            readers: AtomicUsize::new(0),
            writers: AtomicUsize::new(0),
            read_openings: AtomicU64::new(0),
            write_openings: AtomicU64::new(0),
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
            outlet: Once::new(),
        })
    }

    /// What it holds at most, in bytes.
    pub fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Changes that to at least `bytes`, a power of two; what it is then. EBUSY if it holds more.
    pub fn set_capacity(&self, bytes: u32) -> Result {
        if bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let wanted = (bytes as usize).max(FIRST_CAPACITY).next_power_of_two();
        if wanted > MOST_CAPACITY {
            return Err(Errno::EPERM);
        }
        {
            let content = self.content.lock();
            if content.len() > wanted {
                return Err(Errno::EBUSY);
            }
            self.capacity.store(wanted, Ordering::Relaxed);
        }
        self.writable.wake_all();
        Ok(wanted)
    }

    /// For how many bytes there is room.
    fn room(&self, content: &Content) -> usize {
        // Each packet counts as a page at least: its place has to be remembered, however short it is.
        if content.runs() >= self.capacity() / ATOMIC {
            return 0;
        }
        self.capacity().saturating_sub(content.len())
    }

    /// Whose it is to take what comes in, for good. EBUSY if there is one.
    pub fn set_outlet(&self, outlet: Arc<dyn Outlet>) -> Result<()> {
        if self.outlet.get().is_some() {
            return Err(Errno::EBUSY);
        }
        self.outlet.set(outlet);
        Ok(())
    }

    /// Tells who waits for bytes that there are some. Not with a lock held.
    fn has_more(&self) {
        self.readable.wake_for((Events::IN | Events::RDNORM).bits());
        if let Some(outlet) = self.outlet.get() {
            outlet.filled();
        }
    }

    /// Offers `to` what is in the pipe, up to `most` bytes, until it takes less than it was offered; how many bytes it took.
    pub fn offer(&self, most: usize, mut to: impl FnMut(&[u8]) -> usize) -> usize {
        let mut done = 0;
        {
            let mut content = self.content.lock();
            while done < most && content.takeable() > 0 {
                let run = content.ring.used_run();
                let offered = run.get(..run.len().min(most - done)).unwrap_or_default();
                let (count, offered) = (to(offered), offered.len());
                content.drop_front(count);
                done += count;
                if count < offered {
                    break;
                }
            }
        }
        if done > 0 {
            self.writable.wake_all();
        }
        done
    }

    /// Shows all that is in the pipe, for a crash's sake: nothing if somebody holds the lock.
    pub fn show_in_crash(&self, mut to: impl FnMut(&[u8])) {
        let Some(mut content) = self.content.try_lock() else { return };
        while !content.ring.is_empty() {
            let run = content.ring.used_run();
            let count = run.len();
            to(run);
            content.ring.consumed(count);
        }
    }

    /// Bytes that are in it, and whether nobody will ever write more.
    pub fn fill(&self) -> (usize, bool) {
        let length = self.content.lock().len();
        let opened = self.write_openings.load(Ordering::Acquire) > 0;
        (length, opened && self.writers.load(Ordering::Acquire) == 0)
    }

    /// Takes what is there, up to `length` bytes; none if the reader has to wait. EFAULT also if the program's memory has to be waited for.
    fn try_read(&self, to: &mut IoBuf<'_>, length: usize) -> Option<Result> {
        let mut content = self.content.lock();
        if content.takeable() == 0 {
            if content.is_lent() {
                return None;
            }
            return (self.writers.load(Ordering::Acquire) == 0).then_some(Ok(0));
        }
        let (is_packet, front) = content.front();
        let length = length.min(front);
        let mut done = 0;
        while done < length && !content.ring.is_empty() {
            let run = content.ring.used_run();
            let count = run.len().min(length - done);
            let part = run.get(..count).unwrap_or_default();
            if let Err(error) = to.put_all_now(part) {
                if done == 0 {
                    return Some(Err(error));
                }
                break;
            }
            content.drop_front(count);
            done += count;
        }
        if is_packet {
            content.drop_front(front - done);
        }
        Some(Ok(done))
    }

    /// Adds what fits of `length` bytes; none if the writer has to wait. EFAULT also if the program's memory has to be waited for.
    fn try_write(&self, from: &mut IoSource<'_>, length: usize, is_packet: bool) -> Option<Result> {
        if self.readers.load(Ordering::Acquire) == 0 {
            return Some(Err(no_reader()));
        }
        let mut content = self.content.lock();
        let length = if is_packet { length.min(ATOMIC) } else { length };
        let needed = if length <= ATOMIC { length } else { 1 };
        let capacity = self.capacity();
        let wanted = content.ring.len().saturating_add(length).min(capacity);
        if wanted > content.ring.capacity() {
            if !room::has_room(capacity / exo_hal::PAGE_SIZE) {
                return Some(Err(Errno::ENOMEM));
            }
            content.ring.grow(wanted.next_power_of_two().max(FIRST_CAPACITY));
        }
        let room = self.room(&content);
        if room < needed {
            return None;
        }
        let length = length.min(room);
        let mut done = 0;
        while done < length {
            let run = content.ring.free_run();
            let count = run.len().min(length - done);
            let part = run.get_mut(..count).unwrap_or_default();
            if let Err(error) = from.take_all_now(part) {
                if done == 0 {
                    return Some(Err(error));
                }
                break;
            }
            content.ring.filled(count);
            done += count;
        }
        content.added(done, is_packet);
        Some(Ok(done))
    }

    #[inline]
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        match self.try_all(io, to) {
            Err(Errno::EFAULT) => self.fault_in_and_read(io, to),
            result => result,
        }
    }

    /// As [`read`](Self::read), but EFAULT also if the program's memory has to be waited for.
    #[inline(always)]
    fn try_all(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        let length = to.left();
        if length == 0 {
            return Ok(0);
        }
        let first = length.min(PIECE);
        let mut result = match self.try_read(to, first) {
            Some(result) => result,
            None if io.no_wait => Err(Errno::EAGAIN),
            None => wait_after_look(&[&self.readable], None, true, || self.try_read(to, first))
                .unwrap_or(Err(Errno::RESTART)),
        };
        // What else is there, with the lock given back in between.
        while let Ok(done @ PIECE..) = result {
            if done == length || spans::point() {
                break;
            }
            match self.try_read(to, PIECE.min(length - done)) {
                Some(Ok(more @ 1..)) => result = Ok(done + more),
                _ => break,
            }
        }
        if matches!(result, Ok(1..)) {
            self.writable.wake_all();
        }
        result
    }

    /// The program's memory is waited for with nothing locked, if that is all that is wrong.
    #[cold]
    fn fault_in_and_read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        loop {
            to.fault_in(to.left().min(PIECE).min(self.fill().0))?;
            match self.try_all(io, to) {
                Err(Errno::EFAULT) => {}
                result => return result,
            }
        }
    }

    #[inline(always)]
    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        let length = from.left();
        let mut done = 0;
        let packets = io.direct;
        while done < length {
            let now = PIECE.min(length - done);
            let step = match self.try_write(from, now, packets) {
                Some(step) => step,
                None if io.no_wait => Err(Errno::EAGAIN),
                None => wait_after_look(&[&self.writable], None, true, || self.try_write(from, now, packets))
                    .unwrap_or(Err(Errno::RESTART)),
            };
            match step {
                Ok(count) => {
                    done += count;
                    self.has_more();
                    if done < length && spans::point() {
                        break;
                    }
                }
                Err(Errno::EFAULT) if self.fault_in_for_write(from, now) => {}
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// As for reads; whether writing may go on.
    #[cold]
    fn fault_in_for_write(&self, from: &IoSource<'_>, bytes: usize) -> bool {
        let room = self.room(&self.content.lock());
        from.fault_in(bytes.min(room)).is_ok()
    }
}

/// Nobody reads: the thread that writes gets SIGPIPE.
fn no_reader() -> Errno {
    signal_self(abi::SIGPIPE);
    Errno::EPIPE
}
