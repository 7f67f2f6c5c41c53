// SPDX-License-Identifier: MIT OR Apache-2.0
//! The areas of an address space: which ranges are mapped, how, and from what. Page-aligned byte addresses throughout;
//! ranges are half open.

use alloc::{collections::BTreeMap, vec::Vec};

bitflags::bitflags! {
    /// What a program may do in an area, and how the area behaves.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// May be read.
        const READ = 1;
        /// May be written.
        const WRITE = 2;
        /// May be executed.
        const EXECUTE = 4;
        /// Writes are seen by others who map the same pages.
        const SHARED = 8;
        /// Grows downwards when touched below its start (the stack).
        const GROWS_DOWN = 16;
        /// The program break's area.
        const HEAP = 32;
        /// Writing may be allowed later.
        const MAY_WRITE = 64;
        /// Executing may be allowed later.
        const MAY_EXECUTE = 128;
        /// Its pages are to stay in memory.
        const LOCKED = 256;
        /// A child does not inherit it.
        const DONT_FORK = 512;
        /// A child finds zeros.
        const WIPE_ON_FORK = 1024;
        /// It is not in core files.
        const DONT_DUMP = 2048;
    }
}

/// What private memory may become.
pub const MAY_ALL: Flags = Flags::MAY_WRITE.union(Flags::MAY_EXECUTE);

/// Bytes that are kept free below an area that grows downwards, as Linux's `stack_guard_gap`.
pub const GUARD_GAP: usize = 256 * 4096;

impl Flags {
    /// Whether an area with these flags may be given this protection.
    pub fn may_become(self, protection: Self) -> bool {
        (!protection.contains(Self::WRITE) || self.contains(Self::MAY_WRITE))
            && (!protection.contains(Self::EXECUTE) || self.contains(Self::MAY_EXECUTE))
    }

    /// Whether it counts as data, which RLIMIT_DATA limits: private memory that can be written, the stack aside.
    pub fn is_data(self) -> bool {
        self.contains(Self::WRITE) && !self.intersects(Self::SHARED | Self::GROWS_DOWN)
    }

    /// Whether a program can reach it at all.
    pub fn is_accessible(self) -> bool {
        self.intersects(PROTECTION)
    }
}

/// The flags that mprotect changes.
pub const PROTECTION: Flags = Flags::READ.union(Flags::WRITE).union(Flags::EXECUTE);

/// Where an area's pages come from.
pub trait Backing: Clone {
    /// The backing of what begins `bytes` after the start.
    fn advance(&self, bytes: usize) -> Self;
    /// Whether `next` goes on where `bytes` of this one end, so that two areas can be one.
    fn continues(&self, bytes: usize, next: &Self) -> bool;
}

/// One mapped range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area<B> {
    /// The first address.
    pub start: usize,
    /// One past the last address.
    pub end: usize,
    /// Protection and behaviour.
    pub flags: Flags,
    /// Where the pages come from.
    pub backing: B,
}

/// All areas, by address; they do not overlap.
#[derive(Clone, Debug)]
pub struct Areas<B> {
    map: BTreeMap<usize, Area<B>>,
    /// What former searches for free ranges have found, the last one first.
    full: [Full; FULL],
}

/// What is known to be full: above `above` there is no free range of `bytes` bytes.
#[derive(Clone, Copy, Debug)]
struct Full {
    bytes: usize,
    above: usize,
}

/// So many sizes are remembered: stacks of threads, and what a program's allocator asks for.
const FULL: usize = 4;

impl<B> Default for Areas<B> {
    fn default() -> Self {
        Self { map: BTreeMap::new(), full: [Full { bytes: 0, above: usize::MAX }; FULL] }
    }
}

/// A search for the highest free range, which may be done in parts.
#[derive(Clone, Debug)]
pub struct Search {
    bytes: usize,
    low: usize,
    /// The range ends here at most.
    top: usize,
    /// Areas from here on have been looked at.
    seen: usize,
}

/// How far a [`Search`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The range starts here.
    At(usize),
    /// There is none.
    Nothing,
    /// There are more areas to look at.
    NotYet,
}

impl<B: Backing> Areas<B> {
    /// No areas.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of areas.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The area that `address` is in.
    pub fn find(&self, address: usize) -> Option<&Area<B>> {
        self.map.range(..=address).next_back().map(|(_, a)| a).filter(|a| address < a.end)
    }

