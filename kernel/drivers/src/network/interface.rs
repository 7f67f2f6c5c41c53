// SPDX-License-Identifier: MIT OR Apache-2.0
//! An interface: a device with an address, given or asked for by DHCP. It answers ARP and pings by itself, and can ping others. The
//! protocols are smoltcp's; which socket a frame is for is found here.

use core::{net::Ipv4Addr, ops::DerefMut};

use alloc::{collections::VecDeque, string::String, sync::Arc, vec, vec::Vec};

use exo_platform::SpinLock;
use smoltcp::{
    iface::{SocketHandle, SocketSet},
    phy,
    socket::{dhcpv4, icmp},
    time::Instant,
    wire::{Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr, Ipv4Cidr},
};

use super::{
    ETHERNET_HEADER, FrameListener, NetworkDevice, NetworkError, SOON_NS,
    arrivals::{Arrived, MOST_ARRIVALS},
    classify::{self, Flags, Key, Kind, Place},
    datagrams::Outbox,
    half_open::HalfOpenTable,
    link::{Flushed, Link, instant},
    streams::{Streams, Target, Timers},
};

/// Frames that one poll takes, and segments that it sends: whoever sends more waits, and not the CPU.
const BUDGET: usize = 8;
/// Identifies our pings.
const PING_IDENT: u16 = 0x4578;
/// What a ping carries, as others do: 56 bytes.
const PING_PAYLOAD: usize = 56;

/// How an interface gets its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// It asks.
    Dhcp,
    /// It is given.
    Fixed {
        /// The address.
        address: Ipv4Addr,
        /// Bits of the address that are the network's.
        prefix: u8,
        /// Where packets for others go.
        gateway: Option<Ipv4Addr>,
    },
    /// It has none, and only counts frames.
    Off,
}

/// Whether this may be the address of one machine. smoltcp panics over an interface or a router that has another.
pub(super) fn is_machine(address: &Ipv4Addr) -> bool {
    !(address.is_multicast() || address.is_broadcast() || address.is_unspecified())
}

impl Setup {
    /// Reads `dhcp`, `off`, or an address such as `10.0.2.15/24`, perhaps with a comma and a gateway.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "dhcp" => return Some(Self::Dhcp),
            "off" => return Some(Self::Off),
            _ => {}
        }
        let (own, gateway) = match text.split_once(',') {
            Some((own, gateway)) => (own, Some(gateway.parse().ok().filter(is_machine)?)),
            None => (text, None),
        };
        let (address, prefix) = own.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some(Self::Fixed { address: address.parse().ok().filter(is_machine)?, prefix, gateway })
    }
}

/// A ping that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// To whom.
    pub target: Ipv4Addr,
    /// When, in nanoseconds since boot.
    pub sent: u64,
    /// When the answer came.
    pub answered: Option<u64>,
    sequence: u16,
}

pub(super) struct Inner {
    pub(super) link: Link,
    /// Sockets of the interface's own, for pings and for its address.
    pub(super) own: SocketSet<'static>,
    /// No socket at all, for frames that the stack answers.
    pub(super) none: SocketSet<'static>,
    pub(super) streams: Streams,
    pub(super) half_open: HalfOpenTable,
    pub(super) timers: Timers,
    pub(super) outbox: Outbox,
    /// What came, and its owner decides about.
    pub(super) arrivals: VecDeque<Arrived>,
    dhcp: Option<SocketHandle>,
    icmp: SocketHandle,
    pub(super) address: Option<Ipv4Cidr>,
    gateway: Option<Ipv4Addr>,
    ping: Option<Ping>,
    /// The device has gone.
    pub(super) is_gone: bool,
    /// A frame may have said where a machine is that something waits to be sent to.
    has_news: bool,
    /// A buffer for a socket that only answers.
    pub(super) scratch: Vec<u8>,
}

/// An interface.
pub struct Interface {
    name: String,
    device: Arc<dyn NetworkDevice>,
    inner: SpinLock<Inner>,
}

