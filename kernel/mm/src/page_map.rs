// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page frames by their place in a file, of which most may be missing, and what is noted of each.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use exo_hal::mm::frame::Frame;

/// Pages that are kept in one list. A small file has one short list; a hole takes no memory.
const CHUNK: u64 = 128;

/// What is noted of a page that comes from a store. Files that are in memory alone note nothing, and pay for none of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It has what the store has, or what is newer.
    UpToDate,
    /// The store does not have what it has.
    Dirty,
    /// Somebody fills it, or prepares the store for its change.
    Busy,
    /// Somebody brings it to the store.
    WriteBack,
    /// It was used since somebody looked for pages to give back.
    Accessed,
    /// The last who filled it could not.
    Failed,
}

/// How many kinds of marks there are.
const MARKS: usize = Mark::Failed as usize + 1;

/// A list of frames, with a bit for each of its pages and each kind of mark once there is a mark.
#[derive(Default)]
struct Chunk {
    frames: Vec<Option<Frame>>,
    marks: Option<Box<[u128; MARKS]>>,
}

impl Chunk {
    fn marked(&self, mark: Mark) -> u128 {
        self.marks.as_ref().and_then(|marks| marks.get(mark as usize)).copied().unwrap_or(0)
    }

    fn forget_marks(&mut self, at: usize) {
        if let Some(marks) = &mut self.marks {
            marks.iter_mut().for_each(|bits| *bits &= !(1 << at));
        }
    }
}

/// The frames.
#[derive(Default)]
pub(crate) struct PageMap {
    chunks: BTreeMap<u64, Chunk>,
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
        self.chunks.get(&chunk)?.frames.get(at)?.as_ref()
    }

    /// Copies the frames from `first` on.
    pub(crate) fn copy_to(&self, first: u64, mut out: &mut [Option<Frame>]) {
        let (mut chunk, mut at) = split(first);
        while !out.is_empty() {
            let count = out.len().min(CHUNK as usize - at);
            let (now, rest) = core::mem::take(&mut out).split_at_mut_checked(count).unwrap_or_default();
            let list = self.chunks.get(&chunk).and_then(|list| list.frames.get(at..)).unwrap_or_default();
            for (out, frame) in now.iter_mut().zip(list) {
                out.clone_from(frame);
            }
            (chunk, at, out) = (chunk + 1, 0, rest);
        }
    }

    /// Enters a frame at a place that has none; the one that is there if it has one. None if there is no memory for the list.
    pub(crate) fn insert(&mut self, index: u64, frame: Frame) -> Option<&Frame> {
        let (chunk, at) = split(index);
        let list = &mut self.chunks.entry(chunk).or_default().frames;
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
        Some((index, self.take(index)?))
    }

    /// Takes out the frame at a place.
    pub(crate) fn take(&mut self, index: u64) -> Option<Frame> {
        let (number, at) = split(index);
        let chunk = self.chunks.get_mut(&number)?;
        let frame = chunk.frames.get_mut(at)?.take()?;
        chunk.forget_marks(at);
        self.count -= 1;
        while chunk.frames.last().is_some_and(Option::is_none) {
            chunk.frames.pop();
        }
        if chunk.frames.is_empty() {
            self.chunks.remove(&number);
        }
        Some(frame)
    }

    /// Takes out the last list of frames.
    pub(crate) fn take_last(&mut self) -> Option<Vec<Option<Frame>>> {
        let (_, chunk) = self.chunks.pop_last()?;
        self.count -= chunk.frames.iter().flatten().count();
        Some(chunk.frames)
    }

    /// The first place at or behind `start` that has a frame.
    pub(crate) fn first_present(&self, start: u64) -> Option<u64> {
        let (first, _) = split(start);
        self.chunks.range(first..).find_map(|(number, chunk)| {
            let skip = start.saturating_sub(number * CHUNK) as usize;
            let at = chunk.frames.iter().skip(skip).position(Option::is_some)?;
            Some(number * CHUNK + (skip + at) as u64)
        })
    }

    /// The first place at or behind `start` that has none.
    pub(crate) fn first_missing(&self, start: u64) -> u64 {
        let (mut number, mut at) = split(start);
        while let Some(chunk) = self.chunks.get(&number) {
            let list = &chunk.frames;
            match list.iter().skip(at).position(Option::is_none) {
                Some(found) => return number * CHUNK + (at + found) as u64,
                None if (list.len() as u64) < CHUNK => {
                    return number * CHUNK + (list.len().max(at)) as u64;
                }
                None => (number, at) = (number + 1, 0),
            }
        }
        number * CHUNK + at as u64
    }

    /// Whether a page has a mark.
    pub(crate) fn is(&self, index: u64, mark: Mark) -> bool {
        let (chunk, at) = split(index);
        self.chunks.get(&chunk).is_some_and(|chunk| (chunk.marked(mark) >> at) & 1 != 0)
    }

    /// Gives a mark to a page that is there, or takes it.
    pub(crate) fn set(&mut self, index: u64, mark: Mark, on: bool) {
        let (chunk, at) = split(index);
        let Some(chunk) = self.chunks.get_mut(&chunk) else { return };
        if !chunk.frames.get(at).is_some_and(Option::is_some) {
            return;
        }
        if let Some(bits) = chunk.marks.get_or_insert_default().get_mut(mark as usize) {
            *bits = if on { *bits | (1 << at) } else { *bits & !(1 << at) };
        }
    }

    /// The first page at or behind `start` that has one of these marks.
    pub(crate) fn first_marked(&self, start: u64, marks: &[Mark]) -> Option<u64> {
        let (first, _) = split(start);
        self.chunks.range(first..).find_map(|(number, chunk)| {
            // Those before the first place of the first list are not meant.
            let skip = start.saturating_sub(number * CHUNK);
            let bits = marks.iter().fold(0, |bits, mark| bits | chunk.marked(*mark)) >> skip << skip;
            (bits != 0).then(|| number * CHUNK + u64::from(bits.trailing_zeros()))
        })
    }
}