    /// The first area that ends above `address`.
    pub fn find_above(&self, address: usize) -> Option<&Area<B>> {
        self.find(address).or_else(|| self.map.range(address..).next().map(|(_, a)| a))
    }

    /// All areas in order.
    pub fn iter(&self) -> impl Iterator<Item = &Area<B>> {
        self.map.values()
    }

    /// The areas that touch `start..end`, in order.
    pub fn overlapping(&self, start: usize, end: usize) -> impl Iterator<Item = &Area<B>> {
        let from = self.find(start).map_or(start, |a| a.start);
        self.map.range(from..end.max(from)).map(|(_, a)| a)
    }

    /// Where the last of the first `count` areas above `address` ends.
    pub fn end_of_some(&self, address: usize, count: usize) -> usize {
        let first = self.find(address).map_or(address, |area| area.start);
        self.map.range(first..).take(count).last().map_or(address, |(_, area)| area.end)
    }

    /// Whether `start..end` is mapped without a gap.
    pub fn covers(&self, start: usize, end: usize) -> bool {
        let mut at = start;
        for area in self.overlapping(start, end) {
            if area.start > at {
                return false;
            }
            at = area.end;
        }
        at >= end
    }

    /// Adds an area where there is none; joins it with its neighbours if they are alike.
    pub fn insert(&mut self, mut area: Area<B>) {
        if let Some((_, before)) = self.map.range(..area.start).next_back() {
            if before.end == area.start
                && before.flags == area.flags
                && before.backing.continues(before.end - before.start, &area.backing)
            {
                area = Area { start: before.start, backing: before.backing.clone(), ..area };
                self.map.remove(&area.start);
            }
        }
        if let Some(after) = self.map.get(&area.end) {
            if after.flags == area.flags && area.backing.continues(area.end - area.start, &after.backing) {
                let start = area.end;
                area.end = after.end;
                self.map.remove(&start);
            }
        }
        self.map.insert(area.start, area);
    }

    /// Cuts the area around `address` in two there.
    fn split(&mut self, address: usize) {
        let Some(area) = self.find(address).filter(|a| a.start < address) else { return };
        let high = Area {
            start: address,
            end: area.end,
            flags: area.flags,
            backing: area.backing.advance(address - area.start),
        };
        let start = area.start;
        if let Some(low) = self.map.get_mut(&start) {
            low.end = address;
        }
        self.map.insert(address, high);
    }

    /// Removes everything in `start..end` and hands it over.
    pub fn remove(&mut self, start: usize, end: usize) -> Vec<Area<B>> {
        let removed = self.take(start, end);
        if !removed.is_empty() {
            self.note_gap(start, end);
        }
        removed
    }

    /// There is a gap around `start..end` now.
    fn note_gap(&mut self, start: usize, end: usize) {
        let from = self.map.range(..start).next_back().map_or(0, |(_, area)| area.end);
        let to = self.map.range(end..).next().map_or(usize::MAX, |(_, area)| area.start);
        for full in self.full.iter_mut().filter(|full| full.bytes <= to - from) {
            full.above = full.above.max(to);
        }
    }

    /// As `remove`, by who puts something there again.
    fn take(&mut self, start: usize, end: usize) -> Vec<Area<B>> {
        self.split(start);
        self.split(end);
        let keys: Vec<usize> = self.map.range(start..end.max(start)).map(|(&k, _)| k).collect();
        keys.iter().filter_map(|k| self.map.remove(k)).collect()
    }

    /// Gives everything in `start..end` the protection `protection`; false, and nothing changed, if there is a gap.
    pub fn protect(&mut self, start: usize, end: usize, protection: Flags) -> bool {
        if !self.covers(start, end) {
            return false;
        }
        for mut area in self.take(start, end) {
            area.flags = area.flags.difference(PROTECTION).union(protection.intersection(PROTECTION));
            self.insert(area);
        }
        true
    }

    /// Changes the flags of everything in `start..end`; gaps stay gaps.
    pub fn change(&mut self, start: usize, end: usize, with: impl Fn(Flags) -> Flags) {
        for mut area in self.take(start, end) {
            area.flags = with(area.flags);
            self.insert(area);
        }
    }

    /// The area above `page` that may grow down to have it: an area that grows downwards, of at most `limit` bytes then, with a gap below.
    pub fn growing(&self, page: usize, limit: u64) -> Option<&Area<B>> {
        let above = self.find_above(page).filter(|a| page < a.start)?;
        let below = self.map.range(..page).next_back().map(|(_, a)| a);
        let crowded = below.is_some_and(|b| {
            b.flags.is_accessible()
                && !b.flags.contains(Flags::GROWS_DOWN)
                && page - b.end.min(page) < GUARD_GAP
        });
        let grows = above.flags.contains(Flags::GROWS_DOWN) && (above.end - page) as u64 <= limit;
        (grows && !crowded).then_some(above)
    }

