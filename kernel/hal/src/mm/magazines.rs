// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each CPU keeps for itself, in its [area](crate::cpu::percpu), so that most requests need no lock: single frames, and free blocks of
//! the heap.

use core::ptr;

use exo_logic::slabs::{self, CLASSES};

/// Frames a CPU keeps for itself, and how many move at once to or from the common pool.
pub(super) const STOCK: usize = 64;
pub(super) const BATCH: usize = 32;

/// A CPU's own stock of single frames.
pub(crate) struct Magazine {
    pub(super) frames: [u32; STOCK],
    pub(super) count: usize,
}

impl Magazine {
    pub(crate) const fn new() -> Self {
        Self { frames: [0; STOCK], count: 0 }
    }
}

/// Bytes of blocks of one class that a CPU keeps, within these numbers of blocks.
const KEEP_BYTES: usize = 16 << 10;
const KEEP_AT_LEAST: usize = 8;
const KEEP_AT_MOST: usize = 64;

/// A CPU's free blocks of one class: a list through the first word of each.
#[derive(Clone, Copy)]
pub(super) struct Stock {
    pub(super) head: *mut u8,
    /// How many more it takes.
    pub(super) room: usize,
}

/// A CPU's stock of blocks.
pub(crate) struct Caches(pub(super) [Stock; CLASSES]);

impl Caches {
    pub(crate) const fn new() -> Self {
        let mut stocks = [Stock { head: ptr::null_mut(), room: 0 }; CLASSES];
        let mut class = 0;
        while class < CLASSES {
            stocks[class].room = keep(class);
            class += 1;
        }
        Self(stocks)
    }
}

impl Stock {
    #[inline]
    pub(super) fn pop(&mut self) -> *mut u8 {
        let block = self.head;
        if !block.is_null() {
            // SAFETY: a free block's first word is the list's next.
            self.head = unsafe { block.cast::<*mut u8>().read() };
            self.room += 1;
        }
        block
    }

    /// # Safety
    /// `block` is a block of the class that nobody uses, and there is room.
    #[inline]
    pub(super) unsafe fn push(&mut self, block: *mut u8) {
        // SAFETY: the caller gives the block, which is at least a word long.
        unsafe { block.cast::<*mut u8>().write(self.head) };
        self.head = block;
        self.room -= 1;
    }
}

/// Blocks of a class that a CPU keeps.
pub(super) const fn keep(class: usize) -> usize {
    let fit = KEEP_BYTES / slabs::block_size(class);
    if fit < KEEP_AT_LEAST {
        KEEP_AT_LEAST
    } else if fit > KEEP_AT_MOST {
        KEEP_AT_MOST
    } else {
        fit
    }
}
