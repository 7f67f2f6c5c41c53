// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory of one read or write: where a read puts its bytes ([`IoBuf`]), and where a write gets them ([`IoSource`]).
//!
//! It is a program's, in one part or many; the kernel's; or page frames, which a device has pinned or a file has lent. What reads or
//! writes need not know which. It is used from the front: each operation goes on where the last one ended.
//!
//! The program's memory may be bad anywhere. An operation then does what is in front of the bad page, and is an error only if that is
//! nothing; those called `…_all` are an error also then. A fault may sleep: no spin lock may be held that is not made for it.

use exo_hal::{
    PAGE_SIZE,
    mm::{
        frame::{Frame, Pinned},
        user::{BadAddress, without_waiting},
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::{Errno, Result},
    sched::spans,
    user::{self, IoVec},
};

/// Bytes that are moved between two preemption points.
const PIECE: usize = 16 << 10;

/// Frames in a row, as whoever has them keeps them.
#[derive(Clone, Copy, Debug)]
pub enum Frames<'a> {
    /// Frames that somebody has a reference to.
    Held(&'a [Frame]),
    /// Frames that are pinned, for a device or a ring.
    Pinned(&'a [Pinned]),
    /// Pages of a file, to be read: those that were never written have no frame and are zeros.
    Lent(&'a [Option<Frame>]),
}

/// A frame of them.
enum Page<'a> {
    Frame(&'a Frame),
    Zeros,
    /// Beyond the last.
    None,
}

impl<'a> Frames<'a> {
    /// Bytes that they hold.
    fn bytes(self) -> usize {
        PAGE_SIZE
            * match self {
                Self::Held(frames) => frames.len(),
                Self::Pinned(frames) => frames.len(),
                Self::Lent(frames) => frames.len(),
            }
    }

    fn page(self, index: usize) -> Page<'a> {
        let frame = match self {
            Self::Held(frames) => frames.get(index),
            Self::Pinned(frames) => frames.get(index).map(Pinned::frame),
            Self::Lent(frames) => match frames.get(index) {
                Some(None) => return Page::Zeros,
                frame => frame.and_then(Option::as_ref),
            },
        };
        frame.map_or(Page::None, Page::Frame)
    }

    /// The frame `index`; none if there is none, or none that can be written.
    pub fn get(self, index: usize) -> Option<&'a Frame> {
        match self.page(index) {
            Page::Frame(frame) => Some(frame),
            Page::Zeros | Page::None => None,
        }
    }

    /// As much of `left` bytes from byte `at` on as there are frames for; else what of the first page has none.
    fn run(self, at: usize, left: usize) -> Run<'a> {
        let end = at + left;
        let mut next = at;
        while next < end && self.get(next / PAGE_SIZE).is_some() {
            next = (next + 1).next_multiple_of(PAGE_SIZE).min(end);
        }
        if next > at {
            return Run::Frames { frames: self, offset: at, length: next - at };
        }
        Run::Kernel { length: left.min(PAGE_SIZE - at % PAGE_SIZE) }
    }

    /// Does `step(page, offset in it, bytes done, bytes)` for each page of `total` bytes from byte `at` on; how many there were.
    fn each_page(
        self,
        at: usize,
        total: usize,
        mut step: impl FnMut(Page<'a>, usize, usize, usize),
    ) -> usize {
        let mut done = 0;
        while done < total {
            let (index, offset) = ((at + done) / PAGE_SIZE, (at + done) % PAGE_SIZE);
            let count = (PAGE_SIZE - offset).min(total - done);
            match self.page(index) {
                Page::None => break,
                page => step(page, offset, done, count),
            }
            done += count;
        }
        done
    }
}

/// A program's memory, from its next byte on.
#[derive(Clone, Copy, Debug)]
struct Program<'a> {
    at: usize,
    /// Bytes of the part that `at` is in.
    here: usize,
    rest: &'a [IoVec],
}