    /// Moves the start of the area at `start` down to `new_start`, for a stack.
    pub fn grow_down(&mut self, start: usize, new_start: usize) {
        if let Some(area) = self.map.remove(&start) {
            self.map.insert(new_start, Area { start: new_start, ..area });
        }
    }

    /// A search for the highest free range of `bytes` bytes in `low..high`.
    pub fn search(&self, bytes: usize, low: usize, high: usize) -> Search {
        let known = self.full.iter().filter(|full| full.bytes > 0 && full.bytes <= bytes);
        let top = known.map(|full| full.above).min().map_or(high, |above| above.min(high));
        // It may lie in the gap below a stack.
        Search { bytes, low, top, seen: top.saturating_add(GUARD_GAP).min(high) }
    }

    /// Goes on with a search, which looks at `count` areas. Those above what was looked at may have changed in between, if nothing was
    /// removed.
    pub fn search_on(&mut self, search: &mut Search, count: usize) -> Found {
        for (looked, area) in self.map.range(..search.seen).rev().map(|(_, area)| area).enumerate() {
            if area.end < search.top && search.top - area.end >= search.bytes {
                return self.found(search);
            }
            if looked == count {
                return Found::NotYet;
            }
            let gap = if area.flags.contains(Flags::GROWS_DOWN) { GUARD_GAP } else { 0 };
            search.top = search.top.min(area.start.saturating_sub(gap));
            search.seen = area.start;
        }
        self.found(search)
    }

    fn found(&mut self, search: &Search) -> Found {
        let Some(start) = search.top.checked_sub(search.bytes).filter(|&start| start >= search.low) else {
            return Found::Nothing;
        };
        let same = self.full.iter().position(|full| full.bytes == search.bytes);
        self.full[..=same.unwrap_or(FULL - 1)].rotate_right(1);
        self.full[0] = Full { bytes: search.bytes, above: search.top };
        Found::At(start)
    }

