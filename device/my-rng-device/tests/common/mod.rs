// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device served in this process, and a client that speaks vfio-user to it byte by byte.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses a part of it, so that an expectation would be wrong in some"
)]

pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod program;
pub(crate) mod queue;
pub(crate) mod virtio;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::num::NonZero;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use my_rng_device::device;
use my_rng_device::shared::Shared;
use my_rng_device::stream::PowerOn;
use my_rng_device::workers::{LimitSetter, Workers};
use vfio_user_server::{Counters, Limits, Listener, Server, Shutdown};

/// A device with its server's thread. Dropping it ends both, and fails the test if they failed.
pub(crate) struct Served {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) shared: Arc<Shared>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) limits: LimitSetter,
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub(crate) fn start(power_on: PowerOn, workers: usize, limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&directory.path().join("socket")).unwrap();
        let shutdown = Shutdown::new().unwrap();
        let shared = Arc::new(Shared::new(power_on));
        let workers = Workers::start(shared.clone(), NonZero::new(workers).unwrap(), &shutdown).unwrap();
        let limit_setter = workers.limit_setter();
        let mut server =
            Server::new(listener, device::of_personality(shared.clone(), workers)).with_limits(limits);
        let counters = server.counters();
        let until = shutdown.clone();
        let thread = std::thread::spawn(move || server.run(&until).unwrap());
        Self { directory, shared, counters, limits: limit_setter, shutdown, thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> client::Client {
        client::Client::connect(&self.directory.path().join("socket"))
    }

    /// Every count of device and server that is not 0.
    pub(crate) fn effects(&self) -> Vec<(&'static str, u64)> {
        let (device, server) = (self.shared.counters.snapshot(), self.counters.snapshot());
        let all = device.each().chain(server.each());
        all.map(|(name, _, count)| (name, count)).filter(|(_, count)| *count > 0).collect()
    }

    /// Whether the server's thread or a worker has panicked.
    pub(crate) fn has_failed(&self) -> bool {
        self.shared.failed.load(std::sync::atomic::Ordering::SeqCst)
            || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.trigger();
        let outcome = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(outcome, Some(Ok(()))), "the server's thread panicked");
            assert!(!self.shared.failed.load(std::sync::atomic::Ordering::SeqCst), "a worker panicked");
        }
    }
}

/// A socket with unsent data, whose close waits for so long, and its peer.
pub(crate) fn lingering(time: Duration) -> (TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[0; 1 << 16]).is_ok() {}
    rustix::net::sockopt::set_socket_linger(&socket, Some(time)).unwrap();
    (socket, listener)
}
