// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of the program: started, added, removed and ended.
//!
//! One thread, the program's first, owns them; others see them in the [`Registry`]. A device that is removed keeps its number
//! until the last of its threads has ended and the last descriptor of its clients is closed, so that nothing piles up
//! however often devices come and go, whatever their clients do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use vfio_user_server::{Limits, Listener, Server, ServerError, Shutdown, SocketFile};

use super::limits::ConfiguredLimits;
use super::{END_GRACE, Event, ProcessError, SayEnded, new_shutdown, spawn};
use crate::cli::Options;
use crate::config::is_named;
use crate::control::protocol::{Answer, Place, Which};
use crate::control::registry::{Change, Order, Reply, no_device};
use crate::control::{Controlled, Program, Registry};
use crate::device;
use crate::logging;
use crate::shared::Shared;
use crate::usage::Usage;
use crate::watchdog::{Caller, Health, Watched};
use crate::workers::Workers;

/// Addresses for guest memory, in bytes, shared out among the devices: half of what a process has on x86-64.
const ADDRESSES: u64 = 1 << 46;

/// How often to look whether a device that has said that it ends has ended.
const LOOK: Duration = Duration::from_millis(2);
/// The same, when it has not for long.
const SELDOM: Duration = Duration::from_secs(1);

/// A device that is being served, or the control socket.
pub(super) struct Part {
    pub(super) file: SocketFile,
    pub(super) shutdown: Shutdown,
    pub(super) thread: Option<JoinHandle<Result<(), ServerError>>>,
}

impl Part {
    pub(super) fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// What became of it, if it has ended.
    pub(super) fn outcome(self) -> Result<(), ProcessError> {
        let socket = self.file.path().to_owned();
        let Some(thread) = self.thread.filter(JoinHandle::is_finished) else {
            self.file.remove();
            return Err(ProcessError::Stuck(socket));
        };
        match thread.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ProcessError::Server { socket, error }),
            Err(_) => Err(ProcessError::Panicked(socket)),
        }
    }
}

/// A device.
struct Served {
    part: Part,
    /// Its thread has said that it ends, which it does in a moment.
    says_ended: bool,
    removal: Option<Removal>,
}

/// The end of a device while the program goes on.
struct Removal {
    /// `None`: who asked has been told that it takes long.
    reply: Option<Reply>,
    deadline: Instant,
}

/// The devices, and what a new one needs.
pub(super) struct Devices {
    options: Options,
    most: usize,
    limits: ConfiguredLimits,
    events: Sender<Event>,
    /// Of the control socket.
    control: Option<PathBuf>,
    registry: Registry,
    caller: Caller,
    served: BTreeMap<usize, Served>,
}

impl Devices {
    /// No devices yet, and at most `most`.
    pub(super) fn new(
        options: Options,
        most: usize,
        limits: ConfiguredLimits,
        events: Sender<Event>,
        control: Option<PathBuf>,
    ) -> Self {
        let (registry, caller) = Default::default();
        Self { options, most, limits, events, control, registry, caller, served: BTreeMap::new() }
    }

    /// Where others see them.
    pub(super) fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Wakes their watchdog.
    pub(super) fn watchdog(&self) -> Caller {
        self.caller.clone()
    }

    /// Whether some can be added.
    pub(super) fn can_grow(&self) -> bool {
        self.options.max_devices.is_some()
    }

    /// The program, for the control socket.
    pub(super) fn program(&self, usage: Usage) -> Program {
        Program {
            usage,
            config_failures: self.limits.failures(),
            max_devices: self.most,
            adds_devices: self.can_grow(),
        }
    }

    /// Has the limits read anew.
    pub(super) fn reload(&mut self) {
        self.limits.reload(&self.registry);
    }

