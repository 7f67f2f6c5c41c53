// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order in which locks are taken: what the lock checker of test builds knows, without the locks.
//!
//! Locks belong to classes, one for each place in the source where locks are made. Whenever a lock is taken while others are held, the order
//! of the classes is noted; when an order would close a circle, two CPUs could wait for each other for ever, and it is told, whether or
//! not they do this time. Linux calls it lockdep (Documentation/locking/lockdep-design.rst).

use core::sync::atomic::{AtomicU64, Ordering};

/// Classes at most; the kernel has some 150.
pub const CLASSES: usize = 512;
/// Locks that a CPU holds at once, at most.
pub const DEPTH: usize = 16;

const WORDS: usize = CLASSES / u64::BITS as usize;

/// A class of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(u16);

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Waiting for it.
    Wait,
    /// Waiting for it, where others of its class may be held: their owner has an order of its own for them.
    Nested,
    /// Only if it is free, which waits for nobody.
    Try,
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The lock is held already.
    Twice {
        /// Its class.
        class: Class,
    },
    /// Another lock of the class is held, and the class is not one whose locks are nested.
    SameClass {
        /// The class.
        class: Class,
    },
    /// A lock of class `held` is held, and elsewhere one of that class was taken after one of class `wanted`, if not at once.
    Inversion {
        /// What is held.
        held: Class,
        /// What is taken now.
        wanted: Class,
    },
    /// More than [`DEPTH`] locks are held.
    TooDeep,
}

/// The locks that one CPU holds.
#[derive(Debug)]
pub struct Held {
    locks: [(usize, Class); DEPTH],
    count: usize,
}

impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}

impl Held {
    /// None.
    pub const fn new() -> Self {
        Self { locks: [(0, Class(0)); DEPTH], count: 0 }
    }

    /// Their classes, the first that was taken first.
    pub fn classes(&self) -> impl Iterator<Item = Class> + '_ {
        self.locks.iter().take(self.count).map(|&(_, class)| class)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The lock at `address` is let go of. One that nobody noted is none of ours: it was taken before the checks began.
    pub fn release(&mut self, address: usize) {
        let held = self.locks.get_mut(..self.count).unwrap_or_default();
        if let Some(at) = held.iter().rposition(|&(lock, _)| lock == address) {
            held[at..].rotate_left(1);
            self.count -= 1;
        }
    }
}

/// The classes, and which of them were taken while which were held.
pub struct LockOrder {
    /// What each class is known by; 0 for those that are free.
    keys: [AtomicU64; CLASSES],
    /// For each class, a bit for each class that was taken while a lock of it was held.
    after: [[AtomicU64; WORDS]; CLASSES],
}

impl Default for LockOrder {
    fn default() -> Self {
        Self::new()
    }
}

impl LockOrder {
    /// Nothing known.
    pub const fn new() -> Self {
        Self {
            keys: [const { AtomicU64::new(0) }; CLASSES],
            after: [const { [const { AtomicU64::new(0) }; WORDS] }; CLASSES],
        }
    }

