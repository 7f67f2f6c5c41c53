// SPDX-License-Identifier: MIT OR Apache-2.0
//! The maps at one moment, immutable: a change makes a new table.

use std::ops::Range;
use std::sync::Arc;

use super::mapping::Mapping;
use super::{DmaAccess, DmaError};

/// One map.
#[derive(Debug, Clone)]
pub(super) struct Map {
    pub(super) start: u64,
    /// The last address, because the end may be 2^64.
    pub(super) last: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// `None`: only the client can reach the memory.
    pub(super) mapping: Option<Arc<Mapping>>,
}

/// Maps that do not overlap, by rising address.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    maps: Vec<Map>,
}

/// Part of a transfer that lies in one map.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) map: &'a Map,
    /// The piece's guest address.
    pub(super) address: u64,
    /// Where it is in the transfer's buffer.
    pub(super) buffer: Range<usize>,
}

impl Piece<'_> {
    /// Where the piece is in its map's mapping.
    pub(super) fn offset(&self) -> usize {
        // A map with a mapping is as large as that, so the offset fits; were it not so, the mapping refuses it.
        usize::try_from(self.address.saturating_sub(self.map.start)).unwrap_or(usize::MAX)
    }
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.maps.len()
    }

    /// How many of this process's addresses the maps take.
    pub(super) fn direct_size(&self) -> u64 {
        let mappings = self.maps.iter().filter_map(|map| map.mapping.as_ref());
        mappings.fold(0, |sum, mapping| sum.saturating_add(mapping.window_size()))
    }

    /// Whether some map has an address in `start..=last`.
    pub(super) fn overlaps(&self, start: u64, last: u64) -> bool {
        self.maps.get(self.first_reaching(start)).is_some_and(|map| map.start <= last)
    }

    /// This table with one more map. The caller has checked that it overlaps none.
    pub(super) fn with(&self, map: Map) -> Self {
        let mut maps = self.maps.clone();
        maps.insert(self.first_reaching(map.start), map);
        Self { maps }
    }

    /// This table without the map of exactly that range; `None` if there is none.
    pub(super) fn without(&self, start: u64, last: u64) -> Option<Self> {
        let place = self.first_reaching(start);
        self.maps.get(place).filter(|map| map.start == start && map.last == last)?;
        let mut maps = self.maps.clone();
        maps.remove(place);
        Some(Self { maps })
    }

    /// The pieces of a transfer of `length` bytes at `address`, in order, after all of it was found to be mapped for
    /// that access. Nothing is transferred when part of it is not.
    pub(super) fn pieces(
        &self,
        address: u64,
        length: usize,
        access: DmaAccess,
    ) -> Result<impl Iterator<Item = Piece<'_>>, DmaError> {
        let first = self.first_reaching(address);
        let maps = self.maps.get(first..).unwrap_or_default();
        let Some(more) = length.checked_sub(1) else {
            return Ok(Pieces { maps: [].iter(), address, done: 0, length }); // Nothing to do is always allowed.
        };
        let more = u64::try_from(more).map_err(|_| DmaError::OutOfRange)?;
        let last = address.checked_add(more).ok_or(DmaError::OutOfRange)?;
        let mut next = address;
        for map in maps {
            if map.start > next {
                break;
            }
            let allowed = match access {
                DmaAccess::Read => map.readable,
                DmaAccess::Write => map.writable,
            };
            if !allowed {
                return Err(DmaError::Forbidden { address: next });
            }
            if map.last >= last {
                return Ok(Pieces { maps: maps.iter(), address, done: 0, length });
            }
            next = map.last.saturating_add(1); // Exact: `map.last` is below `last`.
        }
        Err(DmaError::NotMapped { address: next })
    }

    /// The place of the first map that ends at `address` or later.
    fn first_reaching(&self, address: u64) -> usize {
        self.maps.partition_point(|map| map.last < address)
    }
}

