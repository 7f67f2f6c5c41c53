// SPDX-License-Identifier: GPL-2.0

//! Memory of a queue: pages that the device writes, as it sees them and as we see them.
//!
//! The two views end at different times. The device's view ([`DmaMemory`]) must go before the
//! device is unbound. Ours ([`QueuePages`]) lasts as long as somebody looks: a program that has
//! mapped the pages keeps them after its device was pulled out, and reads there that the device is
//! gone.
//!
//! Therefore the memory is made of single pages, each with a count of its own: `dma_free_pages()`
//! then only ends the device's view and drops one reference.

use crate::{
    abi::{
        queue::{
            DESCRIPTOR_SIZE,
            STATE_SIZE, //
        },
        ring::{
            Layout,
            State, //
        },
    },
    shim,
};
use core::{
    mem::{
        forget,
        MaybeUninit, //
    },
    ptr::NonNull, //
};
use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    dma::{
        Coherent,
        CoherentBox,
        DataDirection, //
    },
    iov::IovIterDest,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        barrier,
        Arc, //
    },
};

static_assert!(STATE_SIZE == PAGE_SIZE);

/// The driver cannot make buffers larger than a page.
pub(crate) const BUFFER_SIZE_MAX: u32 = PAGE_SIZE as u32;

/// Sets how the device gets at the pages: it reads (the state) and writes them.
const DIRECTION: DataDirection = DataDirection::Bidirectional;

/// A counted reference to one page that device, programs and we may write at any time.
///
/// # Invariants
///
/// `page` is a page of its own (order 0) of which we own a reference, and `address` is where the
/// kernel sees its first byte.
struct PageRef {
    page: NonNull<bindings::page>,
    address: NonNull<u8>,
}

// SAFETY: A reference to a page is not bound to a thread.
unsafe impl Send for PageRef {}

// SAFETY: All access to the contents is atomic or copies bytes that may change meanwhile.
unsafe impl Sync for PageRef {}

impl Drop for PageRef {
    fn drop(&mut self) {
        // SAFETY: We own a reference by the type invariants. For a page of its own this drops one.
        unsafe { bindings::__free_pages(self.page.as_ptr(), 0) };
    }
}

/// The pages of a queue, as programs and we see them: the state, then the buffers.
pub(crate) struct QueuePages {
    state: PageRef,
    buffers: KVec<PageRef>,
    layout: Layout,
}

impl QueuePages {
    /// How large the queue is.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of pages, with that of the state.
    pub(crate) fn count(&self) -> usize {
        self.buffers.len() + 1
    }

    /// Calls `f` with each page, the one of the state first.
    pub(crate) fn try_for_each(
        &self,
        mut f: impl FnMut(usize, &kernel::page::BorrowedPage<'_>) -> Result,
    ) -> Result {
        let all = Iterator::chain(core::iter::once(&self.state), &self.buffers);
        for (index, shared) in all.enumerate() {
            // SAFETY: We own a reference by the invariants of `PageRef`, which outlives the loan.
            f(index, &unsafe {
                kernel::page::BorrowedPage::from_raw(shared.page)
            })?;
        }
        Ok(())
    }

    /// Calls `f` for the parts of the pages in which the `length` bytes from `offset` of the
    /// buffers lie, until it returns less than the part's length. Returns the sum.
    fn for_each_part(
        &self,
        offset: usize,
        length: usize,
        mut f: impl FnMut(&PageRef, usize, usize) -> usize,
    ) -> usize {
        let mut done = 0;

        while done < length {
            let at = offset.wrapping_add(done);
            let in_page = at % PAGE_SIZE;
            let part = (length - done).min(PAGE_SIZE - in_page);
            let Some(page) = self.buffers.get(at / PAGE_SIZE) else {
                break;
            };
            let did = f(page, in_page, part).min(part);
            done += did;
            if did < part {
                break;
            }
        }
        done
    }

    /// Copies bytes of the buffers to a program, without handling page faults, so that it may be
    /// called under locks. Returns how many it copied before memory was missing.
    pub(crate) fn copy_to_program(
        &self,
        offset: usize,
        length: usize,
        iov: &mut IovIterDest<'_>,
    ) -> usize {
        self.for_each_part(offset, length, |shared, start, part| {
            // SAFETY: The page is ours, and `start + part` is at most its size.
            unsafe {
                bindings::copy_page_to_iter_nofault(
                    shared.page.as_ptr(),
                    // CAST: Less than a page.
                    start as c_uint,
                    part,
                    iov.as_raw(),
                )
            }
        })
    }

    /// Copies bytes of the buffers to `to`. Returns how many there were.
    pub(crate) fn copy(&self, offset: usize, to: &mut [MaybeUninit<u8>]) -> usize {
        let mut rest = to.as_mut_ptr();
        self.for_each_part(offset, to.len(), |shared, start, part| {
            // SAFETY: `start + part` is at most a page, and the parts together are as long as `to`.
            unsafe {
                // Not a copy that the compiler knows: a device that breaks the rules may be
                // writing.
                bindings::memcpy(
                    rest.cast(),
                    shared.address.as_ptr().add(start).cast_const().cast(),
                    part,
                );
                rest = rest.add(part);
            }
            part
        })
    }

    /// Reads the 32-bit number at `offset` in the buffers, a multiple of 4; `None` past their end.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> Option<u32> {
        let start = offset % PAGE_SIZE & !(size_of::<u32>() - 1);
        let page = self.buffers.get(offset / PAGE_SIZE)?;
        // SAFETY: Inside of the page, aligned, and all values are valid.
        let word = unsafe {
            page.address
                .as_ptr()
                .add(start)
                .cast::<u32>()
                .read_volatile()
        };
        Some(u32::from_le(word))
    }

