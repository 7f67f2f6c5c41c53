// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a write gets its bytes.

use exo_hal::mm::{
    frame::Frame,
    user::{self, without_waiting},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{Frames, IoMemory, Kind, frames::Page};
use crate::{
    errno::{Errno, Result},
    user::make_present,
};

impl<'a> IoMemory<'a, &'a [u8]> {
    /// Memory of the kernel's.
    pub fn kernel(bytes: &'a [u8]) -> Self {
        Self { kind: Kind::Kernel { bytes, at: 0 }, left: bytes.len() }
    }

    /// `length` bytes of frames from byte `offset` on, as far as they go.
    pub fn frames(frames: Frames<'a>, offset: usize, length: usize) -> Self {
        Self {
            kind: Kind::Frames { frames, at: offset },
            left: length.min(frames.bytes().saturating_sub(offset)),
        }
    }

    /// Waits until the program's next `count` bytes can be read without waiting for a page.
    ///
    /// # Errors
    /// As [`IoBuf::fault_in`](super::IoBuf::fault_in).
    pub fn fault_in(&self, count: usize) -> Result<()> {
        self.touch(count, make_present)
    }

    /// Takes as many bytes as `out` has room for; how many.
    #[inline]
    pub fn take(&mut self, out: &mut [u8]) -> Result {
        let count = out.len().min(self.left);
        let done = match &mut self.kind {
            Kind::Program(program) => program.each_part(count, |from, done, count| {
                user::copy_in(out.get_mut(done..done + count).unwrap_or_default(), from)
            }),
            Kind::Kernel { bytes, at } => {
                let part = bytes.get(*at..*at + count).unwrap_or_default();
                out.get_mut(..count).unwrap_or_default().copy_from_slice(part);
                *at += count;
                count
            }
            Kind::Frames { frames, at } => {
                let done = frames.each_page(*at, count, |page, at, done, count| {
                    let part = out.get_mut(done..done + count).unwrap_or_default();
                    match page {
                        Page::Frame(frame) => frame.read(at, part),
                        Page::Zeros | Page::None => part.fill(0),
                    }
                });
                *at += done;
                done
            }
        };
        self.moved(count, done)
    }

    /// Fills all of `out`.
    ///
    /// # Errors
    /// EFAULT if some of the memory is bad, or there is too little: nothing counts as taken then.
    #[inline(always)]
    pub fn take_all(&mut self, out: &mut [u8]) -> Result<()> {
        match self.in_one_part(out.len(), |from| user::copy_in(out, from)) {
            Some(done) => done,
            None => self.take_all_parts(out),
        }
    }

    /// The same for who holds a lock: EFAULT also if the program's memory has to be waited for, as [`fault_in`](Self::fault_in) does.
    ///
    /// # Errors
    /// As [`IoBuf::put_all`](super::IoBuf::put_all).
    #[inline(always)]
    pub fn take_all_now(&mut self, out: &mut [u8]) -> Result<()> {
        match self.in_one_part(out.len(), |from| user::now::copy_in(out, from)) {
            Some(done) => done,
            None => without_waiting(|| self.take_all_parts(out)),
        }
    }

    #[inline(never)]
    fn take_all_parts(&mut self, out: &mut [u8]) -> Result<()> {
        if self.left < out.len() {
            return Err(Errno::EFAULT);
        }
        let Kind::Program(program) = &mut self.kind else { return self.take(out).map(drop) };
        program.all_parts(out.len(), |from, done, count| {
            user::copy_in(out.get_mut(done..done + count).unwrap_or_default(), from)
        })?;
        self.left -= out.len();
        Ok(())
    }

    /// Takes a value.
    ///
    /// # Errors
    /// As [`take_all`](Self::take_all).
    #[inline]
    pub fn take_value<T: FromBytes + IntoBytes>(&mut self) -> Result<T> {
        let mut value = T::new_zeroed();
        self.take_all(value.as_mut_bytes())?;
        Ok(value)
    }

    /// Takes up to `count` bytes into a frame from byte `to` on, which lie within the frame; how many.
    pub fn take_to_frame(&mut self, frame: &Frame, to: usize, count: usize) -> Result {
        let count = count.min(self.left);
        let done = match &mut self.kind {
            Kind::Program(program) => program
                .each_part(count, |from, done, count| user::user_to_frame(frame, to + done, from, count)),
            Kind::Kernel { bytes, at } => {
                frame.write(to, bytes.get(*at..*at + count).unwrap_or_default());
                *at += count;
                count
            }
            Kind::Frames { frames, at } => {
                let done = frames.each_page(*at, count, |page, at, done, count| match page {
                    Page::Frame(from) => frame.copy_from(to + done, from, at, count),
                    Page::Zeros | Page::None => frame.zero_range(to + done, count),
                });
                *at += done;
                done
            }
        };
        self.moved(count, done)
    }
}
