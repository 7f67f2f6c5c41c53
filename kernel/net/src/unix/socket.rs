// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Unix socket's state, and how others are told of changes. What is done with it is in the other files of this folder.
//!
//! Locking: a socket's state has a spin lock, of which nobody holds two. What was sent belongs to its sender until it is read
//! ([`Charge`]), so that a sender with much on its way waits, whoever the receivers are.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::sync::{SpinGuard, SpinLock};
use exo_vfs::{events::Events, path::Path};
use linux_raw_sys::net;

use super::{in_flight::InFlight, name::Name};
use crate::{
    common::{Common, datagram_cost},
    errno::{Errno, Result},
    fallible,
    sched::{spans, wait::WaitQueue},
    socket::{Sender, direction},
};

/// Whether messages keep their boundaries, and whether one side notices the end of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes (SOCK_STREAM).
    Stream,
    /// Messages, each read whole or cut short (SOCK_DGRAM).
    Datagram,
    /// The same, and the end is noticed (SOCK_SEQPACKET).
    Packets,
}

impl Kind {
    /// From a `SOCK_` number.
    pub(super) fn of(number: u32) -> Result<Self> {
        match number {
            net::SOCK_STREAM => Ok(Self::Stream),
            net::SOCK_DGRAM | net::SOCK_RAW => Ok(Self::Datagram),
            net::SOCK_SEQPACKET => Ok(Self::Packets),
            _ => Err(Errno::ESOCKTNOSUPPORT),
        }
    }

    /// As a `SOCK_` number.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Stream => net::SOCK_STREAM,
            Self::Datagram => net::SOCK_DGRAM,
            Self::Packets => net::SOCK_SEQPACKET,
        }
    }
}

/// Datagrams that wait at a socket before its senders do, less one: as on Linux (net.unix.max_dgram_qlen).
const QUEUE: usize = 10;

/// What a message costs its sender until it is dropped.
pub(super) struct Charge {
    /// Who sent it, whose address it comes from.
    pub(super) sender: Arc<UnixSocket>,
    cost: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.sender.discharge(self.cost);
    }
}

/// A message.
pub(super) struct Message {
    /// Its bytes; empty while somebody reads them.
    pub(super) bytes: Vec<u8>,
    /// Those before this one have been read.
    pub(super) start: usize,
    /// Who sent it.
    pub(super) sender: Sender,
    /// The files with it.
    pub(super) files: Option<alloc::boxed::Box<InFlight>>,
    /// Bytes that have not been read.
    pub(super) left: usize,
    /// It was peeked at: one without bytes is passed by the next peek at an offset.
    pub(super) was_peeked: bool,
    pub(super) charge: Charge,
}

/// What a socket may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It may be connected.
    Idle,
    /// Others may connect to it.
    Listening,
    /// It is, or was, connected.
    Connected,
}

/// What changes about a socket.
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) peer: Option<Arc<UnixSocket>>,
    /// Its name. Connections that it accepts have it, too.
    pub(super) name: Option<Arc<Name>>,
    /// The place of a path's inode: that lives as long as somebody is bound to it.
    pub(super) bound_path: Option<Path>,
    /// Who connected, or listens, or made both.
    pub(super) peer_credentials: Option<Sender>,
    pub(super) messages: VecDeque<Message>,
    /// Bytes of the messages that have not been read.
    pub(super) readable: usize,
    /// How many messages were ever added.
    pub(super) added: u64,
    /// How many bytes a peek passes by (SO_PEEK_OFF); negative if it is to begin at the first message.
    pub(super) peek_offset: i32,
    /// Somebody reads: messages are added, and none is taken.
    pub(super) is_read: bool,
    /// Others want to.
    pub(super) others_read: bool,
    /// [`direction`]s that have ended.
    pub(super) ended: u8,
    /// It is closed.
    pub(super) is_closed: bool,
    /// To be reported once.
    pub(super) error: Option<Errno>,
    /// Connections that nobody has accepted yet.
    pub(super) backlog: VecDeque<Arc<UnixSocket>>,
    /// Those that are about to be added.
    pub(super) arriving: usize,
    /// When there are more, who connects waits.
    pub(super) backlog_limit: usize,
    /// Datagram sockets that are connected to this one.
    pub(super) senders: usize,
    /// Who has been told that there is no room: some of those, and some that were. Each that is connected finds a place in it.
    pub(super) wants_room: Vec<Weak<UnixSocket>>,
}

impl State {
    /// Whether senders of datagrams wait.
    pub(super) fn is_full(&self) -> bool {
        self.messages.len() > QUEUE
    }

