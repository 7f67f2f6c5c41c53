// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serves one device on one socket: one client at a time, the next when it has left.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use thiserror::Error;

use crate::counters::Counters;
use crate::device::Device;
use crate::limits::Limits;
use crate::listener::Listener;
use crate::log_budget::LogBudget;
use crate::reaper::Reaper;
use crate::sender::timespec;
use crate::session::{Common, Session, Turn};
use crate::shutdown::Shutdown;
use crate::signal::Signaller;
use crate::wait::wait;

/// How long to leave a socket alone after it could not be accepted from, which happens when the process or the system
/// has no descriptors or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A device and the socket on which clients find it. Several devices in a process are several servers, each on a thread
/// of its own.
#[derive(Debug)]
pub struct Server<D> {
    /// There until this is dropped.
    listener: Option<Listener>,
    device: D,
    limits: Limits,
    counters: Arc<Counters>,
    reaper: Option<Reaper>,
    signaller: Signaller,
}

/// Why serving could not begin or ended, other than because it was asked to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Waiting for events failed.
    #[error("waiting for events failed: {0}")]
    Poll(#[source] io::Error),
    /// There is no thread to be had.
    #[error("starting a thread: {0}")]
    Thread(#[source] io::Error),
}

impl<D: Device> Server<D> {
    /// Serves `device` to those who connect to `listener`, within the default [`Limits`].
    pub fn new(listener: Listener, device: D) -> Self {
        Self {
            listener: Some(listener),
            device,
            limits: Limits::default(),
            counters: Arc::default(),
            reaper: None,
            signaller: Signaller::new(),
        }
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

    /// Starts what [`Self::run`] needs beside the thread that calls it, for programs that can start no thread later. Without
    /// it, `run` does so.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn prepare(&mut self) -> Result<(), ServerError> {
        self.reaper().map(drop)
    }

    fn reaper(&mut self) -> Result<Reaper, ServerError> {
        if let Some(reaper) = &self.reaper {
            return Ok(reaper.clone());
        }
        let most = usize::try_from(self.limits.max_unclosed_fds).unwrap_or(usize::MAX);
        let reaper = Reaper::start(most, self.counters.clone()).map_err(ServerError::Thread)?;
        Ok(self.reaper.insert(reaper).clone())
    }

    /// Serves until `shutdown` is triggered. A client that breaks the protocol is dropped, and the next one is served.
    ///
    /// # Errors
    /// Only what makes it impossible to go on.
    pub fn run(&mut self, shutdown: &Shutdown) -> Result<(), ServerError> {
        let reaper = self.reaper()?;
        let Some(listener) = &self.listener else { return Ok(()) };
        let common = Common {
            name: listener.to_string(),
            limits: self.limits.clone(),
            counters: self.counters.clone(),
            shutdown: shutdown.clone(),
            reaper,
            signaller: self.signaller.clone(),
            budget: LogBudget::new(self.counters.clone()),
        };
        loop {
            let own = [shutdown.as_fd(), listener.as_fd()].map(Some);
            let ([ends, knock], happened) = wait(own, &self.device, None)?;
            if ends {
                return Ok(());
            }
            happened.tell(&mut self.device);
            let client = if knock { accept(&common, listener, None)? } else { None };
            if let Some(client) = client {
                if serve(&common, listener, &mut self.device, client)? {
                    return Ok(());
                }
            }
        }
    }
}

/// The connections that wait may have brought descriptors, too.
impl<D> Drop for Server<D> {
    fn drop(&mut self) {
        let Some(reaper) = self.reaper.take() else { return };
        if let Some(listener) = self.listener.take() {
            let socket = rustix::io::fcntl_dupfd_cloexec(&listener, 0);
            drop(listener); // Which is not its last descriptor.
            let _ = socket.map(|socket| reaper.close(socket));
        }
        reaper.settle();
    }
}

/// Serves one client until it leaves or is dropped, and those who come in the very moment in which it leaves. `true`: the
/// shutdown was triggered.
fn serve<D: Device>(
    common: &Common,
    listener: &Listener,
    device: &mut D,
    client: UnixStream,
) -> Result<bool, ServerError> {
    let Common { limits, counters, shutdown, .. } = common;
    let mut next = Some(client);
    while let Some(client) = next.take() {
        common.log(Level::Info, format_args!("a client connected"));
        counters.clients.add_one();
        let deadline = Instant::now().checked_add(limits.handshake);
        let mut session = Session::new(client, device, common);
        loop {
            let patience = deadline.filter(|_| !session.has_agreed());
            let left = patience.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                common.log(Level::Warn, format_args!("client dropped: it did not send its version in time"));
                counters.clients_dropped.add_one();
                counters.clients_without_version.add_one();
                break;
            }
            let own = [shutdown.as_fd(), listener.as_fd(), session.as_fd()].map(Some);
            let ([ends, knock, speaks], happened) = wait(own, session.device(), left)?;
            if ends {
                release(&mut session, common)?;
                return Ok(true);
            }
            // The old client comes first: if it has left, the one who knocks is the next.
            happened.tell(session.device_mut());
            if (speaks || knock) && !keep(&mut session, common) {
                break;
            }
            let other = if knock { accept(common, listener, Some(&session))? } else { None };
            if let Some(other) = other {
                // It may have left between our look and the knock, in this order.
                if keep(&mut session, common) {
                    common.log(
                        Level::Info,
                        format_args!("a second client was turned away, the device is in use"),
                    );
                    counters.clients_refused.add_one();
                    turn_away(other, &common.reaper);
                } else {
                    next = Some(other);
                    break;
                }
            }
        }
    }
    Ok(false)
}

