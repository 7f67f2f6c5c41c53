// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program around the devices: sockets, a thread for each, and an end that leaves nothing behind.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use log::info;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use thiserror::Error;
use vfio_user_server::{BindError, Listener, Server, ServerError, Shutdown};

use crate::cli::Options;
use crate::device::RngDevice;
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

/// Serves the devices until a signal ends the program.
///
/// # Errors
/// A socket is in use, say. All sockets that were made are removed.
pub fn run(options: &Options) -> Result<(), ProcessError> {
    let setup = |what| move |error| ProcessError::Setup { what, error };
    let (events, next_event) = mpsc::channel();
    // Before the sockets, so that a signal finds either no socket or somebody who removes it.
    watch_signals(events.clone()).map_err(setup("catching signals"))?;
    let shutdown = Shutdown::new().map_err(setup("making an eventfd"))?;
    let listeners: Vec<Listener> =
        options.sockets.iter().map(|path| Listener::bind(path)).collect::<Result<_, _>>()?;

    thread::scope(|scope| {
        let mut threads = Vec::new();
        for listener in listeners {
            let socket = listener.path().to_owned();
            let shared = Arc::new(Shared::new(options.power_on()));
            let device = match Workers::start(shared.clone(), options.workers(), &shutdown) {
                Ok(workers) => RngDevice::new(shared.clone(), workers),
                Err(error) => {
                    shutdown.trigger();
                    return Err(ProcessError::Setup { what: "starting a worker", error });
                }
            };
            let mut server = Server::new(listener, device);
            let (shutdown, ended) = (&shutdown, SayEnded(events.clone()));
            let serve = move || {
                let _ended = ended;
                server.run(shutdown)
            };
            match thread::Builder::new().name("device".to_owned()).spawn_scoped(scope, serve) {
                Ok(thread) => threads.push((socket, shared, thread)),
                Err(error) => {
                    shutdown.trigger();
                    return Err(ProcessError::Setup { what: "starting a thread", error });
                }
            }
        }
        say_ready();
        match next_event.recv() {
            Ok(Event::Signal(signal)) => info!("ending on signal {signal}"),
            Ok(Event::ServerEnded) | Err(_) => info!("ending, as a server has"),
        }
        shutdown.trigger();
        // All are waited for before the first failure is reported.
        let joined: Vec<_> =
            threads.into_iter().map(|(socket, shared, thread)| (socket, shared, thread.join())).collect();
        joined.into_iter().try_for_each(|(socket, shared, outcome)| match outcome {
            Ok(Ok(())) if shared.failed.load(Ordering::SeqCst) => Err(ProcessError::Panicked(socket)),
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ProcessError::Server { socket, error }),
            Err(_) => Err(ProcessError::Panicked(socket)),
        })
    })
}

/// Turns signals into events. A second one ends the program at once, in case that ending takes too long.
fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    let ending = Arc::new(AtomicBool::new(false));
    for signal in ENDING {
        // In this order: the first signal finds the flag unset, and sets it.
        signal_hook::flag::register_conditional_shutdown(signal, IMPATIENT_EXIT, ending.clone())?;
        signal_hook::flag::register(signal, ending.clone())?;
    }
    let mut signals = Signals::new(ENDING)?;
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