    /// Starts the threads of one device. Gives its number.
    pub(super) fn serve(&mut self, listener: Listener) -> Result<usize, ProcessError> {
        let free = (0..self.most).find(|number| !self.served.contains_key(number));
        let number = free.ok_or(ProcessError::Full(self.most))?;
        let (socket, file) = (listener.path().to_owned(), listener.file());
        let shutdown = new_shutdown()?;
        let shared = self.shared(number, &socket);
        let workers = Workers::start(shared.clone(), self.options.workers(), &shutdown)
            .map_err(ProcessError::setup("starting a worker"))?;
        let limits = workers.limit_setter();
        let activities = workers.activities();
        let mut server = Server::new(listener, device::of_personality(shared.clone(), workers))
            .with_limits(self.of_clients());
        server.prepare().map_err(|error| ProcessError::Server { socket: socket.clone(), error })?;
        let watched =
            Watched { workers: activities, server: server.counters(), health: Arc::<Health>::default() };
        let ended = SayEnded(self.events.clone(), Some(number));
        let until = shutdown.clone();
        let run = move || {
            // In this order: the end is said when the socket is gone.
            let _ended = ended;
            let mut server = server;
            logging::set_device(number);
            server.run(&until)
        };
        let thread = Some(spawn("device", run)?);
        let controlled = Controlled { socket, shared, limits, watched, is_ending: false };
        self.registry.all().insert(number, controlled);
        self.served.insert(
            number,
            Served { part: Part { file, shutdown, thread }, says_ended: false, removal: None },
        );
        Ok(number)
    }

    fn shared(&self, number: usize, socket: &Path) -> Arc<Shared> {
        let (power_on, total) = (self.options.power_on(), self.limits.total());
        let shared = Arc::new(Shared::of_program(power_on, number, total, self.caller.clone()));
        shared.limiter.set(self.limits.of_device(socket));
        shared.limiter.give_once(self.options.one_time_bytes.unwrap_or_default());
        shared
    }

    /// What one client can cost. All of them share the process's addresses, and none may take them all.
    fn of_clients(&self) -> Limits {
        let defaults = Limits::default();
        let most = u64::try_from(self.most).unwrap_or(u64::MAX);
        let max_dma_size = defaults.max_dma_size.min(ADDRESSES / most.max(1));
        defaults.with_max_dma_size(max_dma_size).with_release(self.release())
    }

    fn release(&self) -> Duration {
        Duration::from_secs(self.options.release)
    }

    /// Does what was asked for, or begins it.
    pub(super) fn change(&mut self, Order { change, reply }: Order) {
        match change {
            Change::Add(socket) => reply.send(match Listener::adopt(socket) {
                Ok(listener) => self.add(listener),
                Err(error) => Answer::Error(error.to_string()),
            }),
            Change::Remove(which) => match self.find(&which) {
                Ok(number) => self.remove(number, reply),
                Err(error) => reply.send(Answer::Error(error)),
            },
        }
    }

    fn add(&mut self, listener: Listener) -> Answer {
        let socket = listener.path().to_owned();
        let files = self.served.values().map(|served| served.part.file.path());
        if files.chain(self.control.as_deref()).any(|path| path == socket) {
            // Its file belongs to who has it, and stays.
            let _ = listener.into_socket();
            return Answer::Error(format!("{}: is served already", socket.display()));
        }
        match self.serve(listener) {
            Ok(device) => {
                info!("{}: device {device} was added", socket.display());
                Answer::Added(Place { device, socket })
            }
            Err(ProcessError::Full(most)) => Answer::Error(format!(
                "all {most} devices that there may be (--max-devices) are there, or not quite gone"
            )),
            Err(error) => Answer::Error(error.to_string()),
        }
    }

    fn find(&self, which: &Which) -> Result<usize, String> {
        let devices = self.registry.all();
        match (which.device, &which.socket) {
            (Some(device), None) if devices.contains_key(&device) => Ok(device),
            (Some(device), None) => Err(no_device(&format_args!("device {device}"), &devices)),
            (None, Some(socket)) => {
                let name = socket.to_string_lossy();
                let mut found = devices.iter().filter(|(_, device)| is_named(&device.socket, &name));
                match (found.next(), found.next()) {
                    (Some((number, _)), None) => Ok(*number),
                    (Some(_), Some(_)) => Err(format!("{name}: several devices have such a socket")),
                    _ => Err(no_device(&format_args!("device at {name}"), &devices)),
                }
            }
            _ => Err("expected either a device or a socket".to_owned()),
        }
    }