    /// Returns a word of the state.
    fn state_word(&self, offset: usize) -> &Atomic<u32> {
        let offset = offset % STATE_SIZE & !(size_of::<u32>() - 1);

        // SAFETY: Inside of the page of the state, aligned. Nobody in the kernel accesses it in
        // another way, and what devices and programs do is not the compiler's business.
        unsafe { Atomic::from_ptr(self.state.address.as_ptr().add(offset).cast()) }
    }
}

/// All numbers in the state are little-endian.
impl State for Arc<QueuePages> {
    fn load(&self, offset: usize) -> u32 {
        u32::from_le(self.state_word(offset).load(Relaxed))
    }

    fn load_acquire(&self, offset: usize) -> u32 {
        let value = u32::from_le(self.state_word(offset).load(Acquire));
        // The acquire is towards other CPUs, this is towards the device.
        barrier::dma_mb(barrier::Read);
        value
    }

    fn store(&self, offset: usize, value: u32) {
        self.state_word(offset).store(value.to_le(), Relaxed);
    }

    fn store_release(&self, offset: usize, value: u32) {
        barrier::dma_mb(barrier::Write);
        self.state_word(offset).store(value.to_le(), Release);
    }

    fn full_barrier(&self) {
        barrier::dma_mb(barrier::Full);
    }
}

/// One page as the device sees it.
///
/// # Invariants
///
/// `page` and `handle` are of one `dma_alloc_pages()` for one page and for `device`, which is
/// bound.
struct DmaPage {
    device: NonNull<bindings::device>,
    page: NonNull<bindings::page>,
    handle: bindings::dma_addr_t,
}

// SAFETY: DMA memory is not bound to a thread.
unsafe impl Send for DmaPage {}

// SAFETY: `&DmaPage` allows nothing.
unsafe impl Sync for DmaPage {}

impl DmaPage {
    /// Allocates a page of zeros.
    ///
    /// # Safety
    ///
    /// The first must be dropped before the device is unbound.
    unsafe fn new(device: &Device<Bound>) -> Result<(Self, PageRef)> {
        // `Device` is a transparent wrapper of `struct device`.
        let device = NonNull::from(device).cast();
        let mut handle = 0;

        // SAFETY: The device is bound, and `handle` can be written to.
        let page = unsafe {
            bindings::dma_alloc_pages(
                device.as_ptr(),
                PAGE_SIZE,
                &mut handle,
                DIRECTION.into(),
                bindings::GFP_KERNEL | bindings::__GFP_ZERO,
            )
        };
        // INVARIANT: From the call above.
        let mapped = Self {
            device,
            page: NonNull::new(page).ok_or(ENOMEM)?,
            handle,
        };

        // SAFETY: The page is there; `dma_alloc_pages()` gives none in high memory.
        let address = unsafe {
            shim::my_rng_get_page(page);
            shim::my_rng_page_address(page)
        };
        // INVARIANT: We got a reference just now. One page has order 0.
        let shared = PageRef {
            page: mapped.page,
            address: NonNull::new(address.cast()).ok_or(ENOMEM)?,
        };
        Ok((mapped, shared))
    }
}

