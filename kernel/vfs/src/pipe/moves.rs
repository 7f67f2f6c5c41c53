// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes between a pipe and a file or a program, and between two pipes: what splice and its family need.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use exo_hal::PAGE_SIZE;

use super::{Content, Pipe, no_reader};
use crate::{
    errno::{Errno, Result},
    io::Io,
    io_buf::{IoBuf, IoSource},
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
            let content = self.content.lock();
            let length = content.takeable();
            let has_ended = !content.is_lent() && self.writers.load(Ordering::Acquire) == 0;
            (length > 0 || has_ended).then_some(Ok(length))
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

    /// Adds bytes, for which there was room: all of them, whatever others added meanwhile. The memory is the kernel's. How many.
    pub fn put(&self, from: &mut IoSource<'_>) -> Result {
        let count = from.left();
        {
            let mut content = self.content.lock();
            reserve(&mut content, count)?;
            while !from.is_empty() {
                let run = content.ring.free_run();
                let part = run.len().min(from.left());
                from.take_all(run.get_mut(..part).unwrap_or_default())?;
                content.ring.filled(part);
            }
            content.added(count, false);
        }
        if count > 0 {
            self.has_more();
        }
        Ok(count)
    }

    /// Fills it with a program's memory as far as there is room, for which it waits unless `no_wait`; how many bytes.
    pub fn fill_from(&self, from: &mut IoSource<'_>, no_wait: bool) -> Result {
        let io = Io { offset: 0, no_wait: true, direct: false };
        let mut waits = !no_wait;
        from.each_part(|part| {
            loop {
                let room = self.wait_for_room(!waits)?;
                match part.within(room, |part| self.write(io, part)) {
                    // Somebody else has taken the room.
                    Err(Errno::EAGAIN) if waits => {}
                    result => {
                        // It waits for the first byte alone.
                        waits = false;
                        return result;
                    }
                }
            }
        })
    }

    /// Reads into a program's memory; waits for the first byte unless `no_wait`.
    pub fn read_now(&self, to: &mut IoBuf<'_>, no_wait: bool) -> Result {
        self.read(Io { offset: 0, no_wait, direct: false }, to)
    }

    /// Waits for bytes, and lends them to `take(bytes before, them)` where they lie, up to `most` in all and until it takes fewer than it
    /// was lent; how many it took. 0 at the end. Meanwhile nobody else takes any.
    pub fn drain(
        &self,
        most: usize,
        no_wait: bool,
        mut take: impl FnMut(usize, &mut IoSource<'_>) -> Result,
    ) -> Result {
        let lent = wait(&self.readable, no_wait, || {
            let mut content = self.content.lock();
            match content.lend() {
                Some(lent) => Some(Ok(Some(lent))),
                None if content.is_lent() => None,
                None => (self.writers.load(Ordering::Acquire) == 0).then_some(Ok(None)),
            }
        })?;
        let Some(mut lent) = lent else { return Ok(0) };
        let mut result = Ok(0);
        while let Ok(done) = result {
            let run = lent.used_run();
            let run = run.get(..run.len().min(most - done)).unwrap_or_default();
            if run.is_empty() {
                break;
            }
            match take(done, &mut IoSource::kernel(run)) {
                Ok(count) => {
                    let is_all = count == run.len();
                    lent.consumed(count);
                    result = Ok(done + count);
                    if !is_all {
                        break;
                    }
                }
                Err(error) if done == 0 => result = Err(error),
                Err(_) => break,
            }
        }
        let old = self.content.lock().take_back(lent, *result.as_ref().unwrap_or(&0));
        drop(old);
        self.has_more();
        self.writable.wake_all();
        result
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
            let count = length.min(from_content.takeable()).min(to.room(&to_content));
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
