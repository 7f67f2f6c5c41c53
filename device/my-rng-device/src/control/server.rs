// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running program's side of the control socket: one thread, which never waits for a client.
//!
//! Who may connect could do worse things to the program than ask too often, as the socket is its user's alone. Still no
//! client can make it hold more than a few kilobytes, keep others out, or keep a processor busy.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{debug, info, warn};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::time::{ClockId, Timespec, clock_gettime};
use vfio_user_server::{Counters, Listener, Shutdown};

use super::protocol::{
    Answer, DeviceLimits, DeviceStatus, LimitChange, MAX_REQUEST, QueueStatus, Request, Status,
};
use crate::metrics::{Counter, QueueCountersSnapshot};
use crate::shared::{RunState, Shared};
use crate::usage::Usage;
use crate::watchdog::Health;
use crate::workers::LimitSetter;

/// Most clients at a time. One more takes the place of the one that has been silent for longest.
const MAX_CLIENTS: usize = 16;
/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rest after a round in which something was done, so that those who ask all the time get at most so many rounds.
const REST: Duration = Duration::from_millis(2);

/// A device, as far as it can be seen and changed from here.
#[derive(Debug, Clone)]
pub struct Controlled {
    /// Where its clients connect.
    pub socket: PathBuf,
    /// What it shows.
    pub shared: Arc<Shared>,
    /// What its server counts.
    pub server: Arc<Counters>,
    /// Its limits.
    pub limits: LimitSetter,
    /// What the watchdog sees of it.
    pub health: Arc<Health>,
}

/// The program, as far as it can be seen from here.
#[derive(Debug)]
pub struct Program {
    /// The parts of the sandbox that are in force.
    pub sandbox: Vec<String>,
    /// What it uses of its host.
    pub usage: Usage,
    /// Times that its configuration could not be used.
    pub config_failures: Arc<Counter>,
}

/// The control socket and what it controls.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    devices: Vec<Controlled>,
    program: Program,
    started: Instant,
    start_time: SystemTime,
    clients: Vec<Client>,
}

/// A client, and what is on its way from and to it.
#[derive(Debug)]
struct Client {
    socket: UnixStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    last_heard: Instant,
}

/// What became of a look at a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Waits,
    Worked,
    Gone,
}

impl Server {
    /// Controls `devices` of `program`.
    pub fn new(listener: Listener, devices: Vec<Controlled>, program: Program) -> Self {
        Self {
            listener,
            devices,
            program,
            started: Instant::now(),
            start_time: SystemTime::now(),
            clients: Vec::new(),
        }
    }

    /// Answers until `shutdown` is triggered. What goes wrong with a client, or with the socket, ends nothing else.
    pub fn run(mut self, shutdown: &Shutdown) {
        loop {
            match self.wait(shutdown) {
                Ok(true) => return,
                Ok(false) => {}
                Err(errno) => return warn!("{}: no more control: {errno}", self.listener),
            }
            self.accept();
            if self.serve_all() {
                thread::sleep(REST);
            }
        }
    }

    /// Waits until something can be done. `true`: the end.
    fn wait(&self, shutdown: &Shutdown) -> Result<bool, Errno> {
        let patience = self.clients.iter().map(Client::patience).min();
        let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut fds = vec![PollFd::new(shutdown, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        fds.extend(self.clients.iter().map(|client| PollFd::new(&client.socket, client.awaited())));
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
                    let oldest = self.clients.iter().enumerate().min_by_key(|(_, client)| client.last_heard);
                    oldest.map(|(place, _)| place).map(|place| self.clients.swap_remove(place));
                }
                self.clients.push(Client::new(socket));
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
        let mut clients = std::mem::take(&mut self.clients);
        clients.retain_mut(|client| {
            let outcome = client.turn(|request| self.answer(request));
            worked |= outcome == Outcome::Worked;
            outcome != Outcome::Gone
        });
        self.clients = clients;
        worked
    }

    fn answer(&self, request: &[u8]) -> Answer {
        match serde_json::from_slice(request) {
            Ok(Request::Status {}) => Answer::Status(self.status()),
            Ok(Request::Limit(change)) => self.limit(&change),
            Ok(Request::Log { level }) => {
                log::set_max_level(level.into());
                Answer::Log(level)
            }
            Ok(Request::NewGeneration {}) => {
                let generations = self.devices.iter().map(|device| device.shared.new_generation());
                Answer::Generation(generations.max().unwrap_or_default())
            }
            Err(error) => Answer::Error(format!("no request: {error}")),
        }
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
            sandbox: self.program.sandbox.clone(),
            log_lines_left_out: crate::logging::left_out(),
            config_failures: self.program.config_failures.get(),
            usage: self.program.usage.snapshot(),
            devices: self.devices.iter().enumerate().map(|(number, device)| device.status(number)).collect(),
        }
    }

