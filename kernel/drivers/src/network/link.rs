// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device as smoltcp sees it, with the frame that came last and the one that goes next. smoltcp looks through all sockets that it is given: here it
//! is given those alone that a frame is for.

use alloc::{sync::Arc, vec::Vec};

use smoltcp::{
    iface::{self, SocketSet},
    phy::{self, DeviceCapabilities, Medium},
    time::Instant,
    wire::{EthernetAddress, HardwareAddress},
};

use super::{ETHERNET_HEADER, NetworkDevice};

/// smoltcp's time.
pub(super) fn instant(now_ns: u64) -> Instant {
    Instant::from_micros(i64::try_from(now_ns / 1000).unwrap_or(i64::MAX))
}

/// What became of what sockets had to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// A packet was sent.
    Sent,
    /// There was none that may be sent now.
    Nothing,
    /// It waits until it is known where its receiver is.
    Searches,
}

/// The stack and its device.
pub(super) struct Link {
    device: Arc<dyn NetworkDevice>,
    pub(super) stack: iface::Interface,
    /// The frame that came last.
    pub(super) incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Sockets that were looked at so far.
    pub(super) looked_at: u64,
}

impl Link {
    pub(super) fn new(device: Arc<dyn NetworkDevice>, seed: u64, now_ns: u64) -> Self {
        let address = match device.hardware_address() {
            Some(address) => HardwareAddress::Ethernet(EthernetAddress(address)),
            None => HardwareAddress::Ip,
        };
        let mut config = iface::Config::new(address);
        config.random_seed = seed;
        let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
        let mut port = Port {
            device: &*device,
            incoming: &incoming,
            outgoing: &mut outgoing,
            has_come: false,
            is_asked: false,
        };
        let stack = iface::Interface::new(config, &mut port, instant(now_ns));
        incoming.clear();
        Self { device, stack, incoming, outgoing, looked_at: 0 }
    }

    /// Takes a frame from the device, if there is one.
    pub(super) fn fetch(&mut self) -> bool {
        self.device.receive(&mut self.incoming)
    }

    /// Whether the device takes another frame.
    pub(super) fn has_room(&self) -> bool {
        self.device.has_room()
    }

    /// Its address on the Ethernet.
    pub(super) fn hardware_address(&self) -> Option<[u8; 6]> {
        self.device.hardware_address()
    }

    /// Most bytes of a packet.
    pub(super) fn mtu(&self) -> usize {
        self.device.mtu()
    }

    /// Gives the frame that came last to the stack, with the sockets that it may be for.
    pub(super) fn feed(&mut self, now: Instant, sockets: &mut SocketSet<'_>) {
        self.looked_at += sockets.iter().count() as u64;
        let mut port = Port {
            device: &*self.device,
            incoming: &self.incoming,
            outgoing: &mut self.outgoing,
            has_come: true,
            is_asked: false,
        };
        self.stack.poll_ingress_single(now, &mut port, sockets);
    }

    /// Sends a packet of each of these sockets that has one.
    pub(super) fn flush(&mut self, now: Instant, sockets: &mut SocketSet<'_>) -> Flushed {
        self.looked_at += sockets.iter().count() as u64;
        let mut port = Port {
            device: &*self.device,
            incoming: &self.incoming,
            outgoing: &mut self.outgoing,
            has_come: false,
            is_asked: false,
        };
        match self.stack.poll_egress(now, &mut port, sockets) {
            iface::PollResult::SocketStateChanged => Flushed::Sent,
            iface::PollResult::None if port.is_asked => Flushed::Searches,
            iface::PollResult::None => Flushed::Nothing,
        }
    }

    /// When these sockets want to be looked at, in nanoseconds since boot.
    pub(super) fn due(&mut self, now: Instant, sockets: &SocketSet<'_>) -> Option<u64> {
        let at = self.stack.poll_at(now, sockets)?;
        Some(u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1000))
    }

    /// Sends a packet to a machine whose hardware address is known.
    pub(super) fn send_to(&mut self, to: [u8; 6], packet: &[u8]) {
        self.outgoing.clear();
        if let Some(own) = self.device.hardware_address() {
            const IPV4: [u8; 2] = [8, 0];
            [&to[..], &own, &IPV4].iter().for_each(|part| self.outgoing.extend_from_slice(part));
        }
        self.outgoing.extend_from_slice(packet);
        // The network may lose frames, and so may we; the device has counted it.
        let _ = self.device.transmit(&self.outgoing);
    }
}

struct Port<'a> {
    device: &'a dyn NetworkDevice,
    incoming: &'a [u8],
    outgoing: &'a mut Vec<u8>,
    /// There is a frame that was not looked at.
    has_come: bool,
    /// Something was to be sent.
    is_asked: bool,
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
        // As above.
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
        self.is_asked = true;
        self.device.has_room().then_some(Outgoing { device: self.device, frame: self.outgoing })
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
