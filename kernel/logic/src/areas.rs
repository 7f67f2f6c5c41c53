// SPDX-License-Identifier: MIT OR Apache-2.0
//! The areas of an address space: which ranges are mapped, how, and from what. Page-aligned byte addresses throughout;
//! ranges are half open.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

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
    /// Which object its pages are of, by a number that no two objects have at once; none for an area's own memory.
    fn object(&self) -> Option<usize> {
        None
    }
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
    /// The areas that show an object: which, and where they start.
    showing: BTreeSet<(usize, usize)>,
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
        Self {
            map: BTreeMap::new(),
            showing: BTreeSet::new(),
            full: [Full { bytes: 0, above: usize::MAX }; FULL],
        }
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

    /// Enters an area, joined with nothing.
    fn put(&mut self, area: Area<B>) {
        if let Some(object) = area.backing.object() {
            self.showing.insert((object, area.start));
        }
        self.map.insert(area.start, area);
    }

    /// Adds an area behind all others, joined with nothing.
    pub fn append(&mut self, area: Area<B>) {
        debug_assert!(
            self.map.last_key_value().is_none_or(|(_, last)| last.end <= area.start),
            "areas in order"
        );
        self.put(area);
    }

    /// Takes out the area that starts at `start`.
    fn pick(&mut self, start: usize) -> Option<Area<B>> {
        let area = self.map.remove(&start)?;
        if let Some(object) = area.backing.object() {
            self.showing.remove(&(object, start));
        }
        Some(area)
    }

    /// The first area that shows `object` and ends above `address`.
    pub fn find_showing(&self, object: usize, address: usize) -> Option<&Area<B>> {
        let before = self.showing.range((object, 0)..=(object, address)).next_back();
        let at = |key: &(usize, usize)| self.map.get(&key.1);
        before.and_then(at).filter(|area| address < area.end).or_else(|| {
            self.showing
                .range((object, address)..=(object, usize::MAX))
                .find_map(at)
                .filter(|a| address < a.end)
        })
    }

    /// Whether an area shows `object`.
    pub fn shows(&self, object: usize) -> bool {
        self.showing.range((object, 0)..).next().is_some_and(|first| first.0 == object)
    }

    /// Adds an area where there is none; joins it with its neighbours if they are alike.
    pub fn insert(&mut self, mut area: Area<B>) {
        let continued = self.map.get(&area.end).is_some_and(|after| {
            after.flags == area.flags && area.backing.continues(area.end - area.start, &after.backing)
        });
        if continued {
            if let Some(after) = self.pick(area.end) {
                area.end = after.end;
            }
        }
        if let Some((_, before)) = self.map.range_mut(..area.start).next_back() {
            if before.end == area.start
                && before.flags == area.flags
                && before.backing.continues(before.end - before.start, &area.backing)
            {
                before.end = area.end;
                return;
            }
        }
        self.put(area);
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
        self.put(high);
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
        keys.iter().filter_map(|k| self.pick(*k)).collect()
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
        if let Some(area) = self.pick(start) {
            self.put(Area { start: new_start, ..area });
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
mod tests;