    /// The highest free range of `bytes` bytes in `low..high`.
    pub fn find_free(&mut self, bytes: usize, low: usize, high: usize) -> Option<usize> {
        match self.search_on(&mut self.search(bytes, low, high), usize::MAX) {
            Found::At(start) => Some(start),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct At(Option<usize>);

    impl Backing for At {
        fn advance(&self, bytes: usize) -> Self {
            At(self.0.map(|o| o + bytes))
        }
        fn continues(&self, bytes: usize, next: &Self) -> bool {
            self.advance(bytes) == *next
        }
    }

    fn area(start: usize, end: usize, offset: Option<usize>) -> Area<At> {
        Area { start, end, flags: Flags::READ, backing: At(offset) }
    }

    fn ranges(areas: &Areas<At>) -> Vec<(usize, usize)> {
        areas.iter().map(|a| (a.start, a.end)).collect()
    }

    #[test]
    fn neighbours_join_only_if_alike() {
        let mut areas = Areas::new();
        areas.insert(area(0x1000, 0x2000, None));
        areas.insert(area(0x3000, 0x4000, None));
        areas.insert(area(0x2000, 0x3000, None));
        assert_eq!(ranges(&areas), [(0x1000, 0x4000)]);
        areas.insert(area(0x4000, 0x5000, Some(0)));
        areas.insert(area(0x5000, 0x6000, Some(0x1000)));
        areas.insert(area(0x6000, 0x7000, Some(0x9000)));
        assert_eq!(ranges(&areas), [(0x1000, 0x4000), (0x4000, 0x6000), (0x6000, 0x7000)]);
    }

    #[test]
    fn a_hole_splits_and_keeps_offsets() {
        let mut areas = Areas::new();
        areas.insert(area(0x1000, 0x9000, Some(0)));
        let removed = areas.remove(0x3000, 0x5000);
        assert_eq!(removed, [area(0x3000, 0x5000, Some(0x2000))]);
        assert_eq!(areas.find(0x5000).unwrap().backing, At(Some(0x4000)));
        assert!(areas.find(0x4fff).is_none() && areas.find(0x2fff).is_some());
        assert!(!areas.covers(0x2000, 0x6000) && areas.covers(0x5000, 0x9000));
    }

    #[test]
    fn protect_needs_no_gap() {
        let mut areas = Areas::new();
        areas.insert(area(0x1000, 0x4000, None));
        assert!(!areas.protect(0x3000, 0x5000, Flags::WRITE));
        assert!(areas.protect(0x2000, 0x3000, Flags::WRITE));
        assert_eq!(ranges(&areas), [(0x1000, 0x2000), (0x2000, 0x3000), (0x3000, 0x4000)]);
        assert!(areas.protect(0x2000, 0x3000, Flags::READ));
        assert_eq!(ranges(&areas), [(0x1000, 0x4000)]);
    }

    #[test]
    fn free_space_is_found_from_the_top() {
        let mut areas = Areas::new();
        assert_eq!(areas.find_free(0x1000, 0x1000, 0x10000), Some(0xf000));
        areas.insert(area(0xe000, 0x10000, None));
        assert_eq!(areas.find_free(0x1000, 0x1000, 0x10000), Some(0xd000));
        areas.insert(area(0x1000, 0x8000, None));
        assert_eq!(areas.find_free(0x6000, 0x1000, 0x10000), Some(0x8000));
        assert_eq!(areas.find_free(0x7000, 0x1000, 0x10000), None);
        assert_eq!(areas.find_free(usize::MAX, 0x1000, 0x10000), None);
    }

    #[test]
    fn what_an_area_may_become_is_kept_with_it() {
        let shared = Flags::READ | Flags::SHARED | Flags::MAY_EXECUTE;
        assert!(shared.may_become(Flags::READ | Flags::EXECUTE) && !shared.may_become(Flags::WRITE));
        assert!((Flags::READ | MAY_ALL).may_become(PROTECTION) && Flags::READ.may_become(Flags::empty()));
    }

    #[test]
    fn a_stack_keeps_its_distance_and_its_limit() {
        let mut areas = Areas::new();
        areas.insert(Area { flags: Flags::READ | Flags::GROWS_DOWN, ..area(0x80_0000, 0x80_1000, None) });
        assert!(
            areas.growing(0x70_0000, 0x10_1000).is_some() && areas.growing(0x70_0000, 0x10_0fff).is_none()
        );
        areas.insert(area(0x60_0000, 0x60_1000, None));
        assert!(areas.growing(0x70_1000, u64::MAX).is_some() && areas.growing(0x70_0000, u64::MAX).is_none());
        assert_eq!(areas.find_free(0x1000, 0, 0x80_1000), Some(0x6f_f000));
    }

    #[test]
    fn flags_change_where_something_is_mapped() {
        let mut areas = Areas::new();
        areas.insert(area(0x1000, 0x3000, None));
        areas.insert(area(0x4000, 0x5000, None));
        areas.change(0x2000, 0x6000, |flags| flags | Flags::LOCKED);
        assert_eq!(ranges(&areas), [(0x1000, 0x2000), (0x2000, 0x3000), (0x4000, 0x5000)]);
    }

    #[test]
    fn stack_grows() {
        let mut areas = Areas::new();
        areas.insert(area(0x8000, 0x9000, None));
        areas.grow_down(0x8000, 0x5000);
        assert_eq!(ranges(&areas), [(0x5000, 0x9000)]);
    }

    /// Areas and free ranges at random, against a search that remembers nothing.
    #[test]
    fn what_is_remembered_of_searches_is_true() {
        const HIGH: usize = 0x40_0000;
        let mut areas = Areas::new();
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let bytes = 0x1000 * (1 + random(12));
            let at = 0x1000 * random(HIGH / 0x1000 - 12);
            match random(4) {
                0 | 1 => {
                    let afresh =
                        Areas { map: areas.map.clone(), ..Areas::default() }.find_free(bytes, 0x1000, HIGH);
                    let mut search = areas.search(bytes, 0x1000, HIGH);
                    let found = loop {
                        match areas.search_on(&mut search, 3) {
                            Found::NotYet => {}
                            Found::At(start) => break Some(start),
                            Found::Nothing => break None,
                        }
                    };
                    assert_eq!(found, afresh);
                    if let Some(start) = found {
                        let flags = if random(10) == 0 { Flags::GROWS_DOWN } else { Flags::READ };
                        areas.insert(Area { flags, ..area(start, start + bytes, None) });
                    }
                }
                2 => drop(areas.remove(at, at + bytes)),
                _ => areas.change(at, at + bytes, |flags| flags ^ Flags::WRITE),
            }
        }
        assert!(areas.len() > 10);
    }
}
