// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbered slots of which the lowest free one is given next: a table of descriptors. They are kept in chunks, so that a slot far away costs
//! a list of pointers, and nothing that is done with one slot takes time for all.

use alloc::{boxed::Box, collections::TryReserveError, vec::Vec};

/// Slots in a chunk: a bit of a word for each.
const CHUNK: usize = 64;

struct Chunk<T> {
    used: Word,
    slots: [Option<T>; CHUNK],
}

/// 64 bits.
#[derive(Clone, Copy, Default)]
struct Word(u64);

impl Word {
    fn set(&mut self, at: usize, value: bool) {
        self.0 = if value { self.0 | (1 << at) } else { self.0 & !(1 << at) };
    }

    /// The first bit from `from` on that is set.
    fn next(self, from: usize) -> Option<usize> {
        let rest = self.0 & u64::MAX.checked_shl(from as u32).unwrap_or(0);
        (rest != 0).then(|| rest.trailing_zeros() as usize)
    }
}

/// The first bit from `from` on that is set, in what `word` makes of each of many words.
fn next(words: &[Word], from: usize, word: impl Fn(Word) -> Word) -> Option<usize> {
    let (first, at) = split(from);
    if let Some(found) = word(*words.get(first)?).next(at) {
        return Some(first * CHUNK + found);
    }
    let rest = words.get(first + 1..)?;
    let index = rest.iter().position(|it| word(*it).0 != 0)?;
    let found = word(*rest.get(index)?).next(0)?;
    Some((first + 1 + index) * CHUNK + found)
}

