// SPDX-License-Identifier: MIT OR Apache-2.0
//! A TCP socket's state. What is done with it is in the other files of this folder.
//!
//! Locking: a socket's state has a spin lock, and so has a connection, which may be taken with a socket's held, and never the other way. Nobody
//! holds two sockets'.

use core::sync::atomic::Ordering;

use alloc::{collections::VecDeque, sync::Arc};

use exo_core::{credentials::Which, thread::running};
use exo_drivers::network::{Request, interface::Interface};
use exo_hal::sync::{SpinGuard, SpinLock};

use super::{
    link::{End, Party, Waits},
    mark::Mark,
};
use crate::{
    common::Common,
    errno::{Errno, Result},
    fallible,
    inet::{
        endpoint::{Endpoint, Family},
        ports::{Claim, Ports},
        registry::{Place, Registry},
        settings::Settings,
    },
};

/// The ports of TCP.
pub(super) static PORTS: Ports<TcpSocket> = Ports::new();

/// A socket's port.
pub(super) type PortClaim = Claim<TcpSocket>;

/// Buffers of a new socket, as Linux says that they are.
const SEND_BUFFER: u32 = 16_384;
const RECEIVE_BUFFER: u32 = 131_072;
/// What the first of these has become on Linux by the time that it matters; here at once.
const TUNED_SEND_BUFFER: usize = 256 << 10;

/// Bytes of a connection that nobody has accepted: both sides' state, and its places in lists.
const CONNECTION: usize = size_of::<TcpSocket>() + size_of::<Waits>() + 1024;

/// Another machine's connection that may be established, and where it came.
pub(super) type Completion = (Arc<Interface>, Request);

/// Connections of a socket that listens.
#[derive(Default)]
pub(super) struct Backlog {
    /// Those that nobody has accepted yet.
    pub(super) connections: VecDeque<Arc<TcpSocket>>,
    /// Those that are about to be added.
    pub(super) arriving: usize,
    /// When there are more, who connects waits.
    pub(super) limit: usize,
    /// Who waits.
    pub(super) waiting: VecDeque<Arc<TcpSocket>>,
    /// Other machines whose connections would be there if it were not full.
    pub(super) outside: VecDeque<Completion>,
}

impl Backlog {
    /// Whether those who connect wait.
    pub(super) fn is_full(&self) -> bool {
        self.connections.len() + self.arriving > self.limit
    }

    /// Bytes of memory for connections that nobody has accepted: they are the listener's until somebody does.
    pub(super) fn kernel_memory(&self) -> usize {
        let queued =
            self.connections.iter().map(|connection| connection.waits.queued.load(Ordering::Relaxed));
        queued.sum::<usize>() + self.connections.len() * CONNECTION
    }
}

/// What a socket is used for.
pub(super) enum Phase {
    /// It may be connected.
    Idle,
    /// Others may connect to it.
    Listening(Backlog),
    /// It waits for room in that one's backlog.
    Connecting(Arc<TcpSocket>),
    /// It is being connected with another machine; what to mark if it gives up.
    Reaching(Option<Arc<Mark>>),
    /// It is, or was, connected.
    Connected(End),
}

/// What changes about a socket.
pub(super) struct State {
    pub(super) phase: Phase,
    /// Nobody was told yet what became of its connection (SS_CONNECTING).
    pub(super) is_unannounced: bool,
    pub(super) local: Option<Endpoint>,
    /// Where it connects.
    pub(super) remote: Option<Endpoint>,
    /// The program has chosen where.
    pub(super) is_bound: bool,
    pub(super) claim: Option<Arc<PortClaim>>,
    /// To be reported once, without a connection.
    pub(super) error: Option<Errno>,
    /// [`direction`](crate::socket::direction)s that have ended, without a connection.
    pub(super) ended: u8,
}

/// All TCP sockets.
pub(super) static ALL: Registry<TcpSocket> = Registry::new();

/// A TCP socket.
pub(super) struct TcpSocket {
    /// Whose it is.
    pub(super) user: u32,
    place: Place<TcpSocket>,
    pub(super) family: Family,
    pub(super) common: Common,
    pub(super) settings: Settings,
    pub(super) waits: Arc<Waits>,
    state: SpinLock<State>,
}

impl TcpSocket {
    /// A new one.
    pub(super) fn new(family: Family) -> Result<Arc<Self>> {
        Self::with(family, Common::with_buffers(SEND_BUFFER, RECEIVE_BUFFER), Settings::new(family, true))
    }

    /// One for a connection to this one.
    pub(super) fn accepted(&self) -> Result<Arc<Self>> {
        Self::with(self.family, self.common.inherited(), self.settings.clone())
    }

    fn with(family: Family, common: Common, settings: Settings) -> Result<Arc<Self>> {
        let waits = fallible::arc(Waits::new())?;
        waits.has_no_delay.store(settings.has_no_delay(), Ordering::Relaxed);
        let state = State {
            phase: Phase::Idle,
            is_unannounced: false,
            local: None,
            remote: None,
            is_bound: false,
            claim: None,
            error: None,
            ended: 0,
        };
        let user = running().credentials.id(Which::EffectiveUser);
        let (state, place) = (SpinLock::new(state), ALL.place());
        let socket = fallible::arc(Self { user, place, family, common, settings, waits, state })?;
        socket.place.enter(&socket);
        Ok(socket)
    }

    /// Its state.
    #[inline]
    pub(super) fn state(&self) -> SpinGuard<'_, State> {
        self.state.lock()
    }

    /// The same unless somebody else has it.
    pub(super) fn try_state(&self) -> Option<SpinGuard<'_, State>> {
        self.state.try_lock()
    }

    /// Its end of a connection.
    #[inline]
    pub(super) fn end(&self) -> Option<End> {
        match &self.state().phase {
            Phase::Connected(end) => Some(end.clone()),
            _ => None,
        }
    }

    /// What may be on its way from this socket by its own buffer.
    pub(super) fn send_limit(&self) -> usize {
        match self.common.send_buffer() {
            SEND_BUFFER => TUNED_SEND_BUFFER,
            bytes => bytes as usize,
        }
    }

    /// What may be on its way to it by its own.
    pub(super) fn receive_limit(&self) -> usize {
        self.common.receive_buffer() as usize
    }

    /// So many bytes are waited for: never more than there is room for in any case.
    pub(super) fn receive_low(&self) -> usize {
        self.settings.receive_low().min(self.receive_limit() / 2)
    }

    /// What it brings into a connection.
    pub(super) fn party(&self, at: Endpoint, claim: Arc<PortClaim>) -> Party {
        let (send_limit, receive_limit) = (self.send_limit(), self.receive_limit());
        Party { at, send_limit, receive_limit, waits: self.waits.clone(), claim, is_program: true }
    }

    /// The error that is to be reported once.
    pub(super) fn take_error(&self) -> Option<Errno> {
        match self.end() {
            Some(end) => end.with(|own, _| own.error.take()),
            None => self.state().error.take(),
        }
    }
}
