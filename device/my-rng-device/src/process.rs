// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program around the devices: sockets, a thread for each, the sandbox, and an end that leaves nothing behind.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Scope, ScopedJoinHandle};

use log::info;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use thiserror::Error;
use vfio_user_server::{BindError, Limits, Listener, Server, ServerError, Shutdown};

use crate::cli::Options;
use crate::control::{self, Controlled};
use crate::device::RngDevice;
use crate::sandbox::{Sandbox, SandboxError};
use crate::shared::Shared;
use crate::workers::Workers;

/// Signals that end the program.
const ENDING: [i32; 2] = [SIGTERM, SIGINT];

/// Exit status when a second signal comes while the program is ending.
const IMPATIENT_EXIT: i32 = 1;

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
}

impl ProcessError {
    fn setup(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Setup { what, error }
    }
}

/// Addresses for guest memory, in bytes, shared out among the devices: half of what a process has on x86-64.
const ADDRESSES: u64 = 1 << 46;

/// Something that ends the program.
enum Event {
    Signal(i32),
    ServerEnded,
}

/// Says that a server's thread has ended, however it did.
struct SayEnded(Sender<Event>);

impl Drop for SayEnded {
    fn drop(&mut self) {
        let _ = self.0.send(Event::ServerEnded);
    }
}

/// The sockets of the program.
struct Sockets {
    devices: Vec<Listener>,
    control: Option<Listener>,
}

/// A device that is being served.
struct Served<'scope> {
    controlled: Controlled,
    thread: ScopedJoinHandle<'scope, Result<(), ServerError>>,
}

/// Serves the devices until a signal ends the program.
///
/// # Errors
/// A socket is in use, say. All sockets that were made are removed.
pub fn run(options: &Options) -> Result<(), ProcessError> {
    // Before the sockets, so that a signal finds either no socket or somebody who removes it.
    let signals = catch_signals().map_err(ProcessError::setup("catching signals"))?;
    let shutdown = Shutdown::new().map_err(ProcessError::setup("making an eventfd"))?;
    let sockets = Sockets {
        devices: options.sockets.iter().map(|path| Listener::bind(path)).collect::<Result<_, _>>()?,
        control: options.control.as_deref().map(Listener::bind_private).transpose()?,
    };
    // Threads inherit this part of the sandbox.
    let mut sandbox = Sandbox::new(options.sandbox);
    sandbox.confine_process(sockets.devices.iter().chain(&sockets.control).map(Listener::path))?;
    let (events, next_event) = mpsc::channel();
    watch_signals(signals, events.clone()).map_err(ProcessError::setup("starting a thread"))?;
    thread::scope(|scope| {
        let mut served = Vec::new();
        let started = start(scope, options, sockets, sandbox, &shutdown, &events, &mut served);
        if started.is_ok() {
            say_ready();
            wait_for_end(&next_event);
        }
        shutdown.trigger();
        started.and(end(served))
    })
}

/// Starts all threads, then closes the sandbox.
fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    options: &Options,
    sockets: Sockets,
    mut sandbox: Sandbox,
    shutdown: &'scope Shutdown,
    events: &Sender<Event>,
    served: &mut Vec<Served<'scope>>,
) -> Result<(), ProcessError> {
    for listener in sockets.devices {
        served.push(serve(scope, options, listener, shutdown, events)?);
    }
    let (tell_sandbox, sandbox_told) = mpsc::channel();
    if let Some(listener) = sockets.control {
        let devices = served.iter().map(|served| served.controlled.clone()).collect();
        let control = move || {
            if let Ok(parts) = sandbox_told.recv() {
                control::Server::new(listener, devices, parts).run(shutdown);
            }
        };
        spawn(scope, "control", control)?;
    }
    sandbox.confine_threads()?;
    // If nobody is there to be told, there is no control socket.
    let _ = tell_sandbox.send(sandbox.parts());
    Ok(())
}

/// Starts the threads of one device.
fn serve<'scope>(
    scope: &'scope Scope<'scope, '_>,
    options: &Options,
    listener: Listener,
    shutdown: &'scope Shutdown,
    events: &Sender<Event>,
) -> Result<Served<'scope>, ProcessError> {
    let socket = listener.path().to_owned();
    let shared = Arc::new(Shared::new(options.power_on()));
    shared.limiter.set(options.limits());
    let workers = Workers::start(shared.clone(), options.workers(), shutdown)
        .map_err(ProcessError::setup("starting a worker"))?;
    let limits = workers.limit_setter();
    // All clients share the process's addresses, and none may take them all.
    let defaults = Limits::default();
    let share = ADDRESSES / u64::try_from(options.sockets.len()).unwrap_or(u64::MAX).max(1);
    let max_dma_size = defaults.max_dma_size.min(share);
    let mut server = Server::new(listener, RngDevice::new(shared.clone(), workers))
        .with_limits(Limits { max_dma_size, ..defaults });
    server.prepare().map_err(|error| ProcessError::Server { socket: socket.clone(), error })?;
    let controlled = Controlled { socket, shared, server: server.counters(), limits };
    let ended = SayEnded(events.clone());
    let run = move || {
        let _ended = ended;
        server.run(shutdown)
    };
    Ok(Served { controlled, thread: spawn(scope, "device", run)? })
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ProcessError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run);
    spawned.map_err(ProcessError::setup("starting a thread"))
}

fn wait_for_end(next_event: &Receiver<Event>) {
    match next_event.recv() {
        Ok(Event::Signal(signal)) => info!("ending on signal {signal}"),
        Ok(Event::ServerEnded) | Err(_) => info!("ending, as a server has"),
    }
}

/// Waits for all servers, then reports the first failure.
fn end(served: Vec<Served<'_>>) -> Result<(), ProcessError> {
    let joined: Vec<_> = served.into_iter().map(|served| (served.controlled, served.thread.join())).collect();
    joined.into_iter().try_for_each(|(Controlled { socket, shared, .. }, outcome)| match outcome {
        Ok(Ok(())) if shared.failed.load(Ordering::SeqCst) => Err(ProcessError::Panicked(socket)),
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ProcessError::Server { socket, error }),
        Err(_) => Err(ProcessError::Panicked(socket)),
    })
}

/// From now on signals are kept for [`watch_signals`]. A second one ends the program at once, in case that ending takes
/// too long.
fn catch_signals() -> io::Result<Signals> {
    let ending = Arc::new(AtomicBool::new(false));
    for signal in ENDING {
        // In this order: the first signal finds the flag unset, and sets it.
        signal_hook::flag::register_conditional_shutdown(signal, IMPATIENT_EXIT, ending.clone())?;
        signal_hook::flag::register(signal, ending.clone())?;
    }
    Signals::new(ENDING)
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