    fn remove(&mut self, number: usize, reply: Reply) {
        let deadline = Instant::now() + self.release() + END_GRACE;
        let Some(served) = self.served.get_mut(&number) else { return };
        if served.removal.is_some() {
            return reply.send(Answer::Error(format!("device {number} is being removed already")));
        }
        served.removal = Some(Removal { reply: Some(reply), deadline });
        if let Some(device) = self.registry.all().get_mut(&number) {
            device.is_ending = true;
        }
        info!("{}: device {number} is being removed", served.part.file.path().display());
        served.part.shutdown.trigger();
        self.caller.call();
    }

    /// A device's thread has ended, or will in a moment.
    pub(super) fn say_ended(&mut self, number: usize) {
        let Some(served) = self.served.get_mut(&number) else { return };
        served.says_ended = true;
        if served.removal.is_none() {
            error!("{}: is no longer served", served.part.file.path().display());
        }
    }

    /// Forgets the devices whose removal is over, and answers who asked for it, or for one that takes too long.
    pub(super) fn finish_removals(&mut self) {
        let registry = self.registry.clone();
        let mut devices = registry.all();
        let mut over = Vec::new();
        for (number, served) in &mut self.served {
            let Some(removal) = &mut served.removal else { continue };
            let has_ended = devices.get(number).is_none_or(Controlled::has_ended);
            if has_ended && !served.part.is_running() {
                over.push(*number);
            } else if removal.deadline <= Instant::now() {
                if let Some(reply) = removal.reply.take() {
                    let device = served.part.file.path().display();
                    warn!("{device}: is not served any more, but something of it does not end");
                    reply.send(Answer::Error(format!(
                        "{device}: a thread of the device, or the closing of what a client sent, is stuck; its place is \
                         free when that has ended"
                    )));
                    served.part.file.remove();
                }
            }
        }
        for number in over {
            devices.remove(&number);
            let Some(Served { part, removal, .. }) = self.served.remove(&number) else { continue };
            let socket = part.file.path().to_owned();
            if let Err(error) = part.outcome() {
                warn!("{error}");
            }
            info!("{}: device {number} was removed", socket.display());
            if let Some(reply) = removal.and_then(|removal| removal.reply) {
                reply.send(Answer::Removed(Place { device: number, socket }));
            }
        }
    }

    /// When [`Self::finish_removals`] has something to do, if nothing happens before. `None`: not at all.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let pause = |served: &Served| {
            let removal = served.removal.as_ref()?;
            Some(match &removal.reply {
                None => SELDOM,
                Some(_) if served.says_ended => LOOK,
                Some(_) => removal.deadline.saturating_duration_since(Instant::now()),
            })
        };
        self.served.values().filter_map(pause).min()
    }

    /// Whether there were devices and all that are left have failed.
    pub(super) fn all_have_failed(&self) -> bool {
        let has_failed = |served: &Served| served.removal.is_none() && served.says_ended;
        !self.served.is_empty() && self.served.values().all(has_failed)
    }

    /// Asks all of them to end.
    pub(super) fn begin_end(&self) {
        self.served.values().for_each(|served| served.part.shutdown.trigger());
        self.caller.call();
    }

    /// Whether one of them has not ended.
    pub(super) fn are_running(&self) -> bool {
        self.served.values().any(|served| served.part.is_running())
    }

    /// What became of each.
    pub(super) fn outcomes(self) -> Vec<Result<(), ProcessError>> {
        let devices = self.registry.all();
        let outcome = |(number, served): (usize, Served)| {
            let has_panicked =
                devices.get(&number).is_some_and(|device| device.shared.failed.load(Ordering::SeqCst));
            let socket = served.part.file.path().to_owned();
            match served.part.outcome() {
                Ok(()) if has_panicked => Err(ProcessError::Panicked(socket)),
                outcome => outcome,
            }
        };
        self.served.into_iter().map(outcome).collect()
    }
}
