// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program around the devices: sockets, a thread for each, the sandbox, and an end that leaves nothing behind.

mod devices;
mod limits;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{error, info, warn};
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use thiserror::Error;
use vfio_user_server::{BindError, Limits, Listener, ServerError, Shutdown};

use crate::activation;
use crate::cli::Options;
use crate::control::registry::Order;
use crate::control::{self, Orders};
use crate::logging;
use crate::notify::Manager;
use crate::sandbox::{Sandbox, SandboxError};
use crate::shared::VECTORS;
use crate::usage::Usage;
use crate::watchdog;
use devices::{Devices, Part};
use limits::ConfiguredLimits;

/// Signals that end the program.
const ENDING: [i32; 2] = [SIGTERM, SIGINT];

/// Exit status when a second signal comes while the program is ending.
const IMPATIENT_EXIT: i32 = 1;

/// How long the end waits for threads that do not get on. What they held is removed all the same.
const END_GRACE: Duration = Duration::from_secs(2);

/// Why the program could not start or go on.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// Signals, threads or descriptors are not to be had.
    #[error("{what}: {error}")]
    Setup {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// The configuration cannot be used.
    #[error("{}: {error}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: String,
    },
    /// A socket could not be made.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The sandbox is not as it was asked for.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A device can no longer be served.
    #[error("{}: {error}", socket.display())]
    Server {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        error: ServerError,
    },
    /// More devices than there may be.
    #[error("there are more sockets than --max-devices, which is {0}")]
    Full(usize),
    /// A bug in this program.
    #[error("{}: a thread of the device panicked", .0.display())]
    Panicked(PathBuf),
    /// A device's threads are held up by the kernel, on a client's behalf.
    #[error("{}: a thread of the device was stuck at the end", .0.display())]
    Stuck(PathBuf),
}

impl ProcessError {
    fn setup(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Setup { what, error }
    }
}

/// Something that happens to the program.
enum Event {
    Signal(i32),
    /// A change of the devices is asked for.
    Order(Box<Order>),
    /// The thread of the device with that number has ended; without one, that of the control socket.
    Ended(Option<usize>),
}

/// Says that a thread has ended, however it did.
struct SayEnded(Sender<Event>, Option<usize>);

impl Drop for SayEnded {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Ended(self.1));
    }
}

/// The sockets of the program.
struct Sockets {
    devices: Vec<Listener>,
    control: Option<Listener>,
}

impl Sockets {
    fn paths(&self) -> impl Iterator<Item = &Path> + Clone {
        self.devices.iter().chain(&self.control).map(Listener::path)
    }
}

/// Serves the devices until a signal ends the program, or all devices have failed.
///
/// # Errors
/// A socket is in use, say. All sockets that were made are removed.
pub fn run(options: &Options) -> Result<(), ProcessError> {
    // Before the sockets, so that a signal finds either no socket or somebody who removes it.
    let signals = catch_signals(options.config.is_some()).map_err(ProcessError::setup("catching signals"))?;
    let sockets = if options.activated {
        let (devices, control) = activation::take().map_err(ProcessError::setup("taking sockets"))?;
        Sockets { devices, control }
    } else {
        Sockets {
            devices: options.sockets.iter().map(|path| Listener::bind(path)).collect::<Result<_, _>>()?,
            control: options.control.as_deref().map(Listener::bind_private).transpose()?,
        }
    };
    let most = options.max_devices.map_or(sockets.devices.len(), usize::from);
    if sockets.devices.len() > most {
        return Err(ProcessError::Full(most));
    }
    let usage = Usage::open(raise_descriptor_limit(most));
    // Threads inherit this part of the sandbox.
    let manager = Manager::from_environment().map_err(ProcessError::setup("NOTIFY_SOCKET"))?;
    let limits = ConfiguredLimits::new(options, sockets.devices.iter().map(Listener::path))?;
    let mut sandbox = Sandbox::new(options.sandbox);
    sandbox.confine_process(sockets.paths())?;
    logging::start().map_err(ProcessError::setup("starting a thread"))?;
    let (events, next_event) = mpsc::channel();
    watch_signals(signals, events.clone()).map_err(ProcessError::setup("starting a thread"))?;
    let control_path = sockets.control.as_ref().map(|listener| listener.path().to_owned());
    let mut devices = Devices::new(options.clone(), most, limits, events.clone(), control_path);
    let mut control = None;
    let started = start(sockets, (sandbox, usage), &events, &mut devices, &mut control);
    if started.is_ok() {
        say_ready();
        manager.ready();
        wait_for_end(&next_event, &mut devices, |devices| {
            manager.reloading();
            devices.reload();
            manager.ready();
        });
    }
    manager.stopping();
    devices.begin_end();
    if let Some(control) = &control {
        control.shutdown.trigger();
    }
    let grace = END_GRACE.saturating_add(Duration::from_secs(options.release));
    started.and(end(&next_event, devices, control, grace))
}

