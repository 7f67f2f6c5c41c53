// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C and its relatives: kill what was started, let the main thread unwind, leave nothing behind.
//!
//! Children are ended by the signal thread; the main thread then sees them end, finds [`requested`] true and returns
//! through its callers, so that every guard (temporary folder, lock, terminal mode) is dropped as on any other error.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static CHILDREN: Mutex<BTreeMap<i32, Ending>> = Mutex::new(BTreeMap::new());

/// How long the main thread may take to clean up before the process ends anyway.
const CLEAN_UP_TIME: Duration = Duration::from_secs(20);
/// The exit status of an interrupted run: 128 + SIGINT, as shells have it.
pub(crate) const EXIT_STATUS: i32 = 130;

/// The error that a run ends with when it was interrupted.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Starts the thread that waits for SIGINT, SIGTERM and SIGHUP.
pub(crate) fn install() -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .context("cannot install signal handlers")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let again = REQUESTED.swap(true, Ordering::SeqCst);
            end_children();
            if !again {
                std::thread::spawn(|| {
                    std::thread::sleep(CLEAN_UP_TIME);
                    std::process::exit(EXIT_STATUS);
                });
            }
        }
    });
    Ok(())
}

/// True once the user has asked to stop.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error if the user has asked to stop.
pub(crate) fn check() -> anyhow::Result<()> {
    if requested() { Err(Interrupted.into()) } else { Ok(()) }
}

fn end_children() {
    for (&pid, ending) in children().iter() {
        ending.end(pid);
    }
}

fn children() -> MutexGuard<'static, BTreeMap<i32, Ending>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a child is ended at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By SIGKILL.
    Kill,
    /// By SIGTERM, upon which it kills all that it has started, waits until they are gone, and ends.
    KillsItsOwn,
}

impl Ending {
    fn end(self, pid: i32) {
        let signal = match self {
            Self::Kill => Signal::SIGKILL,
            Self::KillsItsOwn => Signal::SIGTERM,
        };
        // It may have ended by itself: there is nothing to kill then.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// A child process is registered from its start until it was waited for.
#[derive(Debug)]
pub(crate) struct Registration {
    pid: i32,
    ending: Ending,
}

impl Registration {
    /// Registers the child, and ends it at once if the user has asked to stop meanwhile.
    pub(crate) fn new(pid: u32, ending: Ending) -> Self {
        let pid = i32::try_from(pid).unwrap_or(0);
        children().insert(pid, ending);
        if requested() {
            end_children();
        }
        Self { pid, ending }
    }

    /// Ends the child. It must not have been waited for.
    pub(crate) fn end(&self) {
        self.ending.end(self.pid);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        children().remove(&self.pid);
    }
}