/// The slots.
pub struct Slots<T> {
    chunks: Vec<Option<Box<Chunk<T>>>>,
    /// Which chunks have anything, and which have no free slot.
    occupied: Vec<Word>,
    full: Vec<Word>,
    made: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn split(number: usize) -> (usize, usize) {
    (number / CHUNK, number % CHUNK)
}

impl<T> Slots<T> {
    /// No slots.
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), occupied: Vec::new(), full: Vec::new(), made: 0 }
    }

    /// Slots that there is room for.
    pub fn room(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// Bytes that room for `number` would take more.
    pub fn bytes_for(&self, number: usize) -> usize {
        let (chunk, _) = split(number);
        let list = (chunk + 1).saturating_sub(self.chunks.len()) * size_of::<Option<Box<Chunk<T>>>>();
        list + if self.chunk(chunk).is_some() { 0 } else { size_of::<Chunk<T>>() }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Option<Box<Chunk<T>>>>() + self.made * size_of::<Chunk<T>>()
    }

    fn chunk(&self, chunk: usize) -> Option<&Chunk<T>> {
        self.chunks.get(chunk)?.as_deref()
    }

    /// What is in a slot.
    #[inline]
    pub fn get(&self, number: usize) -> Option<&T> {
        let (chunk, at) = split(number);
        self.chunk(chunk)?.slots.get(at)?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        let (chunk, at) = split(number);
        self.chunks.get_mut(chunk)?.as_deref_mut()?.slots.get_mut(at)?.as_mut()
    }

    /// The lowest free slot from `from` on.
    pub fn first_free(&self, from: usize) -> usize {
        let (chunk, at) = split(from);
        let in_chunk = |chunk: usize, at: usize| {
            let used = self.chunk(chunk).map_or(Word(0), |chunk| chunk.used);
            Word(!used.0).next(at).map(|at| chunk * CHUNK + at)
        };
        if let Some(free) = in_chunk(chunk, at) {
            return free;
        }
        // Beyond the list none is full.
        let with_room = next(&self.full, chunk + 1, |full| Word(!full.0));
        let with_room = with_room.unwrap_or((self.full.len() * CHUNK).max(chunk + 1));
        in_chunk(with_room, 0).unwrap_or(with_room * CHUNK)
    }

    /// The lowest slot from `from` on that has something.
    pub fn next_used(&self, from: usize) -> Option<usize> {
        let (chunk, at) = split(from);
        if let Some(at) = self.chunk(chunk).and_then(|chunk| chunk.used.next(at)) {
            return Some(chunk * CHUNK + at);
        }
        let chunk = next(&self.occupied, chunk + 1, |word| word)?;
        Some(chunk * CHUNK + self.chunk(chunk)?.used.next(0)?)
    }

    /// The highest slot that has something.
    pub fn last_used(&self) -> Option<usize> {
        let last = |word: Word| CHUNK - 1 - word.0.leading_zeros() as usize;
        let index = self.occupied.iter().rposition(|word| word.0 != 0)?;
        let chunk = index * CHUNK + last(*self.occupied.get(index)?);
        Some(chunk * CHUNK + last(self.chunk(chunk)?.used))
    }

    /// Whether a slot can be filled without memory for it.
    #[inline]
    pub fn has_room_for(&self, number: usize) -> bool {
        self.chunk(split(number).0).is_some()
    }

    /// Fills a slot; what was in it.
    #[inline]
    pub fn put(&mut self, number: usize, content: T) -> Result<Option<T>, TryReserveError> {
        let (index, at) = split(number);
        if !self.has_room_for(number) {
            self.make(index)?;
        }
        let Some(chunk) = self.chunks.get_mut(index).and_then(Option::as_deref_mut) else { return Ok(None) };
        let before = chunk.used.0;
        chunk.used.set(at, true);
        let old = chunk.slots.get_mut(at).and_then(|slot| slot.replace(content));
        let is_full = chunk.used.0 == u64::MAX;
        if before == 0 || is_full {
            self.note(index, true, is_full);
        }
        Ok(old)
    }

    /// Makes a chunk that is not there.
    #[cold]
    fn make(&mut self, index: usize) -> Result<(), TryReserveError> {
        let chunks = index + 1;
        if chunks > self.chunks.len() {
            let words = chunks.div_ceil(CHUNK);
            self.chunks.try_reserve(chunks - self.chunks.len())?;
            self.occupied.try_reserve(words.saturating_sub(self.occupied.len()))?;
            self.full.try_reserve(words.saturating_sub(self.full.len()))?;
            self.chunks.resize_with(chunks, || None);
            self.occupied.resize(words, Word(0));
            self.full.resize(words, Word(0));
        }
        if let Some(place) = self.chunks.get_mut(index) {
            *place = Some(Box::new(Chunk { used: Word(0), slots: [const { None }; CHUNK] }));
            self.made += 1;
        }
        Ok(())
    }

    fn note(&mut self, chunk: usize, is_occupied: bool, is_full: bool) {
        let (word, at) = split(chunk);
        for (words, value) in [(&mut self.occupied, is_occupied), (&mut self.full, is_full)] {
            if let Some(word) = words.get_mut(word) {
                word.set(at, value);
            }
        }
    }

    /// Empties a slot. A chunk that has nothing any more goes, but for the first, which is used all the time.
    pub fn take(&mut self, number: usize) -> Option<T> {
        let (index, at) = split(number);
        let place = self.chunks.get_mut(index)?;
        let chunk = place.as_deref_mut()?;
        let old = chunk.slots.get_mut(at)?.take()?;
        let before = chunk.used.0;
        chunk.used.set(at, false);
        let is_occupied = chunk.used.0 != 0;
        if !is_occupied && index > 0 {
            *place = None;
            self.made -= 1;
        }
        if !is_occupied || before == u64::MAX {
            self.note(index, is_occupied, false);
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_lowest_free_slot_is_found() {
        let mut slots = Slots::new();
        for number in 0..200 {
            assert_eq!(slots.first_free(0), number);
            slots.put(number, number).unwrap();
        }
        assert_eq!((slots.take(70), slots.take(3)), (Some(70), Some(3)));
        assert_eq!([0, 3, 4, 71, 500].map(|from| slots.first_free(from)), [3, 3, 70, 200, 500]);
        assert_eq!(
            (slots.next_used(3), slots.next_used(199), slots.next_used(200)),
            (Some(4), Some(199), None)
        );
        assert_eq!(slots.last_used(), Some(199));
        assert_eq!(slots.put(4, 7).unwrap(), Some(4));
        assert_eq!((slots.get(4), slots.get(3), slots.get(1 << 40)), (Some(&7), None, None));
    }

    #[test]
    fn a_slot_far_away_costs_little() {
        let mut slots = Slots::new();
        slots.put((1 << 20) - 1, 1).unwrap();
        assert!(slots.bytes() < 1 << 18 && slots.bytes_for(0) < 1 << 13);
        assert_eq!((slots.first_free(0), slots.last_used()), (0, Some((1 << 20) - 1)));
    }

    #[test]
    fn any_sequence_is_as_in_a_map() {
        let (mut slots, mut map, mut seed) = (Slots::new(), BTreeMap::new(), 1_u64);
        for step in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (seed >> 33) as usize % 300;
            match seed >> 62 {
                0 => assert_eq!(slots.take(number), map.remove(&number)),
                _ => assert_eq!(slots.put(number, step).unwrap(), map.insert(number, step)),
            }
            let free = (number..).find(|at| !map.contains_key(at)).unwrap();
            assert_eq!(slots.first_free(number), free);
            let lowest = (0..).find(|at| !map.contains_key(at)).unwrap();
            assert_eq!(slots.first_free(0), lowest);
            assert_eq!(slots.next_used(number), map.range(number..).next().map(|(at, _)| *at));
            assert_eq!(slots.last_used(), map.last_key_value().map(|(at, _)| *at));
        }
    }
}
