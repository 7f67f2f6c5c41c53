// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that devices read and write by themselves.

use core::{
    ptr,
    sync::atomic::{AtomicUsize, Ordering, compiler_fence, fence},
};

use exo_logic::{
    buddy::{MAX_NODES, MAX_ORDER},
    device::NoMemory,
};

use super::{
    direct_map::direct,
    frame::allocator::{self, node_of},
};
use crate::{PAGE_SIZE, cpu::percpu};

/// Owned, zeroed, physically contiguous memory that a device may read and write. Freed when dropped: the driver makes sure that
/// the device has let go of it by then.
#[derive(Debug)]
pub struct Dma {
    first: u32,
    order: u8,
    length: usize,
}

/// Blocks that were asked for from a node, by node ...
static FROM_NODE: [AtomicUsize; MAX_NODES] = [const { AtomicUsize::new(0) }; MAX_NODES];
/// ... and those that came from another one.
static FROM_ELSEWHERE: AtomicUsize = AtomicUsize::new(0);

/// How many blocks came from the node that they were asked for, by node, and how many from another.
pub fn node_statistics() -> ([usize; MAX_NODES], usize) {
    (FROM_NODE.each_ref().map(|count| count.load(Ordering::Relaxed)), FROM_ELSEWHERE.load(Ordering::Relaxed))
}

/// Everything written before is seen by devices and other CPUs before anything that is read after.
#[inline]
pub fn memory_barrier() {
    fence(Ordering::SeqCst);
}

macro_rules! accesses {
    ($($read:ident $write:ident $type:ty),*) => { $(
        /// Reads a number. All ones beyond the end or where it is not aligned. Nothing that the program reads afterwards is
        /// older than this.
        #[inline]
        pub fn $read(&self, offset: usize) -> $type {
            let Some(at) = self.place::<$type>(offset) else { return <$type>::MAX };
            // SAFETY: inside the block and aligned. The device may write it at the same time, which volatile allows for: the CPU
            // reads it in one access.
            let value = unsafe { at.read_volatile() };
            compiler_fence(Ordering::SeqCst);
            value
        }

        /// Writes a number. Dropped beyond the end or where it is not aligned. The device sees what was written earlier
        /// no later than this.
        #[inline]
        pub fn $write(&self, offset: usize, value: $type) {
            let Some(at) = self.place::<$type>(offset) else { return };
            compiler_fence(Ordering::SeqCst);
            // SAFETY: as above.
            unsafe { at.write_volatile(value) };
            compiler_fence(Ordering::SeqCst);
        }
    )* };
}

impl Dma {
    /// `bytes` bytes at a multiple of `align` (a power of two), from NUMA node `node` if it has any; without a node, from this
    /// CPU's.
    ///
    /// # Errors
    /// [`NoMemory`], also for more than 4 MiB.
    pub fn new(bytes: usize, align: usize, node: Option<u32>) -> Result<Self, NoMemory> {
        if bytes == 0 || !align.is_power_of_two() {
            return Err(NoMemory);
        }
        // A block is aligned to its own size.
        let pages = bytes.max(align).div_ceil(PAGE_SIZE).checked_next_power_of_two().ok_or(NoMemory)?;
        let order = pages.ilog2() as usize;
        if order > MAX_ORDER {
            return Err(NoMemory);
        }
        let wanted = node.map_or_else(percpu::node, |node| node as usize);
        let first = allocator::allocate_kernel(order, wanted).ok_or(NoMemory)?;
        match FROM_NODE.get(wanted).filter(|_| node_of(first) as usize == wanted) {
            Some(count) => count.fetch_add(1, Ordering::Relaxed),
            None => FROM_ELSEWHERE.fetch_add(1, Ordering::Relaxed),
        };
        let this = Self { first, order: order as u8, length: bytes };
        // SAFETY: the whole block is ours.
        unsafe { ptr::write_bytes(this.start(), 0, PAGE_SIZE << order) };
        Ok(this)
    }

    #[inline]
    fn start(&self) -> *mut u8 {
        direct(self.address())
    }

    /// The address of the first byte, as the device sees it.
    #[inline]
    pub fn address(&self) -> u64 {
        u64::from(self.first) * PAGE_SIZE as u64
    }

    /// Bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// The NUMA node that it is from.
    pub fn node(&self) -> u32 {
        node_of(self.first)
    }

    #[inline]
    fn place<T>(&self, offset: usize) -> Option<*mut T> {
        let end = offset.checked_add(size_of::<T>())?;
        let is_inside = end <= self.length && offset % size_of::<T>() == 0;
        // SAFETY: inside the block.
        is_inside.then(|| unsafe { self.start().add(offset) }.cast())
    }

    accesses!(read8 write8 u8, read16 write16 u16, read32 write32 u32, read64 write64 u64);

    /// Copies from it; what is beyond its end is all ones.
    pub fn read_bytes(&self, offset: usize, out: &mut [u8]) {
        let count = out.len().min(self.length.saturating_sub(offset));
        let (there, beyond) = out.split_at_mut(count);
        beyond.fill(0xff);
        if count > 0 {
            // SAFETY: `count` bytes from `offset` are inside the block. A device that writes them now can only make them other
            // bytes.
            unsafe { ptr::copy_nonoverlapping(self.start().add(offset), there.as_mut_ptr(), count) };
        }
    }

    /// Copies to it; what is beyond its end is dropped.
    pub fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        let count = bytes.len().min(self.length.saturating_sub(offset));
        if count > 0 {
            // SAFETY: as in `read_bytes`.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start().add(offset), count) };
        }
        compiler_fence(Ordering::SeqCst);
    }
}

impl Drop for Dma {
    fn drop(&mut self) {
        allocator::free_kernel(self.first, self.order.into());
    }
}
