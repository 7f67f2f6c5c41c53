// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program's memory, in parts.

use exo_hal::{PAGE_SIZE, mm::user::BadAddress};

use crate::{
    errno::{Errno, Result},
    user::IoVec,
};

/// A program's memory, from its next byte on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program<'a> {
    pub(super) at: usize,
    /// Bytes of the part that `at` is in.
    pub(super) here: usize,
    pub(super) rest: &'a [IoVec],
}

impl Program<'_> {
    /// Leaves parts behind that have no bytes more. How many bytes the next one has; 0 at the end.
    #[inline]
    pub(super) fn next(&mut self) -> usize {
        while self.here == 0 {
            let Some((part, rest)) = self.rest.split_first() else { break };
            *self = Self { at: part.base, here: part.length, rest };
        }
        self.here
    }

    #[inline]
    pub(super) fn advance(&mut self, count: usize) {
        self.at = self.at.wrapping_add(count);
        self.here -= count;
    }

    /// Does `copy(address, bytes done, bytes)` for each part of the next `total` bytes. Stays where it is if any is bad.
    #[inline]
    pub(super) fn all_parts<E>(
        &mut self,
        total: usize,
        mut copy: impl FnMut(usize, usize, usize) -> core::result::Result<(), E>,
    ) -> Result<()>
    where
        Errno: From<E>,
    {
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
    pub(super) fn each_part(
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
