// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many references each frame has.

use exo_logic::frame_count::FrameCount;

use crate::{PAGE_SIZE, once::Once};

static COUNTS: Once<&'static [FrameCount]> = Once::new();

/// Takes over the table, with one entry for each frame.
pub(super) fn init(counts: &'static [FrameCount]) {
    COUNTS.set(counts);
}

#[inline]
pub(super) fn of(frame: u32) -> &'static FrameCount {
    &COUNTS.get().expect("set at boot")[frame as usize]
}

/// Notes that `added` entries of the page table at `table` have come into use. A table has one owner, so its frame's count is free to
/// count them.
#[inline]
pub(in crate::mm) fn add_table_entries(table: u64, added: u32) {
    of((table / PAGE_SIZE as u64) as u32).add_entries(added);
}

/// Notes that `removed` entries of the page table at `table` are empty now; how many are left in use.
#[inline]
pub(in crate::mm) fn remove_table_entries(table: u64, removed: u32) -> u64 {
    of((table / PAGE_SIZE as u64) as u32).remove_entries(removed)
}
