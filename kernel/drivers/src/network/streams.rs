// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connections of an interface, and which of them something is to be done for. Each has a set of its own for smoltcp, with one socket, so that
//! nobody looks through the others.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use smoltcp::{
    iface::{SocketHandle, SocketSet, SocketStorage},
    socket::tcp,
    time::Instant,
};

use super::{
    NetworkError,
    classify::Key,
    link::{Flushed, Link},
    places::Phase,
};

/// Most connections of an interface.
const MOST: usize = 1 << 16;
/// Segments that a connection sends before it is the others' turn.
const TURN: usize = 4;
/// What a connection costs beside its buffers.
const OVERHEAD: usize = 2048;

/// What has a time at which it is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A connection.
    Stream(u64),
    /// One that is being made.
    HalfOpen(Key),
}

/// When something is to be looked at.
#[derive(Default)]
pub(super) struct Timers(BTreeSet<(u64, Target)>);

impl Timers {
    /// Moves a target's time.
    pub(super) fn change(&mut self, target: Target, before: &mut Option<u64>, after: Option<u64>) {
        if *before == after {
            return;
        }
        if let Some(before) = *before {
            self.0.remove(&(before, target));
        }
        if let Some(after) = after {
            self.0.insert((after, target));
        }
        *before = after;
    }

    /// The next target whose time has come. It has none after that.
    pub(super) fn expired(&mut self, now_ns: u64) -> Option<Target> {
        self.next().filter(|due| *due <= now_ns)?;
        self.0.pop_first().map(|(_, target)| target)
    }

    /// When the next one's comes.
    pub(super) fn next(&self) -> Option<u64> {
        self.0.first().map(|(due, _)| *due)
    }
}

/// A connection.
pub(super) struct Connection {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    key: Key,
    /// By which its owner knows it; none after that has let it go.
    pub(super) owner: Option<u64>,
    /// Bytes of its buffers, and what else it costs.
    cost: usize,
    phase: Phase,
    due: Option<u64>,
    is_dirty: bool,
    is_changed: bool,
}

