// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serves one device on one socket: one client at a time, the next when it has left.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use thiserror::Error;

use crate::counters::Counters;
use crate::device::Device;
use crate::limits::Limits;
use crate::listener::Listener;
use crate::sender::timespec;
use crate::session::{Session, Turn};
use crate::shutdown::Shutdown;

/// How long to leave a socket alone after it could not be accepted from, which happens when the process or the system
/// has no descriptors or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A device and the socket on which clients find it. Several devices in a process are several servers, each on a thread
/// of its own.
#[derive(Debug)]
pub struct Server<D> {
    listener: Listener,
    device: D,
    limits: Limits,
    counters: Arc<Counters>,
}

/// Why serving ended, other than because it was asked to.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Waiting for events failed.
    #[error("waiting for events failed: {0}")]
    Poll(Errno),
}

/// Which of the things that a server waits for have happened.
#[derive(Debug, Clone, Copy)]
struct Events {
    shutdown: bool,
    knock: bool,
    client: bool,
}

impl<D: Device> Server<D> {
    /// Serves `device` to those who connect to `listener`, within the default [`Limits`].
    pub fn new(listener: Listener, device: D) -> Self {
        Self { listener, device, limits: Limits::default(), counters: Arc::default() }
    }

    /// The same server with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What the server counts, for another thread to read.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Serves until `shutdown` is triggered. A client that breaks the protocol is dropped, and the next one is served.
    ///
    /// # Errors
    /// Only what makes it impossible to go on.
    pub fn run(&mut self, shutdown: &Shutdown) -> Result<(), ServerError> {
        loop {
            let events = wait(shutdown, &self.listener, None, None)?;
            if events.shutdown {
                return Ok(());
            }
            let client = if events.knock { accept(&self.listener, shutdown, None)? } else { None };
            if let Some(client) = client {
                if self.serve(client, shutdown)? {
                    return Ok(());
                }
            }
        }
    }

    /// Serves one client until it leaves or is dropped, and those who come in the very moment in which it leaves.
    /// `true`: the shutdown was triggered.
    fn serve(&mut self, client: UnixStream, shutdown: &Shutdown) -> Result<bool, ServerError> {
        let mut next = Some(client);
        while let Some(client) = next.take() {
            info!("{}: a client connected", self.listener);
            self.counters.clients.add_one();
            let deadline = Instant::now().checked_add(self.limits.handshake);
            let mut session =
                Session::new(client, &mut self.device, &self.limits, self.counters.clone(), shutdown);
            loop {
                let patience = deadline.filter(|_| !session.has_agreed());
                let left = patience.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                if left.is_some_and(|left| left.is_zero()) {
                    warn!("{}: client dropped: it did not send its version in time", self.listener);
                    self.counters.clients_dropped.add_one();
                    break;
                }
                let events = wait(shutdown, &self.listener, Some(&session), left)?;
                if events.shutdown {
                    return Ok(true);
                }
                // The old client comes first: if it has left, the one who knocks is the next.
                if (events.client || events.knock) && !keep(&mut session, &self.listener, &self.counters) {
                    break;
                }
                let other =
                    if events.knock { accept(&self.listener, shutdown, Some(&session))? } else { None };
                if let Some(other) = other {
                    // It may have left between our look and the knock, in this order.
                    if keep(&mut session, &self.listener, &self.counters) {
                        info!("{}: a second client was turned away, the device is in use", self.listener);
                        self.counters.clients_refused.add_one();
                    } else {
                        next = Some(other);
                        break;
                    }
                }
            }
        }
        Ok(false)
    }
}

/// Lets the client have its turns until nothing is left to do. `false`: it is gone, or is to go.
fn keep<D: Device>(session: &mut Session<'_, D>, listener: &Listener, counters: &Counters) -> bool {
    match session.turn() {
        Ok(Turn::Idle | Turn::More) => true,
        Ok(Turn::Left) => {
            info!("{listener}: the client left");
            false
        }
        // One that only looked whether somebody listens is no trouble.
        Err(error) if !session.has_agreed() => {
            debug!("{listener}: client dropped: {error}");
            counters.clients_dropped.add_one();
            false
        }
        Err(error) => {
            warn!("{listener}: client dropped: {error}");
            counters.clients_dropped.add_one();
            false
        }
    }
}

/// Takes the client that knocked. `None`: it went away, or cannot be taken now.
fn accept(
    listener: &Listener,
    shutdown: &Shutdown,
    current: Option<&dyn AsFd>,
) -> Result<Option<UnixStream>, ServerError> {
    match listener.accept() {
        Ok(client) => Ok(Some(client)),
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(errno) => {
            info!("{listener}: a client could not be accepted: {errno}"); // As often as it happens.
            // The client that is here must not suffer from it.
            let current = current.map_or(shutdown.as_fd(), AsFd::as_fd);
            let mut fds =
                [PollFd::new(shutdown, PollFlags::IN), PollFd::from_borrowed_fd(current, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(ACCEPT_PAUSE))) {
                Ok(_) | Err(Errno::INTR) => Ok(None),
                Err(errno) => Err(ServerError::Poll(errno)),
            }
        }
    }
}

/// Waits until something happens, or for `patience`.
fn wait(
    shutdown: &Shutdown,
    listener: &Listener,
    client: Option<&dyn AsFd>,
    patience: Option<Duration>,
) -> Result<Events, ServerError> {
    let timeout = patience.map(timespec);
    let mut fds = [
        PollFd::new(shutdown, PollFlags::IN),
        PollFd::new(listener, PollFlags::IN),
        // Without a client, the listener once more.
        PollFd::from_borrowed_fd(client.map_or(listener.as_fd(), AsFd::as_fd), PollFlags::IN),
    ];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {
            let [shutdown, knock, client_event] = fds.each_ref().map(|fd| !fd.revents().is_empty());
            Ok(Events { shutdown, knock, client: client.is_some() && client_event })
        }
        Err(Errno::INTR) => Ok(Events { shutdown: false, knock: false, client: false }),
        Err(errno) => Err(ServerError::Poll(errno)),
    }
}