/// Starts all threads, then closes the sandbox. Gives that of the control socket, which is told what the sandbox has.
fn start(
    sockets: Sockets,
    (mut sandbox, usage): (Sandbox, Usage),
    events: &Sender<Event>,
    devices: &mut Devices,
    control: &mut Option<Part>,
) -> Result<(), ProcessError> {
    for listener in sockets.devices {
        devices.serve(listener)?;
    }
    let shutdown = new_shutdown()?;
    let (registry, caller, until) = (devices.registry(), devices.watchdog(), shutdown.clone());
    spawn("watchdog", move || watchdog::run(&registry, &caller, &until))?;
    let (tell_sandbox, sandbox_told) = mpsc::channel();
    if let Some(listener) = sockets.control {
        let file = listener.file();
        let until = shutdown.clone();
        let orders = events.clone();
        let orders: Orders = Box::new(move |order| orders.send(Event::Order(Box::new(order))).is_ok());
        let server = control::Server::new(listener, devices.registry(), devices.program(usage), orders)
            .map_err(ProcessError::setup("starting the control socket"))?;
        let ended = SayEnded(events.clone(), None);
        let run = move || {
            let _ended = ended;
            if let Ok(sandbox) = sandbox_told.recv() {
                server.run(sandbox, &until);
            }
            Ok(())
        };
        *control = Some(Part { file, shutdown, thread: Some(spawn("control", run)?) });
    }
    sandbox.confine_threads(devices.can_grow())?;
    // If nobody is there to be told, there is no control socket.
    let _ = tell_sandbox.send(sandbox.parts());
    Ok(())
}

fn new_shutdown() -> Result<Shutdown, ProcessError> {
    Shutdown::new().map_err(ProcessError::setup("making an eventfd"))
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ProcessError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map_err(ProcessError::setup("starting a thread"))
}

/// Each device may hold descriptors that its clients sent, until they are closed; and if there is no room for them, the kernel
/// closes them on the thread that receives, which may take long. Gives the limit.
fn raise_descriptor_limit(devices: usize) -> u64 {
    /// Those of the control socket's clients, and the rest of the program.
    const OTHERS: u64 = control::MOST_DESCRIPTORS as u64 + 64;
    /// Eventfds, those that replace them, and what a device itself needs.
    const USED: u64 = 2 * VECTORS as u64 + 16;
    let each = u64::from(Limits::default().max_unclosed_fds).saturating_add(USED);
    let needed = u64::try_from(devices).unwrap_or(u64::MAX).saturating_mul(each).saturating_add(OTHERS);
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!("the limit of descriptors cannot be raised: {error}");
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if most < needed {
        warn!("{devices} devices may need {needed} descriptors, and the limit (RLIMIT_NOFILE) is {most}");
    }
    most
}

/// Returns when the program is to end.
fn wait_for_end(next_event: &Receiver<Event>, devices: &mut Devices, mut reload: impl FnMut(&mut Devices)) {
    loop {
        let event = match devices.next_look() {
            Some(pause) => next_event.recv_timeout(pause),
            None => next_event.recv().map_err(Into::into),
        };
        match event {
            Ok(Event::Signal(SIGHUP)) => reload(devices),
            Ok(Event::Signal(signal)) => return info!("ending on signal {signal}"),
            Ok(Event::Order(order)) => devices.change(*order),
            Ok(Event::Ended(Some(number))) => devices.say_ended(number),
            Ok(Event::Ended(None)) => error!("the control socket is no longer served"),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        devices.finish_removals();
        if devices.all_have_failed() {
            return error!("no device is left; ending");
        }
    }
}

/// Waits for all threads, but not for ever, then reports the first failure. The time is counted in pauses of this thread: on
/// a host with no processor to spare, which the others wait for as well, it is longer.
fn end(
    next_event: &Receiver<Event>,
    devices: Devices,
    control: Option<Part>,
    grace: Duration,
) -> Result<(), ProcessError> {
    const PAUSE: Duration = Duration::from_millis(2);
    let mut waited = Duration::ZERO;
    while (devices.are_running() || control.as_ref().is_some_and(Part::is_running)) && waited < grace {
        // A thread says that it ends a moment before it has.
        match next_event.recv_timeout(PAUSE) {
            Ok(_) => continue,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(PAUSE),
        }
        waited = waited.saturating_add(PAUSE);
    }
    let mut outcomes = devices.outcomes();
    outcomes.extend(control.map(Part::outcome));
    outcomes.into_iter().collect()
}

/// From now on signals are kept for [`watch_signals`]. A second one ends the program at once, in case that ending takes
/// too long.
fn catch_signals(has_config: bool) -> io::Result<Signals> {
    let ending = Arc::new(AtomicBool::new(false));
    for signal in ENDING {
        // In this order: the first signal finds the flag unset, and sets it.
        signal_hook::flag::register_conditional_shutdown(signal, IMPATIENT_EXIT, ending.clone())?;
        signal_hook::flag::register(signal, ending.clone())?;
    }
    Signals::new(ENDING.into_iter().chain(has_config.then_some(SIGHUP)))
}

/// Turns signals into events.
fn watch_signals(mut signals: Signals, events: Sender<Event>) -> io::Result<()> {
    let watch = move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
}

/// For whoever started the program: from now on the sockets can be connected to. Nobody needs to listen.
fn say_ready() {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
}