impl Program<'_> {
    /// Leaves parts behind that have no bytes more. How many bytes the next one has; 0 at the end.
    #[inline]
    fn next(&mut self) -> usize {
        while self.here == 0 {
            let Some((part, rest)) = self.rest.split_first() else { break };
            *self = Self { at: part.base, here: part.length, rest };
        }
        self.here
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.at = self.at.wrapping_add(count);
        self.here -= count;
    }

    /// Does `copy(address, bytes done, bytes)` for each part of the next `total` bytes. Stays where it is if any is bad.
    #[inline]
    fn all_parts(
        &mut self,
        total: usize,
        mut copy: impl FnMut(usize, usize, usize) -> core::result::Result<(), BadAddress>,
    ) -> Result<()> {
        let mut end = *self;
        let mut done = 0;
        while done < total {
            let count = end.next().min(total - done);
            if count == 0 {
                return Err(Errno::EFAULT);
            }
            copy(end.at, done, count)?;
            end.advance(count);
            done += count;
        }
        *self = end;
        Ok(())
    }

    /// Does `copy(address, bytes done, bytes)` for each part of the next `total` bytes, or up to a bad page; how many bytes.
    #[inline]
    fn each_part(
        &mut self,
        total: usize,
        mut copy: impl FnMut(usize, usize, usize) -> core::result::Result<(), BadAddress>,
    ) -> usize {
        let mut done = 0;
        while done < total {
            let count = self.next().min(total - done);
            if count == 0 {
                break;
            }
            if copy(self.at, done, count).is_err() {
                return done + self.good_pages(count, |at, more, count| copy(at, done + more, count));
            }
            self.advance(count);
            done += count;
        }
        done
    }

    /// Of `total` bytes in one part, those in front of the first bad page.
    #[cold]
    fn good_pages(
        &mut self,
        total: usize,
        mut copy: impl FnMut(usize, usize, usize) -> core::result::Result<(), BadAddress>,
    ) -> usize {
        let mut done = 0;
        while done < total {
            let count = (PAGE_SIZE - self.at % PAGE_SIZE).min(total - done);
            if copy(self.at, done, count).is_err() {
                break;
            }
            self.advance(count);
            done += count;
        }
        done
    }
}

#[derive(Debug)]
enum Kind<'a, K> {
    Program(Program<'a>),
    Kernel { bytes: K, at: usize },
    Frames { frames: Frames<'a>, at: usize },
}

/// What comes first, in one piece: for who hands it on to a device. What no device can reach by its pages counts as the kernel's.
#[derive(Clone, Copy, Debug)]
pub enum Run<'a> {
    /// The program's.
    Program {
        /// Where.
        address: usize,
        /// How many bytes.
        length: usize,
    },
    /// The kernel's.
    Kernel {
        /// How many bytes.
        length: usize,
    },
    /// Frames.
    Frames {
        /// All of them.
        frames: Frames<'a>,
        /// The first byte.
        offset: usize,
        /// How many bytes.
        length: usize,
    },
}

impl Run<'_> {
    /// How many bytes.
    pub fn length(&self) -> usize {
        match *self {
            Self::Program { length, .. } | Self::Kernel { length } | Self::Frames { length, .. } => length,
        }
    }

    /// It without its first `done` bytes.
    pub fn from(&self, done: usize) -> Self {
        let rest = self.length().saturating_sub(done);
        match *self {
            Self::Program { address, .. } => {
                Self::Program { address: address.wrapping_add(done), length: rest }
            }
            Self::Kernel { .. } => Self::Kernel { length: rest },
            Self::Frames { frames, offset, .. } => {
                Self::Frames { frames, offset: offset + done, length: rest }
            }
        }
    }
}

/// The memory of a read or write; see the module's documentation. `K` is what it is if it is the kernel's, and with that tells the
/// direction: [`IoBuf`] or [`IoSource`].
#[derive(Debug)]
pub struct IoMemory<'a, K> {
    kind: Kind<'a, K>,
    /// Bytes left, however many the memory has.
    left: usize,
}

/// Where a read puts its bytes.
pub type IoBuf<'a> = IoMemory<'a, &'a mut [u8]>;
/// Where a write gets its bytes.
pub type IoSource<'a> = IoMemory<'a, &'a [u8]>;

impl<'a, K> IoMemory<'a, K> {
    /// `length` bytes of the running program's memory at `address`.
    #[inline]
    pub fn user(address: usize, length: usize) -> Self {
        Self { kind: Kind::Program(Program { at: address, here: length, rest: &[] }), left: length }
    }

