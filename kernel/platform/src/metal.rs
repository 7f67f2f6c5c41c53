// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real machine: `exo-hal`'s types under this crate's names, and the buffer.

use core::sync::atomic::{AtomicU32, Ordering};

use alloc::sync::Arc;

use arrayvec::ArrayVec;
use exo_hal::mm::frame::{Frame, Pinned};

use crate::{InterruptHandler, MAX_TRANSFER, NoMemory, PAGE_SIZE, Segment};

pub use exo_hal::{
    cpu::percpu::{cpu_count, cpu_index},
    dev::{acpi::node_of_cpu, interrupt::Line as ConnectedLine, pci, registers::Registers},
    mm::dma::{Dma, memory_barrier},
    sync::SpinLock,
    time::{delay_ns as spin_for_ns, now_ns},
};

/// A free lock that is held while a program's memory is touched: see [`SpinLock::held_over_faults`].
#[track_caller]
pub const fn lock_held_over_faults<T>(value: T) -> SpinLock<T> {
    SpinLock::held_over_faults(value)
}

/// A page that a device writes, the kernel reads and programs may map. A clone is another reference; the page is freed when the
/// last lets go.
#[derive(Clone, Debug)]
pub struct SharedPage(Frame);

impl SharedPage {
    /// A page of zeros.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn new() -> Result<Self, NoMemory> {
        Frame::allocate_zeroed().map(Self).ok_or(NoMemory)
    }

    /// The page frame, to be mapped or copied from.
    #[inline]
    pub fn frame(&self) -> &Frame {
        &self.0
    }

    /// The address of the first byte, as the device sees it.
    pub fn address(&self) -> u64 {
        self.0.physical()
    }

    #[inline]
    fn word(&self, offset: usize) -> Option<&AtomicU32> {
        if offset % size_of::<u32>() == 0 { self.0.words32().get(offset / size_of::<u32>()) } else { None }
    }

    /// Reads a word before everything that follows; all ones beyond the end or where it is not aligned.
    #[inline]
    pub fn load32(&self, offset: usize) -> u32 {
        self.word(offset).map_or(u32::MAX, |word| word.load(Ordering::Acquire))
    }

    /// Writes a word after everything before; dropped beyond the end or where it is not aligned.
    #[inline]
    pub fn store32(&self, offset: usize, value: u32) {
        if let Some(word) = self.word(offset) {
            word.store(value, Ordering::Release);
        }
    }

    /// Writes two words as one; as [`store32`](Self::store32).
    pub fn store64(&self, offset: usize, value: u64) {
        let word = self.0.words().get(offset / size_of::<u64>());
        if let Some(word) = word.filter(|_| offset % size_of::<u64>() == 0) {
            word.store(value, Ordering::Release);
        }
    }

    /// Copies from it; stops at its end.
    #[inline]
    pub fn read_bytes(&self, offset: usize, out: &mut [u8]) {
        self.0.read(offset, out);
    }
}

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

/// Page frames of a program that a request holds on to. They stay the program's own if it forks meanwhile.
pub type Pages = ArrayVec<Pinned, MOST_PAGES>;

#[derive(Debug)]
enum Location {
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
    location: Location,
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
        Ok(Self { location: Location::Kernel(Dma::new(bytes, PAGE_SIZE, None)?), length: bytes as u32 })
    }

    /// `length` bytes from `offset` in the first of `pages` on; none if they are not all there.
    #[inline]
    pub fn pages(pages: Pages, offset: usize, length: usize) -> Option<Self> {
        let fits = length > 0
            && offset < PAGE_SIZE
            && offset.checked_add(length).is_some_and(|end| end.div_ceil(PAGE_SIZE) == pages.len());
        fits.then(|| Self {
            location: Location::Pages { pages, offset: offset as u16 },
            length: length as u32,
        })
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
        let frame = pages.get(position / PAGE_SIZE)?.frame();
        let inside = position % PAGE_SIZE;
        Some((frame.physical() + inside as u64, (PAGE_SIZE - inside).min(self.len().saturating_sub(at))))
    }

    /// Calls `each` with every page's part of `start..start + length`: the frame, the offset in it, how many bytes were before
    /// it and how many are there.
    #[inline]
    fn each_page(&self, start: usize, length: usize, mut each: impl FnMut(&Frame, usize, usize, usize)) {
        let Location::Pages { pages, offset } = &self.location else { return };
        let end = start.saturating_add(length).min(self.len());
        let mut at = start;
        while at < end {
            let position = usize::from(*offset) + at;
            let Some(frame) = pages.get(position / PAGE_SIZE) else { return };
            let inside = position % PAGE_SIZE;
            let count = (PAGE_SIZE - inside).min(end - at);
            each(frame.frame(), inside, at - start, count);
            at += count;
        }
    }

    /// Copies from the buffer at `offset`; what is beyond its end leaves `out` as it is.
    #[inline]
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) {
        if let Location::Kernel(dma) = &self.location {
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
        if let Location::Kernel(dma) = &self.location {
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
        let (pages, offset) = match &self.buffer.location {
            Location::Kernel(dma) => {
                self.done = length;
                return Some(Segment { address: dma.address(), length: length as u32 });
            }
            Location::Pages { pages, offset } => (pages, *offset),
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
