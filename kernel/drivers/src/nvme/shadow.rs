// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shadow doorbells: a controller in an emulator can take its doorbells from memory, and says there from which value on it wants to be
//! told by the register. While it is at work, it looks by itself, and no slow access is needed. Source: NVM Express Base
//! Specification 2.0, section 5.8 and annex B.5.

use alloc::sync::Arc;

use exo_platform::{Dma, NoMemory, memory_barrier};

/// Bytes of each of the two pages.
const PAGE: usize = 4096;

/// The page of doorbells and the page of values that the controller waits for, laid out as the registers are.
#[derive(Debug)]
pub(super) struct ShadowPages {
    doorbells: Dma,
    events: Dma,
}

impl ShadowPages {
    pub(super) fn new() -> Result<Arc<Self>, NoMemory> {
        Ok(Arc::new(Self { doorbells: Dma::new(PAGE, PAGE, None)?, events: Dma::new(PAGE, PAGE, None)? }))
    }

    /// Bus addresses of both.
    pub(super) fn addresses(&self) -> (u64, u64) {
        (self.doorbells.address(), self.events.address())
    }

    /// Forgets all values, before the controller learns of the pages.
    pub(super) fn clear(&self) {
        for at in (0..PAGE).step_by(8) {
            self.doorbells.write64(at, 0);
            self.events.write64(at, 0);
        }
    }
}

/// One doorbell in memory.
#[derive(Debug)]
pub(super) struct Shadow {
    pages: Arc<ShadowPages>,
    offset: usize,
}

impl Shadow {
    /// The doorbell whose register is `offset` bytes from the first; none if the pages do not reach so far.
    pub(super) fn new(pages: &Arc<ShadowPages>, offset: usize) -> Option<Self> {
        (offset + 4 <= PAGE).then(|| Self { pages: pages.clone(), offset })
    }

    /// Moves the doorbell on from `old` to `new`; whether the register has to be written too.
    #[inline]
    pub(super) fn ring(&self, old: u16, new: u16) -> bool {
        self.pages.doorbells.write32(self.offset, u32::from(new));
        // The controller writes the value that it waits for and then looks at the doorbell; here it is the other way round.
        memory_barrier();
        is_awaited(self.pages.events.read32(self.offset) as u16, old, new)
    }
}

/// Whether `event` is one of `old..new`.
fn is_awaited(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_is_written_when_the_doorbell_passes_the_awaited_value() {
        assert!(is_awaited(5, 5, 6) && is_awaited(5, 3, 9));
        assert!(!is_awaited(4, 5, 6) && !is_awaited(9, 3, 9));
        // Where the queue begins anew, once too often is better than not at all.
        assert!(is_awaited(127, 127, 0) && is_awaited(0, 126, 2));
    }

    #[test]
    fn a_doorbell_beyond_the_pages_has_no_shadow() {
        let pages = ShadowPages::new().unwrap();
        assert!(Shadow::new(&pages, PAGE - 4).is_some() && Shadow::new(&pages, PAGE).is_none());
    }
}
