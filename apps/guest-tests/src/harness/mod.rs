// SPDX-License-Identifier: MIT OR Apache-2.0
//! A test program for kernel modules, with the manners of Rust's own: `--list`, filters, `--skip`, one line a test.
//!
//! - Each test runs in a process of its own (this program, started once more) with a time limit, so a crash or a hang
//!   costs that test only.
//! - After each test, the kernel's log is searched for reports ([`reports`]); one found fails the test and is shown whole.
//! - A test that cannot run on this machine returns [`skip`], with the reason.
//! - What a test that passed has printed stands behind its `ok`.

pub(crate) mod arguments;
mod controls;
pub(crate) mod fail_nth;
mod kernel_log;
mod kmemleak;
pub(crate) mod modules;
mod output;
mod reports;
mod runner;
mod stuck;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

pub(crate) use arguments::Options;
use arguments::{Action, HELP};
pub(crate) use kernel_log::Mark;
use output::Output;
pub(crate) use stuck::beside_a_page_fault;

/// What the shell sees for a wrong command line.
const STATUS_USAGE: u8 = 2;

/// The tests of one module.
pub(crate) struct Group {
    /// First part of the tests' names.
    pub(crate) name: &'static str,
    /// Brings the machine into the state that every test of the group expects. Runs before each, in the test's process.
    pub(crate) prepare: fn(&Options) -> Result<(), Stop>,
    /// The tests, in the order of running.
    pub(crate) tests: Vec<Test>,
}

/// One test.
pub(crate) struct Test {
    /// Second part of its name: a sentence that it proves.
    pub(crate) name: &'static str,
    /// Proves it: an error or a panic means that it is not so.
    pub(crate) run: fn(&Options) -> Result<(), Stop>,
    /// How much longer than others it may take.
    pub(crate) patience: u32,
}

impl Test {
    /// A test with the usual time limit.
    pub(crate) fn new(name: &'static str, run: fn(&Options) -> Result<(), Stop>) -> Self {
        Self { name, run, patience: 1 }
    }

    /// A test that repeats something and may take several times as long.
    pub(crate) fn long(name: &'static str, run: fn(&Options) -> Result<(), Stop>) -> Self {
        Self { name, run, patience: 5 }
    }

    fn time_limit(&self, options: &Options) -> Duration {
        options.timeout().saturating_mul(self.patience)
    }
}

/// Why a test ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// What it should prove is not so.
    Failed(String),
    /// This machine cannot show it.
    Skipped(String),
}

/// Any error fails a test.
impl<E: std::error::Error> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Ends a test as skipped.
pub(crate) fn skip<T>(why: impl fmt::Display) -> Result<T, Stop> {
    Err(Stop::Skipped(why.to_string()))
}

/// Ends a test as failed.
pub(crate) fn fail<T>(why: impl fmt::Display) -> Result<T, Stop> {
    Err(Stop::Failed(why.to_string()))
}

/// How many times longer than on the stock kernel things may take: detectors cost time, and lots of it under emulation.
pub(crate) fn slowness() -> u32 {
    static SLOWNESS: OnceLock<u32> = OnceLock::new();
    *SLOWNESS.get_or_init(|| if Path::new(kmemleak::FILE).exists() { 5 } else { 1 })
}

/// Whether this is Exo-Kernel: it has no modules, no threads of its own, and no log that programs can read.
pub(crate) fn is_exo_kernel() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| Path::new("/proc/exo").exists())
}

/// The whole program.
pub(crate) fn main(groups: &[Group]) -> ExitCode {
    match Action::parse(lexopt::Parser::from_env()) {
        Ok(Action::Run(options)) => runner::run_all(groups, &options),
        Ok(Action::RunOne(options)) => runner::run_one(groups, &options),
        Ok(Action::Controls(controls, options)) => controls::run_all(&controls, &options),
        Ok(Action::LoadAndUnload(name, options)) => controls::load_and_unload(&name, &options),
        Ok(Action::Probe(probe)) => ExitCode::from(probe.run()),
        Ok(Action::List(options)) => runner::list(groups, &options),
        Ok(Action::DrawUntilError(path)) => crate::my_rng::until_error(&path),
        Ok(Action::AcrossSuspend(path)) => crate::my_rng::across_suspend(&path),
        Ok(Action::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("guest-tests: {error}; guest-tests --help shows the options");
            ExitCode::from(STATUS_USAGE)
        }
    }
}