    /// Whether those who connect wait.
    pub(super) fn is_backlog_full(&self) -> bool {
        self.backlog.len() + self.arriving > self.backlog_limit
    }

    /// Whether `other` is the one that it is connected with.
    pub(super) fn has_peer(&self, other: &Arc<UnixSocket>) -> bool {
        self.peer.as_ref().is_some_and(|peer| Arc::ptr_eq(peer, other))
    }

    /// One more datagram socket is connected to it.
    pub(super) fn join(&mut self) -> Result<()> {
        let by_inode = self.senders + 1;
        if self.wants_room.capacity() - self.wants_room.len() < by_inode {
            self.wants_room.retain(|asks| asks.strong_count() > 0);
            self.wants_room.try_reserve(by_inode).map_err(|_| Errno::ENOMEM)?;
        }
        self.senders = by_inode;
        Ok(())
    }

    /// `count` bytes were peeked at: the next peek goes on behind them.
    pub(super) fn advance_peek(&mut self, count: usize) {
        if self.peek_offset >= 0 {
            self.peek_offset = self.peek_offset.saturating_add(i32::try_from(count).unwrap_or(i32::MAX));
        }
    }

    /// `count` bytes were read and are no longer before the offset.
    #[inline]
    pub(super) fn rewind_peek(&mut self, count: usize) {
        if self.peek_offset > 0 {
            self.peek_offset =
                self.peek_offset.saturating_sub(i32::try_from(count).unwrap_or(i32::MAX)).max(0);
        }
    }

    /// Whether a direction has ended.
    #[inline]
    pub(super) fn has_ended(&self, direction: u8) -> bool {
        self.ended & direction != 0
    }
}

/// A Unix socket.
pub(super) struct UnixSocket {
    pub(super) kind: Kind,
    pub(super) common: Common,
    /// Who receives wants to know the sender (SO_PASSCRED).
    pub(super) pass_credentials: AtomicBool,
    number: u64,
    state: SpinLock<State>,
    /// What its messages cost that nobody has read.
    charged: AtomicUsize,
    /// What the messages in it cost their senders.
    queued: AtomicUsize,
    /// Who waits to receive or accept.
    pub(super) receivable: WaitQueue,
    /// Who waits until less of what it has sent is unread.
    pub(super) sendable: WaitQueue,
    /// Who waits for room in it, to send a datagram or to connect.
    pub(super) room: WaitQueue,
    /// Who waits for whatever happens (poll and its like).
    pub(super) polled: WaitQueue,
    /// The next in a list of closed sockets whose messages are to be dropped.
    pub(super) next_closed: SpinLock<Option<Arc<UnixSocket>>>,
}

/// All that there are, by number.
static ALL: SpinLock<BTreeMap<u64, Weak<UnixSocket>>> = SpinLock::new(BTreeMap::new());
static NUMBER: AtomicU64 = AtomicU64::new(1);

