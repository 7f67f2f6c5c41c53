// SPDX-License-Identifier: MIT OR Apache-2.0
//! A socket's state, and where it is bound and connected. That of a ping is its ident, as others' is a port.

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::{
    collections::VecDeque,
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
        endpoint::{Endpoint, Family, is_any},
        local,
        ports::{Claim, Ports},
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
    pub(super) from: core::net::Ipv6Addr,
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

    /// What it costs its receiver: about what Linux counts for one (`skb->truesize`).
    pub(super) fn cost(&self) -> usize {
        256 + (self.bytes.len() + 320).next_multiple_of(512)
    }
}

/// What changes about a socket.
#[derive(Default)]
pub(super) struct State {
    local: Option<Endpoint>,
    /// The program has chosen its address, and its ident.
    bound_ip: bool,
    bound_port: bool,
    claim: Option<Arc<Claim<IcmpSocket>>>,
    pub(super) peer: Option<Endpoint>,
    pub(super) packets: VecDeque<Arc<Packet>>,
    /// The places at interfaces that it has used.
    pub(super) gates: Vec<Arc<dyn Send + Sync>>,
    /// To be reported once.
    pub(super) error: Option<Errno>,
    /// [`direction`](crate::socket::direction)s that have ended.
    pub(super) ended: u8,
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
        let local = { self.state().local };
        let local = local.unwrap_or(Endpoint::any(self.family));
        if self.is_raw { Endpoint { port: protocol_of(self.family) as u16, ..local } } else { local }
    }

    /// Gives it an address; a ping may be given one once.
    ///
    /// # Errors
    /// EINVAL if it has one, EADDRINUSE, EADDRNOTAVAIL.
    pub(super) fn bind(self: &Arc<Self>, at: Endpoint) -> Result<()> {
        local::check_bind(Endpoint { port: 0, ..at })?;
        if self.is_raw {
            let mut state = self.state();
            state.local = Some(Endpoint { port: 0, ..at });
            state.bound_ip = !is_any(at.ip);
            return Ok(());
        }
        if self.state().claim.is_some() {
            return Err(Errno::EINVAL);
        }
        self.claim(at)?;
        let mut state = self.state();
        (state.bound_ip, state.bound_port) = (!is_any(at.ip), at.port != 0);
        Ok(())
    }

    fn claim(self: &Arc<Self>, at: Endpoint) -> Result<Endpoint> {
        let request = self.settings.bind_request(&self.common, at.ip);
        let claim = fallible::arc(idents(self.family).claim(at.port, request, Arc::downgrade(self))?)?;
        let local = Endpoint { port: claim.port, ..at };
        let unneeded = {
            let mut state = self.state();
            if state.claim.is_some() {
                Some(claim)
            } else {
                (state.claim, state.local) = (Some(claim), Some(local));
                None
            }
        };
        if unneeded.is_some() { Err(Errno::EINVAL) } else { Ok(local) }
    }

    /// Where it is; a ping gets an ident unless it has one.
    ///
    /// # Errors
    /// EAGAIN if there is none, as on Linux.
    pub(super) fn find_local(self: &Arc<Self>) -> Result<Endpoint> {
        let local = { self.state().local };
        let at = local.unwrap_or(Endpoint::any(self.family));
        if self.is_raw || at.port != 0 {
            return Ok(at);
        }
        match self.claim(at) {
            Err(Errno::EADDRINUSE) => Err(Errno::EAGAIN),
            // Another thread was faster.
            Err(Errno::EINVAL) => self.state().local.ok_or(Errno::EAGAIN),
            other => other,
        }
    }

    /// Chooses where its messages go; a raw one takes them from there alone, too.
    ///
    /// # Errors
    /// ENETUNREACH, EAGAIN.
    pub(super) fn connect(self: &Arc<Self>, to: Endpoint) -> Result<()> {
        let to = Endpoint { ip: local::destination(to.ip), ..to };
        let source = local::way(to.ip)?.source;
        let at = self.find_local()?;
        let claim = {
            let mut state = self.state();
            let ip = if state.bound_ip { at.ip } else { source };
            state.local = Some(Endpoint { ip, ..at });
            state.peer = Some(to);
            state.claim.clone().map(|claim| (claim, ip))
        };
        if let Some((claim, ip)) = claim {
            claim.connect(ip, None);
        }
        self.polled.wake_all();
        Ok(())
    }

    /// It is connected no more.
    pub(super) fn disconnect(&self) {
        let (kept, dropped) = {
            let mut state = self.state();
            (state.peer, state.error) = (None, None);
            let ip = match state.local {
                Some(local) if state.bound_ip => local.ip,
                _ => self.family.any(),
            };
            if state.bound_port || self.is_raw {
                state.local = state.local.map(|local| Endpoint { ip, ..local });
                (state.claim.clone().map(|claim| (claim, ip)), None)
            } else {
                state.local = state.bound_ip.then_some(Endpoint { ip, port: 0 });
                (None, state.claim.take())
            }
        };
        drop(dropped);
        if let Some((claim, ip)) = kept {
            claim.connect(ip, None);
        }
    }

    /// Whether a raw socket gets a packet.
    pub(super) fn wants(&self, packet: &Packet) -> bool {
        if self.filter.keeps_out(self.family, packet.message()) {
            return false;
        }
        let state = self.state();
        let is_to_it = state.local.is_none_or(|local| is_any(local.ip) || local.ip == packet.how.to);
        is_to_it && state.peer.is_none_or(|peer| peer.ip == packet.from)
    }

    /// Closes it: nobody finds it any more.
    pub(super) fn close(&self) {
        let closed = core::mem::take(&mut *self.state());
        self.queued.store(0, Ordering::Relaxed);
        drop(closed);
    }
}
