// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program around the devices: sockets, a thread for each, the sandbox, and an end that leaves nothing behind.

mod limits;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{error, info, warn};
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use thiserror::Error;
use vfio_user_server::{BindError, Limits, Listener, Server, ServerError, Shutdown, SocketFile};

use crate::activation;
use crate::cli::Options;
use crate::control::{self, Controlled, Program};
use crate::device;
use crate::limiter::Limiter;
use crate::logging;
use crate::notify::Manager;
use crate::sandbox::{Sandbox, SandboxError};
use crate::shared::{Shared, VECTORS};
use crate::usage::Usage;
use crate::watchdog::{self, Caller, Health, Watched};
use crate::workers::Workers;
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

/// Addresses for guest memory, in bytes, shared out among the devices: half of what a process has on x86-64.
const ADDRESSES: u64 = 1 << 46;

/// Something that happens to the program.
enum Event {
    Signal(i32),
    /// The thread with that number has ended.
    Ended(usize),
}

/// Says that a thread has ended, however it did.
struct SayEnded(Sender<Event>, usize);

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

/// A device that is being served, or the control socket.
struct Part {
    file: SocketFile,
    /// That of a device.
    shared: Option<Arc<Shared>>,
    shutdown: Shutdown,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
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
    let usage = Usage::open(raise_descriptor_limit(sockets.devices.len()));
    // Threads inherit this part of the sandbox.
    let manager = Manager::from_environment().map_err(ProcessError::setup("NOTIFY_SOCKET"))?;
    let paths = sockets.devices.iter().map(|listener| listener.path().to_owned()).collect();
    let mut limits = ConfiguredLimits::new(options, paths)?;
    let mut sandbox = Sandbox::new(options.sandbox);
    sandbox.confine_process(sockets.devices.iter().chain(&sockets.control).map(Listener::path))?;
    logging::start().map_err(ProcessError::setup("starting a thread"))?;
    let (events, next_event) = mpsc::channel();
    watch_signals(signals, events.clone()).map_err(ProcessError::setup("starting a thread"))?;
    let mut parts = Vec::new();
    let caller = Caller::default();
    let started = start(options, sockets, (sandbox, usage), &events, &caller, &mut parts, &mut limits);
    if started.is_ok() {
        say_ready();
        manager.ready();
        wait_for_end(&next_event, &mut parts, || {
            manager.reloading();
            limits.reload();
            manager.ready();
        });
    }
    manager.stopping();
    parts.iter().for_each(|part| part.shutdown.trigger());
    caller.call();
    started.and(end(&next_event, parts, END_GRACE.saturating_add(Duration::from_secs(options.release))))
}

/// Starts all threads, then closes the sandbox.
fn start(
    options: &Options,
    sockets: Sockets,
    (mut sandbox, usage): (Sandbox, Usage),
    events: &Sender<Event>,
    caller: &Caller,
    parts: &mut Vec<Part>,
    limits: &mut ConfiguredLimits,
) -> Result<(), ProcessError> {
    let (mut controlled, mut watched) = (Vec::new(), Vec::new());
    let devices = u64::try_from(sockets.devices.len()).unwrap_or(u64::MAX);
    let common = Common { limiter: limits.total(), caller: caller.clone(), devices };
    for (number, listener) in sockets.devices.into_iter().enumerate() {
        let (part, control, watch) = serve(options, number, listener, &common, limits, events)?;
        parts.push(part);
        limits.add_device(control.limits.clone());
        controlled.push(control);
        watched.push(watch);
    }
    let shutdown = new_shutdown()?;
    let (caller, until) = (caller.clone(), shutdown.clone());
    spawn("watchdog", move || watchdog::run(watched, &caller, &until))?;
    let (tell_sandbox, sandbox_told) = mpsc::channel();
    if let Some(listener) = sockets.control {
        let file = listener.file();
        let until = shutdown.clone();
        let ended = SayEnded(events.clone(), parts.len());
        let config_failures = limits.failures();
        let run = move || {
            let _ended = ended;
            if let Ok(sandbox) = sandbox_told.recv() {
                let program = Program { sandbox, usage, config_failures };
                control::Server::new(listener, controlled, program).run(&until);
            }
            Ok(())
        };
        let thread = Some(spawn("control", run)?);
        parts.push(Part { file, shared: None, shutdown, thread });
    }
    sandbox.confine_threads()?;
    // If nobody is there to be told, there is no control socket.
    let _ = tell_sandbox.send(sandbox.parts());
    Ok(())
}