impl Connection {
    pub(super) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

/// How far a socket is.
pub(super) fn phase(socket: &tcp::Socket<'_>) -> Phase {
    match socket.state() {
        tcp::State::Listen | tcp::State::SynSent | tcp::State::SynReceived => Phase::Begins,
        tcp::State::Closed | tcp::State::TimeWait => Phase::Over,
        _ => Phase::Open,
    }
}

/// All connections of an interface.
pub(super) struct Streams {
    all: BTreeMap<u64, Connection>,
    numbers: BTreeMap<Key, u64>,
    /// Those that may have something to send.
    dirty: VecDeque<u64>,
    /// Those that something has happened to.
    changed: VecDeque<u64>,
    /// Owners of those that were ended with the interface.
    ended: Vec<u64>,
    /// Those that wait until it is known where their other machine is.
    searching: BTreeSet<u64>,
    last: u64,
    /// Those that were let go.
    pub(super) leaving: usize,
    /// What they cost, and may.
    cost: usize,
    pub(super) limit: usize,
}

/// A set for one socket.
///
/// # Errors
/// [`NetworkError::QueueFull`] without memory for it.
pub(super) fn set_of_one(
    socket: tcp::Socket<'static>,
) -> Result<(SocketSet<'static>, SocketHandle), NetworkError> {
    let mut storage = Vec::new();
    storage.try_reserve_exact(1).map_err(|_| NetworkError::QueueFull)?;
    storage.push(SocketStorage::EMPTY);
    let mut sockets = SocketSet::new(storage);
    let handle = sockets.add(socket);
    Ok((sockets, handle))
}

impl Streams {
    pub(super) fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            numbers: BTreeMap::new(),
            dirty: VecDeque::new(),
            changed: VecDeque::new(),
            ended: Vec::new(),
            searching: BTreeSet::new(),
            last: 0,
            leaving: 0,
            cost: 0,
            limit: usize::MAX,
        }
    }

    /// Buffers of these sizes, if there is room for another connection with them.
    ///
    /// # Errors
    /// [`NetworkError::QueueFull`].
    pub(super) fn buffers(&self, sizes: [usize; 2]) -> Result<[Vec<u8>; 2], NetworkError> {
        let cost = sizes.iter().sum::<usize>() + OVERHEAD;
        if self.all.len() >= MOST || self.cost.saturating_add(cost) > self.limit {
            return Err(NetworkError::QueueFull);
        }
        let buffer = |size| {
            let mut buffer = Vec::new();
            buffer.try_reserve_exact(size).map_err(|_| NetworkError::QueueFull)?;
            buffer.resize(size, 0);
            Ok(buffer)
        };
        let [first, second] = sizes;
        Ok([buffer(first)?, buffer(second)?])
    }

    /// Adds a connection; its number.
    ///
    /// # Errors
    /// [`NetworkError::InUse`] if there is one with this key, [`NetworkError::QueueFull`].
    pub(super) fn add(
        &mut self,
        key: Key,
        owner: u64,
        (sockets, handle): (SocketSet<'static>, SocketHandle),
    ) -> Result<u64, NetworkError> {
        if self.numbers.contains_key(&key) {
            return Err(NetworkError::InUse);
        }
        // Each connection is in these at most once: nothing is allocated when one is entered.
        for list in [&mut self.dirty, &mut self.changed] {
            let more = (self.all.len() + 1).saturating_sub(list.len());
            list.try_reserve(more).map_err(|_| NetworkError::QueueFull)?;
        }
        self.last += 1;
        let number = self.last;
        let mut connection = Connection {
            sockets,
            handle,
            key,
            owner: Some(owner),
            cost: 0,
            phase: Phase::Begins,
            due: None,
            is_dirty: false,
            is_changed: false,
        };
        let socket = connection.socket();
        let cost = socket.recv_capacity() + socket.send_capacity() + OVERHEAD;
        connection.cost = cost;
        self.cost += cost;
        self.all.insert(number, connection);
        self.numbers.insert(key, number);
        self.dirty(number);
        Ok(number)
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&mut Connection> {
        self.all.get_mut(&number)
    }

    /// The connection with a key.
    pub(super) fn find(&self, key: &Key) -> Option<u64> {
        self.numbers.get(key).copied()
    }

    /// Whether a connection is over, and only kept so that late segments are understood.
    pub(super) fn lingers(&mut self, number: u64) -> bool {
        self.get(number).is_some_and(|connection| connection.socket().state() == tcp::State::TimeWait)
    }

    /// Others may have its key.
    pub(super) fn release(&mut self, number: u64) {
        let Some(key) = self.all.get(&number).map(|connection| connection.key) else { return };
        if self.find(&key) == Some(number) {
            self.numbers.remove(&key);
        }
    }

    /// It may have something to send.
    pub(super) fn dirty(&mut self, number: u64) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        if !core::mem::replace(&mut connection.is_dirty, true) {
            self.dirty.push_back(number);
        }
    }

    fn change(&mut self, number: u64) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        if connection.owner.is_some() && !core::mem::replace(&mut connection.is_changed, true) {
            self.changed.push_back(number);
        }
    }

    /// The owner's number for the next connection that something has happened to.
    pub(super) fn changed(&mut self) -> Option<u64> {
        if let Some(owner) = self.ended.pop() {
            return Some(owner);
        }
        while let Some(number) = self.changed.pop_front() {
            let Some(connection) = self.all.get_mut(&number) else { continue };
            connection.is_changed = false;
            if connection.owner.is_some() {
                return connection.owner;
            }
        }
        None
    }

    /// Gives the frame that came last to a connection.
    pub(super) fn feed(&mut self, number: u64, link: &mut Link, now: Instant) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        link.feed(now, &mut connection.sockets);
        self.dirty(number);
        self.change(number);
    }

    /// It may be known now where machines are that some wait for.
    pub(super) fn may_go(&mut self) {
        for number in core::mem::take(&mut self.searching) {
            self.dirty(number);
        }
    }

    /// Whether some may have something to send.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Sends what those have to send that may have something, up to `most` segments; how many.
    pub(super) fn flush(&mut self, link: &mut Link, timers: &mut Timers, now_ns: u64, most: usize) -> usize {
        let now = super::link::instant(now_ns);
        let mut sent = 0;
        for _ in 0..self.dirty.len() {
            if sent >= most || !link.has_room() {
                break;
            }
            let Some(number) = self.dirty.pop_front() else { break };
            let Some(connection) = self.all.get_mut(&number) else { continue };
            connection.is_dirty = false;
            let mut turn = 0;
            while turn < TURN && sent + turn < most && link.has_room() {
                match link.flush(now, &mut connection.sockets) {
                    Flushed::Sent => turn += 1,
                    Flushed::Nothing => break,
                    Flushed::Searches => {
                        self.searching.insert(number);
                        break;
                    }
                }
            }
            if turn > 0 {
                self.searching.remove(&number);
            }
            sent += turn;
            let has_more = turn == TURN || sent == most || !link.has_room();
            self.settle(number, link, timers, now_ns, has_more);
        }
        sent
    }

    /// Looks at what has become of a connection.
    fn settle(&mut self, number: u64, link: &mut Link, timers: &mut Timers, now_ns: u64, has_more: bool) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        let (state, after) = {
            let socket = connection.socket();
            (socket.state(), phase(socket))
        };
        let is_gone =
            !has_more && (state == tcp::State::Closed || after == Phase::Over && connection.owner.is_none());
        if is_gone && connection.owner.is_none() {
            self.remove(number, timers);
            return;
        }
        let due = link.due(super::link::instant(now_ns), &connection.sockets);
        // Whoever wants to be looked at now, and has nothing to send, is looked at a little later.
        let due = due.map(|due| if due <= now_ns { now_ns.saturating_add(super::SOON_NS) } else { due });
        let due = if has_more || state == tcp::State::Closed { None } else { due };
        timers.change(Target::Stream(number), &mut connection.due, due);
        if core::mem::replace(&mut connection.phase, after) != after {
            self.change(number);
        }
        if has_more {
            self.dirty(number);
        }
        if is_gone {
            self.release(number);
        }
    }

    /// A connection's time has come.
    pub(super) fn expire(&mut self, number: u64) {
        if let Some(connection) = self.all.get_mut(&number) {
            connection.due = None;
        }
        self.dirty(number);
    }

    fn remove(&mut self, number: u64, timers: &mut Timers) {
        self.release(number);
        self.searching.remove(&number);
        let Some(mut connection) = self.all.remove(&number) else { return };
        timers.change(Target::Stream(number), &mut connection.due, None);
        self.cost -= connection.cost;
        self.leaving -= usize::from(connection.owner.is_none());
    }

    /// Ends all of them; their owners hear of it. What they were is to be dropped without a lock.
    pub(super) fn end(&mut self) -> Vec<SocketSet<'static>> {
        self.numbers.clear();
        self.dirty.clear();
        self.searching.clear();
        (self.cost, self.leaving) = (0, 0);
        self.ended.clear();
        let mut sets = Vec::new();
        for connection in core::mem::take(&mut self.all).into_values() {
            self.ended.extend(connection.owner);
            sets.push(connection.sockets);
        }
        self.changed.clear();
        sets
    }

    /// What all of them cost.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}
