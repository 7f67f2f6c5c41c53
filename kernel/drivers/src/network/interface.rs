// SPDX-License-Identifier: MIT OR Apache-2.0
//! An interface: a device with an address, given or asked for by DHCP. It answers ARP and pings by itself, and can ping others. The
//! protocols are smoltcp's.

use core::{net::Ipv4Addr, ops::DerefMut};

use alloc::{string::String, sync::Arc, vec, vec::Vec};

use exo_platform::SpinLock;
use smoltcp::{
    iface::{self, PollResult, SocketHandle, SocketSet},
    phy::{self, DeviceCapabilities, Medium},
    socket::{dhcpv4, icmp},
    time::Instant,
    wire::{EthernetAddress, HardwareAddress, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr, Ipv4Cidr},
};

use super::{ETHERNET_HEADER, FrameListener, NetworkDevice, NetworkError, waiting::Waiting};

/// Frames that one poll takes: whoever sends more waits, and not the CPU.
const BUDGET: usize = 64;
/// When to go on after that, in nanoseconds.
const SOON_NS: u64 = 100_000;
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
fn is_machine(address: &Ipv4Addr) -> bool {
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
    pub(super) stack: iface::Interface,
    pub(super) sockets: SocketSet<'static>,
    /// Ports where others may connect.
    pub(super) waiting: Waiting,
    /// Connections that were given up, and are not over.
    pub(super) leaving: Vec<SocketHandle>,
    dhcp: Option<SocketHandle>,
    icmp: SocketHandle,
    /// The frame that came last, and the one that goes next.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    pub(super) address: Option<Ipv4Cidr>,
    gateway: Option<Ipv4Addr>,
    ping: Option<Ping>,
}

/// An interface.
pub struct Interface {
    name: String,
    device: Arc<dyn NetworkDevice>,
    inner: SpinLock<Inner>,
}

fn instant(now_ns: u64) -> Instant {
    Instant::from_micros(i64::try_from(now_ns / 1000).unwrap_or(i64::MAX))
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
        let address = match device.hardware_address() {
            Some(address) => HardwareAddress::Ethernet(EthernetAddress(address)),
            None => HardwareAddress::Ip,
        };
        let mut config = iface::Config::new(address);
        config.random_seed = seed;
        let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
        let mut port =
            Port { device: &*device, incoming: &mut incoming, outgoing: &mut outgoing, has_come: false };
        let stack = iface::Interface::new(config, &mut port, instant(now_ns));
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 2], vec![0; 512]);
        let mut pings = icmp::Socket::new(buffer(), buffer());
        // A fresh socket can be bound.
        let _ = pings.bind(icmp::Endpoint::Ident(PING_IDENT));
        let icmp = sockets.add(pings);
        let dhcp = (setup == Setup::Dhcp).then(|| sockets.add(dhcpv4::Socket::new()));
        let (address, gateway, ping) = (None, None, None);
        let (waiting, leaving) = (Waiting::default(), Vec::new());
        let mut inner = Inner {
            stack,
            sockets,
            waiting,
            leaving,
            dhcp,
            icmp,
            incoming,
            outgoing,
            address,
            gateway,
            ping,
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
        let cidr = inner.address?;
        if cidr.contains_addr(&target) {
            return Some(cidr.prefix_len());
        }
        inner.gateway.map(|_| 0)
    }

    /// Takes what has come, sends what is to be sent; when to call again, if nothing comes before.
    pub fn poll(&self, now_ns: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let now = instant(now_ns);
        let Inner { stack, sockets, waiting, incoming, outgoing, .. } = inner;
        let mut port = Port { device: &*self.device, incoming, outgoing, has_come: false };
        let (mut taken, mut is_first) = (0, true);
        // What is sent may come back at once, as by loopback.
        loop {
            let before = taken;
            while taken < BUDGET && port.fetch() {
                taken += 1;
                if !waiting.is_to_be_dropped(port.incoming, sockets) {
                    stack.poll_ingress_single(now, &mut port, sockets);
                }
            }
            // Each turn sends a packet of every socket that has one.
            for _ in 0..BUDGET {
                if stack.poll_egress(now, &mut port, sockets) == PollResult::None {
                    break;
                }
            }
            if taken == before && !is_first || taken == BUDGET {
                break;
            }
            is_first = false;
        }
        self.device.flush();
        inner.free_what_has_left();
        inner.look_at_dhcp();
        inner.look_at_pings(now_ns);
        if taken == BUDGET {
            return Some(now_ns.saturating_add(SOON_NS));
        }
        let delay = inner.stack.poll_delay(now, &inner.sockets)?;
        Some(now_ns.saturating_add(delay.total_micros().saturating_mul(1000).max(SOON_NS)))
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
        let socket = inner.sockets.get_mut::<icmp::Socket<'_>>(handle);
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
    /// Addresses that are none, which a server may give, are left out.
    fn set(&mut self, address: Option<Ipv4Cidr>, gateway: Option<Ipv4Addr>) {
        let address = address.filter(|cidr| is_machine(&cidr.address()));
        let gateway = gateway.filter(is_machine);
        self.stack.update_ip_addrs(|all| {
            all.clear();
            // There is room for one.
            let _ = address.map(|cidr| all.push(IpCidr::Ipv4(cidr)));
        });
        self.stack.routes_mut().remove_default_ipv4_route();
        if let Some(gateway) = gateway {
            // There is room for the one that was just removed.
            let _ = self.stack.routes_mut().add_default_ipv4_route(gateway);
        }
        (self.address, self.gateway) = (address, gateway);
    }

    fn look_at_dhcp(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let socket = self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle);
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
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.icmp);
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

/// The device as smoltcp sees it.
struct Port<'a> {
    device: &'a dyn NetworkDevice,
    incoming: &'a mut Vec<u8>,
    outgoing: &'a mut Vec<u8>,
    /// There is a frame that was not looked at.
    has_come: bool,
}

impl Port<'_> {
    /// Takes a frame from the device, if there is one.
    fn fetch(&mut self) -> bool {
        self.has_come = self.device.receive(self.incoming);
        self.has_come
    }
}

struct Incoming<'a>(&'a [u8]);

struct Outgoing<'a> {
    device: &'a dyn NetworkDevice,
    frame: &'a mut Vec<u8>,
}

impl phy::RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.frame.clear();
        self.frame.resize(len, 0);
        let result = f(self.frame);
        // The network may lose frames, and so may we; the device has counted it.
        let _ = self.device.transmit(self.frame);
        result
    }
}

impl phy::Device for Port<'_> {
    type RxToken<'a>
        = Incoming<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Outgoing<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        if !core::mem::take(&mut self.has_come) {
            return None;
        }
        let outgoing = Outgoing { device: self.device, frame: self.outgoing };
        Some((Incoming(self.incoming), outgoing))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing { device: self.device, frame: self.outgoing })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) = match self.device.hardware_address() {
            Some(_) => (Medium::Ethernet, self.device.mtu().saturating_add(ETHERNET_HEADER)),
            None => (Medium::Ip, self.device.mtu()),
        };
        capabilities
    }
}