impl Interface {
    /// An interface `name` on a device. `seed` makes its choices differ from other machines'.
    pub fn new(
        name: &str,
        device: Arc<dyn NetworkDevice>,
        setup: Setup,
        seed: u64,
        now_ns: u64,
    ) -> Arc<Self> {
        let mut own = SocketSet::new(Vec::new());
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 2], vec![0; 512]);
        let mut pings = icmp::Socket::new(buffer(), buffer());
        // A fresh socket can be bound.
        let _ = pings.bind(icmp::Endpoint::Ident(PING_IDENT));
        let icmp = own.add(pings);
        let dhcp = (setup == Setup::Dhcp).then(|| own.add(dhcpv4::Socket::new()));
        let mut inner = Inner {
            link: Link::new(device.clone(), seed, now_ns),
            own,
            none: SocketSet::new(Vec::new()),
            streams: Streams::new(),
            half_open: HalfOpenTable::default(),
            timers: Timers::default(),
            outbox: Outbox::default(),
            arrivals: VecDeque::new(),
            dhcp,
            icmp,
            address: None,
            gateway: None,
            ping: None,
            is_gone: false,
            has_news: false,
            scratch: Vec::new(),
        };
        if let Setup::Fixed { address, prefix, gateway } = setup {
            inner.set(Some(Ipv4Cidr::new(address, prefix)), gateway);
        }
        Arc::new(Self { name: name.into(), device, inner: SpinLock::new(inner) })
    }

    pub(super) fn inner(&self) -> impl DerefMut<Target = Inner> + '_ {
        self.inner.lock()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn NetworkDevice> {
        &self.device
    }

    /// Its address and how many bits of it are the network's, once it has one.
    pub fn address(&self) -> Option<(Ipv4Addr, u8)> {
        self.inner.lock().address.map(|cidr| (cidr.address(), cidr.prefix_len()))
    }

    /// Where packets for others go.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.inner.lock().gateway
    }

    /// Whether it asks for its address.
    pub fn asks(&self) -> bool {
        self.inner.lock().dhcp.is_some()
    }

    /// Whether a packet for `target` goes through here, and how well it fits: the bits of the network, 0 by the gateway.
    pub fn reaches(&self, target: Ipv4Addr) -> Option<u8> {
        let inner = self.inner.lock();
        let cidr = inner.address.filter(|_| !inner.is_gone)?;
        if cidr.contains_addr(&target) {
            return Some(cidr.prefix_len());
        }
        inner.gateway.map(|_| 0)
    }

    /// Takes what has come, sends what is to be sent; when to call again, if nothing comes before: now, if it has not come to the end.
    pub fn poll(&self, now_ns: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        if inner.is_gone {
            return None;
        }
        let inner = &mut *inner;
        let now = instant(now_ns);
        let (mut taken, mut sent, mut is_first) = (0, 0, true);
        // What is sent may come back at once, as by loopback.
        loop {
            let before = taken;
            while taken < BUDGET && inner.link.fetch() {
                taken += 1;
                inner.take(now);
            }
            if taken == before && !is_first {
                break;
            }
            let has_news = core::mem::take(&mut inner.has_news);
            if has_news {
                inner.streams.may_go();
            }
            inner.expire(now_ns);
            for _ in 0..BUDGET {
                // Each turn sends a packet of every socket that has one.
                if inner.link.flush(now, &mut inner.own) != Flushed::Sent {
                    break;
                }
            }
            inner.outbox.flush(&mut inner.link, now_ns, has_news);
            sent += inner.streams.flush(&mut inner.link, &mut inner.timers, now_ns, BUDGET - sent);
            if taken == BUDGET || sent >= BUDGET {
                break;
            }
            is_first = false;
        }
        self.device.flush();
        inner.look_at_dhcp();
        inner.look_at_pings(now_ns);
        let has_more = taken == BUDGET || inner.streams.is_dirty();
        if has_more && inner.link.has_room() {
            return Some(now_ns);
        }
        let Inner { link, own, timers, outbox, .. } = inner;
        let soon = now_ns.saturating_add(SOON_NS);
        let again = if has_more { Some(soon) } else { None };
        [link.due(now, own), timers.next(), outbox.due(), again]
            .into_iter()
            .flatten()
            .min()
            .map(|due| due.max(soon))
    }

    /// What was sent since the last poll goes out, such as answers.
    pub fn flush(&self) {
        self.device.flush();
    }

    /// The device has gone: connections are broken off, and nothing is sent or kept any more. Their owners are told by
    /// [`changed`](Self::changed).
    pub fn end(&self) {
        let ended = {
            let mut inner = self.inner.lock();
            inner.is_gone = true;
            inner.address = None;
            inner.half_open = HalfOpenTable::default();
            inner.outbox = Outbox::default();
            inner.timers = Timers::default();
            (core::mem::take(&mut inner.arrivals), inner.streams.end())
        };
        // Buffers are freed without the lock.
        drop(ended);
    }

    /// Whether its device has gone.
    pub fn is_gone(&self) -> bool {
        self.inner.lock().is_gone
    }

    /// Sends a ping at the next [`poll`](Self::poll); the answer shows in [`last_ping`](Self::last_ping).
    ///
    /// # Errors
    /// [`NetworkError::Unreachable`], [`NetworkError::QueueFull`].
    pub fn ping(&self, target: Ipv4Addr, now_ns: u64) -> Result<(), NetworkError> {
        self.reaches(target).ok_or(NetworkError::Unreachable)?;
        let mut inner = self.inner.lock();
        let sequence = inner.ping.map_or(1, |ping| ping.sequence.wrapping_add(1));
        let data = [0x45; PING_PAYLOAD];
        let echo = Icmpv4Repr::EchoRequest { ident: PING_IDENT, seq_no: sequence, data: &data };
        let handle = inner.icmp;
        let socket = inner.own.get_mut::<icmp::Socket<'_>>(handle);
        let room =
            socket.send(echo.buffer_len(), IpAddress::Ipv4(target)).map_err(|_| NetworkError::QueueFull)?;
        echo.emit(&mut Icmpv4Packet::new_unchecked(room), &phy::ChecksumCapabilities::default());
        inner.ping = Some(Ping { target, sent: now_ns, answered: None, sequence });
        Ok(())
    }

    /// The ping that was sent last.
    pub fn last_ping(&self) -> Option<Ping> {
        self.inner.lock().ping
    }

    /// Who is told when frames have come.
    pub fn listen(&self, listener: Arc<dyn FrameListener>) {
        self.device.listen(listener);
    }
}

