// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection between two sockets of this machine: what each end is to read, and how far each has come to its end. There are no packets:
//! what a packet would do at the other end is done there at once, with the lock of both.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use alloc::{collections::BTreeSet, sync::Arc};

use exo_hal::sync::{SpinGuard, SpinLock};
use exo_vfs::events::Events;

use super::{inbox::Inbox, socket::PortClaim, time_wait};
use crate::{
    errno::{Errno, Result},
    fallible,
    inet::endpoint::Endpoint,
    sched::wait::WaitQueue,
    socket::direction,
};

/// Who waits for something of a socket.
pub(super) struct Waits {
    /// To receive or accept.
    pub(super) receivable: WaitQueue,
    /// To send, or for a connection.
    pub(super) sendable: WaitQueue,
    /// For whatever happens (poll and its like).
    pub(super) polled: WaitQueue,
    /// What the bytes cost that it has not read.
    pub(super) queued: AtomicUsize,
    /// What it sends to another machine goes at once (TCP_NODELAY).
    pub(super) has_no_delay: AtomicBool,
}

impl Waits {
    pub(super) fn new() -> Self {
        Self {
            receivable: WaitQueue::new(),
            sendable: WaitQueue::new(),
            polled: WaitQueue::new(),
            queued: AtomicUsize::new(0),
            has_no_delay: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn tell_receivers(&self) {
        self.receivable.wake_all();
        self.polled.wake_all();
    }

    /// A connection waits to be accepted.
    pub(super) fn tell_acceptors(&self) {
        self.receivable.wake_all();
        self.polled.wake_for((Events::IN | Events::RDNORM).bits());
    }

    pub(super) fn tell_senders(&self) {
        self.sendable.wake_all();
        self.polled.wake_all();
    }

    pub(super) fn tell_all(&self) {
        self.receivable.wake_all();
        self.sendable.wake_all();
        self.polled.wake_all();
    }
}

/// One end's state.
#[derive(Default)]
pub(super) struct Half {
    pub(super) inbox: Inbox,
    /// Who sends to it waits when that costs more: so much by its own buffer, and so much by the sender's.
    pub(super) receive_limit: usize,
    pub(super) send_limit: usize,
    /// [`direction`]s that have ended.
    pub(super) ended: u8,
    /// It has said that it sends no more (FIN).
    pub(super) has_finished: bool,
    /// The other end has.
    pub(super) is_finished: bool,
    /// The connection was broken off (RST).
    pub(super) is_reset: bool,
    /// Its socket is closed.
    pub(super) is_closed: bool,
    /// To be reported once.
    pub(super) error: Option<Errno>,
}

impl Half {
    /// Whether the connection is no more (TCP_CLOSE).
    pub(super) fn is_over(&self) -> bool {
        self.is_reset || self.has_finished && self.is_finished
    }

    fn limit(&self) -> usize {
        self.receive_limit + self.send_limit
    }

    /// Whether who sends waits.
    pub(super) fn is_full(&self) -> bool {
        self.inbox.cost >= self.limit()
    }

    /// Whether poll says that there is room for more: a third of the limit is free, as on Linux.
    pub(super) fn has_room(&self) -> bool {
        self.inbox.cost * 3 <= self.limit() * 2
    }

    /// The other end has broken off the connection.
    fn reset(&mut self) {
        if !self.is_over() {
            self.error = Some(if self.is_finished { Errno::EPIPE } else { Errno::ECONNRESET });
            self.is_reset = true;
            self.ended = direction::BOTH;
        }
    }
}

/// Which connections there are, so that no two have the same addresses: from whom to whom.
static ALL: SpinLock<BTreeSet<[Endpoint; 2]>> = SpinLock::new(BTreeSet::new());

/// A connection.
pub(super) struct Link {
    halves: SpinLock<[Half; 2]>,
    waits: [Arc<Waits>; 2],
    /// From whom to whom.
    ends: [Endpoint; 2],
    /// The ports stay taken until both ends are closed.
    claims: [Arc<PortClaim>; 2],
    /// Which ends programs have, and not this kernel for another machine.
    programs: [bool; 2],
}

impl Drop for Link {
    fn drop(&mut self) {
        ALL.lock().remove(&self.ends);
    }
}

/// One end of a connection.
#[derive(Clone)]
pub(super) struct End {
    link: Arc<Link>,
    is_second: bool,
}

/// What a socket brings into a connection.
pub(super) struct Party {
    pub(super) at: Endpoint,
    pub(super) send_limit: usize,
    pub(super) receive_limit: usize,
    pub(super) waits: Arc<Waits>,
    pub(super) claim: Arc<PortClaim>,
    /// It is a program's, and not this kernel's for another machine.
    pub(super) is_program: bool,
}

/// A connection from the first to the second.
///
/// # Errors
/// EADDRNOTAVAIL if there is one with these addresses, ENOMEM.
pub(super) fn connect(first: Party, second: Party) -> Result<[End; 2]> {
    let ends = [first.at, second.at];
    if !ALL.lock().insert(ends) {
        return Err(Errno::EADDRNOTAVAIL);
    }
    let half = |own: &Party, peer: &Party| Half {
        receive_limit: own.receive_limit,
        send_limit: peer.send_limit,
        ..Half::default()
    };
    let halves = [half(&first, &second), half(&second, &first)];
    let (waits, claims) = ([first.waits, second.waits], [first.claim, second.claim]);
    let programs = [first.is_program, second.is_program];
    // Without memory for it, its place in the list goes with it.
    let link = fallible::arc(Link { halves: SpinLock::new(halves), waits, ends, claims, programs })?;
    Ok([End { link: link.clone(), is_second: false }, End { link, is_second: true }])
}

impl End {
    /// Both ends' state, this one's first.
    #[inline]
    pub(super) fn with<R>(&self, with: impl FnOnce(&mut Half, &mut Half) -> R) -> R {
        let mut halves: SpinGuard<'_, [Half; 2]> = self.link.halves.lock();
        let [first, second] = &mut *halves;
        if self.is_second { with(second, first) } else { with(first, second) }
    }

    fn pick<'a, T>(&self, [first, second]: &'a [T; 2], own: bool) -> &'a T {
        if self.is_second == own { second } else { first }
    }

