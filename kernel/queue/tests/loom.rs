// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every order of events, tried out by loom: `RUSTFLAGS="--cfg loom" cargo test -p exo-queue --release --test loom`.
#![cfg(loom)]

use exo_queue::queue;
use loom::thread;

#[test]
fn a_batch_is_seen_whole_and_in_order() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue(2);
        let other = thread::spawn(move || {
            producer.push(Box::new(1)).unwrap();
            producer.push(Box::new(2)).unwrap();
            assert_eq!(producer.publish(), 2);
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            seen.extend(consumer.pop().map(|(_, item)| *item));
        }
        assert!([&[][..], &[1], &[1, 2]].contains(&&seen[..]), "{seen:?}");
        other.join().unwrap();
        seen.extend(std::iter::from_fn(|| consumer.pop()).map(|(_, item)| *item));
        assert_eq!(seen, [1, 2]);
    });
}

#[test]
fn a_slot_is_used_again_only_when_it_was_emptied() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue(1);
        producer.push(Box::new(1)).unwrap();
        producer.publish();
        let other = thread::spawn(move || {
            let mut seen = 0;
            while let Some((_, item)) = consumer.pop() {
                seen += *item;
            }
            (seen, consumer)
        });
        let pushed = producer.push(Box::new(2)).is_ok();
        producer.publish();
        let (mut seen, mut consumer) = other.join().unwrap();
        while let Some((_, item)) = consumer.pop() {
            seen += *item;
        }
        assert_eq!(seen, if pushed { 3 } else { 1 });
    });
}

#[test]
fn items_that_nobody_took_are_dropped_whoever_goes_last() {
    loom::model(|| {
        let item = loom::sync::Arc::new(());
        let (mut producer, consumer) = queue(2);
        let copy = item.clone();
        let other = thread::spawn(move || {
            producer.push(copy.clone()).unwrap();
            producer.publish();
            producer.push(copy).unwrap();
        });
        drop(consumer);
        other.join().unwrap();
        assert_eq!(loom::sync::Arc::strong_count(&item), 1);
    });
}