impl Inner {
    /// Finds out what the frame that came last is for.
    fn take(&mut self, now: Instant) {
        let place = Place {
            hardware: self.link.hardware_address(),
            address: self.address.map(|cidr| cidr.address()),
            broadcast: self.address.and_then(|cidr| cidr.broadcast()),
            asks: self.dhcp.is_some(),
        };
        match classify::classify(&self.link.incoming, &place) {
            Kind::Nobody => {}
            Kind::Stack => {
                self.link.feed(now, &mut self.own);
                self.has_news = true;
            }
            Kind::Segment(key, flags) => self.take_segment(key, flags, now),
            Kind::Datagram(key) => {
                let is_ethernet = place.hardware.is_some();
                let packet = if is_ethernet { ETHERNET_HEADER } else { 0 };
                let sums = phy::ChecksumCapabilities::default();
                if let Some(bytes) = classify::datagram(&self.link.incoming, is_ethernet, &sums) {
                    self.arrived(|frame| Arrived::datagram(frame, key, packet, bytes));
                }
            }
        }
    }

    fn take_segment(&mut self, key: Key, flags: Flags, now: Instant) {
        let found = self.streams.find(&key);
        if let Some(number) = found {
            if flags != Flags::Opens || !self.streams.lingers(number) {
                self.streams.feed(number, &mut self.link, now);
                return;
            }
            self.streams.release(number);
        }
        match flags {
            Flags::Opens => self.arrived(|frame| Arrived::opens(frame, key)),
            Flags::Acknowledges(number)
                if self.half_open.get(&key).is_some_and(|it| it.awaited == number) =>
            {
                self.arrived(|frame| Arrived::completes(frame, key));
            }
            Flags::Resets | Flags::Nothing => {}
            Flags::Acknowledges(_) => self.link.feed(now, &mut self.none),
        }
    }

    /// Keeps the frame that came last for the owner. The network may lose frames, and so may we if there are too many.
    fn arrived(&mut self, make: impl FnOnce(Vec<u8>) -> Arrived) {
        if self.arrivals.len() < MOST_ARRIVALS && self.arrivals.try_reserve(1).is_ok() {
            self.arrivals.push_back(make(core::mem::take(&mut self.link.incoming)));
        }
    }

    /// Does what the time has come for.
    fn expire(&mut self, now_ns: u64) {
        for _ in 0..BUDGET {
            match self.timers.expired(now_ns) {
                None => return,
                Some(Target::Stream(number)) => self.streams.expire(number),
                Some(Target::HalfOpen(key)) => {
                    if self.half_open.expire(&key, &mut self.timers, now_ns) {
                        self.answer_again(&key, now_ns);
                    }
                }
            }
        }
    }

    /// Addresses that are none, which a server may give, are left out.
    fn set(&mut self, address: Option<Ipv4Cidr>, gateway: Option<Ipv4Addr>) {
        let address = address.filter(|cidr| is_machine(&cidr.address()));
        let gateway = gateway.filter(is_machine);
        self.link.stack.update_ip_addrs(|all| {
            all.clear();
            // There is room for one.
            let _ = address.map(|cidr| all.push(IpCidr::Ipv4(cidr)));
        });
        self.link.stack.routes_mut().remove_default_ipv4_route();
        if let Some(gateway) = gateway {
            // There is room for the one that was just removed.
            let _ = self.link.stack.routes_mut().add_default_ipv4_route(gateway);
        }
        (self.address, self.gateway) = (address, gateway);
    }

    fn look_at_dhcp(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let socket = self.own.get_mut::<dhcpv4::Socket<'_>>(handle);
        match socket.poll() {
            // Asked again for the lease at the address that it does not have, and smoltcp panics over that, too.
            Some(dhcpv4::Event::Configured(config)) if !is_machine(&config.server.address) => socket.reset(),
            Some(dhcpv4::Event::Configured(config)) => {
                let (address, router) = (config.address, config.router);
                self.set(Some(address), router);
            }
            Some(dhcpv4::Event::Deconfigured) => self.set(None, None),
            None => {}
        }
    }

    fn look_at_pings(&mut self, now_ns: u64) {
        let socket = self.own.get_mut::<icmp::Socket<'_>>(self.icmp);
        while let Ok((bytes, from)) = socket.recv() {
            let Some(ping) = &mut self.ping else { continue };
            let Ok(packet) = Icmpv4Packet::new_checked(bytes) else { continue };
            let echo = Icmpv4Repr::parse(&packet, &phy::ChecksumCapabilities::default());
            let is_ours = matches!(echo, Ok(Icmpv4Repr::EchoReply { seq_no, .. }) if seq_no == ping.sequence);
            if is_ours && from == IpAddress::Ipv4(ping.target) && ping.answered.is_none() {
                ping.answered = Some(now_ns);
            }
        }
    }
}