/// Asks the client to let go of the device, and serves it until it has.
fn release<D: Device>(session: &mut Session<'_, D>, common: &Common) -> Result<(), ServerError> {
    let patience = common.limits.release;
    if patience.is_zero() || !session.ask_to_release() {
        return Ok(());
    }
    common.log(Level::Info, format_args!("the client was asked to let go of the device"));
    let start = Instant::now();
    while let Some(left) = patience.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        let ([speaks], happened) = wait([Some(session.as_fd())], session.device(), Some(left))?;
        happened.tell(session.device_mut());
        if speaks && !keep(session, common) {
            return Ok(());
        }
    }
    common.log(Level::Warn, format_args!("the client did not let go of the device in time"));
    Ok(())
}

/// Lets a client know at once, although the closing of its connection may take long: it may have sent descriptors.
fn turn_away(client: UnixStream, reaper: &Reaper) {
    let _ = client.shutdown(std::net::Shutdown::Both);
    reaper.close(client.into());
}

/// Lets the client have its turns until nothing is left to do. `false`: it is gone, or is to go.
fn keep<D: Device>(session: &mut Session<'_, D>, common: &Common) -> bool {
    match session.turn() {
        Ok(Turn::Idle | Turn::More) => true,
        Ok(Turn::Left) => {
            common.log(Level::Info, format_args!("the client left"));
            false
        }
        Err(error) => {
            // One that only looked whether somebody listens is no trouble.
            let level = if session.has_agreed() { Level::Warn } else { Level::Debug };
            common.log(level, format_args!("client dropped: {error}"));
            common.counters.clients_dropped.add_one();
            error.counter(&common.counters).add_one();
            false
        }
    }
}

/// Takes the client that knocked. `None`: it went away, or cannot be taken now.
fn accept(
    common: &Common,
    listener: &Listener,
    current: Option<&dyn AsFd>,
) -> Result<Option<UnixStream>, ServerError> {
    let shutdown = &common.shutdown;
    // Without room for what it may have sent, it has to wait in front of the door.
    let accepted = match common.reaper.has_room() {
        true => listener.accept().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        false => Err(Errno::MFILE),
    };
    match accepted {
        Ok(client) => Ok(Some(client)),
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(errno) => {
            common.counters.accept_failures.add_one();
            common.log(Level::Warn, format_args!("a client could not be accepted: {errno}"));
            // The client that is here must not suffer from it.
            let current = current.map_or(shutdown.as_fd(), AsFd::as_fd);
            let mut fds =
                [PollFd::new(shutdown, PollFlags::IN), PollFd::from_borrowed_fd(current, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(ACCEPT_PAUSE))) {
                Ok(_) | Err(Errno::INTR) => Ok(None),
                Err(errno) => Err(ServerError::Poll(errno.into())),
            }
        }
    }
}