    /// Parts of the running program's memory, one behind the other.
    #[inline]
    pub fn vector(parts: &'a [IoVec]) -> Self {
        let left = parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.length));
        Self { kind: Kind::Program(Program { at: 0, here: 0, rest: parts }), left }
    }

    /// Bytes that are left.
    #[inline]
    pub fn left(&self) -> usize {
        self.left
    }

    /// Whether none is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Leaves `most` bytes at most.
    #[inline]
    pub fn truncate(&mut self, most: usize) {
        self.left = self.left.min(most);
    }

    /// Whether it is more than one part of a program's memory.
    #[inline]
    pub fn has_parts(&self) -> bool {
        matches!(self.kind, Kind::Program(Program { rest: [_, ..], .. }))
    }

    /// What comes first in one piece; of length 0 at the end.
    pub fn run(&mut self) -> Run<'a> {
        match &mut self.kind {
            Kind::Program(program) => {
                let length = program.next().min(self.left);
                Run::Program { address: program.at, length }
            }
            Kind::Kernel { .. } => Run::Kernel { length: self.left },
            Kind::Frames { frames, at } => frames.run(*at, self.left),
        }
    }

    /// Leaves out `count` bytes, or those that are left.
    pub fn skip(&mut self, count: usize) {
        let count = count.min(self.left);
        match &mut self.kind {
            Kind::Program(program) => _ = program.each_part(count, |_, _, _| Ok(())),
            Kind::Kernel { at, .. } | Kind::Frames { at, .. } => *at += count,
        }
        self.left -= count;
    }

    /// Leaves out all bytes that are left; how many they were.
    pub fn skip_all(&mut self) -> usize {
        let count = self.left;
        self.skip(count);
        count
    }

    /// Does `step` with the next `most` bytes alone.
    #[inline]
    pub fn within<T>(&mut self, most: usize, step: impl FnOnce(&mut Self) -> T) -> T {
        let behind = self.left.saturating_sub(most);
        self.left -= behind;
        let result = step(self);
        self.left += behind;
        result
    }

    /// How many bytes `step` moves; its error only if it moves none.
    #[inline]
    pub fn count(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) -> Result {
        let before = self.left;
        let result = step(self);
        match (before - self.left, result) {
            (0, Err(error)) => Err(error),
            (done, _) => Ok(done),
        }
    }

    /// Does `step` with the program's parts, one at a time, until one is not done in full: the bytes done, or the error of the first. All
    /// else is one part.
    pub fn each_part(&mut self, mut step: impl FnMut(&mut Self) -> Result) -> Result {
        let mut done = 0;
        loop {
            let length = match &self.kind {
                Kind::Program(_) => self.run().length(),
                _ => self.left,
            };
            if length == 0 {
                return Ok(done);
            }
            match self.within(length, &mut step) {
                Ok(now) => {
                    done += now;
                    if now < length || spans::point() {
                        return Ok(done);
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done),
            }
        }
    }

    /// Does `touch(address, bytes)` for each part of the program's next `count` bytes.
    fn touch(&self, count: usize, mut touch: impl FnMut(usize, usize) -> Result<()>) -> Result<()> {
        let Kind::Program(program) = &self.kind else { return Err(Errno::EFAULT) };
        let (mut program, mut left) = (*program, count.min(self.left));
        while left > 0 {
            let now = program.next().min(left);
            if now == 0 {
                return Err(Errno::EFAULT);
            }
            touch(program.at, now)?;
            program.advance(now);
            left -= now;
        }
        Ok(())
    }

    /// Notes that of `wanted` bytes `done` were moved: an error if that is none.
    #[inline]
    fn moved(&mut self, wanted: usize, done: usize) -> Result {
        self.left -= done;
        if done == 0 && wanted > 0 { Err(Errno::EFAULT) } else { Ok(done) }
    }
}

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
        self.touch(count, user::make_writable)
    }

    /// Puts as many of `bytes` as there is room for; how many.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) -> Result {
        let count = bytes.len().min(self.left);
        let done = match &mut self.kind {
            Kind::Program(program) => program.each_part(count, |to, done, count| {
                user::copy_out(to, bytes.get(done..done + count).unwrap_or_default())
            }),
            Kind::Kernel { bytes: to, at } => {
                let place = to.get_mut(*at..*at + count).unwrap_or_default();
                place.copy_from_slice(bytes.get(..place.len()).unwrap_or_default());
                *at += count;
                count
            }
            Kind::Frames { frames, at } => {
                let done = frames.each_page(*at, count, |page, at, done, count| {
                    if let Page::Frame(frame) = page {
                        frame.write(at, bytes.get(done..done + count).unwrap_or_default());
                    }
                });
                *at += done;
                done
            }
        };
        self.moved(count, done)
    }

    /// Puts all of `bytes`.
    ///
    /// # Errors
    /// EFAULT if some of the memory is bad, or there is too little: nothing counts as put then.
    #[inline(always)]
    pub fn put_all(&mut self, bytes: &[u8]) -> Result<()> {
        // The one part that most calls have.
        if let Kind::Program(program) = &mut self.kind {
            if bytes.len() <= program.here.min(self.left) {
                user::copy_out(program.at, bytes)?;
                program.advance(bytes.len());
                self.left -= bytes.len();
                return Ok(());
            }
        }
        self.put_all_parts(bytes)
    }

    /// The same for who holds a lock: EFAULT also if the program's memory has to be waited for, as [`fault_in`](Self::fault_in) does.
    ///
    /// # Errors
    /// As [`put_all`](Self::put_all).
    #[inline(always)]
    pub fn put_all_now(&mut self, bytes: &[u8]) -> Result<()> {
        if let Kind::Program(program) = &mut self.kind {
            if bytes.len() <= program.here.min(self.left) {
                user::now::copy_out(program.at, bytes)?;
                program.advance(bytes.len());
                self.left -= bytes.len();
                return Ok(());
            }
        }
        without_waiting(|| self.put_all_parts(bytes))
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
        let done = match &mut self.kind {
            Kind::Program(program) => {
                program.each_part(count, |to, _, count| exo_hal::mm::user::zero(to, count))
            }
            Kind::Kernel { bytes, at } => {
                bytes.get_mut(*at..*at + count).unwrap_or_default().fill(0);
                *at += count;
                count
            }
            Kind::Frames { frames, at } => {
                let done = frames.each_page(*at, count, |page, at, _, count| {
                    if let Page::Frame(frame) = page {
                        frame.zero_range(at, count);
                    }
                });
                *at += done;
                done
            }
        };
        self.moved(count, done)
    }

    /// Puts up to `count` bytes of a frame from byte `from` on, which lie within the frame; how many.
    pub fn put_frame(&mut self, frame: &Frame, from: usize, count: usize) -> Result {
        let count = count.min(self.left);
        let done = match &mut self.kind {
            Kind::Program(program) => program.each_part(count, |to, done, count| {
                exo_hal::mm::user::frame_to_user(frame, from + done, to, count)
            }),
            Kind::Kernel { bytes, at } => {
                frame.read(from, bytes.get_mut(*at..*at + count).unwrap_or_default());
                *at += count;
                count
            }
            Kind::Frames { frames, at } => {
                let done = frames.each_page(*at, count, |page, at, done, count| {
                    if let Page::Frame(to) = page {
                        to.copy_from(at, frame, from + done, count);
                    }
                });
                *at += done;
                done
            }
        };
        self.moved(count, done)
    }
}

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
    /// As [`IoBuf::fault_in`].
    pub fn fault_in(&self, count: usize) -> Result<()> {
        self.touch(count, user::make_present)
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
        // The one part that most calls have.
        if let Kind::Program(program) = &mut self.kind {
            if out.len() <= program.here.min(self.left) {
                user::copy_in(out, program.at)?;
                program.advance(out.len());
                self.left -= out.len();
                return Ok(());
            }
        }
        self.take_all_parts(out)
    }

    /// The same for who holds a lock: EFAULT also if the program's memory has to be waited for, as [`fault_in`](Self::fault_in) does.
    ///
    /// # Errors
    /// As [`IoBuf::put_all`].
    #[inline(always)]
    pub fn take_all_now(&mut self, out: &mut [u8]) -> Result<()> {
        if let Kind::Program(program) = &mut self.kind {
            if out.len() <= program.here.min(self.left) {
                user::now::copy_in(out, program.at)?;
                program.advance(out.len());
                self.left -= out.len();
                return Ok(());
            }
        }
        without_waiting(|| self.take_all_parts(out))
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
            Kind::Program(program) => program.each_part(count, |from, done, count| {
                exo_hal::mm::user::user_to_frame(frame, to + done, from, count)
            }),
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