    /// The class that is known by `key`, which is not 0; none if there are too many.
    pub fn class(&self, key: u64) -> Option<Class> {
        let start = key as usize % CLASSES;
        (start..CLASSES).chain(0..start).find_map(|at| {
            let old = match self.keys[at].load(Ordering::Acquire) {
                0 => self.keys[at].compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire),
                old => Err(old),
            };
            (old == Ok(0) || old == Err(key)).then_some(Class(at as u16))
        })
    }

    /// A CPU that holds `held` takes the lock at `address`. Called before it waits, so that what is wrong is told and not met.
    ///
    /// # Errors
    /// [`Trouble`]. The lock counts as held nevertheless, if there is room.
    pub fn acquire(&self, held: &mut Held, address: usize, class: Class, how: How) -> Result<(), Trouble> {
        let result = if how == How::Try { Ok(()) } else { self.check(held, address, class, how) };
        let Some(slot) = held.locks.get_mut(held.count) else { return result.and(Err(Trouble::TooDeep)) };
        *slot = (address, class);
        held.count += 1;
        result
    }

    fn check(&self, held: &Held, address: usize, wanted: Class, how: How) -> Result<(), Trouble> {
        for &(other, class) in held.locks.iter().take(held.count) {
            if other == address {
                return Err(Trouble::Twice { class });
            }
            if class == wanted {
                if how != How::Nested {
                    return Err(Trouble::SameClass { class });
                }
                continue;
            }
            if self.comes_after(class, wanted) {
                continue;
            }
            // Noted first: of two CPUs that do this at the same time, one sees what the other has noted.
            let (word, bit) = place(wanted);
            self.after[usize::from(class.0)][word].fetch_or(bit, Ordering::SeqCst);
            if self.path(wanted, class, |_| ()) {
                return Err(Trouble::Inversion { held: class, wanted });
            }
        }
        Ok(())
    }

    /// Whether a lock of `later` was ever taken while one of `earlier` was held.
    fn comes_after(&self, earlier: Class, later: Class) -> bool {
        let (word, bit) = place(later);
        self.after[usize::from(earlier.0)][word].load(Ordering::Acquire) & bit != 0
    }

    /// Whether `to` was taken after `from`, at once or by way of others: `each` is told of the classes in between and of `to`, from the last
    /// to the first.
    pub fn path(&self, from: Class, to: Class, mut each: impl FnMut(Class)) -> bool {
        // Breadth first: for each class that was reached, from which one.
        let mut reached_from = [u16::MAX; CLASSES];
        let mut queue = [from; CLASSES];
        let (mut first, mut count) = (0, 1);
        reached_from[usize::from(from.0)] = from.0;
        while first < count {
            let class = queue[first];
            first += 1;
            if class == to {
                let mut at = to.0;
                while at != from.0 {
                    each(Class(at));
                    at = reached_from[usize::from(at)];
                }
                return true;
            }
            for next in self.taken_after(class) {
                if reached_from[usize::from(next.0)] == u16::MAX {
                    reached_from[usize::from(next.0)] = class.0;
                    queue[count] = next;
                    count += 1;
                }
            }
        }
        false
    }

    /// The classes that were taken while a lock of `class` was held.
    fn taken_after(&self, class: Class) -> impl Iterator<Item = Class> + '_ {
        let words = self.after[usize::from(class.0)].iter().enumerate();
        words.flat_map(|(word, bits)| {
            let bits = bits.load(Ordering::SeqCst);
            (0..u64::BITS as usize)
                .filter(move |bit| bits & (1 << bit) != 0)
                .map(move |bit| Class((word * u64::BITS as usize + bit) as u16))
        })
    }
}

impl Class {
    /// Its number, below [`CLASSES`].
    pub fn number(self) -> usize {
        self.0.into()
    }
}

