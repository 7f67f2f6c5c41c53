// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sandbox: what the program gives up once its sockets are there, so that whoever takes it over can do little more
//! than what a device does anyway.
//!
//! | part | takes away | module |
//! | --- | --- | --- |
//! | capabilities | all of them, and `no_new_privs`: no program gives any back | [`privileges`] |
//! | Landlock | every file but the removal of those in the sockets' directories; TCP; signals to others | [`landlock`] |
//! | seccomp | every system call that a device that runs does not need | [`seccomp`] |
//!
//! The first two are inherited by threads, and so come before them; seccomp comes last, because starting a thread is
//! among what it forbids.

pub mod landlock;
pub mod privileges;
pub mod seccomp;

use std::fmt::Display;
use std::path::Path;

use clap::ValueEnum;
use log::{info, warn};
use thiserror::Error;

use seccomp::Needs;

/// How much of the sandbox there must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Mode {
    /// Whatever the host's kernel and the container allow; what is missing is named on standard error
    #[default]
    On,
    /// All of it, or the program does not start
    Strict,
    /// Nothing, for debugging
    Off,
}

impl Mode {
    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Strict => "strict",
            Self::Off => "off",
        }
    }
}

/// Confines a process of one thread that does nothing but read files in the directory of `path`, and answer.
///
/// # Errors
/// With [`Mode::Strict`]: something is missing.
pub fn confine_reader(mode: Mode, path: &Path) -> Result<(), SandboxError> {
    let mut sandbox = Sandbox::new(mode);
    if mode == Mode::Off {
        return Ok(());
    }
    sandbox.note("capabilities", privileges::drop_all().map(|()| None))?;
    sandbox.note("Landlock", landlock::restrict_to_reading(path))?;
    sandbox.note("seccomp", seccomp::restrict(Needs::Files).map(|()| None))
}

/// A part that was demanded is not to be had.
#[derive(Debug, Error)]
#[error("sandbox: no {part}: {reason}")]
pub struct SandboxError {
    part: &'static str,
    reason: String,
}

/// The sandbox in the making.
#[derive(Debug)]
pub struct Sandbox {
    mode: Mode,
    parts: Vec<String>,
}

impl Sandbox {
    /// A sandbox that confines nothing yet.
    pub fn new(mode: Mode) -> Self {
        Self { mode, parts: Vec::new() }
    }

    /// Gives up privileges and files, for this thread and those that it will start. `sockets` can still be removed.
    ///
    /// # Errors
    /// With [`Mode::Strict`]: something is missing.
    pub fn confine_process<'p>(
        &mut self,
        sockets: impl Iterator<Item = &'p Path>,
    ) -> Result<(), SandboxError> {
        if self.mode == Mode::Off {
            warn!(
                "THE SANDBOX IS OFF: a bug in this program can be used against the whole of this user's account"
            );
            return Ok(());
        }
        self.note("capabilities", privileges::drop_all().map(|()| None))?;
        self.note("Landlock", landlock::restrict(sockets))
    }

    /// Gives up system calls, for all threads of the process; with `adds_devices`, those for more threads are left.
    ///
    /// # Errors
    /// As for [`Self::confine_process`].
    pub fn confine_threads(&mut self, adds_devices: bool) -> Result<(), SandboxError> {
        if self.mode == Mode::Off {
            return Ok(());
        }
        let needs = if adds_devices { Needs::Threads } else { Needs::Nothing };
        self.note("seccomp", seccomp::restrict(needs).map(|()| None))?;
        info!("sandbox: {}", self.parts.join(", "));
        Ok(())
    }

    /// The parts that are in force.
    pub fn parts(&self) -> Vec<String> {
        self.parts.clone()
    }

    /// Takes note of a part, perhaps with a remark.
    fn note<E: Display>(
        &mut self,
        part: &'static str,
        outcome: Result<Option<String>, E>,
    ) -> Result<(), SandboxError> {
        match outcome {
            Ok(None) => self.parts.push(part.to_owned()),
            Ok(Some(remark)) => self.parts.push(format!("{part} ({remark})")),
            Err(reason) if self.mode == Mode::Strict => {
                return Err(SandboxError { part, reason: reason.to_string() });
            }
            Err(reason) => warn!("sandbox: no {part}: {reason}; going on without it"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_an_error_only_if_it_was_demanded() {
        let mut best_effort = Sandbox::new(Mode::On);
        best_effort.note("a", Ok::<_, String>(None)).unwrap();
        best_effort.note("b", Err("it is not there")).unwrap();
        best_effort.note("c", Ok::<_, String>(Some("partly".to_owned()))).unwrap();
        assert_eq!(best_effort.parts(), ["a", "c (partly)"]);
        let error = Sandbox::new(Mode::Strict).note("b", Err("it is not there")).unwrap_err();
        assert_eq!(error.to_string(), "sandbox: no b: it is not there");
    }

    #[test]
    fn a_sandbox_that_is_off_changes_nothing() {
        let mut off = Sandbox::new(Mode::Off);
        off.confine_process(std::iter::empty()).unwrap();
        off.confine_threads(true).unwrap();
        assert!(off.parts().is_empty());
        std::fs::File::open("/proc/self/status").unwrap();
        std::thread::spawn(|| ()).join().unwrap();
    }
}
