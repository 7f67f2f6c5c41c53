// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many pages something may have, and how many it has.

use core::sync::atomic::{AtomicUsize, Ordering};

use exo_core::errno::{Errno, Result};

/// A count of pages with a limit.
#[derive(Default)]
pub struct Quota {
    used: AtomicUsize,
    /// 0 for none.
    limit: AtomicUsize,
}

impl Quota {
    /// Pages in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Most pages; 0 for any number.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit; EINVAL if more are in use.
    pub fn set_limit(&self, pages: usize) -> Result<()> {
        if pages > 0 && pages < self.used() {
            return Err(Errno::EINVAL);
        }
        self.limit.store(pages, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a page, if there may be another.
    pub fn charge(&self) -> bool {
        self.charge_pages(1)
    }

    /// Counts so many pages, if there may be as many more.
    pub fn charge_pages(&self, pages: usize) -> bool {
        let limit = self.limit();
        let more = |used: usize| used.checked_add(pages).filter(|used| limit == 0 || *used <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts fewer.
    pub fn uncharge(&self, pages: usize) {
        self.used.fetch_sub(pages, Ordering::Relaxed);
    }
}
