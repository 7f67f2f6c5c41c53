// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data of one request.

use super::dma::Dma;
use crate::{MAX_TRANSFER, NoMemory, PAGE_SIZE, Segment};

/// Data of one request: moved into the request, it comes back with the completion. In the kernel it is memory of the kernel or
/// pinned pages of a program; here it is always the former, in as many pieces as a test wants.
#[derive(Debug)]
pub struct Buffer {
    parts: Vec<Dma>,
    length: usize,
}

impl Buffer {
    /// Most bytes of a buffer; a program's begins anywhere in its first page.
    pub const MAX: usize = MAX_TRANSFER + PAGE_SIZE;

    /// Zeroed memory of the kernel.
    ///
    /// # Errors
    /// [`NoMemory`], also for no bytes or more than [`MAX`](Self::MAX).
    pub fn kernel(bytes: usize) -> Result<Self, NoMemory> {
        Self::scattered(&[bytes])
    }

    /// Memory in pieces of the given sizes, none of which touches the next; for tests of scatter lists.
    ///
    /// # Errors
    /// As [`kernel`](Self::kernel).
    pub fn scattered(sizes: &[usize]) -> Result<Self, NoMemory> {
        let length = sizes.iter().sum();
        if length > Self::MAX {
            return Err(NoMemory);
        }
        let parts = sizes.iter().map(|size| Dma::new(*size, PAGE_SIZE, None)).collect::<Result<_, _>>()?;
        Ok(Self { parts, length })
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Where its bytes are, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        self.parts.iter().map(|p| Segment { address: p.address(), length: p.len() as u32 })
    }

    /// Calls `each` with the part of every piece that is in `offset..offset + length`: the piece, the offset in it, how many bytes
    /// were before it and how many are there.
    fn each_part(&self, offset: usize, length: usize, mut each: impl FnMut(&Dma, usize, usize, usize)) {
        let (mut skip, mut done) = (offset, 0);
        for part in &self.parts {
            if skip >= part.len() {
                skip -= part.len();
                continue;
            }
            let count = (part.len() - skip).min(length - done);
            each(part, skip, done, count);
            skip = 0;
            done += count;
            if done == length {
                return;
            }
        }
    }

    /// Copies from the buffer at `offset`; what is beyond its end leaves `out` as it is.
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) {
        self.each_part(offset, out.len(), |part, at, done, count| {
            if let Some(to) = out.get_mut(done..done + count) {
                part.read_bytes(at, to);
            }
        });
    }

    /// Copies into the buffer at `offset`; what is beyond its end is dropped.
    pub fn copy_from(&mut self, offset: usize, bytes: &[u8]) {
        self.each_part(offset, bytes.len(), |part, at, done, count| {
            if let Some(from) = bytes.get(done..done + count) {
                part.write_bytes(at, from);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_read_as_one() {
        let mut buffer = Buffer::scattered(&[3, 5, 2]).unwrap();
        assert_eq!((buffer.len(), buffer.segments().count()), (10, 3));
        buffer.copy_from(2, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let mut out = [0xee; 12];
        buffer.copy_to(0, &mut out);
        assert_eq!(out, [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0xee, 0xee]);
        let mut out = [0xee; 3];
        buffer.copy_to(7, &mut out);
        assert_eq!(out, [6, 7, 8]);
        buffer.copy_to(10, &mut out);
        assert_eq!(out, [6, 7, 8]);
        assert!(Buffer::kernel(Buffer::MAX + 1).is_err() && Buffer::kernel(0).is_err());
    }
}
