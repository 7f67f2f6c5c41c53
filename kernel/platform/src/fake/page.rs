// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that a device, the kernel and programs share.

use std::sync::Arc;

use super::dma::Dma;
use crate::{NoMemory, PAGE_SIZE};

/// A page that a device writes, the kernel reads and programs may map. A clone is another reference; the page is freed when the
/// last lets go.
#[derive(Clone, Debug)]
pub struct SharedPage(Arc<Dma>);

impl SharedPage {
    /// A page of zeros.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn new() -> Result<Self, NoMemory> {
        Dma::new(PAGE_SIZE, PAGE_SIZE, None).map(|dma| Self(Arc::new(dma)))
    }

    /// The address of the first byte, as the device sees it.
    pub fn address(&self) -> u64 {
        self.0.address()
    }

    /// Reads a word before everything that follows; all ones beyond the end or where it is not aligned.
    pub fn load32(&self, offset: usize) -> u32 {
        self.0.read32(offset)
    }

    /// Writes a word after everything before; dropped beyond the end or where it is not aligned.
    pub fn store32(&self, offset: usize, value: u32) {
        self.0.write32(offset, value);
    }

    /// Writes two words as one; as [`store32`](Self::store32).
    pub fn store64(&self, offset: usize, value: u64) {
        self.0.write64(offset, value);
    }

    /// Copies from it; stops at its end.
    pub fn read_bytes(&self, offset: usize, out: &mut [u8]) {
        let count = out.len().min(PAGE_SIZE.saturating_sub(offset));
        self.0.read_bytes(offset, out.get_mut(..count).unwrap_or_default());
    }
}
