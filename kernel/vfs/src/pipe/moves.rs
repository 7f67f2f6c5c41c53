// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes between a pipe and the kernel's memory, and between two pipes: what splice and its family need.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use exo_hal::PAGE_SIZE;

use super::{Content, Pipe, no_reader};
use crate::{
    errno::{Errno, Result},
    room,
    sched::wait::wait_for,
};

/// Waits for `ready` unless `no_wait`.
fn wait<T>(
    queue: &crate::sched::wait::WaitQueue,
    no_wait: bool,
    mut ready: impl FnMut() -> Option<Result<T>>,
) -> Result<T> {
    match ready() {
        Some(result) => result,
        None if no_wait => Err(Errno::EAGAIN),
        None => wait_for(queue, ready).unwrap_or(Err(Errno::RESTART)),
    }
}

impl Pipe {
    /// Waits until it has bytes: how many; 0 if there are none and nobody can write any.
    pub fn wait_for_bytes(&self, no_wait: bool) -> Result {
        wait(&self.readable, no_wait, || {
            let length = self.content.lock().ring.len();
            (length > 0 || self.writers.load(Ordering::Acquire) == 0).then_some(Ok(length))
        })
    }

    /// Waits until it has room: for how many bytes. EPIPE, and SIGPIPE, if nobody can read them.
    pub fn wait_for_room(&self, no_wait: bool) -> Result {
        wait(&self.writable, no_wait, || {
            if self.readers.load(Ordering::Acquire) == 0 {
                return Some(Err(no_reader()));
            }
            let room = self.room(&self.content.lock());
            (room > 0).then_some(Ok(room))
        })
    }

    /// Takes bytes that are there; how many.
    pub fn take(&self, to: &mut [u8]) -> usize {
        let count = self.content.lock().take(to);
        if count > 0 {
            self.writable.wake_all();
        }
        count
    }

    /// Puts back what [`take`](Self::take) took.
    pub fn put_back(&self, bytes: &[u8]) -> Result<()> {
        {
            let mut content = self.content.lock();
            reserve(&mut content, bytes.len())?;
            content.put_back(bytes);
        }
        self.has_more();
        Ok(())
    }

    /// Adds bytes, for which there was room: all of them, whatever others added meanwhile.
    pub fn put(&self, bytes: &[u8]) -> Result<()> {
        {
            let mut content = self.content.lock();
            reserve(&mut content, bytes.len())?;
            content.put(bytes);
        }
        self.has_more();
        Ok(())
    }

    /// Moves up to `length` bytes to another pipe, or with `keep` copies them; how many. 0 at the end.
    pub fn move_to(self: &Arc<Self>, to: &Arc<Pipe>, length: usize, keep: bool, no_wait: bool) -> Result {
        loop {
            if self.wait_for_bytes(no_wait)? == 0 {
                return Ok(0);
            }
            to.wait_for_room(no_wait)?;
            // The same order for every pair of pipes.
            let (mut from_content, mut to_content);
            if Arc::as_ptr(self) < Arc::as_ptr(to) {
                from_content = self.content.lock();
                to_content = to.content.lock();
            } else {
                to_content = to.content.lock();
                from_content = self.content.lock();
            }
            let count = length.min(from_content.ring.len()).min(to.room(&to_content));
            if count == 0 {
                // Somebody else took the bytes or the room.
                continue;
            }
            reserve(&mut to_content, count)?;
            copy(&mut from_content, &mut to_content, count);
            if !keep {
                from_content.drop_front(count);
            }
            drop(from_content);
            drop(to_content);
            to.has_more();
            if !keep {
                self.writable.wake_all();
            }
            return Ok(count);
        }
    }
}

fn copy(from: &mut Content, to: &mut Content, count: usize) {
    let mut piece = [0; 256];
    let mut done = 0;
    while done < count {
        let part = piece.get_mut(..(count - done).min(256)).unwrap_or_default();
        let got = from.ring.peek(done, part);
        if got == 0 {
            break;
        }
        to.put(part.get(..got).unwrap_or_default());
        done += got;
    }
}

/// Makes the ring large enough for `more` bytes.
fn reserve(content: &mut Content, more: usize) -> Result<()> {
    let wanted = content.ring.len().saturating_add(more);
    if wanted > content.ring.capacity() {
        let capacity = wanted.next_power_of_two().max(PAGE_SIZE);
        if !room::has_room(capacity / PAGE_SIZE) {
            return Err(Errno::ENOMEM);
        }
        content.ring.grow(capacity);
    }
    Ok(())
}