    /// Who waits for this end.
    #[inline]
    pub(super) fn waits(&self) -> &Arc<Waits> {
        self.pick(&self.link.waits, true)
    }

    /// Who waits for the other.
    #[inline]
    pub(super) fn peer_waits(&self) -> &Arc<Waits> {
        self.pick(&self.link.waits, false)
    }

    /// Where the other end is.
    pub(super) fn remote(&self) -> Endpoint {
        *self.pick(&self.link.ends, false)
    }

    /// Says to the other end that nothing more comes.
    pub(super) fn finish(&self) {
        let is_over = self.with(Self::finish_half);
        self.wait_if_over(is_over);
    }

    /// If the connection has just ended in order, the port of the other end, which began that, is kept for a while.
    fn wait_if_over(&self, is_over: bool) {
        if is_over && *self.pick(&self.link.programs, false) {
            let ends = [self.remote(), *self.pick(&self.link.ends, true)];
            time_wait::enter(ends, self.pick(&self.link.claims, false).clone());
        }
    }

    /// The other end is told that nothing more comes; whether that was the end of the connection.
    fn finish_half(own: &mut Half, peer: &mut Half) -> bool {
        if own.is_over() || own.has_finished {
            return false;
        }
        own.has_finished = true;
        peer.is_finished = true;
        peer.ended |= direction::RECEIVE;
        if own.is_over() {
            own.ended = direction::BOTH;
            peer.ended = direction::BOTH;
        }
        own.is_over()
    }

    /// Breaks off the connection: what was not read of what this end has sent stays for the other.
    pub(super) fn reset(own: &mut Half, peer: &mut Half) {
        peer.reset();
        own.is_reset = true;
        own.ended = direction::BOTH;
    }

    /// Breaks off the connection with an error for the other end.
    pub(super) fn break_off(own: &mut Half, peer: &mut Half, error: Errno) {
        let was_over = peer.is_over();
        Self::reset(own, peer);
        if !was_over {
            peer.error = Some(error);
        }
    }

    /// Something arrives at an end that receives no more: both are broken off, as on Linux.
    pub(super) fn refuse(own: &mut Half, peer: &mut Half) {
        own.reset();
        peer.reset();
    }

    /// Ends directions.
    ///
    /// # Errors
    /// ENOTCONN if the connection is no more.
    pub(super) fn shut_down(&self, directions: u8) -> Result<()> {
        let (result, is_over) = self.with(|own, peer| {
            let was_over = own.is_over();
            own.ended |= directions;
            let is_over = directions & direction::SEND != 0 && Self::finish_half(own, peer);
            (if was_over { Err(Errno::ENOTCONN) } else { Ok(()) }, is_over)
        });
        self.wait_if_over(is_over);
        self.waits().tell_all();
        self.peer_waits().tell_all();
        result
    }

    /// Its socket is closed: in order, unless `breaks_off` or something was not read.
    pub(super) fn close(&self, breaks_off: bool) {
        let (_unread, is_over) = self.with(|own, peer| {
            own.is_closed = true;
            let mut is_over = false;
            if own.is_over() {
            } else if breaks_off || own.inbox.readable > 0 {
                Self::reset(own, peer);
            } else {
                is_over = Self::finish_half(own, peer);
            }
            own.ended = direction::BOTH;
            // Dropped without the lock.
            (core::mem::take(&mut own.inbox), is_over)
        });
        self.wait_if_over(is_over);
        self.waits().queued.store(0, Ordering::Relaxed);
        self.waits().tell_all();
        self.peer_waits().tell_all();
    }
}
