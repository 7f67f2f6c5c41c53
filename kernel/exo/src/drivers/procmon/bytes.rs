// SPDX-License-Identifier: MIT OR Apache-2.0
//! The contract's structures as the bytes that programs get. They are whole numbers without gaps, so the bytes are those of the
//! fields in their order.

use procmon_abi::{
    event::{EVENT_SIZE, Event},
    ioctl::{Query, Stats},
    process::{RECORD_SIZE, Record},
};

fn join<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(parts.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
    out
}

/// A process of a snapshot.
pub(super) fn record(r: &Record) -> [u8; RECORD_SIZE] {
    join(&[
        &r.pid.to_ne_bytes(),
        &r.tgid.to_ne_bytes(),
        &r.ppid.to_ne_bytes(),
        &r.uid.to_ne_bytes(),
        &r.state.to_ne_bytes(),
        &r.threads.to_ne_bytes(),
        &r.comm,
        &r.vsize.to_ne_bytes(),
        &r.rss.to_ne_bytes(),
        &r.utime.to_ne_bytes(),
        &r.stime.to_ne_bytes(),
        &r.start.to_ne_bytes(),
    ])
}

/// The counters.
pub(super) fn stats(s: &Stats) -> [u8; size_of::<Stats>()] {
    join(&[
        &s.total_opens.to_ne_bytes(),
        &s.total_reads.to_ne_bytes(),
        &s.total_writes.to_ne_bytes(),
        &s.total_ioctls.to_ne_bytes(),
        &s.current_filter_pid.to_ne_bytes(),
        &s.padding.to_ne_bytes(),
    ])
}

/// The answer to a query.
pub(super) fn query(q: &Query) -> [u8; size_of::<Query>()] {
    join(&[&q.pid.to_ne_bytes(), &q.comm, &q.state.to_ne_bytes(), &q.vsize.to_ne_bytes()])
}

/// An event.
pub(super) fn event(event: &Event) -> [u8; EVENT_SIZE] {
    let mut out = [0; EVENT_SIZE];
    for (to, word) in out.chunks_exact_mut(size_of::<u64>()).zip(event.to_words()) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    out
}