impl Drop for DmaPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; each is dropped once. References of others keep the page.
        unsafe {
            bindings::dma_free_pages(
                self.device.as_ptr(),
                PAGE_SIZE,
                self.page.as_ptr(),
                self.handle,
                DIRECTION.into(),
            )
        };
    }
}

/// The memory of a queue as the device sees it.
///
/// To be dropped only when the device does not access it any more; see [`DmaMemory::leak`].
pub(crate) struct DmaMemory {
    descriptors: Coherent<[[u64; 2]]>,
    state: DmaPage,
    buffers: KVec<DmaPage>,
    pages: Arc<QueuePages>,
}

impl DmaMemory {
    /// Allocates the memory of a queue; the descriptors name the buffers in their order.
    ///
    /// # Safety
    ///
    /// It must be dropped, or abandoned, before the device is unbound. (A lifetime would say so,
    /// but not through a mutex: what is behind one cannot be lent for a shorter time.)
    ///
    /// # Errors
    ///
    /// [`EINVAL`] when the buffers are larger than a page, [`ENOMEM`].
    pub(crate) unsafe fn new(device: &Device<Bound>, layout: Layout) -> Result<Self> {
        const { assert!(DESCRIPTOR_SIZE == size_of::<[u64; 2]>()) };

        if layout.buffer_size() > BUFFER_SIZE_MAX {
            return Err(EINVAL);
        }
        // SAFETY: Part of what the caller drops in time.
        let (state, shared_state) = unsafe { DmaPage::new(device) }?;

        let count = layout.size().div_ceil(PAGE_SIZE);
        let mut buffers = KVec::with_capacity(count, GFP_KERNEL)?;
        let mut shared_buffers = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            // SAFETY: Part of what the caller drops in time.
            let (mapped, shared) = unsafe { DmaPage::new(device) }?;
            buffers.push(mapped, GFP_KERNEL)?;
            shared_buffers.push(shared, GFP_KERNEL)?;
        }

        // CAST: Lossless, at most 1024.
        let depth = layout.depth() as usize;
        // CAST: Lossless, at most a page.
        let size = layout.buffer_size() as usize;
        let mut descriptors = CoherentBox::<[[u64; 2]]>::zeroed_slice(device, depth, GFP_KERNEL)?;
        for (index, descriptor) in descriptors.iter_mut().enumerate() {
            let offset = index * size;
            let page: &DmaPage = buffers.get(offset / PAGE_SIZE).ok_or(EINVAL)?;
            // The length is in the lower half of the second word, the reserved field in the upper.
            *descriptor = [
                page.handle
                    .wrapping_add((offset % PAGE_SIZE) as u64)
                    .to_le(),
                u64::from(layout.buffer_size()).to_le(),
            ];
        }

        Ok(Self {
            descriptors: descriptors.into(),
            state,
            buffers,
            pages: Arc::new(
                QueuePages {
                    state: shared_state,
                    buffers: shared_buffers,
                    layout,
                },
                GFP_KERNEL,
            )?,
        })
    }

    /// The pages as we see them.
    pub(crate) fn pages(&self) -> &Arc<QueuePages> {
        &self.pages
    }

    /// Where the device finds the descriptors.
    pub(crate) fn descriptors_address(&self) -> u64 {
        self.descriptors.dma_address()
    }

    /// Where the device finds the state.
    pub(crate) fn state_address(&self) -> u64 {
        self.state.handle
    }

    /// Leaves the memory to the device for ever: it could not be told to stop, and memory that a
    /// device may still write to must not become anybody else's.
    ///
    /// Only that memory: what we had noted down about it is freed.
    pub(crate) fn leak(self) {
        forget(self.descriptors);
        forget(self.state);
        for page in self.buffers {
            forget(page);
        }
    }
}