    fn limit(&self, change: &LimitChange) -> Answer {
        let meant = |number: usize| change.device.is_none_or(|device| device == number);
        let mut changed = Vec::new();
        for (number, device) in self.devices.iter().enumerate().filter(|(number, _)| meant(*number)) {
            let limits = match change.apply(device.shared.limiter.limits()) {
                Ok(limits) => limits,
                Err(error) => return Answer::Error(error.to_string()), // The same for every device: none is changed.
            };
            device.limits.set(limits);
            info!("{}: new limits: {limits}", device.socket.display());
            changed.push(DeviceLimits { device: number, limits });
        }
        match (changed.is_empty(), change.device, self.devices.len().checked_sub(1)) {
            (true, Some(device), Some(last)) => {
                Answer::Error(format!("there is no device {device}, expected 0 to {last}"))
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
            client_connected: self.server.is_connected(),
            failed: self.shared.failed.load(Ordering::SeqCst),
            stuck_workers: self.health.stuck_workers(),
            stuck_seconds: self.health.stuck_seconds(),
            unclosed_descriptors: self.server.unclosed_descriptors(),
            closing_seconds: self.server.closing_for().map_or(0, |closing| closing.as_secs()),
            generator: self.shared.stream().kind().to_string(),
            personality: self.shared.power_on.personality,
            classic: !self.shared.power_on.queues,
            limits: self.shared.limiter.limits(),
            counters: self.shared.counters.snapshot(),
            server: self.server.snapshot(),
            queues: queues.filter(used).collect(),
        }
    }
}

impl Client {
    fn new(socket: UnixStream) -> Self {
        Self { socket, request: Vec::new(), answer: Vec::new(), last_heard: Instant::now() }
    }

    /// How long nothing needs to be done for it, as long as its socket says nothing.
    fn patience(&self) -> Duration {
        if self.answer.is_empty() && self.request.contains(&b'\n') {
            return Duration::ZERO; // It sent several requests at once.
        }
        PATIENCE.saturating_sub(self.last_heard.elapsed())
    }

    fn awaited(&self) -> PollFlags {
        if self.answer.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    /// Sends what is left of an answer, or reads at most one request and begins to answer it.
    fn turn(&mut self, answer: impl FnOnce(&[u8]) -> Answer) -> Outcome {
        if self.last_heard.elapsed() >= PATIENCE {
            return Outcome::Gone;
        }
        if !self.answer.is_empty() {
            return self.send();
        }
        if !self.request.contains(&b'\n') {
            match self.read() {
                Outcome::Worked => {}
                other => return other,
            }
        }
        let Some(end) = self.request.iter().position(|&byte| byte == b'\n') else {
            // What is longer is no request, and where the next one would begin nobody knows.
            return if self.request.len() < MAX_REQUEST { Outcome::Worked } else { self.refuse() };
        };
        let rest = self.request.split_off(end.saturating_add(1));
        let line = std::mem::replace(&mut self.request, rest);
        self.begin(&answer(line.trim_ascii()));
        self.send()
    }

    fn read(&mut self) -> Outcome {
        let mut bytes = [0; MAX_REQUEST];
        let room = MAX_REQUEST.saturating_sub(self.request.len());
        let Some(space) = bytes.get_mut(..room) else { return Outcome::Gone };
        match recv(self.socket.as_fd(), space, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Outcome::Gone,
            Ok((_, count)) => {
                self.request.extend_from_slice(bytes.get(..count).unwrap_or_default());
                self.last_heard = Instant::now();
                Outcome::Worked
            }
            Err(Errno::AGAIN | Errno::INTR) => Outcome::Waits,
            Err(_) => Outcome::Gone,
        }
    }

    fn begin(&mut self, answer: &Answer) {
        // Strings and numbers can always be written.
        self.answer = serde_json::to_vec(answer).unwrap_or_default();
        self.answer.push(b'\n');
    }

    fn refuse(&mut self) -> Outcome {
        self.begin(&Answer::Error(format!("no request: longer than {MAX_REQUEST} bytes")));
        self.send();
        Outcome::Gone
    }

    fn send(&mut self) -> Outcome {
        match send(self.socket.as_fd(), &self.answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => {
                self.answer.drain(..count.min(self.answer.len()));
                self.last_heard = Instant::now();
                Outcome::Worked
            }
            Err(Errno::AGAIN | Errno::INTR) => Outcome::Waits,
            Err(_) => Outcome::Gone,
        }
    }
}
