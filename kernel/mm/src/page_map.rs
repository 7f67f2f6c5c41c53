// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page frames by their place in a file, of which most may be missing.

use alloc::{collections::BTreeMap, vec::Vec};

use exo_hal::mm::frame::Frame;

/// Pages that are kept in one list. A small file has one short list; a hole takes no memory.
const CHUNK: u64 = 128;

/// The frames.
#[derive(Default)]
pub(crate) struct PageMap {
    chunks: BTreeMap<u64, Vec<Option<Frame>>>,
    count: usize,
}

fn split(index: u64) -> (u64, usize) {
    (index / CHUNK, (index % CHUNK) as usize)
}

impl PageMap {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The frame at a place.
    pub(crate) fn get(&self, index: u64) -> Option<&Frame> {
        let (chunk, at) = split(index);
        self.chunks.get(&chunk)?.get(at)?.as_ref()
    }

    /// Enters a frame at a place that has none; the one that is there if it has one. None if there is no memory for the list.
    pub(crate) fn insert(&mut self, index: u64, frame: Frame) -> Option<&Frame> {
        let (chunk, at) = split(index);
        let list = self.chunks.entry(chunk).or_default();
        if list.len() <= at {
            list.try_reserve(at + 1 - list.len()).ok()?;
            list.resize(at + 1, None);
        }
        let slot = list.get_mut(at)?;
        if slot.is_none() {
            self.count += 1;
        }
        Some(slot.get_or_insert(frame))
    }

    /// Takes out the first frame at or behind `start` and before `end`; its place.
    pub(crate) fn take_first(&mut self, start: u64, end: u64) -> Option<(u64, Frame)> {
        let index = self.first_present(start).filter(|index| *index < end)?;
        let (chunk, at) = split(index);
        let list = self.chunks.get_mut(&chunk)?;
        let frame = list.get_mut(at)?.take()?;
        self.count -= 1;
        if list.iter().all(Option::is_none) {
            self.chunks.remove(&chunk);
        } else {
            while list.last().is_some_and(Option::is_none) {
                list.pop();
            }
        }
        Some((index, frame))
    }

    /// Takes out the last list of frames.
    pub(crate) fn take_last(&mut self) -> Option<Vec<Option<Frame>>> {
        let (_, list) = self.chunks.pop_last()?;
        self.count -= list.iter().flatten().count();
        Some(list)
    }

    /// The first place at or behind `start` that has a frame.
    pub(crate) fn first_present(&self, start: u64) -> Option<u64> {
        let (first, _) = split(start);
        self.chunks.range(first..).find_map(|(chunk, list)| {
            let skip = start.saturating_sub(chunk * CHUNK) as usize;
            let at = list.iter().skip(skip).position(Option::is_some)?;
            Some(chunk * CHUNK + (skip + at) as u64)
        })
    }

    /// The first place at or behind `start` that has none.
    pub(crate) fn first_missing(&self, start: u64) -> u64 {
        let (mut chunk, mut at) = split(start);
        while let Some(list) = self.chunks.get(&chunk) {
            match list.iter().skip(at).position(Option::is_none) {
                Some(found) => return chunk * CHUNK + (at + found) as u64,
                None if (list.len() as u64) < CHUNK => {
                    return chunk * CHUNK + (list.len().max(at)) as u64;
                }
                None => (chunk, at) = (chunk + 1, 0),
            }
        }
        chunk * CHUNK + at as u64
    }
}
