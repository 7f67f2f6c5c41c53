// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks on ranges of a file's bytes, as fcntl(2) has them: what an owner holds, what conflicts, and who waits for whom.
//!
//! The owner's locks never overlap, and neighbours of the same mode are one lock. Locks of an owner stand together, in the order of their
//! bytes; owners stand in the order in which they came. That is Linux's order, which F_GETLK shows.

use alloc::vec::Vec;
use core::ops::Range;

/// The list cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Who excludes whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Excludes writers.
    Read,
    /// Excludes everybody.
    Write,
}

/// Bytes `first..=last`; `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub first: u64,
    /// The last byte.
    pub last: u64,
}

impl Span {
    fn overlaps(self, other: Span) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether they overlap or no byte is between them.
    fn touches(self, other: Span) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }
}

/// A lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock<O> {
    /// Who holds it.
    pub owner: O,
    /// The process that asked for it, for F_GETLK.
    pub pid: i32,
    /// What it excludes.
    pub mode: Mode,
    /// On which bytes.
    pub span: Span,
}

/// The locks of a file.
#[derive(Debug)]
pub struct RangeLocks<O> {
    locks: Vec<Lock<O>>,
}

impl<O> Default for RangeLocks<O> {
    fn default() -> Self {
        Self { locks: Vec::new() }
    }
}

impl<O: Copy + PartialEq> RangeLocks<O> {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Lock<O>> {
        self.locks.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.locks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    /// The first lock that keeps `owner` from having this one.
    pub fn conflict(&self, owner: O, mode: Mode, span: Span) -> Option<&Lock<O>> {
        self.locks.iter().find(|lock| {
            lock.owner != owner
                && lock.span.overlaps(span)
                && (mode == Mode::Write || lock.mode == Mode::Write)
        })
    }

    /// The first lock that `owner` has in `span`.
    pub fn held(&self, owner: O, span: Span) -> Option<&Lock<O>> {
        self.locks.iter().find(|lock| lock.owner == owner && lock.span.overlaps(span))
    }

    fn group(&self, owner: O) -> Range<usize> {
        let start = self.locks.iter().position(|lock| lock.owner == owner).unwrap_or(self.locks.len());
        let length = self.locks.iter().skip(start).take_while(|lock| lock.owner == owner).count();
        start..start + length
    }

    /// Replaces what `owner` has in `span` by `new`.
    fn put(&mut self, owner: O, span: Span, mut new: Option<Lock<O>>) -> Result<bool, NoMemory> {
        // One lock can become three.
        self.locks.try_reserve(2).map_err(|_| NoMemory)?;
        let group = self.group(owner);
        let own = self.locks.get(group.clone()).unwrap_or_default();
        let start = group.start
            + own.iter().take_while(|lock| !lock.span.touches(span) && lock.span.first < span.first).count();
        let count =
            self.locks.iter().take(group.end).skip(start).take_while(|lock| lock.span.touches(span)).count();
        let (mut left, mut right, mut changed) = (None, None, new.is_some());
        for lock in self.locks.iter().skip(start).take(count) {
            changed |= lock.span.overlaps(span);
            match &mut new {
                Some(new) if new.mode == lock.mode => {
                    new.span.first = new.span.first.min(lock.span.first);
                    new.span.last = new.span.last.max(lock.span.last);
                }
                _ => {
                    if lock.span.first < span.first {
                        let last = lock.span.last.min(span.first - 1);
                        left = Some(Lock { span: Span { last, ..lock.span }, ..*lock });
                    }
                    if lock.span.last > span.last {
                        let first = lock.span.first.max(span.last + 1);
                        right = Some(Lock { span: Span { first, ..lock.span }, ..*lock });
                    }
                }
            }
        }
        self.locks.splice(start..start + count, [left, new, right].into_iter().flatten());
        Ok(changed)
    }

    /// Gives the owner the lock, instead of whatever it has on these bytes. Nothing may conflict.
    pub fn set(&mut self, lock: Lock<O>) -> Result<(), NoMemory> {
        self.put(lock.owner, lock.span, Some(lock)).map(|_| ())
    }

    /// Takes from the owner what it has on these bytes; whether that was anything. Fails only where a lock is split.
    pub fn clear(&mut self, owner: O, span: Span) -> Result<bool, NoMemory> {
        self.put(owner, span, None)
    }

    /// Takes everything from the owner; whether that was anything.
    pub fn clear_owner(&mut self, owner: O) -> bool {
        let before = self.locks.len();
        self.locks.retain(|lock| lock.owner != owner);
        before != self.locks.len()
    }
}

/// A thread that waits for a lock.
#[derive(Clone, Copy, Debug)]
struct Wait<O> {
    file: usize,
    thread: u32,
    waiter: O,
    holder: O,
}

/// Who waits for whom, over all files.
#[derive(Debug)]
pub struct WaitGraph<O> {
    waits: Vec<Wait<O>>,
}

/// Why nobody may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The holder waits for the waiter, perhaps through others.
    Deadlock,
    /// The list cannot grow.
    NoMemory,
}