/// The word and the bit of a class in a row.
fn place(class: Class) -> (usize, u64) {
    let bits = u64::BITS as usize;
    (usize::from(class.0) / bits, 1 << (usize::from(class.0) % bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes locks of these classes one after the other; the lock's address is its class's number and `which`.
    fn take(order: &LockOrder, held: &mut Held, key: u64, which: usize, how: How) -> Result<(), Trouble> {
        let class = order.class(key).unwrap();
        order.acquire(held, address(key, which), class, how)
    }

    fn address(key: u64, which: usize) -> usize {
        key as usize * 1000 + which
    }

    #[test]
    fn one_order_is_no_trouble_however_often() {
        let order = LockOrder::new();
        for _ in 0..3 {
            let mut held = Held::new();
            for key in 1..6 {
                assert_eq!(take(&order, &mut held, key, 0, How::Wait), Ok(()));
            }
            // Let go of in any order.
            for key in [3, 5, 1, 2, 4] {
                held.release(address(key, 0));
            }
            assert!(held.is_empty());
        }
    }

    #[test]
    fn an_inversion_is_told_although_nobody_waits() {
        let order = LockOrder::new();
        let mut held = Held::new();
        take(&order, &mut held, 1, 0, How::Wait).unwrap();
        take(&order, &mut held, 2, 0, How::Wait).unwrap();
        let mut other = Held::new();
        // Other locks of the same classes.
        take(&order, &mut other, 2, 7, How::Wait).unwrap();
        let [one, two] = [1, 2].map(|key| order.class(key).unwrap());
        let trouble = take(&order, &mut other, 1, 7, How::Wait);
        assert_eq!(trouble, Err(Trouble::Inversion { held: two, wanted: one }));
    }

    #[test]
    fn a_circle_of_three_is_told_with_the_way_round() {
        let order = LockOrder::new();
        for [first, second] in [[1, 2], [2, 3]] {
            let mut held = Held::new();
            take(&order, &mut held, first, 0, How::Wait).unwrap();
            take(&order, &mut held, second, 0, How::Wait).unwrap();
        }
        let mut held = Held::new();
        take(&order, &mut held, 3, 0, How::Wait).unwrap();
        let [one, two, three] = [1, 2, 3].map(|key| order.class(key).unwrap());
        let trouble = take(&order, &mut held, 1, 0, How::Wait);
        assert_eq!(trouble, Err(Trouble::Inversion { held: three, wanted: one }));
        let mut way = std::vec::Vec::new();
        assert!(order.path(one, three, |class| way.push(class)));
        assert_eq!(way, [three, two]);
        let four = order.class(4).unwrap();
        assert!(!order.path(one, four, |_| ()));
    }

    #[test]
    fn a_lock_that_is_only_tried_waits_for_nobody() {
        let order = LockOrder::new();
        let mut held = Held::new();
        take(&order, &mut held, 1, 0, How::Wait).unwrap();
        take(&order, &mut held, 2, 0, How::Wait).unwrap();
        let mut other = Held::new();
        take(&order, &mut other, 2, 7, How::Wait).unwrap();
        assert_eq!(take(&order, &mut other, 1, 7, How::Try), Ok(()));
        // What is taken after it counts.
        take(&order, &mut other, 3, 7, How::Wait).unwrap();
        let mut third = Held::new();
        take(&order, &mut third, 3, 0, How::Wait).unwrap();
        assert!(matches!(take(&order, &mut third, 1, 0, How::Wait), Err(Trouble::Inversion { .. })));
    }

    #[test]
    fn locks_of_one_class_need_an_order_of_their_own() {
        let order = LockOrder::new();
        let mut held = Held::new();
        let class = order.class(1).unwrap();
        take(&order, &mut held, 1, 0, How::Nested).unwrap();
        assert_eq!(take(&order, &mut held, 1, 1, How::Nested), Ok(()));
        assert_eq!(take(&order, &mut held, 1, 2, How::Wait), Err(Trouble::SameClass { class }));
        assert_eq!(take(&order, &mut held, 1, 0, How::Nested), Err(Trouble::Twice { class }));
    }

    #[test]
    fn too_many_locks_are_told() {
        let order = LockOrder::new();
        let mut held = Held::new();
        for key in 1..=DEPTH as u64 {
            take(&order, &mut held, key, 0, How::Wait).unwrap();
        }
        assert_eq!(take(&order, &mut held, 99, 0, How::Wait), Err(Trouble::TooDeep));
    }

    #[test]
    fn keys_that_meet_in_one_place_are_different_classes() {
        let order = LockOrder::new();
        let keys = [5, 5 + CLASSES as u64, 5 + 2 * CLASSES as u64];
        let classes = keys.map(|key| order.class(key).unwrap());
        assert_eq!(classes, keys.map(|key| order.class(key).unwrap()));
        assert!(classes[0] != classes[1] && classes[1] != classes[2] && classes[0] != classes[2]);
        let all = (1..).take(CLASSES).filter(|&key| order.class(key).is_none());
        assert!(all.count() > 0, "no table is endless");
    }
}
