// SPDX-License-Identifier: MIT OR Apache-2.0
//! A socket's state, and where it is bound and connected. That of a ping is its ident, as others' is a port.

use core::{
    net::Ipv6Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::sync::{SpinGuard, SpinLock};
use linux_raw_sys::net;

use super::{Filter, protocol_of};
use crate::{
    common::Common,
    errno::{Errno, Result},
    fallible,
    inet::{
        circumstances::Circumstances,
        datagrams::{Binding, Bound, Inbox, cost},
        endpoint::{Endpoint, Family, is_any},
        local,
        ports::{BindRequest, Ports},
        settings::Settings,
    },
    sched::wait::WaitQueue,
};

/// The idents of pings, of each protocol.
static IDENTS: [Ports<IcmpSocket>; 2] = [Ports::new(), Ports::new()];
/// Raw sockets. Each packet is shown to all of them.
static RAW: SpinLock<Vec<Weak<IcmpSocket>>> = SpinLock::new(Vec::new());
/// Most of them.
const MOST_RAW: usize = 256;

/// Who sends and gets echoes with which idents.
pub(super) fn idents(family: Family) -> &'static Ports<IcmpSocket> {
    let [v4, v6] = &IDENTS;
    if family == Family::V4 { v4 } else { v6 }
}

/// The raw socket at a place of their list, as long as the list goes on.
pub(super) fn raw(place: usize) -> Option<Option<Arc<IcmpSocket>>> {
    RAW.lock().get(place).map(Weak::upgrade)
}

/// A packet as sockets get it, which share it.
pub(super) struct Packet {
    /// With its header, if it is one of IPv4.
    pub(super) bytes: Vec<u8>,
    /// Where the message begins.
    pub(super) start: usize,
    pub(super) from: Ipv6Addr,
    /// How it came.
    pub(super) how: Circumstances,
}

impl Packet {
    /// The message.
    pub(super) fn message(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// What a socket gets of it.
    pub(super) fn of(&self, socket: &IcmpSocket) -> &[u8] {
        if socket.is_raw { &self.bytes } else { self.message() }
    }

    /// What it costs its receiver.
    pub(super) fn cost(&self) -> usize {
        cost(self.bytes.len())
    }
}

/// What changes about a socket.
#[derive(Default)]
pub(super) struct State {
    pub(super) binding: Binding<IcmpSocket>,
    pub(super) inbox: Inbox<Packet>,
    /// The places at interfaces that it has used.
    pub(super) gates: Vec<Arc<dyn Send + Sync>>,
}

/// A socket.
pub(super) struct IcmpSocket {
    pub(super) family: Family,
    pub(super) is_raw: bool,
    pub(super) common: Common,
    pub(super) settings: Settings,
    pub(super) filter: Filter,
    /// Who waits to receive.
    pub(super) receivable: WaitQueue,
    /// Who waits for whatever happens (poll and its like).
    pub(super) polled: WaitQueue,
    /// What the packets cost that nobody has read.
    pub(super) queued: AtomicUsize,
    state: SpinLock<State>,
}

impl IcmpSocket {
    /// A new one.
    ///
    /// # Errors
    /// ENOMEM, ENOBUFS if there are too many raw ones.
    pub(super) fn new(family: Family, is_raw: bool) -> Result<Arc<Self>> {
        let common = Common::default();
        // As on Linux: idents may be shared.
        common.kept.store(1 << net::SO_REUSEADDR, Ordering::Relaxed);
        let socket = fallible::arc(Self {
            family,
            is_raw,
            common,
            settings: Settings::new(family, false),
            filter: Filter::default(),
            receivable: WaitQueue::new(),
            polled: WaitQueue::new(),
            queued: AtomicUsize::new(0),
            state: SpinLock::new(State::default()),
        })?;
        if is_raw {
            // It has none, and nothing to give back when it is disconnected.
            socket.state().binding.has_chosen_port = true;
            let mut all = RAW.lock();
            all.retain(|known| known.strong_count() > 0);
            if all.len() >= MOST_RAW {
                return Err(Errno::ENOBUFS);
            }
            fallible::push(&mut all, Arc::downgrade(&socket))?;
        }
        Ok(socket)
    }

    /// Its state.
    pub(super) fn state(&self) -> SpinGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn tell_receivers(&self) {
        self.receivable.wake_all();
        self.polled.wake_all();
    }

    /// Its address, and its ident or, as on Linux, a raw one's protocol in the place of a port.
    pub(super) fn name(&self) -> Endpoint {
        let local = self.with_binding(|binding| binding.local);
        let local = local.unwrap_or(Endpoint::any(self.family));
        if self.is_raw { Endpoint { port: protocol_of(self.family) as u16, ..local } } else { local }
    }

    /// Gives it an address; a ping may be given one once.
    ///
    /// # Errors
    /// EINVAL if it has one, EADDRINUSE, EADDRNOTAVAIL.
    pub(super) fn bind(self: &Arc<Self>, at: Endpoint) -> Result<()> {
        local::check_bind(Endpoint { port: 0, ..at })?;
        if !self.is_raw {
            return self.bind_to(at);
        }
        self.with_binding(|binding| {
            binding.local = Some(Endpoint { port: 0, ..at });
            binding.has_chosen_ip = !is_any(at.ip);
        });
        Ok(())
    }

    /// Where it is; a ping gets an ident unless it has one.
    ///
    /// # Errors
    /// EAGAIN if there is none, as on Linux.
    pub(super) fn place(self: &Arc<Self>) -> Result<Endpoint> {
        if self.is_raw {
            return Ok(self.with_binding(|binding| binding.local).unwrap_or(Endpoint::any(self.family)));
        }
        self.find_local()
    }

    /// Chooses where its messages go; a raw one takes them from there alone, too.
    ///
    /// # Errors
    /// ENETUNREACH, EAGAIN.
    pub(super) fn connect(self: &Arc<Self>, to: Endpoint) -> Result<()> {
        let to = Endpoint { ip: local::destination(to.ip), ..to };
        let source = local::way(to.ip)?.source;
        self.connect_from(self.place()?, source, to, false);
        self.polled.wake_all();
        Ok(())
    }

    /// Whether a raw socket gets a packet.
    pub(super) fn wants(&self, packet: &Packet) -> bool {
        if self.filter.keeps_out(self.family, packet.message()) {
            return false;
        }
        let state = self.state();
        let Binding { local, peer, .. } = &state.binding;
        let is_to_it = local.is_none_or(|local| is_any(local.ip) || local.ip == packet.how.to);
        is_to_it && peer.is_none_or(|peer| peer.ip == packet.from)
    }

    /// Closes it: nobody finds it any more.
    pub(super) fn close(&self) {
        let closed = core::mem::take(&mut *self.state());
        self.queued.store(0, Ordering::Relaxed);
        drop(closed);
    }
}

impl Bound for IcmpSocket {
    #[inline]
    fn with_binding<R>(&self, with: impl FnOnce(&mut Binding<Self>) -> R) -> R {
        with(&mut self.state().binding)
    }

    fn bind_request(&self, ip: Ipv6Addr) -> BindRequest {
        self.settings.bind_request(&self.common, ip)
    }

    fn ports(&self) -> &'static Ports<Self> {
        idents(self.family)
    }

    fn family(&self) -> Family {
        self.family
    }
}
