// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that other machines have asked for, and that are not there until they have shown that they get our answers. Until then a connection is
//! what its request said and a seed: a socket that is given both always chooses the same numbers, so one is made to answer and is thrown away, and
//! another one with buffers when the answer was acknowledged.
//!
//! When there are too many the oldest goes. A request whose sender does not exist stays for ever, while an honest one is acknowledged within a round trip:
//! to drop new ones would let a flood keep everybody out, and this one must bring a whole table within a round trip.

use alloc::{collections::BTreeMap, vec::Vec};

use smoltcp::{
    iface::{self, SocketHandle, SocketSet},
    phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium},
    socket::tcp,
    time::Instant,
    wire::{
        HardwareAddress, IpAddress, IpCidr, IpProtocol, Ipv4Cidr, Ipv4Packet, Ipv4Repr, TcpPacket, TcpRepr,
    },
};

use super::{
    classify::Key,
    streams::{Target, Timers},
};

/// Most of an interface.
const MOST: usize = 4096;
/// Fewest that a port may have, whatever its program says: they are small.
const LEAST_PER_PORT: usize = 256;
/// Most of a port.
const MOST_PER_PORT: usize = 1024;
/// When an answer is sent again, and at last the request forgotten: after so many seconds each.
const AGAIN_S: [u64; 5] = [1, 2, 4, 8, 16];
/// With more than these no answer is sent again: most come from a flood.
const CALM: usize = MOST / 4;

/// A connection that was asked for.
#[derive(Clone)]
pub(super) struct HalfOpen {
    /// What the request said.
    pub(super) request: TcpRepr<'static>,
    /// The hardware address that it came from.
    pub(super) from: [u8; 6],
    pub(super) seed: u64,
    /// Bytes of the buffer for what is received: how its window is counted depends on it.
    pub(super) receive: usize,
    /// What the other machine acknowledges when it has our answer.
    pub(super) awaited: u32,
    order: u64,
    /// How often its answer was sent again.
    times: usize,
    due: Option<u64>,
}

/// All that were asked for.
#[derive(Default)]
pub(super) struct HalfOpenTable {
    all: BTreeMap<Key, HalfOpen>,
    by_age: BTreeMap<u64, Key>,
    by_port: BTreeMap<(u16, u64), Key>,
    counts: BTreeMap<u16, usize>,
    last: u64,
}

impl HalfOpenTable {
    pub(super) fn get(&self, key: &Key) -> Option<&HalfOpen> {
        self.all.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds one, in the place of the oldest if its port has more than `most`, or all ports too many.
    pub(super) fn add(&mut self, key: Key, made: Made, most: usize, timers: &mut Timers, now_ns: u64) {
        self.remove(&key, timers);
        let port = key.own.1;
        let most = most.clamp(LEAST_PER_PORT, MOST_PER_PORT);
        if self.counts.get(&port).is_some_and(|count| *count >= most) {
            if let Some(oldest) = self.by_port.range((port, 0)..).next().map(|(_, key)| *key) {
                self.remove(&oldest, timers);
            }
        }
        if self.all.len() >= MOST {
            if let Some(oldest) = self.by_age.first_key_value().map(|(_, key)| *key) {
                self.remove(&oldest, timers);
            }
        }
        self.last += 1;
        let Made { request, from, seed, receive, awaited } = made;
        let order = self.last;
        let mut added = HalfOpen { request, from, seed, receive, awaited, order, times: 0, due: None };
        timers.change(Target::HalfOpen(key), &mut added.due, Some(after(now_ns, 0)));
        self.all.insert(key, added);
        self.by_age.insert(order, key);
        self.by_port.insert((port, order), key);
        *self.counts.entry(port).or_default() += 1;
    }

    pub(super) fn remove(&mut self, key: &Key, timers: &mut Timers) {
        let Some(mut removed) = self.all.remove(key) else { return };
        timers.change(Target::HalfOpen(*key), &mut removed.due, None);
        let port = key.own.1;
        self.by_age.remove(&removed.order);
        self.by_port.remove(&(port, removed.order));
        if let Some(count) = self.counts.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&port);
            }
        }
    }

    /// One's time has come: whether its answer is to be sent again.
    pub(super) fn expire(&mut self, key: &Key, timers: &mut Timers, now_ns: u64) -> bool {
        let is_calm = self.all.len() <= CALM;
        let Some(it) = self.all.get_mut(key) else { return false };
        (it.due, it.times) = (None, it.times + 1);
        if it.times >= AGAIN_S.len() {
            self.remove(key, timers);
            return false;
        }
        timers.change(Target::HalfOpen(*key), &mut it.due, Some(after(now_ns, it.times)));
        is_calm
    }
}

