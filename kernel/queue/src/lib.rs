// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue of fixed size from one side to another, for requests and for completions.
//!
//! Each CPU has its own queues, so that a queue has one [`Producer`] and one [`Consumer`]. Neither ever waits for the other, not even
//! if that one stops in the middle of an operation; no operation allocates. What is pushed is staged, and the other side sees it
//! when [`publish`](Producer::publish) is called: one store for a whole batch, as a doorbell is one write for many commands.
//!
//! ```
//! let (mut requests, mut todo) = exo_queue::queue::<u32>(8);
//! requests.push(1).unwrap();
//! requests.push(2).unwrap();
//! assert!(todo.pop().is_none(), "not published yet");
//! assert_eq!(requests.publish(), 2);
//! assert_eq!(todo.pop().map(|(_, item)| item), Some(1));
//! ```
#![no_std]

extern crate alloc;

mod sync;

use core::mem::MaybeUninit;

use alloc::boxed::Box;

use sync::{Arc, AtomicU32, Cell, Ordering};

/// The most items of one queue.
pub const MAX_CAPACITY: usize = 1 << 16;

/// A number that two CPUs look at, on cache lines of its own: processors fetch lines in pairs.
#[repr(align(128))]
struct Padded(AtomicU32);

/// What both sides have. Positions count up for ever and wrap around; a position's slot is its low bits.
///
/// Invariant: the slots of `head..tail` hold items, and belong to the consumer. All others belong to the producer.
struct Shared<T> {
    /// One past the last published item; only the producer writes it.
    tail: Padded,
    /// The first item that was not taken; only the consumer writes it.
    head: Padded,
    slots: Box<[Cell<MaybeUninit<T>>]>,
    mask: u32,
}

// SAFETY: an item is only ever touched by the side that its slot belongs to, so items move between threads, and no item is shared.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    fn slot(&self, position: u32) -> &Cell<MaybeUninit<T>> {
        &self.slots[(position & self.mask) as usize]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (mut head, tail) = (self.head.0.load(Ordering::Acquire), self.tail.0.load(Ordering::Acquire));
        while head != tail {
            // SAFETY: nobody else is left, and the slots of `head..tail` hold items.
            self.slot(head).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

/// The side that puts items in.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// One past the last staged item.
    tail: u32,
    /// The consumer's position when this was last looked at: it may be further by now.
    seen_head: u32,
}

/// The side that takes items out.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: u32,
    /// The producer's position when this was last looked at.
    seen_tail: u32,
}

/// A queue for `capacity` items, a power of two up to [`MAX_CAPACITY`].
///
/// # Panics
/// For any other capacity.
pub fn queue<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(
        capacity.is_power_of_two() && capacity <= MAX_CAPACITY,
        "a queue's capacity is a power of two up to {MAX_CAPACITY}, not {capacity}"
    );
    let slots = (0..capacity).map(|_| Cell::new(MaybeUninit::uninit())).collect();
    let shared = Arc::new(Shared {
        tail: Padded(AtomicU32::new(0)),
        head: Padded(AtomicU32::new(0)),
        slots,
        mask: capacity as u32 - 1,
    });
    let producer = Producer { shared: shared.clone(), tail: 0, seen_head: 0 };
    (producer, Consumer { shared, head: 0, seen_tail: 0 })
}

