// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a read puts its bytes.

use exo_hal::mm::{
    frame::Frame,
    user::{self, BadAddress, without_waiting},
};
use zerocopy::{Immutable, IntoBytes};

use super::{Frames, IoMemory, Kind, frames::Page};
use crate::{
    errno::{Errno, Result},
    sched::spans,
    user::make_writable,
};

/// Bytes that are moved between two preemption points.
const PIECE: usize = 16 << 10;

impl<'a> IoMemory<'a, &'a mut [u8]> {
    /// Memory of the kernel's.
    pub fn kernel(bytes: &'a mut [u8]) -> Self {
        let left = bytes.len();
        Self { kind: Kind::Kernel { bytes, at: 0 }, left }
    }

    /// `length` bytes of frames from byte `offset` on, as far as they go; none of frames that were lent to be read.
    pub fn frames(frames: Frames<'a>, offset: usize, length: usize) -> Self {
        let left = match frames {
            Frames::Lent(_) => 0,
            frames => length.min(frames.bytes().saturating_sub(offset)),
        };
        Self { kind: Kind::Frames { frames, at: offset }, left }
    }

    /// Waits until the program's next `count` bytes can be written without waiting for a page: for who has tried that with a lock held, has let
    /// go of it, and tries again.
    ///
    /// # Errors
    /// EFAULT at memory that is bad, or not a program's, whose pages are never waited for; EINTR if the task is killed.
    pub fn fault_in(&self, count: usize) -> Result<()> {
        self.touch(count, make_writable)
    }

    /// Fills the next `count` bytes, or those that are left: a program's with `program(address, bytes before, bytes)`, frames with
    /// `page(frame, offset in it, bytes before, bytes)`. How many.
    #[inline(always)]
    fn fill(
        &mut self,
        count: usize,
        program: impl FnMut(usize, usize, usize) -> core::result::Result<(), BadAddress>,
        kernel: impl FnOnce(&mut [u8]),
        mut page: impl FnMut(&Frame, usize, usize, usize),
    ) -> Result {
        let count = count.min(self.left);
        let done = match &mut self.kind {
            Kind::Program(to) => to.each_part(count, program),
            Kind::Kernel { bytes, at } => {
                kernel(bytes.get_mut(*at..*at + count).unwrap_or_default());
                *at += count;
                count
            }
            Kind::Frames { frames, at } => {
                let done = frames.each_page(*at, count, |to, at, done, count| {
                    if let Page::Frame(frame) = to {
                        page(frame, at, done, count);
                    }
                });
                *at += done;
                done
            }
        };
        self.moved(count, done)
    }

    /// Puts as many of `bytes` as there is room for; how many.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) -> Result {
        self.fill(
            bytes.len(),
            |to, done, count| user::copy_out(to, bytes.get(done..done + count).unwrap_or_default()),
            |to| to.copy_from_slice(bytes.get(..to.len()).unwrap_or_default()),
            |frame, at, done, count| frame.write(at, bytes.get(done..done + count).unwrap_or_default()),
        )
    }

    /// Puts all of `bytes`.
    ///
    /// # Errors
    /// EFAULT if some of the memory is bad, or there is too little: nothing counts as put then.
    #[inline(always)]
    pub fn put_all(&mut self, bytes: &[u8]) -> Result<()> {
        match self.in_one_part(bytes.len(), |to| user::copy_out(to, bytes)) {
            Some(done) => done,
            None => self.put_all_parts(bytes),
        }
    }

    /// The same for who holds a lock: EFAULT also if the program's memory has to be waited for, as [`fault_in`](Self::fault_in) does.
    ///
    /// # Errors
    /// As [`put_all`](Self::put_all).
    #[inline(always)]
    pub fn put_all_now(&mut self, bytes: &[u8]) -> Result<()> {
        match self.in_one_part(bytes.len(), |to| user::now::copy_out(to, bytes)) {
            Some(done) => done,
            None => without_waiting(|| self.put_all_parts(bytes)),
        }
    }

    #[inline(never)]
    fn put_all_parts(&mut self, bytes: &[u8]) -> Result<()> {
        if self.left < bytes.len() {
            return Err(Errno::EFAULT);
        }
        let Kind::Program(program) = &mut self.kind else { return self.put(bytes).map(drop) };
        program.all_parts(bytes.len(), |to, done, count| {
            user::copy_out(to, bytes.get(done..done + count).unwrap_or_default())
        })?;
        self.left -= bytes.len();
        Ok(())
    }

    /// Puts a value.
    ///
    /// # Errors
    /// As [`put_all`](Self::put_all).
    #[inline]
    pub fn put_value<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<()> {
        self.put_all(value.as_bytes())
    }

    /// Puts up to `count` zeros; how many. Fewer also if the task is to end.
    pub fn zero(&mut self, count: usize) -> Result {
        let count = count.min(self.left);
        self.count(|this| {
            let mut left = count;
            while left > 0 {
                let now = left.min(PIECE);
                if this.zero_piece(now)? < now {
                    break;
                }
                left -= now;
                if left > 0 && spans::point() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn zero_piece(&mut self, count: usize) -> Result {
        self.fill(
            count,
            |to, _, count| user::zero(to, count),
            |to| to.fill(0),
            |frame, at, _, count| frame.zero_range(at, count),
        )
    }

    /// Puts up to `count` bytes of a frame from byte `from` on, which lie within the frame; how many.
    pub fn put_frame(&mut self, frame: &Frame, from: usize, count: usize) -> Result {
        self.fill(
            count,
            |to, done, count| user::frame_to_user(frame, from + done, to, count),
            |to| frame.read(from, to),
            |to, at, done, count| to.copy_from(at, frame, from + done, count),
        )
    }
}
