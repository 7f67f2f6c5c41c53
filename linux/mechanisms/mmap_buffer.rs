// SPDX-License-Identifier: GPL-2.0

//! Memory that the kernel writes and programs map read-only.
//!
//! It consists of atomic 64-bit words. Pages that a program has mapped stay until it unmaps them.
//!
//! C headers: [`include/linux/vmalloc.h`](srctree/include/linux/vmalloc.h),
//! [`include/linux/mm.h`](srctree/include/linux/mm.h)

use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    alloc::flags::__GFP_ZERO,
    bindings,
    mm::virt::{
        flags,
        VmaNew, //
    },
    page::{
        BorrowedPage,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::atomic::Atomic, //
};

/// Words on a page.
const WORDS: usize = PAGE_SIZE / size_of::<u64>();

/// Whole pages of words that programs can map.
pub struct MmapBuffer(VVec<Page>);

/// Aligned, so that a page of the memory is one of these and holds nothing else.
#[repr(C, align(4096))]
struct Page([Atomic<u64>; WORDS]);

const _: () = assert!(size_of::<Page>() == PAGE_SIZE);

impl MmapBuffer {
    /// Allocates so many pages, filled with zeros.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new(pages: usize) -> Result<Self> {
        let mut memory = VVec::with_capacity(pages, GFP_KERNEL | __GFP_ZERO)?;

        // SAFETY: There is room for `pages` elements, and all bytes there are zero, which for a
        // `Page` means that all its words are.
        unsafe { memory.inc_len(pages) };
        Ok(Self(memory))
    }

    /// Lets a program map all of it, or as many pages from the start as it asks for.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] for more than there is or an offset, and for a private mapping; [`EACCES`] for
    /// one that can be written to or executed; [`ENOMEM`].
    pub fn map(&self, vma: &VmaNew) -> Result {
        // SAFETY: The area is being set up, so nobody changes it.
        let offset = unsafe { (*vma.as_ptr()).vm_pgoff };
        let pages = self.0.get(..(vma.end() - vma.start()) / PAGE_SIZE);
        let pages = pages.filter(|_| offset == 0).ok_or(EINVAL)?;
        // Not `VM_SHARED`: without the right to write, a shared mapping loses that.
        if vma.flags() & flags::MAYSHARE == 0 {
            return Err(EINVAL);
        }
        vma.try_clear_maywrite().map_err(|_| EACCES)?;
        vma.try_clear_mayexec().map_err(|_| EACCES)?;
        vma.set_dontexpand();
        vma.set_dontdump();

        let vma = vma.set_mixedmap();
        for (number, page) in pages.iter().enumerate() {
            // SAFETY: An address of memory that `vmalloc()` gave.
            let page = unsafe { bindings::vmalloc_to_page(core::ptr::from_ref(page).cast()) };
            let page = NonNull::new(page).ok_or(EFAULT)?;
            // SAFETY: The page of memory that stays for as long as `self`.
            let page = unsafe { BorrowedPage::from_raw(page) };

            vma.vm_insert_page(vma.start() + number * PAGE_SIZE, &page)?;
        }
        Ok(())
    }
}

impl Deref for MmapBuffer {
    type Target = [[Atomic<u64>; WORDS]];

    fn deref(&self) -> &Self::Target {
        // SAFETY: `Page` has the size of a page, so it is laid out as the array that it consists
        // of.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len()) }
    }
}