impl<T> Producer<T> {
    /// Stages an item; gives its position, which grows by one from item to item and wraps around.
    ///
    /// # Errors
    /// The item comes back if the queue is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<u32, T> {
        if self.tail.wrapping_sub(self.seen_head) > self.shared.mask {
            self.seen_head = self.shared.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.seen_head) > self.shared.mask {
                return Err(item);
            }
        }
        let position = self.tail;
        // SAFETY: not in `head..tail` and so ours: we know `head` to be at least `seen_head`, and there is room behind that.
        self.shared.slot(position).with_mut(|slot| unsafe { (*slot).write(item) });
        self.tail = position.wrapping_add(1);
        Ok(position)
    }

    /// Lets the consumer see what was staged; how many that were.
    #[inline]
    pub fn publish(&mut self) -> usize {
        // Nobody else writes it.
        let before = self.shared.tail.0.load(Ordering::Relaxed);
        if before != self.tail {
            self.shared.tail.0.store(self.tail, Ordering::Release);
        }
        self.tail.wrapping_sub(before) as usize
    }

    /// Whether the item at `position`, which [`push`](Self::push) gave, has not been taken yet. It may be taken at any moment if it
    /// was published.
    pub fn is_waiting(&self, position: u32) -> bool {
        let head = self.shared.head.0.load(Ordering::Acquire);
        position.wrapping_sub(head) < self.tail.wrapping_sub(head)
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // What was staged is dropped with the rest.
        self.publish();
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest published item, with its position.
    #[inline]
    pub fn pop(&mut self) -> Option<(u32, T)> {
        if self.head == self.seen_tail {
            self.seen_tail = self.shared.tail.0.load(Ordering::Acquire);
            if self.head == self.seen_tail {
                return None;
            }
        }
        let position = self.head;
        // SAFETY: in `head..tail`: an item, and ours. It is not touched again: `head` moves past it.
        let item = self.shared.slot(position).with_mut(|slot| unsafe { (*slot).assume_init_read() });
        self.head = position.wrapping_add(1);
        self.shared.head.0.store(self.head, Ordering::Release);
        Some((position, item))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use alloc::{rc::Rc, vec::Vec};

    use super::*;

    #[test]
    fn items_come_out_in_order_and_only_when_published() {
        let (mut producer, mut consumer) = queue(4);
        for round in 0..10 {
            for item in 0..4 {
                producer.push(round * 4 + item).unwrap();
            }
            assert_eq!(producer.push(99), Err(99));
            assert!(consumer.pop().is_none());
            assert_eq!((producer.publish(), producer.publish()), (4, 0));
            let out: Vec<_> = core::iter::from_fn(|| consumer.pop()).collect();
            assert_eq!(out, (0..4).map(|i| (round * 4 + i, round * 4 + i)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn positions_wrap_around() {
        let (mut producer, mut consumer) = queue(2);
        producer.shared.tail.0.store(u32::MAX, Ordering::Relaxed);
        producer.shared.head.0.store(u32::MAX, Ordering::Relaxed);
        (producer.tail, producer.seen_head) = (u32::MAX, u32::MAX);
        (consumer.head, consumer.seen_tail) = (u32::MAX, u32::MAX);
        assert_eq!(producer.push('a'), Ok(u32::MAX));
        assert_eq!(producer.push('b'), Ok(0));
        assert_eq!(producer.push('c'), Err('c'));
        assert!(producer.is_waiting(0) && producer.is_waiting(u32::MAX) && !producer.is_waiting(1));
        producer.publish();
        assert_eq!(consumer.pop(), Some((u32::MAX, 'a')));
        assert!(!producer.is_waiting(u32::MAX));
        assert_eq!(consumer.pop(), Some((0, 'b')));
        assert_eq!(consumer.pop(), None);
    }

    #[test]
    fn what_is_left_is_dropped_once() {
        let item = Rc::new(());
        let (mut producer, mut consumer) = queue(8);
        for _ in 0..5 {
            producer.push(item.clone()).unwrap();
        }
        producer.publish();
        producer.push(item.clone()).unwrap();
        drop(consumer.pop());
        assert_eq!(Rc::strong_count(&item), 6);
        drop(producer);
        drop(consumer);
        assert_eq!(Rc::strong_count(&item), 1);
    }

    #[test]
    fn two_threads_exchange_everything_in_order() {
        const ITEMS: u32 = if cfg!(miri) { 200 } else { 100_000 };
        let (mut producer, mut consumer) = queue(16);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut next = 0;
                while next < ITEMS {
                    while next < ITEMS && producer.push(next).is_ok() {
                        next += 1;
                    }
                    producer.publish();
                    std::thread::yield_now();
                }
            });
            let mut expected = 0;
            while expected < ITEMS {
                match consumer.pop() {
                    Some((position, item)) => {
                        assert_eq!((position, item), (expected, expected));
                        expected += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
    }
}