impl<O: Copy + PartialEq> WaitGraph<O> {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self { waits: Vec::new() }
    }

    /// `thread` of `waiter` is about to wait for `holder`, in `file`. What it waited for before is forgotten.
    pub fn wait(&mut self, file: usize, thread: u32, waiter: O, holder: O) -> Result<(), Refused> {
        self.end(thread);
        if self.leads_to(holder, waiter)? {
            return Err(Refused::Deadlock);
        }
        self.waits.try_reserve(1).map_err(|_| Refused::NoMemory)?;
        self.waits.push(Wait { file, thread, waiter, holder });
        Ok(())
    }

    /// Whether `from` is `to` or waits for it.
    fn leads_to(&self, from: O, to: O) -> Result<bool, Refused> {
        // Each wait is followed once, however the owners are connected.
        let mut seen = Vec::new();
        let mut open = Vec::new();
        seen.try_reserve_exact(self.waits.len()).map_err(|_| Refused::NoMemory)?;
        open.try_reserve_exact(self.waits.len() + 1).map_err(|_| Refused::NoMemory)?;
        seen.resize(self.waits.len(), false);
        open.push(from);
        while let Some(at) = open.pop() {
            if at == to {
                return Ok(true);
            }
            for (wait, seen) in self.waits.iter().zip(&mut seen) {
                if wait.waiter == at && !*seen {
                    *seen = true;
                    open.push(wait.holder);
                }
            }
        }
        Ok(false)
    }

    /// `thread` does not wait any more.
    pub fn end(&mut self, thread: u32) {
        self.waits.retain(|wait| wait.thread != thread);
    }

    /// Something was released in `file`: who waits there looks again.
    pub fn end_in_file(&mut self, file: usize) {
        self.waits.retain(|wait| wait.file != file);
    }
}

