// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of a page, which several CPUs may read and change at a time.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::PAGE_SIZE;

const WORD: usize = size_of::<u32>();
/// Words of a page.
pub(super) const WORDS: usize = PAGE_SIZE / WORD;

/// The bytes, as words. What is read or written lies within the page.
#[derive(Debug)]
pub(super) struct Contents([AtomicU32; WORDS]);

impl Contents {
    /// A page full of one byte.
    pub(super) fn filled(byte: u8) -> Self {
        Self([const { AtomicU32::new(0) }; WORDS].map(|_| AtomicU32::new(u32::from_ne_bytes([byte; WORD]))))
    }

    /// All words.
    pub(super) fn words(&self) -> &[AtomicU32; WORDS] {
        &self.0
    }

    /// Calls `each` with every word that `offset..offset + count` touches, the first byte in it, the bytes before it and those in it.
    fn each_word(&self, offset: usize, count: usize, mut each: impl FnMut(&AtomicU32, usize, usize, usize)) {
        let mut done = 0;
        while done < count {
            let at = offset + done;
            let bytes = (WORD - at % WORD).min(count - done);
            each(&self.0[at / WORD], at % WORD, done, bytes);
            done += bytes;
        }
    }

    /// Copies from `offset`.
    pub(super) fn read(&self, offset: usize, out: &mut [u8]) {
        self.each_word(offset, out.len(), |word, first, done, bytes| {
            let word = word.load(Ordering::Relaxed).to_ne_bytes();
            out[done..done + bytes].copy_from_slice(&word[first..first + bytes]);
        });
    }

    /// Copies to `offset`.
    pub(super) fn write(&self, offset: usize, from: &[u8]) {
        self.each_word(offset, from.len(), |word, first, done, bytes| {
            // The other bytes of the word may change meanwhile.
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
                let mut new = old.to_ne_bytes();
                new[first..first + bytes].copy_from_slice(&from[done..done + bytes]);
                Some(u32::from_ne_bytes(new))
            });
        });
    }

    /// Fills `count` bytes from `offset` on with zeros.
    pub(super) fn zero(&self, offset: usize, count: usize) {
        self.write(offset, &[0; PAGE_SIZE][..count]);
    }
}
