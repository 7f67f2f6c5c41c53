// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data of one request.

use arrayvec::ArrayVec;
use exo_hal::mm::frame::Pinned;

use super::dma::Dma;
use crate::{MAX_TRANSFER, NoMemory, PAGE_SIZE, Segment};

/// The pages that [`Buffer::MAX`] bytes can touch.
const MOST_PAGES: usize = Buffer::MAX / PAGE_SIZE;

/// Page frames of a program that a request holds on to. They stay the program's own if it forks meanwhile.
pub type Pages = ArrayVec<Pinned, MOST_PAGES>;

/// A piece of a buffer.
#[derive(Debug)]
enum Part {
    Kernel(Dma),
    /// Bytes of a program's page. Fake devices cannot reach them by their address.
    Page {
        page: Pinned,
        offset: usize,
        length: usize,
    },
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Kernel(dma) => dma.len(),
            Self::Page { length, .. } => *length,
        }
    }

    fn address(&self) -> u64 {
        match self {
            Self::Kernel(dma) => dma.address(),
            Self::Page { page, offset, .. } => page.frame().physical() + *offset as u64,
        }
    }

    fn read_bytes(&self, at: usize, out: &mut [u8]) {
        match self {
            Self::Kernel(dma) => dma.read_bytes(at, out),
            Self::Page { page, offset, .. } => page.frame().read(offset + at, out),
        }
    }

    fn write_bytes(&self, at: usize, bytes: &[u8]) {
        match self {
            Self::Kernel(dma) => dma.write_bytes(at, bytes),
            Self::Page { page, offset, .. } => page.frame().write(offset + at, bytes),
        }
    }
}

/// Data of one request: moved into the request, it comes back with the completion. It is memory of the kernel, here in as many pieces as a
/// test wants, or pinned pages of a program.
#[derive(Debug)]
pub struct Buffer {
    parts: Vec<Part>,
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
        let part = |size: &usize| Dma::new(*size, PAGE_SIZE, None).map(Part::Kernel);
        let parts = sizes.iter().map(part).collect::<Result<_, _>>()?;
        Ok(Self { parts, length })
    }

    /// `length` bytes from `offset` in the first of `pages` on; none if they are not all there.
    pub fn pages(pages: Pages, offset: usize, length: usize) -> Option<Self> {
        let fits = length > 0
            && offset < PAGE_SIZE
            && offset.checked_add(length).is_some_and(|end| end.div_ceil(PAGE_SIZE) == pages.len());
        if !fits {
            return None;
        }
        let (mut offset, mut left) = (offset, length);
        let parts = pages.into_iter().map(|page| {
            let part = Part::Page { page, offset, length: left.min(PAGE_SIZE - offset) };
            left -= part.len();
            offset = 0;
            part
        });
        Some(Self { parts: parts.collect(), length })
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Where its bytes are, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        self.parts.iter().map(|part| Segment { address: part.address(), length: part.len() as u32 })
    }

    /// Calls `each` with the part of every piece that is in `offset..offset + length`: the piece, the offset in it, how many bytes
    /// were before it and how many are there.
    fn each_part(&self, offset: usize, length: usize, mut each: impl FnMut(&Part, usize, usize, usize)) {
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
