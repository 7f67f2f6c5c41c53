// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device waits for by itself: descriptors of its own and moments, with a client and without one.
use crate::common::{Client, PATIENCE, REGION_READ, access, wait_for};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vfio_user_server::{Awaited, Device, Errno, Listener, Region, RegionInfo, Regions, Server, Shutdown};

/// What a test does with the device, and what it sees.
#[derive(Debug, Default)]
struct Shared {
    /// How far apart, if at all.
    period: Mutex<Option<Duration>>,
    times: AtomicU64,
    ready: Mutex<Vec<u64>>,
    /// Whether what is ready is not read.
    lazy: std::sync::atomic::AtomicBool,
}

struct Alarm {
    shared: Arc<Shared>,
    bells: [Arc<OwnedFd>; 2],
    last: Instant,
}

const READ: u64 = 5;
const WRITE: u64 = 9;

impl Device for Alarm {
    fn regions(&self) -> Regions {
        Regions::default().with(Region::Bar0, RegionInfo::read_write(16))
    }

    fn region_read(&mut self, _: Region, _: u64, data: &mut [u8]) -> Result<(), Errno> {
        data.fill(7);
        Ok(())
    }

    fn region_write(&mut self, _: Region, _: u64, _: &[u8]) -> Result<(), Errno> {
        Ok(())
    }

    fn reset(&mut self) {}

    fn awaited<'d>(&'d self, awaited: &mut Awaited<'d>) {
        awaited.readable(READ, &self.bells[0]);
        // The other one is full until somebody takes what is in it.
        awaited.writable(WRITE, &self.bells[1]);
        if let Some(period) = *self.shared.period.lock().unwrap() {
            awaited.until(self.last + 100 * period); // The first one counts.
            awaited.until(self.last + period);
        }
    }

    fn ready(&mut self, token: u64) {
        self.shared.ready.lock().unwrap().push(token);
        if self.shared.lazy.load(Ordering::SeqCst) {
            return;
        }
        match token {
            READ => drop(rustix::io::read(&self.bells[0], &mut [0; 8])),
            _ => fill(&self.bells[1]),
        }
    }

    fn time_has_come(&mut self) {
        self.shared.times.fetch_add(1, Ordering::SeqCst);
        if !self.shared.lazy.load(Ordering::SeqCst) {
            self.last = Instant::now();
        }
    }
}

fn fill(bell: &OwnedFd) {
    rustix::io::write(bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
}

fn ring(bell: &OwnedFd) {
    rustix::io::write(bell, &1_u64.to_ne_bytes()).unwrap();
}

struct Running {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
    bells: [Arc<OwnedFd>; 2],
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&directory.path().join("socket")).unwrap();
        let bells = [0, 1].map(|_| Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap()));
        fill(&bells[1]);
        let (shared, shutdown) = (Arc::<Shared>::default(), Shutdown::new().unwrap());
        let device = Alarm { shared: shared.clone(), bells: bells.clone(), last: Instant::now() };
        let until = shutdown.clone();
        // A `Box` of a device passes all of it on.
        let device: Box<dyn Device + Send> = Box::new(device);
        let thread = std::thread::spawn(move || Server::new(listener, device).run(&until).unwrap());
        Self { directory, shared, bells, shutdown, thread: Some(thread) }
    }

    fn client(&self) -> Client {
        let mut client = Client::over(UnixStream::connect(self.directory.path().join("socket")).unwrap());
        client.negotiate("{}");
        client
    }

    fn ready(&self) -> Vec<u64> {
        std::mem::take(&mut self.shared.ready.lock().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.trigger();
        let start = Instant::now();
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            assert!(start.elapsed() < PATIENCE, "the server hangs");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(self.thread.take().is_some_and(|thread| thread.join().is_ok()) || std::thread::panicking());
    }
}

fn read(client: &mut Client) {
    assert_eq!(client.request(REGION_READ, &access(0, 0, 1), &[]).ok()[16..], [7]);
}

#[test]
fn a_device_is_told_that_its_own_descriptors_are_ready() {
    let server = Running::start();
    let seen = |token| wait_for("the descriptor", || server.ready() == [token]);
    for _ in 0..2 {
        ring(&server.bells[0]);
        seen(READ);
        rustix::io::read(&server.bells[1], &mut [0; 8]).unwrap();
        seen(WRITE);
    }
    let mut client = server.client();
    ring(&server.bells[0]);
    seen(READ);
    read(&mut client);
    rustix::io::read(&server.bells[1], &mut [0; 8]).unwrap();
    seen(WRITE);
    drop(client);
    ring(&server.bells[0]);
    seen(READ);
    assert_eq!(server.shared.times.load(Ordering::SeqCst), 0, "it waits for no moment");
}

#[test]
fn a_device_is_told_that_a_moment_has_come() {
    let server = Running::start();
    let times = || server.shared.times.load(Ordering::SeqCst);
    let mut client = None;
    for with_client in [false, true] {
        *server.shared.period.lock().unwrap() = Some(Duration::from_millis(2));
        ring(&server.bells[0]); // From now on it waits for one.
        let before = times();
        wait_for("five moments", || times() >= before + 5);
        *server.shared.period.lock().unwrap() = None;
        ring(&server.bells[0]);
        wait_for("the end", || {
            let before = times();
            std::thread::sleep(Duration::from_millis(10));
            times() == before
        });
        if !with_client {
            client = Some(server.client());
        }
    }
    read(&mut client.unwrap());
}

/// Its own fault, but neither its client nor its end waits for it.
#[test]
fn a_device_that_never_reads_what_is_ready_is_served_all_the_same() {
    let server = Running::start();
    server.shared.lazy.store(true, Ordering::SeqCst);
    *server.shared.period.lock().unwrap() = Some(Duration::ZERO);
    ring(&server.bells[0]);
    let mut client = server.client();
    for _ in 0..100 {
        read(&mut client);
    }
    assert!(server.shared.times.load(Ordering::SeqCst) > 1 && server.ready().len() > 1);
}
