// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real machine: `exo-hal`'s types under this crate's names, and the buffer.

use alloc::sync::Arc;

use arrayvec::ArrayVec;
use exo_hal::mm::frame::Frame;

use crate::{InterruptHandler, MAX_TRANSFER, NoMemory, PAGE_SIZE, Segment};

pub use exo_hal::{
    cpu::percpu::{cpu_count, cpu_index},
    dev::{acpi::node_of_cpu, interrupt::Line as ConnectedLine, pci, registers::Registers},
    mm::dma::{Dma, memory_barrier},
    sync::SpinLock,
    time::{delay_ns as spin_for_ns, now_ns},
};

/// An interrupt line of a device that is not on a bus that could tell: an ISA line.
#[derive(Clone, Debug)]
pub struct InterruptLine(pub u8);

impl InterruptLine {
    /// Tells `handler` of interrupt 0 whenever the line asks for it; none if there is no such line.
    pub fn connect(&self, handler: Arc<dyn InterruptHandler>) -> Option<ConnectedLine> {
        ConnectedLine::isa(self.0, handler)
    }
}

/// The pages that [`Buffer::MAX`] bytes can touch.
const MOST_PAGES: usize = Buffer::MAX / PAGE_SIZE;

/// Page frames of a program that a request holds on to.
pub type Pages = ArrayVec<Frame, MOST_PAGES>;

#[derive(Debug)]
enum Place {
    Kernel(Dma),
    /// Bytes from `offset` in the first page on.
    Pages {
        pages: Pages,
        offset: u16,
    },
}

/// Data of one request: pinned pages of a program, or memory of the kernel. Moved into the request, it comes back with the
/// completion. To make one of pages allocates nothing.
#[derive(Debug)]
pub struct Buffer {
    place: Place,
    length: u32,
}

impl Buffer {
    /// Most bytes of a buffer; a program's begins anywhere in its first page.
    pub const MAX: usize = MAX_TRANSFER + PAGE_SIZE;

    /// Zeroed memory of the kernel.
    ///
    /// # Errors
    /// [`NoMemory`], also for no bytes or more than [`MAX`](Self::MAX).
    pub fn kernel(bytes: usize) -> Result<Self, NoMemory> {
        if bytes > Self::MAX {
            return Err(NoMemory);
        }
        Ok(Self { place: Place::Kernel(Dma::new(bytes, PAGE_SIZE, None)?), length: bytes as u32 })
    }

    /// `length` bytes from `offset` in the first of `pages` on; none if they are not all there.
    #[inline]
    pub fn pages(pages: Pages, offset: usize, length: usize) -> Option<Self> {
        let fits = length > 0
            && offset < PAGE_SIZE
            && offset.checked_add(length).is_some_and(|end| end.div_ceil(PAGE_SIZE) == pages.len());
        fits.then(|| Self { place: Place::Pages { pages, offset: offset as u16 }, length: length as u32 })
    }

    /// Bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Where its bytes are, in order; neighbouring pages make one segment.
    #[inline]
    pub fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        Segments { buffer: self, done: 0 }
    }

    /// The page that byte `at` is in and the bytes from there to the page's end or the buffer's.
    #[inline]
    fn page(&self, pages: &Pages, offset: u16, at: usize) -> Option<(u64, usize)> {
        let position = usize::from(offset) + at;
        let frame = pages.get(position / PAGE_SIZE)?;
        let inside = position % PAGE_SIZE;
        Some((frame.physical() + inside as u64, (PAGE_SIZE - inside).min(self.len().saturating_sub(at))))
    }

    /// Calls `each` with every page's part of `start..start + length`: the frame, the offset in it, how many bytes were before
    /// it and how many are there.
    #[inline]
    fn each_page(&self, start: usize, length: usize, mut each: impl FnMut(&Frame, usize, usize, usize)) {
        let Place::Pages { pages, offset } = &self.place else { return };
        let end = start.saturating_add(length).min(self.len());
        let mut at = start;
        while at < end {
            let position = usize::from(*offset) + at;
            let Some(frame) = pages.get(position / PAGE_SIZE) else { return };
            let inside = position % PAGE_SIZE;
            let count = (PAGE_SIZE - inside).min(end - at);
            each(frame, inside, at - start, count);
            at += count;
        }
    }

    /// Copies from the buffer at `offset`; what is beyond its end leaves `out` as it is.
    #[inline]
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) {
        if let Place::Kernel(dma) = &self.place {
            let count = out.len().min(self.len().saturating_sub(offset));
            if let Some(out) = out.get_mut(..count) {
                dma.read_bytes(offset, out);
            }
            return;
        }
        self.each_page(offset, out.len(), |frame, inside, done, count| {
            if let Some(to) = out.get_mut(done..done + count) {
                frame.read(inside, to);
            }
        });
    }

    /// Copies into the buffer at `offset`; what is beyond its end is dropped.
    #[inline]
    pub fn copy_from(&mut self, offset: usize, bytes: &[u8]) {
        if let Place::Kernel(dma) = &self.place {
            dma.write_bytes(offset, bytes);
            return;
        }
        self.each_page(offset, bytes.len(), |frame, inside, done, count| {
            if let Some(from) = bytes.get(done..done + count) {
                frame.write(inside, from);
            }
        });
    }
}

struct Segments<'a> {
    buffer: &'a Buffer,
    done: usize,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    #[inline]
    fn next(&mut self) -> Option<Segment> {
        let length = self.buffer.len();
        if self.done >= length {
            return None;
        }
        let (pages, offset) = match &self.buffer.place {
            Place::Kernel(dma) => {
                self.done = length;
                return Some(Segment { address: dma.address(), length: length as u32 });
            }
            Place::Pages { pages, offset } => (pages, *offset),
        };
        let (address, mut bytes) = self.buffer.page(pages, offset, self.done)?;
        while let Some((next, more)) = self.buffer.page(pages, offset, self.done + bytes) {
            if next != address + bytes as u64 || more == 0 {
                break;
            }
            bytes += more;
        }
        self.done += bytes;
        Some(Segment { address, length: bytes as u32 })
    }
}
