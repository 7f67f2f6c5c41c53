// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events as words and bytes.

use procmon_abi::event::{EVENT_SIZE, EVENT_WORDS, EXIT, Event};
use procmon_abi::ioctl::{Query, Query32, Stats, Stats32};
use procmon_abi::ring::oldest;

fn event() -> Event {
    Event {
        sequence: 1 << 40,
        time: u64::MAX,
        pid: 7,
        tgid: -1,
        ppid: i32::MIN,
        uid: u32::MAX,
        comm: *b"abcdefghijklmno\0",
        kind: EXIT,
        cpu: 3,
        detail: 0x1234_5678_9abc_def0,
    }
}

#[test]
fn words_and_bytes_give_the_event_back() {
    let words = event().to_words();
    assert_eq!(words.len(), EVENT_WORDS);
    assert_eq!(Event::from_words(&words), event());
    let mut bytes = [0; EVENT_SIZE];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    assert_eq!(Event::from_bytes(&bytes), event());
    // In the order of the structure in memory.
    assert_eq!(bytes[16..20], 7_i32.to_ne_bytes());
    assert_eq!(&bytes[32..48], b"abcdefghijklmno\0");
    assert_eq!(bytes[56..], event().detail.to_ne_bytes());
}

#[test]
fn what_does_not_fit_into_32_bits_is_the_largest_number() {
    let stats = Stats { total_opens: 1 << 32, total_reads: 5, total_ioctls: u64::MAX, ..Stats::default() };
    let narrow = Stats32::from(stats);
    assert_eq!((narrow.total_opens, narrow.total_reads, narrow.total_ioctls), (u32::MAX, 5, u32::MAX));
    let query = Query { vsize: 1 << 40, state: -1, ..Query::default() };
    assert_eq!((Query32::from(query).vsize, Query32::from(query).state), (u32::MAX, -1));
}

#[test]
fn a_ring_keeps_as_many_events_as_it_has_slots() {
    assert_eq!(oldest(0, 64), 0);
    assert_eq!(oldest(64, 64), 0);
    assert_eq!(oldest(65, 64), 1);
}
