// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an address space has, as /proc shows it.

use exo_hal::{PAGE_SIZE, USER_END};
use exo_logic::areas::{Area, Flags};

use super::{AddressSpace, Backing};
use exo_core::sched::spans;

/// In bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Mapped.
    pub mapped: usize,
    /// Mapped at most.
    pub peak: usize,
    /// In memory.
    pub resident: usize,
    /// In memory at most.
    pub resident_peak: usize,
    /// Locked.
    pub locked: usize,
    /// Private memory that can be written.
    pub data: usize,
    /// Stacks.
    pub stack: usize,
    /// Code.
    pub code: usize,
    /// Page tables.
    pub tables: usize,
}

impl AddressSpace {
    /// What it has.
    pub fn usage(&self) -> Usage {
        let mut usage = {
            let mut inner = self.inner.lock();
            inner.note_peak();
            Usage {
                mapped: inner.mapped,
                peak: inner.peak_mapped,
                resident: inner.table.pages() * PAGE_SIZE,
                resident_peak: inner.peak_pages * PAGE_SIZE,
                tables: inner.table.tables() * PAGE_SIZE,
                ..Usage::default()
            }
        };
        // Who is to end reads nothing any more.
        let _ = self.areas_in(0, USER_END, |Area { start, end, flags, .. }| {
            let bytes = end - start;
            let add = |to: &mut usize, is: bool| *to += if is { bytes } else { 0 };
            add(&mut usage.locked, flags.contains(Flags::LOCKED));
            add(&mut usage.data, flags.is_data());
            add(&mut usage.stack, flags.contains(Flags::GROWS_DOWN));
            add(
                &mut usage.code,
                flags.contains(Flags::EXECUTE) && !flags.intersects(Flags::WRITE | Flags::GROWS_DOWN),
            );
            Ok(())
        });
        usage
    }

    /// Bytes in memory of `start..end`.
    pub fn resident_in(&self, start: usize, end: usize) -> usize {
        let (mut at, mut pages) = (start, 0);
        while at < end {
            let (count, next) = self.inner.lock().table.count(at, end);
            pages += count;
            at = next;
            if spans::point() {
                break;
            }
        }
        pages * PAGE_SIZE
    }

    /// Bytes in memory that a file or somebody else has, too.
    pub fn resident_shared(&self) -> usize {
        let mut bytes = 0;
        let mut at = 0;
        while let Some(area) = self.area_above(at) {
            at = area.end;
            if matches!(area.backing, Backing::File { .. }) && !area.flags.is_data() {
                bytes += self.resident_in(area.start, area.end);
            }
            if spans::point() {
                break;
            }
        }
        bytes
    }

    /// The first area that ends above `address`.
    pub fn area_above(&self, address: usize) -> Option<Area<Backing>> {
        self.inner.lock().areas.find_above(address).cloned()
    }
}
