// SPDX-License-Identifier: MIT OR Apache-2.0
//! A UDP socket's state, and where it is bound and connected.

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};

use exo_core::{credentials::Which, thread::running};
use exo_hal::sync::{SpinGuard, SpinLock};

use super::errors::Failed;
use crate::{
    common::Common,
    errno::{Errno, Result},
    fallible,
    inet::{
        circumstances::Circumstances,
        endpoint::{Endpoint, Family, is_any},
        local,
        ports::{Claim, Ports},
        registry::{Place, Registry},
        settings::Settings,
    },
    sched::wait::WaitQueue,
};

/// The ports of UDP.
pub(super) static PORTS: Ports<UdpSocket> = Ports::new();

/// A datagram.
pub(super) struct Datagram {
    pub(super) bytes: Vec<u8>,
    pub(super) from: Endpoint,
    /// How it came, if its receiver had asked.
    pub(super) how: Option<Box<Circumstances>>,
}

/// What a datagram of `length` bytes costs its receiver: about what Linux counts for one (`skb->truesize`).
pub(super) fn cost(length: usize) -> usize {
    256 + (length + 320).next_multiple_of(512)
}

/// What changes about a socket.
#[derive(Default)]
pub(super) struct State {
    pub(super) local: Option<Endpoint>,
    /// The program has chosen its address, and its port.
    bound_ip: bool,
    bound_port: bool,
    claim: Option<Arc<Claim<UdpSocket>>>,
    pub(super) peer: Option<Endpoint>,
    pub(super) datagrams: VecDeque<Arc<Datagram>>,
    /// To be reported once.
    pub(super) error: Option<Errno>,
    /// What has failed, for who wants to know more (IP_RECVERR).
    pub(super) failed: VecDeque<Box<Failed>>,
    /// [`direction`](crate::socket::direction)s that have ended.
    pub(super) ended: u8,
}

/// All UDP sockets.
pub(super) static ALL: Registry<UdpSocket> = Registry::new();

/// A UDP socket.
pub(super) struct UdpSocket {
    /// Whose it is.
    pub(super) user: u32,
    place: Place<UdpSocket>,
    pub(super) family: Family,
    pub(super) common: Common,
    pub(super) settings: Settings,
    /// Who waits to receive.
    pub(super) receivable: WaitQueue,
    /// Who waits for whatever happens (poll and its like).
    pub(super) polled: WaitQueue,
    /// What the datagrams cost that nobody has read.
    pub(super) queued: AtomicUsize,
    state: SpinLock<State>,
}

impl UdpSocket {
    /// A new one.
    pub(super) fn new(family: Family) -> Result<Arc<Self>> {
        let socket = fallible::arc(Self {
            user: running().credentials.id(Which::EffectiveUser),
            place: ALL.place(),
            family,
            common: Common::default(),
            settings: Settings::new(family, false),
            receivable: WaitQueue::new(),
            polled: WaitQueue::new(),
            queued: AtomicUsize::new(0),
            state: SpinLock::new(State::default()),
        })?;
        socket.place.enter(&socket);
        Ok(socket)
    }

    /// Its state.
    #[inline]
    pub(super) fn state(&self) -> SpinGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn tell_receivers(&self) {
        self.receivable.wake_all();
        self.polled.wake_all();
    }

    /// Whether it has a port.
    pub(super) fn is_bound(&self) -> bool {
        self.state().claim.is_some()
    }

    /// Gives it an address.
    ///
    /// # Errors
    /// EINVAL if it has one, EADDRINUSE, EADDRNOTAVAIL, EACCES.
    pub(super) fn bind(self: &Arc<Self>, at: Endpoint) -> Result<()> {
        local::check_bind(at)?;
        if self.is_bound() {
            return Err(Errno::EINVAL);
        }
        self.claim(at)?;
        let mut state = self.state();
        (state.bound_ip, state.bound_port) = (!is_any(at.ip), at.port != 0);
        Ok(())
    }

    fn claim(self: &Arc<Self>, at: Endpoint) -> Result<Endpoint> {
        let request = self.settings.bind_request(&self.common, at.ip);
        let claim = Arc::new(PORTS.claim(at.port, request, Arc::downgrade(self))?);
        let local = Endpoint { port: claim.port, ..at };
        let unneeded = {
            let mut state = self.state();
            if state.claim.is_some() {
                Some(claim)
            } else {
                state.claim = Some(claim);
                state.local = Some(local);
                None
            }
        };
        if unneeded.is_some() { Err(Errno::EINVAL) } else { Ok(local) }
    }

    /// Where it is; it gets a port unless it has one.
    ///
    /// # Errors
    /// EAGAIN if there is none, as on Linux.
    pub(super) fn find_local(self: &Arc<Self>) -> Result<Endpoint> {
        let local = { self.state().local };
        let at = match local {
            Some(local) if local.port != 0 => return Ok(local),
            Some(local) => local,
            None => Endpoint::any(self.family),
        };
        let claimed = self.claim(at);
        match claimed {
            Err(Errno::EADDRINUSE) => Err(Errno::EAGAIN),
            // Another thread was faster.
            Err(Errno::EINVAL) => self.state().local.ok_or(Errno::EAGAIN),
            other => other,
        }
    }

    /// Chooses where its datagrams go, and from where alone it takes some.
    ///
    /// # Errors
    /// ENETUNREACH, EAGAIN.
    pub(super) fn connect(self: &Arc<Self>, to: Endpoint) -> Result<()> {
        let to = Endpoint { ip: local::destination(to.ip), ..to };
        let source = local::way(to.ip)?.source;
        let at = self.find_local()?;
        let is_v4 = |ip: core::net::Ipv6Addr| ip.to_ipv4_mapped().is_some();
        if self.state().bound_ip && is_v4(at.ip) != is_v4(to.ip) {
            return Err(if is_v4(at.ip) { Errno::EAFNOSUPPORT } else { Errno::ENETUNREACH });
        }
        let claim = {
            let mut state = self.state();
            let ip = if state.bound_ip { at.ip } else { source };
            state.local = Some(Endpoint { ip, ..at });
            state.peer = Some(to);
            state.claim.clone().map(|claim| (claim, ip))
        };
        if let Some((claim, ip)) = claim {
            claim.connect(ip, Some(to));
        }
        self.polled.wake_all();
        Ok(())
    }

    /// It is connected no more.
    pub(super) fn disconnect(&self) {
        let (kept, dropped) = {
            let mut state = self.state();
            state.peer = None;
            state.error = None;
            let ip = match state.local {
                Some(local) if state.bound_ip => local.ip,
                _ => self.family.any(),
            };
            if state.bound_port {
                state.local = state.local.map(|local| Endpoint { ip, ..local });
                (state.claim.clone().map(|claim| (claim, ip)), None)
            } else {
                state.local = if state.bound_ip { Some(Endpoint { ip, port: 0 }) } else { None };
                (None, state.claim.take())
            }
        };
        drop(dropped);
        if let Some((claim, ip)) = kept {
            claim.connect(ip, None);
        }
    }

    /// Closes it: nobody finds it any more.
    pub(super) fn close(&self) {
        let closed = core::mem::take(&mut *self.state());
        self.queued.store(0, Ordering::Relaxed);
        drop(closed);
    }
}