fn after(now_ns: u64, times: usize) -> u64 {
    let seconds = AGAIN_S.get(times).copied().unwrap_or_default();
    now_ns.saturating_add(seconds * 1_000_000_000)
}

/// What is to be kept of a request.
pub(super) struct Made {
    pub(super) request: TcpRepr<'static>,
    pub(super) from: [u8; 6],
    pub(super) seed: u64,
    pub(super) receive: usize,
    pub(super) awaited: u32,
}

/// Where a request came: the interface's address, and the longest packet.
#[derive(Clone, Copy)]
pub(super) struct Where {
    pub(super) address: Ipv4Cidr,
    pub(super) mtu: usize,
}

/// Gives a request to a fresh socket that waits for it; the packet with its answer, and what is acknowledged with that. The same seed, request and size
/// of the socket's buffer make the same answer.
pub(super) fn answer(
    sockets: &mut SocketSet<'_>,
    handle: SocketHandle,
    key: &Key,
    (request, seed): (&TcpRepr<'static>, u64),
    at: Where,
    now: Instant,
) -> Option<(Vec<u8>, u32)> {
    let sums = ChecksumCapabilities::default();
    let ip = Ipv4Repr {
        src_addr: key.remote.0,
        dst_addr: key.own.0,
        next_header: IpProtocol::Tcp,
        payload_len: request.buffer_len(),
        hop_limit: 64,
    };
    let mut tape = Tape { mtu: at.mtu, incoming: Vec::new(), outgoing: Vec::new(), has_come: true };
    tape.incoming.resize(ip.buffer_len() + ip.payload_len, 0);
    let mut packet = Ipv4Packet::new_unchecked(&mut tape.incoming);
    ip.emit(&mut packet, &sums);
    let (from, to) = (IpAddress::Ipv4(key.remote.0), IpAddress::Ipv4(key.own.0));
    request.emit(&mut TcpPacket::new_unchecked(packet.payload_mut()), &from, &to, &sums);
    let mut config = iface::Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut stack = iface::Interface::new(config, &mut tape, now);
    stack.update_ip_addrs(|all| {
        // There is room for one.
        let _ = all.push(IpCidr::Ipv4(at.address));
    });
    sockets.get_mut::<tcp::Socket<'_>>(handle).listen(key.own.1).ok()?;
    stack.poll_ingress_single(now, &mut tape, sockets);
    stack.poll_egress(now, &mut tape, sockets);
    let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
    if socket.state() != tcp::State::SynReceived || tape.outgoing.is_empty() {
        return None;
    }
    let packet = Ipv4Packet::new_checked(&tape.outgoing[..]).ok()?;
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    let awaited = (segment.seq_number() + 1).0 as u32;
    Some((tape.outgoing, awaited))
}

/// A device that has one packet for the stack, and keeps the one that comes from it.
struct Tape {
    mtu: usize,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    has_come: bool,
}

struct Played<'a>(&'a [u8]);

struct Recorded<'a>(&'a mut Vec<u8>);

impl phy::RxToken for Played<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for Recorded<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.clear();
        self.0.resize(len, 0);
        f(self.0)
    }
}

impl phy::Device for Tape {
    type RxToken<'a> = Played<'a>;
    type TxToken<'a> = Recorded<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Played<'_>, Recorded<'_>)> {
        core::mem::take(&mut self.has_come).then_some((Played(&self.incoming), Recorded(&mut self.outgoing)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Recorded<'_>> {
        Some(Recorded(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) = (Medium::Ip, self.mtu);
        capabilities
    }
}
