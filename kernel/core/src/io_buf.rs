// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory of one read or write: where a read puts its bytes ([`IoBuf`]), and where a write gets them ([`IoSource`]).
//!
//! It is a program's, in one part or many; the kernel's; or page frames, which a device has pinned or a file has lent. What reads or
//! writes need not know which. It is used from the front: each operation goes on where the last one ended.
//!
//! The program's memory may be bad anywhere. An operation then does what is in front of the bad page, and is an error only if that is
//! nothing; those called `…_all` are an error also then. A fault may sleep: no spin lock may be held that is not made for it.

mod buf;
mod frames;
mod program;
mod source;

use exo_hal::mm::user::BadAddress;

pub use self::frames::Frames;
use self::program::Program;
use crate::{
    errno::{Errno, Result},
    sched::spans,
    user::IoVec,
};

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
        let mut copy = *program;
        copy.all_parts(count.min(self.left), |at, _, count| touch(at, count))
    }

    /// Does `copy(address)` if the next `count` bytes are in the one part that most calls have; none if they are not.
    #[inline(always)]
    fn in_one_part(
        &mut self,
        count: usize,
        copy: impl FnOnce(usize) -> core::result::Result<(), BadAddress>,
    ) -> Option<Result<()>> {
        let Kind::Program(program) = &mut self.kind else { return None };
        if count > program.here.min(self.left) {
            return None;
        }
        if let Err(error) = copy(program.at) {
            return Some(Err(error.into()));
        }
        program.advance(count);
        self.left -= count;
        Some(Ok(()))
    }

    /// Notes that of `wanted` bytes `done` were moved: an error if that is none.
    #[inline]
    fn moved(&mut self, wanted: usize, done: usize) -> Result {
        self.left -= done;
        if done == 0 && wanted > 0 { Err(Errno::EFAULT) } else { Ok(done) }
    }
}
