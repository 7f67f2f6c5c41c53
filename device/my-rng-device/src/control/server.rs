// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running program's side of the control socket: one thread, which never waits for a client.
//!
//! Who may connect could do worse things to the program than ask too often, as the socket is its user's alone. Still no
//! client can make it hold more than a few kilobytes, keep others out, or keep a processor busy.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{debug, info, warn};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};
use vfio_user_server::{Listener, Shutdown};

use super::closer::Closer;
use super::connection::{Answered, Connection, Outcome};
use super::protocol::{Answer, DeviceLimits, DeviceStatus, LimitChange, QueueStatus, Request, Status};
use super::registry::{Change, Controlled, Order, Registry, Reply, Waker, no_device};
use crate::metrics::{Counter, QueueCountersSnapshot};
use crate::shared::RunState;
use crate::usage::Usage;

/// Most clients at a time. One more takes the place of the one that has been silent for longest.
const MAX_CLIENTS: usize = 16;
/// Rest after a round in which something was done, so that those who ask all the time get at most so many rounds.
const REST: Duration = Duration::from_millis(2);
/// Between two looks whether there is room again for descriptors that are to be closed.
const CLOSING_PAUSE: Duration = Duration::from_millis(100);

/// The program, as far as it can be seen from here.
#[derive(Debug)]
pub struct Program {
    /// What it uses of its host.
    pub usage: Usage,
    /// Times that its configuration could not be used.
    pub config_failures: Arc<Counter>,
    /// Most devices that it may have.
    pub max_devices: usize,
    /// Whether some can be added while it runs.
    pub adds_devices: bool,
}

/// Where changes of the devices go. `false`: the program is ending.
pub type Orders = Box<dyn Fn(Order) -> bool + Send>;

/// The control socket and what it controls.
pub struct Server {
    listener: Listener,
    devices: Registry,
    program: Program,
    /// The parts of the sandbox that are in force.
    sandbox: Vec<String>,
    orders: Orders,
    waker: Waker,
    /// Closes what clients sent, which may take as long as they like.
    closer: Closer,
    generation: Cell<u64>,
    started: Instant,
    start_time: SystemTime,
    clients: Vec<Connection>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Server {
    /// Controls the devices of `program`. To be called before the sandbox closes.
    ///
    /// # Errors
    /// There is no thread or no descriptor to be had.
    pub fn new(listener: Listener, devices: Registry, program: Program, orders: Orders) -> io::Result<Self> {
        Ok(Self {
            listener,
            devices,
            program,
            sandbox: Vec::new(),
            orders,
            waker: Waker::new()?,
            closer: Closer::start()?,
            generation: Cell::new(0),
            started: Instant::now(),
            start_time: SystemTime::now(),
            clients: Vec::new(),
        })
    }

    /// Answers until `shutdown` is triggered. What goes wrong with a client, or with the socket, ends nothing else.
    /// `sandbox`: its parts that are in force.
    pub fn run(mut self, sandbox: Vec<String>, shutdown: &Shutdown) {
        self.sandbox = sandbox;
        loop {
            match self.wait(shutdown) {
                Ok(true) => break,
                // What a message would bring could not be closed.
                Ok(false) if !self.closer.has_room() => continue,
                Ok(false) => {}
                Err(errno) => {
                    warn!("{}: no more control: {errno}", self.listener);
                    break;
                }
            }
            self.waker.clear();
            self.accept();
            if self.serve_all() {
                thread::sleep(REST);
            }
        }
        self.clients.drain(..).for_each(|client| client.close(&self.closer));
    }

    /// Waits until something can be done. `true`: the end.
    fn wait(&self, shutdown: &Shutdown) -> Result<bool, Errno> {
        let patience = self.clients.iter().filter_map(Connection::patience).min();
        let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut fds = vec![PollFd::new(shutdown, PollFlags::IN)];
        let timeout = if self.closer.has_room() {
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
            fds.push(PollFd::new(self.waker.fd(), PollFlags::IN));
            let awaited = self.clients.iter().filter_map(Connection::awaited);
            fds.extend(awaited.map(|(socket, flags)| PollFd::new(socket, flags)));
            timeout
        } else {
            Timespec::try_from(CLOSING_PAUSE).ok()
        };
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Ok(fds.first().is_some_and(|shutdown| !shutdown.revents().is_empty())),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn accept(&mut self) {
        match self.listener.accept().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)) {
            Ok(socket) => {
                if self.clients.len() >= MAX_CLIENTS {
                    let oldest =
                        self.clients.iter().enumerate().min_by_key(|(_, client)| client.last_heard());
                    if let Some(place) = oldest.map(|(place, _)| place) {
                        self.clients.swap_remove(place).close(&self.closer);
                    }
                }
                self.clients.push(Connection::new(socket));
            }
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => {}
            Err(errno) => {
                debug!("{}: a client could not be accepted: {errno}", self.listener);
                thread::sleep(REST * 50); // Until a descriptor is free.
            }
        }
    }