/// What the devices have in common.
struct Common {
    limiter: Arc<Limiter>,
    caller: Caller,
    /// How many there are.
    devices: u64,
}

/// Starts the threads of one device.
fn serve(
    options: &Options,
    number: usize,
    listener: Listener,
    common: &Common,
    limits: &ConfiguredLimits,
    events: &Sender<Event>,
) -> Result<(Part, Controlled, Watched), ProcessError> {
    let (socket, file) = (listener.path().to_owned(), listener.file());
    let shutdown = new_shutdown()?;
    let shared = Arc::new(Shared::of_program(
        options.power_on(),
        number,
        common.limiter.clone(),
        common.caller.clone(),
    ));
    shared.limiter.set(limits.of_device(&socket));
    shared.limiter.give_once(options.one_time_bytes.unwrap_or_default());
    let workers = Workers::start(shared.clone(), options.workers(), &shutdown)
        .map_err(ProcessError::setup("starting a worker"))?;
    let limit_setter = workers.limit_setter();
    let activities = workers.activities();
    // All clients share the process's addresses, and none may take them all.
    let defaults = Limits::default();
    let share = ADDRESSES / common.devices.max(1);
    let max_dma_size = defaults.max_dma_size.min(share);
    let release = Duration::from_secs(options.release);
    let mut server = Server::new(listener, device::of_personality(shared.clone(), workers))
        .with_limits(defaults.with_max_dma_size(max_dma_size).with_release(release));
    server.prepare().map_err(|error| ProcessError::Server { socket: socket.clone(), error })?;
    let health = Arc::<Health>::default();
    let counters = server.counters();
    let watched = Watched {
        name: socket.display().to_string(),
        workers: activities,
        server: counters.clone(),
        health: health.clone(),
    };
    let controlled =
        Controlled { socket, shared: shared.clone(), server: counters, limits: limit_setter, health };
    let ended = SayEnded(events.clone(), number);
    let until = shutdown.clone();
    let run = move || {
        // In this order: the end is said when the socket is gone.
        let _ended = ended;
        let mut server = server;
        logging::set_device(number);
        server.run(&until)
    };
    let thread = Some(spawn("device", run)?);
    Ok((Part { file, shared: Some(shared), shutdown, thread }, controlled, watched))
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
    const OTHERS: u64 = 64;
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

/// Returns when the program is to end. A device that fails does not end the others.
fn wait_for_end(next_event: &Receiver<Event>, parts: &mut [Part], mut reload: impl FnMut()) {
    loop {
        match next_event.recv() {
            Ok(Event::Signal(SIGHUP)) => reload(),
            Ok(Event::Signal(signal)) => return info!("ending on signal {signal}"),
            Ok(Event::Ended(number)) => {
                if let Some(part) = parts.get(number) {
                    error!("{}: is no longer served", part.file.path().display());
                }
                if parts.iter().all(Part::is_over) {
                    return error!("no device is left; ending");
                }
            }
            Err(_) => return,
        }
    }
}

impl Part {
    /// Whether it is a device that is no longer served, or no device.
    fn is_over(&self) -> bool {
        self.shared.is_none() || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What became of it, if it has ended.
    fn outcome(self) -> Result<(), ProcessError> {
        let socket = self.file.path().to_owned();
        let Some(thread) = self.thread.filter(JoinHandle::is_finished) else {
            self.file.remove();
            return Err(ProcessError::Stuck(socket));
        };
        match thread.join() {
            Ok(Ok(())) if self.shared.is_some_and(|shared| shared.failed.load(Ordering::SeqCst)) => {
                Err(ProcessError::Panicked(socket))
            }
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ProcessError::Server { socket, error }),
            Err(_) => Err(ProcessError::Panicked(socket)),
        }
    }
}

/// Waits for all threads, but not for ever, then reports the first failure. The time is counted in pauses of this thread: on
/// a host with no processor to spare, which the others wait for as well, it is longer.
fn end(next_event: &Receiver<Event>, parts: Vec<Part>, grace: Duration) -> Result<(), ProcessError> {
    const PAUSE: Duration = Duration::from_millis(2);
    let is_running = |part: &Part| part.thread.as_ref().is_some_and(|thread| !thread.is_finished());
    let mut waited = Duration::ZERO;
    while parts.iter().any(is_running) && waited < grace {
        // A thread says that it ends a moment before it has.
        match next_event.recv_timeout(PAUSE) {
            Ok(_) => continue,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(PAUSE),
        }
        waited = waited.saturating_add(PAUSE);
    }
    let outcomes: Vec<_> = parts.into_iter().map(Part::outcome).collect();
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
