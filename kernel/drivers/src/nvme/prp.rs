// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical region pages: how a command says where its data is. The first entry may begin inside a page, each later one is
//! a whole page; with more than two pages the second entry points to a list. Source: NVM Express Base Specification 2.0,
//! section 4.1.1.

use exo_platform::Segment;

use super::command::DataPointer;

/// Bytes of a page, as [`configuration::FORMAT`](super::registers::configuration::FORMAT) chooses.
pub(super) const PAGE: u64 = 4096;
/// Entries of a list: a transfer of 128 KiB that begins inside a page touches 33 pages, and the first one is not in the list.
pub(super) const LIST_ENTRIES: usize = 32;
/// Bytes of a list. It divides a page, so that no list crosses from one page into another.
pub(super) const LIST_BYTES: usize = LIST_ENTRIES * 8;

/// Memory that cannot be said in PRPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadBuffer {
    /// It begins at an odd address (the last two bits must be zero), or is not contiguous but for page boundaries.
    Misaligned,
    /// It is more pages than a list has entries.
    TooLong,
    /// There is no memory.
    Empty,
}

/// Says where `segments` are. `list` is the bus address of this command's list, whose entries go to `entry(index, address)`.
#[inline]
pub(super) fn describe(
    segments: impl Iterator<Item = Segment>,
    list: u64,
    mut entry: impl FnMut(usize, u64),
) -> Result<DataPointer, BadBuffer> {
    let mut data = DataPointer::default();
    let mut pages = 0_usize;
    // Where the data so far ends: the next segment has to begin a page, and this one has to have ended one.
    let mut end = 0;
    for segment in segments {
        let mut at = segment.address;
        let mut left = u64::from(segment.length);
        while left > 0 {
            let offset = at % PAGE;
            match pages {
                0 if at % 4 == 0 => data.first = at,
                0 => return Err(BadBuffer::Misaligned),
                _ if offset != 0 || end % PAGE != 0 => return Err(BadBuffer::Misaligned),
                // A second page is an entry of its own until there is a third.
                1 => {
                    data.second = at;
                    entry(0, at);
                }
                _ if pages > LIST_ENTRIES => return Err(BadBuffer::TooLong),
                _ => entry(pages - 1, at),
            }
            let bytes = left.min(PAGE - offset);
            at = at.checked_add(bytes).ok_or(BadBuffer::Misaligned)?;
            (left, end) = (left - bytes, at);
            pages += 1;
        }
    }
    match pages {
        0 => Err(BadBuffer::Empty),
        1 | 2 => Ok(data),
        _ => Ok(DataPointer { second: list, ..data }),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;

    const LIST: u64 = 0xbeef_0000;

    fn described(segments: &[(u64, u32)]) -> Result<(DataPointer, Vec<u64>), BadBuffer> {
        let mut list = vec![0; LIST_ENTRIES];
        let segments = segments.iter().map(|&(address, length)| Segment { address, length });
        describe(segments, LIST, |index, address| list[index] = address).map(|data| (data, list))
    }

    #[test]
    fn one_page_is_one_entry() {
        let (data, _) = described(&[(0x1_2000, 4096)]).unwrap();
        assert_eq!(data, DataPointer { first: 0x1_2000, second: 0 });
        let (data, _) = described(&[(0x1_2e00, 512)]).unwrap();
        assert_eq!(data, DataPointer { first: 0x1_2e00, second: 0 });
    }

    #[test]
    fn two_pages_are_two_entries_also_when_they_are_not_neighbours() {
        let (data, _) = described(&[(0x1_2e00, 1024)]).unwrap();
        assert_eq!(data, DataPointer { first: 0x1_2e00, second: 0x1_3000 });
        let (data, _) = described(&[(0x1_2000, 4096), (0x9_9000, 512)]).unwrap();
        assert_eq!(data, DataPointer { first: 0x1_2000, second: 0x9_9000 });
    }

    #[test]
    fn more_pages_go_to_the_list_without_the_first() {
        let (data, list) = described(&[(0x1_2800, 2048 + 8192), (0x5_0000, 100)]).unwrap();
        assert_eq!(data, DataPointer { first: 0x1_2800, second: LIST });
        assert_eq!(list[..4], [0x1_3000, 0x1_4000, 0x5_0000, 0]);
    }

    #[test]
    fn the_longest_transfer_from_inside_a_page_fits_and_a_longer_one_is_refused() {
        let (_, list) = described(&[(0x1_2200, 128 << 10)]).unwrap();
        assert_eq!(list[31], 0x1_2000 + 32 * PAGE);
        assert_eq!(described(&[(0x1_2200, (128 << 10) + 4096)]), Err(BadBuffer::TooLong));
    }

    #[test]
    fn gaps_inside_pages_and_odd_addresses_are_refused() {
        assert_eq!(described(&[(0x1_2001, 511)]), Err(BadBuffer::Misaligned));
        assert_eq!(described(&[(0x1_2000, 512), (0x1_4000, 512)]), Err(BadBuffer::Misaligned));
        assert_eq!(described(&[(0x1_2000, 4096), (0x1_4200, 512)]), Err(BadBuffer::Misaligned));
        assert_eq!(described(&[]), Err(BadBuffer::Empty));
        assert_eq!(described(&[(u64::MAX - 0xfff, 8192)]), Err(BadBuffer::Misaligned));
    }
}