    /// Lets each client do what it can now. `true`: something was done.
    fn serve_all(&mut self) -> bool {
        let mut worked = false;
        for mut client in std::mem::take(&mut self.clients) {
            let outcome = client.turn(|request, descriptors| self.answer(request, descriptors));
            worked |= outcome == Outcome::Worked;
            match outcome {
                Outcome::Gone => client.close(&self.closer),
                Outcome::Waits | Outcome::Worked => self.clients.push(client),
            }
        }
        worked
    }

    fn answer(&self, request: &[u8], descriptors: &mut VecDeque<OwnedFd>) -> Answered {
        Answered::Now(match serde_json::from_slice(request) {
            Ok(Request::Status {}) => Answer::Status(self.status()),
            Ok(Request::Limit(change)) => self.limit(&change),
            Ok(Request::Log { level }) => {
                log::set_max_level(level.into());
                Answer::Log(level)
            }
            Ok(Request::NewGeneration {}) => {
                self.devices.all().values().for_each(|device| device.shared.new_generation());
                self.generation.set(self.generation.get().wrapping_add(1));
                Answer::Generation(self.generation.get())
            }
            Ok(Request::Add {}) => return self.add(descriptors.pop_front()),
            Ok(Request::Remove(which)) => return self.order(Change::Remove(which), None),
            Err(error) => Answer::Error(format!("no request: {error}")),
        })
    }

    fn add(&self, descriptor: Option<OwnedFd>) -> Answered {
        let refused = |why: &str| Answered::Now(Answer::Error(why.to_owned()));
        let Some(descriptor) = descriptor else {
            return refused("a listening socket must come with the request");
        };
        if !self.program.adds_devices {
            self.closer.close(descriptor);
            return refused("this program was started without --max-devices");
        }
        match rustix::io::fcntl_dupfd_cloexec(&descriptor, 0) {
            // The original stays until the copy is served or closed, whose close is then not the last.
            Ok(copy) => self.order(Change::Add(copy), Some(descriptor)),
            Err(errno) => {
                self.closer.close(descriptor);
                refused(&format!("there is no descriptor to be had: {errno}"))
            }
        }
    }

    /// Has the devices changed, which may take a while.
    fn order(&self, change: Change, original: Option<OwnedFd>) -> Answered {
        let (reply, answer) =
            Reply::new(&self.waker, original.map(|original| (original, self.closer.clone())));
        let _ = (self.orders)(Order { change, reply }); // If nobody takes it, the reply says so.
        Answered::Later(answer)
    }

    fn status(&self) -> Status {
        let since_1970 = self.start_time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let cpu = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            start_time_seconds: since_1970.as_secs_f64(),
            cpu_seconds: cpu.as_secs_f64(),
            max_descriptors: self.program.usage.max_descriptors(),
            sandbox: self.sandbox.clone(),
            log_lines_left_out: crate::logging::left_out(),
            config_failures: self.program.config_failures.get(),
            usage: self.program.usage.snapshot(),
            max_devices: self.program.max_devices,
            devices: self.devices.all().iter().map(|(number, device)| device.status(*number)).collect(),
        }
    }

    fn limit(&self, change: &LimitChange) -> Answer {
        let devices = self.devices.all();
        let meant = |number: usize| change.device.is_none_or(|device| device == number);
        let mut changed = Vec::new();
        for (number, device) in devices.iter().filter(|(number, _)| meant(**number)) {
            let limits = match change.apply(device.shared.limiter.limits()) {
                Ok(limits) => limits,
                Err(error) => return Answer::Error(error.to_string()), // The same for every device: none is changed.
            };
            device.limits.set(limits);
            info!("{}: new limits: {limits}", device.socket.display());
            changed.push(DeviceLimits { device: *number, limits });
        }
        match change.device {
            Some(device) if changed.is_empty() => {
                Answer::Error(no_device(&format_args!("device {device}"), &devices))
            }
            _ => Answer::Limits(changed),
        }
    }
}

impl Controlled {
    fn status(&self, number: usize) -> DeviceStatus {
        let queues = self.shared.queues().iter().enumerate().map(|(queue, cell)| QueueStatus {
            queue,
            state: cell.state(),
            counters: cell.counters.snapshot(),
        });
        let used = |queue: &QueueStatus| {
            queue.state != RunState::Off || queue.counters != QueueCountersSnapshot::default()
        };
        DeviceStatus {
            device: number,
            socket: self.socket.display().to_string(),
            client_connected: self.watched.server.is_connected(),
            ending: self.is_ending,
            failed: self.shared.failed.load(Ordering::SeqCst),
            stuck_workers: self.watched.health.stuck_workers(),
            stuck_seconds: self.watched.health.stuck_seconds(),
            unclosed_descriptors: self.watched.server.unclosed_descriptors(),
            closing_seconds: self.watched.server.closing_for().map_or(0, |closing| closing.as_secs()),
            generator: self.shared.stream().kind().to_string(),
            personality: self.shared.power_on.personality,
            classic: !self.shared.power_on.queues,
            limits: self.shared.limiter.limits(),
            counters: self.shared.counters.snapshot(),
            server: self.watched.server.snapshot(),
            queues: queues.filter(used).collect(),
        }
    }
}
