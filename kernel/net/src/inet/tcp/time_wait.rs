// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports of connections that are over (TIME_WAIT). Who has ended a connection first keeps its port for a minute, as on Linux, where late packets
//! of the old connection could be taken for those of a new one. There are none here, but what programs see is the same: whether a port is free,
//! and what the list of connections says.

use alloc::{collections::VecDeque, sync::Arc};

use exo_hal::{sync::SpinLock, time};

use crate::{
    inet::{
        endpoint::{Endpoint, Family},
        line::{Line, TIME_WAIT},
    },
    sched::timer::{self, Action},
};

/// How long a port is kept (TCP_TIMEWAIT_LEN).
const KEPT_NS: u64 = 60_000_000_000;
/// Most that are kept: who comes when there are so many keeps none, as on Linux (net.ipv4.tcp_max_tw_buckets).
const MOST: usize = 4096;
/// Ports that are given up in one go, with interrupts off.
const AT_ONCE: usize = 64;
/// When to go on after that, in nanoseconds.
const SOON_NS: u64 = 1_000_000;

struct Waiting {
    number: u64,
    /// From whom it was, and to whom.
    ends: [Endpoint; 2],
    claim: Arc<dyn Send + Sync>,
    until: u64,
}

struct List {
    /// In the order in which they came, which is that in which they go.
    all: VecDeque<Waiting>,
    last: u64,
    /// A timer runs for the first.
    is_timed: bool,
}

static LIST: SpinLock<List> = SpinLock::new(List { all: VecDeque::new(), last: 0, is_timed: false });

/// Keeps a port for the connection that its owner has ended first.
pub(super) fn enter(ends: [Endpoint; 2], claim: Arc<dyn Send + Sync>) {
    let until = time::now_ns().saturating_add(KEPT_NS);
    let starts = {
        let mut list = LIST.lock();
        if list.all.len() >= MOST || list.all.try_reserve(1).is_err() {
            return;
        }
        list.last += 1;
        let number = list.last;
        list.all.push_back(Waiting { number, ends, claim, until });
        !core::mem::replace(&mut list.is_timed, true)
    };
    if starts {
        timer::add(until, Action::Call(expire));
    }
}

/// Gives up the ports whose time is over.
fn expire() {
    let now = time::now_ns();
    let mut next = None;
    for _ in 0..AT_ONCE {
        let over = {
            let mut list = LIST.lock();
            match list.all.front() {
                Some(first) if first.until <= now => list.all.pop_front(),
                Some(first) => {
                    next = Some(first.until);
                    break;
                }
                None => {
                    list.is_timed = false;
                    return;
                }
            }
        };
        // Not with the list locked: it may be the last reference to a port.
        drop(over.map(|over| over.claim));
    }
    timer::add(next.unwrap_or(now.saturating_add(SOON_NS)), Action::Call(expire));
}

/// What is said of the next of a family behind a number.
pub(super) fn next_line(last: u64, family: Family) -> Option<(u64, Option<Line>)> {
    let list = LIST.lock();
    let place = list.all.partition_point(|waiting| waiting.number <= last);
    let Waiting { number, ends: [local, remote], until, .. } = list.all.get(place)?;
    // A connection of both families' addresses is listed with IPv4's, as its owner's family is not kept.
    let is_v4 = local.ip.to_ipv4_mapped().is_some();
    let line = (is_v4 == (family == Family::V4)).then(|| Line {
        local: *local,
        remote: Some(*remote),
        state: TIME_WAIT,
        waiting: 0,
        user: 0,
        inode: 0,
        references: 3,
        left_ns: until.saturating_sub(time::now_ns()),
    });
    Some((*number, line))
}