impl UnixSocket {
    /// A new one.
    pub(super) fn new(kind: Kind) -> Result<Arc<Self>> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let socket = fallible::arc(Self {
            kind,
            common: Common::default(),
            pass_credentials: AtomicBool::new(false),
            number,
            state: SpinLock::new(State {
                phase: Phase::Idle,
                peer: None,
                name: None,
                bound_path: None,
                peer_credentials: None,
                messages: VecDeque::new(),
                readable: 0,
                added: 0,
                peek_offset: -1,
                is_read: false,
                others_read: false,
                ended: 0,
                is_closed: false,
                error: None,
                backlog: VecDeque::new(),
                arriving: 0,
                backlog_limit: 0,
                senders: 0,
                wants_room: Vec::new(),
            }),
            charged: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            receivable: WaitQueue::new(),
            sendable: WaitQueue::new(),
            room: WaitQueue::new(),
            polled: WaitQueue::new(),
            next_closed: SpinLock::new(None),
        })?;
        ALL.lock().insert(number, Arc::downgrade(&socket));
        Ok(socket)
    }

    /// The next one behind a number, of all that there are.
    pub(super) fn next_after(number: u64) -> Option<(u64, Weak<Self>)> {
        let all = ALL.lock();
        all.range(number + 1..).next().map(|(number, socket)| (*number, socket.clone()))
    }

    /// Its state.
    #[inline]
    pub(super) fn state(&self) -> SpinGuard<'_, State> {
        self.state.lock()
    }

    /// Whether it may send more; as on Linux one message may go beyond the limit.
    #[inline]
    fn may_send(&self) -> bool {
        self.charged() < self.common.send_buffer.load(Ordering::Relaxed) as usize
    }

    /// Whether poll says that it may: three quarters of the buffer are free.
    #[inline]
    pub(super) fn is_writable(&self) -> bool {
        self.is_writable_with(self.charged())
    }

    #[inline]
    fn is_writable_with(&self, charged: usize) -> bool {
        charged * 4 <= self.common.send_buffer.load(Ordering::Relaxed) as usize
    }

    /// What its messages cost that nobody has read.
    #[inline]
    pub(super) fn charged(&self) -> usize {
        self.charged.load(Ordering::Acquire)
    }

    /// What the messages in it cost.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Charges it for a message of `length` bytes; none if it has to wait until others are read.
    #[inline]
    pub(super) fn charge(self: &Arc<Self>, length: usize) -> Option<Charge> {
        if !self.may_send() {
            return None;
        }
        let cost = datagram_cost(length);
        // Two that send at the same time may both go beyond the limit: each has one message.
        self.charged.fetch_add(cost, Ordering::AcqRel);
        Some(Charge { sender: self.clone(), cost })
    }

    #[inline]
    fn discharge(&self, cost: usize) {
        let before = self.charged.fetch_sub(cost, Ordering::AcqRel);
        if !self.is_writable_with(before) && self.is_writable_with(before.saturating_sub(cost)) {
            self.tell_senders();
        }
    }

    /// Tells those who wait to send.
    #[cold]
    pub(super) fn tell_senders(&self) {
        self.sendable.wake_all();
        self.polled.wake_all();
    }

    /// Tells those who wait to receive that there is something: a message, or a connection.
    #[inline]
    pub(super) fn tell_receivers(&self) {
        self.receivable.wake_all();
        self.polled.wake_for((Events::IN | Events::RDNORM).bits());
    }

    /// Tells everybody who waits for something of this socket, or for room in it.
    pub(super) fn tell_all(&self) {
        self.receivable.wake_all();
        self.sendable.wake_all();
        self.polled.wake_all();
        self.tell_of_room();
    }

    /// Tells those who wait for room in it.
    #[cold]
    pub(super) fn tell_of_room(&self) {
        self.room.wake_all();
        let mut left = self.state().wants_room.len();
        while left > 0 {
            // Each without the lock: they may ask again meanwhile, at the end of the list.
            let sender = {
                let mut state = self.state();
                if state.wants_room.is_empty() { None } else { Some(state.wants_room.swap_remove(0)) }
            };
            let Some(sender) = sender else { return };
            if let Some(sender) = sender.upgrade() {
                sender.polled.wake_all();
            }
            left -= 1;
            // How many there are programs choose. All of them, also when the task is to end.
            let _ = spans::point();
        }
    }

    /// Adds a message to those that wait, with the state locked.
    ///
    /// # Errors
    /// ENOMEM, with the message: it is to be dropped without the lock.
    #[inline]
    pub(super) fn add(&self, state: &mut State, message: Message) -> core::result::Result<(), Message> {
        if state.messages.len() == state.messages.capacity() && state.messages.try_reserve(1).is_err() {
            return Err(message);
        }
        state.readable += message.left;
        state.added += 1;
        self.queued.fetch_add(message.charge.cost, Ordering::Relaxed);
        state.messages.push_back(message);
        Ok(())
    }

    /// Takes the first message, with the state locked.
    #[inline]
    pub(super) fn take_first(&self, state: &mut State) -> Option<Message> {
        let message = state.messages.pop_front()?;
        self.taken(state, &message);
        Some(message)
    }

    /// Takes the last message that nobody reads, with the state locked.
    pub(super) fn take_last(&self, state: &mut State) -> Option<Message> {
        if state.messages.len() <= usize::from(state.is_read) {
            return None;
        }
        let message = state.messages.pop_back()?;
        self.taken(state, &message);
        Some(message)
    }

    #[inline]
    fn taken(&self, state: &mut State, message: &Message) {
        state.readable = state.readable.saturating_sub(message.left);
        self.queued.fetch_sub(message.charge.cost, Ordering::Relaxed);
    }

    /// The error that is to be reported once.
    pub(super) fn take_error(&self) -> Option<Errno> {
        self.state().error.take()
    }

    /// Ends directions, and with a connection the other side's.
    pub(super) fn shutdown(&self, directions: u8) {
        let peer = {
            let mut state = self.state();
            state.ended |= directions;
            state.peer.clone().filter(|_| self.kind != Kind::Datagram)
        };
        self.tell_all();
        if let Some(peer) = peer {
            let mut opposite = 0;
            if directions & direction::RECEIVE != 0 {
                opposite |= direction::SEND;
            }
            if directions & direction::SEND != 0 {
                opposite |= direction::RECEIVE;
            }
            peer.state().ended |= opposite;
            peer.tell_all();
        }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        ALL.lock().remove(&self.number);
    }
}
