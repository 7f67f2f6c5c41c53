// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of a queue. State and buffers are single pages with a count each, so that a program which has mapped them keeps them when
//! the device goes. The descriptors, which tell the device where to write, are never mapped.

use alloc::{sync::Arc, vec::Vec};

use exo_platform::{Dma, NoMemory, PAGE_SIZE, SharedPage, memory_barrier};
use my_rng_abi::queue::{DESCRIPTOR_ADDRESS, DESCRIPTOR_LENGTH, DESCRIPTOR_SIZE, STATE_SIZE};
use my_rng_ring::{Layout, State};

const _: () = assert!(STATE_SIZE == PAGE_SIZE);

/// The memory of one queue; a clone is another reference to it.
#[derive(Clone)]
pub(super) struct QueuePages(Arc<Inner>);

struct Inner {
    descriptors: Dma,
    state: SharedPage,
    /// One for each buffer.
    buffers: Vec<SharedPage>,
    layout: Layout,
}

impl QueuePages {
    /// Memory for a queue with buffers of a page, its descriptors filled in and its state 0.
    pub(super) fn new(layout: Layout) -> Result<Self, NoMemory> {
        let depth = layout.depth() as usize;
        let descriptors = Dma::new(depth * DESCRIPTOR_SIZE, PAGE_SIZE, None)?;
        let mut buffers = Vec::new();
        buffers.try_reserve_exact(depth).map_err(|_| NoMemory)?;
        for index in 0..depth {
            let page = SharedPage::new()?;
            descriptors.write64(index * DESCRIPTOR_SIZE + DESCRIPTOR_ADDRESS, page.address());
            descriptors.write32(index * DESCRIPTOR_SIZE + DESCRIPTOR_LENGTH, layout.buffer_size());
            buffers.push(page);
        }
        Ok(Self(Arc::new(Inner { descriptors, state: SharedPage::new()?, buffers, layout })))
    }

    pub(super) fn layout(&self) -> Layout {
        self.0.layout
    }

    /// Where the descriptors are, for the device.
    pub(super) fn descriptors(&self) -> u64 {
        self.0.descriptors.address()
    }

    /// Where the state is, for the device.
    pub(super) fn state(&self) -> u64 {
        self.0.state.address()
    }

    /// What may be mapped: the state, then the buffers.
    pub(super) fn mappable(&self) -> impl Iterator<Item = &SharedPage> {
        core::iter::once(&self.0.state).chain(&self.0.buffers)
    }

    /// Calls `each(page, offset in it, bytes)` for `length` bytes from `offset` of the buffers, until it takes less. The sum.
    #[inline]
    pub(super) fn each_part(
        &self,
        offset: usize,
        length: usize,
        each: &mut dyn FnMut(&SharedPage, usize, usize) -> usize,
    ) -> usize {
        let mut done = 0;
        while done < length {
            let at = offset.wrapping_add(done);
            let inside = at % PAGE_SIZE;
            let part = (length - done).min(PAGE_SIZE - inside);
            let Some(page) = self.0.buffers.get(at / PAGE_SIZE) else { break };
            let taken = each(page, inside, part).min(part);
            done += taken;
            if taken < part {
                break;
            }
        }
        done
    }

    /// The number at `offset` of the buffers.
    #[inline]
    pub(super) fn number(&self, offset: usize) -> u32 {
        self.0.buffers.get(offset / PAGE_SIZE).map_or(0, |page| page.load32(offset % PAGE_SIZE))
    }
}

impl State for QueuePages {
    fn load(&self, offset: usize) -> u32 {
        self.0.state.load32(offset)
    }

    fn load_acquire(&self, offset: usize) -> u32 {
        self.0.state.load32(offset)
    }

    fn store(&self, offset: usize, value: u32) {
        self.0.state.store32(offset, value);
    }

    fn store_release(&self, offset: usize, value: u32) {
        self.0.state.store32(offset, value);
    }

    fn full_barrier(&self) {
        memory_barrier();
    }
}
