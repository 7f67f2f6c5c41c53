// SPDX-License-Identifier: MIT OR Apache-2.0
//! A UDP socket's state, and where it is bound and connected.

use core::{
    net::Ipv6Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

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
        datagrams::{Binding, Bound, Inbox},
        endpoint::{Endpoint, Family},
        local,
        ports::{BindRequest, Ports},
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

/// What changes about a socket.
#[derive(Default)]
pub(super) struct State {
    pub(super) binding: Binding<UdpSocket>,
    pub(super) inbox: Inbox<Datagram>,
    /// What has failed, for who wants to know more (IP_RECVERR).
    pub(super) failed: VecDeque<Box<Failed>>,
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

    /// Gives it an address.
    ///
    /// # Errors
    /// EINVAL if it has one, EADDRINUSE, EADDRNOTAVAIL, EACCES.
    pub(super) fn bind(self: &Arc<Self>, at: Endpoint) -> Result<()> {
        local::check_bind(at)?;
        self.bind_to(at)
    }

    /// Chooses where its datagrams go, and from where alone it takes some.
    ///
    /// # Errors
    /// ENETUNREACH, EAGAIN.
    pub(super) fn connect(self: &Arc<Self>, to: Endpoint) -> Result<()> {
        let to = Endpoint { ip: local::destination(to.ip), ..to };
        let source = local::way(to.ip)?.source;
        let at = self.find_local()?;
        let is_v4 = |ip: Ipv6Addr| ip.to_ipv4_mapped().is_some();
        if self.with_binding(|binding| binding.has_chosen_ip) && is_v4(at.ip) != is_v4(to.ip) {
            return Err(if is_v4(at.ip) { Errno::EAFNOSUPPORT } else { Errno::ENETUNREACH });
        }
        self.connect_from(at, source, to, true);
        self.polled.wake_all();
        Ok(())
    }

    /// Closes it: nobody finds it any more.
    pub(super) fn close(&self) {
        let closed = core::mem::take(&mut *self.state());
        self.queued.store(0, Ordering::Relaxed);
        drop(closed);
    }
}

impl Bound for UdpSocket {
    #[inline]
    fn with_binding<R>(&self, with: impl FnOnce(&mut Binding<Self>) -> R) -> R {
        with(&mut self.state().binding)
    }

    fn bind_request(&self, ip: Ipv6Addr) -> BindRequest {
        self.settings.bind_request(&self.common, ip)
    }

    fn ports(&self) -> &'static Ports<Self> {
        &PORTS
    }

    fn family(&self) -> Family {
        self.family
    }
}
