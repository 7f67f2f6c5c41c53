// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bounded set of numbers that were seen before, without a lock: for things that are worth a word the first time only.
//! Nothing is ever removed.

use core::sync::atomic::{AtomicU64, Ordering};

/// Marks a slot that is in use, so that 0 can be a number.
const TAKEN: u64 = 1 << 32;
/// Slots that one number can be in. When all are taken by others, the number is not entered.
const PROBES: usize = 8;
/// 2^32 divided by the golden ratio: neighbouring numbers get slots far apart (Knuth, The Art of Computer Programming, 6.4).
const SCATTER: u32 = 0x9e37_79b1;

/// Up to `SLOTS` numbers.
pub struct Seen<const SLOTS: usize> {
    slots: [AtomicU64; SLOTS],
}

impl<const SLOTS: usize> Default for Seen<SLOTS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SLOTS: usize> Seen<SLOTS> {
    /// No numbers.
    pub const fn new() -> Self {
        Self { slots: [const { AtomicU64::new(0) }; SLOTS] }
    }

    /// The slots in which `number` can be, in the order in which they are tried.
    #[inline(always)]
    fn slots_of(&self, number: u32) -> impl Iterator<Item = &AtomicU64> {
        // The upper half of the product by the number of slots: a slot, whatever that number is.
        let first = (u64::from(number.wrapping_mul(SCATTER)) * SLOTS as u64) >> 32;
        (first as usize..).take(PROBES).filter_map(|slot| self.slots.get(slot % SLOTS))
    }

    /// Whether [`note`](Self::note) would say false: the number was noted, or there is no room for it.
    #[inline(always)]
    pub fn is_settled(&self, number: u32) -> bool {
        for slot in self.slots_of(number) {
            match slot.load(Ordering::Relaxed) {
                0 => return false,
                taken if taken == TAKEN | u64::from(number) => return true,
                _ => {}
            }
        }
        true
    }

    /// Notes a number. True if it was not seen before, to one caller only; false as well if there is no room for it.
    pub fn note(&self, number: u32) -> bool {
        let new = TAKEN | u64::from(number);
        for slot in self.slots_of(number) {
            match slot.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(taken) if taken == new => return false,
                Err(_) => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let seen = Seen::<64>::new();
        for number in [0, 1, 4000, u32::MAX] {
            assert!(!seen.is_settled(number));
            assert!(seen.note(number));
            assert!(seen.is_settled(number) && !seen.note(number));
        }
        assert!(!seen.is_settled(2));
    }

    #[test]
    fn as_many_as_there_are_slots_are_noted_at_most_and_the_rest_is_settled() {
        let seen = Seen::<64>::new();
        let noted = (0..100_000).filter(|&number| seen.note(number)).count();
        assert_eq!(noted, 64);
        assert!((0..200_000).all(|number| seen.is_settled(number) && !seen.note(number)));
    }

    #[test]
    fn numbers_without_a_system_call_find_room() {
        // The ends of the table, and what lies between Linux's calls and the kernel's own.
        let seen = Seen::<512>::new();
        assert!(
            (450..512).chain(0x1008..0x1010).chain([4000, 9999, u32::MAX]).all(|number| seen.note(number))
        );
    }

    #[test]
    fn of_many_threads_one_is_told_that_a_number_is_new() {
        let seen = Seen::<256>::new();
        let note_all = || (0..128).filter(|&number| seen.note(number)).count();
        let told: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(note_all)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let noted = (0..128).filter(|&number| !seen.note(number) && seen.is_settled(number)).count();
        assert_eq!((told, noted), (128, 128));
    }
}