/// Cuts a transfer that was found to be all mapped.
struct Pieces<'a> {
    maps: std::slice::Iter<'a, Map>,
    address: u64,
    done: usize,
    length: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.length.checked_sub(self.done).filter(|&left| left > 0)?;
        let map = self.maps.next()?;
        let address = self.address.checked_add(u64::try_from(self.done).ok()?)?;
        // One less than what the map has from here, as that itself could be 2^64.
        let room = usize::try_from(map.last.checked_sub(address)?).unwrap_or(usize::MAX);
        let length = (left - 1).min(room).checked_add(1)?;
        let buffer = self.done..self.done.checked_add(length)?;
        self.done = buffer.end;
        Some(Piece { map, address, buffer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(start: u64, last: u64) -> Map {
        Map { start, last, readable: true, writable: true, mapping: None }
    }

    fn table() -> Table {
        Table::default()
            .with(map(0x3000, 0x3fff))
            .with(map(0x1000, 0x1fff))
            .with(map(0x2000, 0x2fff))
            .with(map(u64::MAX - 0xfff, u64::MAX))
            .with(Map { writable: false, ..map(0x8000, 0x8fff) })
    }

    fn cut(address: u64, length: usize) -> Result<Vec<(u64, Range<usize>)>, DmaError> {
        let table = table();
        let pieces = table.pieces(address, length, DmaAccess::Write)?;
        Ok(pieces.map(|piece| (piece.address, piece.buffer)).collect())
    }

    #[test]
    fn a_transfer_is_cut_at_the_borders_of_maps() {
        assert_eq!(cut(0x1ff0, 0x10).unwrap(), [(0x1ff0, 0..0x10)]);
        let pieces = [(0x1ff0, 0..0x10), (0x2000, 0x10..0x1010), (0x3000, 0x1010..0x1011)];
        assert_eq!(cut(0x1ff0, 0x1011).unwrap(), pieces);
    }

    #[test]
    fn the_end_of_the_address_space_can_be_reached_but_not_passed() {
        assert_eq!(cut(u64::MAX, 1).unwrap(), [(u64::MAX, 0..1)]);
        assert_eq!(cut(u64::MAX - 0xfff, 0x1000).unwrap().len(), 1);
        assert_eq!(cut(u64::MAX, 2), Err(DmaError::OutOfRange));
        assert_eq!(cut(u64::MAX - 0x1000, 2), Err(DmaError::NotMapped { address: u64::MAX - 0x1000 }));
    }

    #[test]
    fn holes_and_read_only_maps_are_found_before_anything_moves() {
        assert_eq!(cut(0xfff, 2), Err(DmaError::NotMapped { address: 0xfff }));
        assert_eq!(cut(0x3fff, 2), Err(DmaError::NotMapped { address: 0x4000 }));
        assert_eq!(cut(0x1000, usize::MAX / 2), Err(DmaError::NotMapped { address: 0x4000 }));
        assert_eq!(cut(0x8010, 4), Err(DmaError::Forbidden { address: 0x8010 }));
        assert!(table().pieces(0x8010, 4, DmaAccess::Read).is_ok());
        assert_eq!(cut(0x5000, 0).unwrap(), []);
    }

    #[test]
    fn overlaps_are_seen_at_both_ends() {
        let table = table();
        for (start, last) in
            [(0, 0x1000), (0x3fff, 0x4fff), (0x2800, 0x28ff), (0, u64::MAX), (0x7000, 0x8000)]
        {
            assert!(table.overlaps(start, last), "{start:#x}..={last:#x}");
        }
        for (start, last) in [(0, 0xfff), (0x4000, 0x7fff), (0x9000, u64::MAX - 0x1000)] {
            assert!(!table.overlaps(start, last), "{start:#x}..={last:#x}");
        }
    }

    #[test]
    fn only_a_whole_map_can_be_taken_away() {
        let table = table();
        assert!(table.without(0x1000, 0x2fff).is_none());
        assert!(table.without(0x1000, 0x17ff).is_none());
        assert!(table.without(0x1800, 0x1fff).is_none());
        assert!(table.without(0x5000, 0x5fff).is_none());
        let smaller = table.without(0x2000, 0x2fff).unwrap();
        assert_eq!(smaller.len(), table.len() - 1);
        assert!(!smaller.overlaps(0x2000, 0x2fff));
    }
}