impl<O: Copy + PartialEq> Default for WaitGraph<O> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 24;

    fn span(first: u64, last: u64) -> Span {
        Span { first, last }
    }

    fn lock(owner: u8, mode: Mode, first: u64, last: u64) -> Lock<u8> {
        Lock { owner, pid: i32::from(owner), mode, span: span(first, last) }
    }

    fn shape(locks: &RangeLocks<u8>) -> Vec<(u8, Mode, u64, u64)> {
        locks.iter().map(|l| (l.owner, l.mode, l.span.first, l.span.last)).collect()
    }

    use Mode::{Read, Write};

    #[test]
    fn unlocking_the_middle_splits() {
        let mut locks = RangeLocks::default();
        locks.set(lock(1, Write, 0, 9)).unwrap();
        assert_eq!(locks.clear(1, span(3, 5)), Ok(true));
        assert_eq!(shape(&locks), [(1, Write, 0, 2), (1, Write, 6, 9)]);
        assert_eq!(locks.clear(1, span(3, 5)), Ok(false));
    }

    #[test]
    fn neighbours_of_the_same_mode_are_one() {
        let mut locks = RangeLocks::default();
        locks.set(lock(1, Read, 0, 2)).unwrap();
        locks.set(lock(1, Read, 6, 9)).unwrap();
        locks.set(lock(1, Read, 3, 5)).unwrap();
        assert_eq!(shape(&locks), [(1, Read, 0, 9)]);
        locks.set(lock(1, Write, 10, 12)).unwrap();
        assert_eq!(shape(&locks), [(1, Read, 0, 9), (1, Write, 10, 12)]);
    }

    #[test]
    fn another_mode_in_the_middle_makes_three() {
        let mut locks = RangeLocks::default();
        locks.set(lock(1, Read, 0, u64::MAX)).unwrap();
        locks.set(lock(1, Write, 4, 7)).unwrap();
        assert_eq!(shape(&locks), [(1, Read, 0, 3), (1, Write, 4, 7), (1, Read, 8, u64::MAX)]);
        locks.set(lock(1, Read, 4, 7)).unwrap();
        assert_eq!(shape(&locks), [(1, Read, 0, u64::MAX)]);
    }

    #[test]
    fn readers_share_and_writers_do_not() {
        let mut locks = RangeLocks::default();
        locks.set(lock(1, Read, 0, 9)).unwrap();
        assert!(locks.conflict(2, Read, span(0, 9)).is_none());
        assert_eq!(locks.conflict(2, Write, span(9, 9)).map(|l| l.owner), Some(1));
        assert!(locks.conflict(2, Write, span(10, 10)).is_none());
        assert!(locks.conflict(1, Write, span(0, 9)).is_none());
    }

    #[test]
    fn an_owner_goes_with_all_it_has() {
        let mut locks = RangeLocks::default();
        locks.set(lock(1, Read, 0, 1)).unwrap();
        locks.set(lock(2, Read, 0, 1)).unwrap();
        locks.set(lock(1, Read, 8, 9)).unwrap();
        assert_eq!(shape(&locks), [(1, Read, 0, 1), (1, Read, 8, 9), (2, Read, 0, 1)]);
        assert!(locks.clear_owner(1));
        assert!(!locks.clear_owner(1));
        assert_eq!(shape(&locks), [(2, Read, 0, 1)]);
    }

    /// A generator of numbers, so that a failure can be repeated.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    type Model = [[Option<Mode>; BYTES as usize]; 4];

    fn check(locks: &RangeLocks<u8>, model: &Model) {
        let mut from_list = Model::default();
        let mut before: Option<Lock<u8>> = None;
        for lock in locks.iter() {
            if let Some(before) = before.filter(|b| b.owner == lock.owner) {
                assert!(before.span.last < lock.span.first, "in order, without overlap");
                assert!(!(before.mode == lock.mode && before.span.last + 1 == lock.span.first), "merged");
            }
            for byte in lock.span.first..=lock.span.last {
                from_list[usize::from(lock.owner)][byte as usize] = Some(lock.mode);
            }
            before = Some(*lock);
        }
        assert_eq!(&from_list, model);
        let mut owners: Vec<u8> = locks.iter().map(|l| l.owner).collect();
        owners.dedup();
        let count = owners.len();
        owners.sort_unstable();
        owners.dedup();
        assert_eq!(owners.len(), count, "an owner's locks stand together");
    }

    #[test]
    fn every_step_agrees_with_a_model_of_single_bytes() {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for _ in 0..200 {
            let mut locks = RangeLocks::default();
            let mut model = Model::default();
            for _ in 0..300 {
                let owner = numbers.below(4) as u8;
                let (a, b) = (numbers.below(BYTES), numbers.below(BYTES));
                let wanted = span(a.min(b), a.max(b));
                let bytes = wanted.first as usize..=wanted.last as usize;
                let mode = [None, Some(Read), Some(Write)][numbers.below(3) as usize];
                let conflicts = |mode| {
                    (0..4).filter(|other| *other != owner).any(|other| {
                        model[usize::from(other)][bytes.clone()]
                            .iter()
                            .any(|held| held.is_some() && (mode == Write || *held == Some(Write)))
                    })
                };
                match mode {
                    None => {
                        let had = model[usize::from(owner)][bytes.clone()].iter().any(Option::is_some);
                        assert_eq!(locks.clear(owner, wanted), Ok(had));
                        model[usize::from(owner)][bytes].fill(None);
                    }
                    Some(mode) if conflicts(mode) => assert!(locks.conflict(owner, mode, wanted).is_some()),
                    Some(mode) => {
                        assert!(locks.conflict(owner, mode, wanted).is_none());
                        locks.set(Lock { owner, pid: 1, mode, span: wanted }).unwrap();
                        model[usize::from(owner)][bytes].fill(Some(mode));
                    }
                }
                check(&locks, &model);
            }
        }
    }

    #[test]
    fn a_circle_is_refused_however_long() {
        let mut graph = WaitGraph::new();
        for owner in 0..50u32 {
            assert_eq!(graph.wait(7, owner, owner, owner + 1), Ok(()));
        }
        assert_eq!(graph.wait(7, 50, 50, 0), Err(Refused::Deadlock));
        assert_eq!(graph.wait(7, 50, 50, 99), Ok(()));
        graph.end(20);
        assert_eq!(graph.wait(7, 50, 50, 0), Ok(()));
        assert_eq!(graph.wait(7, 20, 20, 21), Err(Refused::Deadlock));
    }

    #[test]
    fn what_was_released_is_no_edge_any_more() {
        let mut graph = WaitGraph::new();
        assert_eq!(graph.wait(1, 1, 'a', 'b'), Ok(()));
        graph.end_in_file(1);
        assert_eq!(graph.wait(2, 2, 'b', 'a'), Ok(()));
        assert_eq!(graph.wait(1, 3, 'c', 'b'), Ok(()));
        assert_eq!(graph.wait(1, 1, 'a', 'c'), Err(Refused::Deadlock));
    }

    #[test]
    fn threads_of_one_owner_wait_each_for_themselves() {
        let mut graph = WaitGraph::new();
        assert_eq!(graph.wait(1, 1, 'a', 'x'), Ok(()));
        assert_eq!(graph.wait(1, 2, 'a', 'b'), Ok(()));
        assert_eq!(graph.wait(1, 3, 'b', 'a'), Err(Refused::Deadlock));
        graph.end(2);
        assert_eq!(graph.wait(1, 3, 'b', 'a'), Ok(()));
    }
}
