// SPDX-License-Identifier: MIT OR Apache-2.0
//! `exo-tests`: what programs with Rust's standard library do, and what no program may do, to a kernel.
//!
//! * `threads`, `channels`, `maps`, `files`, `processes`, `uring` print what they find, never when or where, so their output is the
//!   same on every kernel that is right.
//! * `faults`, `limits`, `hoard` and `uring-hostile` are attacks that must end the attacker alone.
//! * `disk-write`, `disk-verify` and `disk-use` need a disk that may be overwritten.
//! * `fuzz` makes random system calls.
//! * `messages`, `lean`, `fail-nth`, `fairness` and `spans` need Exo-Kernel.

mod disks;
mod fail_nth;
mod fairness;
mod faults;
mod fuzz;
mod hoard;
mod hoard_events;
mod lean;
mod limits;
mod messages;
mod spans;
mod standard;
mod uring;

use std::process::ExitCode;

use lexopt::prelude::*;

const HELP: &str = "\
Tests a kernel from inside; runs on Linux and on Exo-Kernel.

Usage: exo-tests TEST
       exo-tests fuzz [--calls N] [--seed N] [--processes N]

Tests that print what they find, for comparison:
  threads channels maps files processes uring
Tests that end with 1 and say why if something is wrong:
  faults        every kind of user-mode fault kills only the program
  fail-nth      one allocation after the other fails, and the kernel goes on
  limits        a fork bomb and a memory hog leave a working system
  uring-disk    io_uring on a disk, for comparison; overwrites it
  uring-disk-errors
                io_uring on a disk with bad sectors 2048 and 4096
  uring-hostile wrong indices and random entries harm only the program
  hoard         memory that the kernel uses for a program counts as its own,
                and others are served; for a machine with 128 MiB
  messages      Exo-Kernel's messages between processes and threads
  lean          calls that shall neither allocate nor lock do not
  fairness      a program that counts is not starved by others on its CPU
  spans         the largest calls let interrupts in, and can be killed
  disk-write    writes a disk in rounds and says which of them are flushed
  disk-verify   what was flushed is on the disk
  disk-use      uses a disk until it gives errors, and says which
  fuzz          random system calls and short sequences of them, by processes that
                are replaced when they end; what they did is up to them

Options of fuzz:
  --calls N      calls that all processes make together [default: 20000]
  --seed N       what the calls are drawn from [default: the clock]
  --processes N  processes at a time [default: 2 for each CPU]
Options of tests of disks:
  --path PATH    the disk
  --seed N       what the content is drawn from [default: 0]
  --rounds N     rounds that disk-write writes [default: 1]
  --flushed N    rounds that were flushed, for disk-verify [default: 0]

  --help         print this text
";

/// What the shell sees for a wrong command line.
const STATUS_USAGE: u8 = 2;

/// What a failed test says.
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match parse(lexopt::Parser::from_env()) {
        Ok(Some(test)) => match test() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("exo-tests: {why}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("exo-tests: {error}; exo-tests --help shows the options");
            ExitCode::from(STATUS_USAGE)
        }
    }
}

type Test = Box<dyn FnOnce() -> Outcome>;

/// The test that the command line names; none if it asks for help.
fn parse(mut parser: lexopt::Parser) -> Result<Option<Test>, lexopt::Error> {
    let mut name = None;
    let mut fuzz = fuzz::Options::default();
    let mut disk = disks::Options { rounds: 1, ..disks::Options::default() };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("calls") => fuzz.calls = parser.value()?.parse()?,
            Long("seed") => {
                fuzz.seed = parser.value()?.parse()?;
                disk.seed = fuzz.seed;
            }
            Long("path") => disk.path = parser.value()?.into(),
            Long("rounds") => disk.rounds = parser.value()?.parse()?,
            Long("flushed") => disk.flushed = parser.value()?.parse()?,
            Long("processes") => fuzz.processes = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(None),
            Value(word) if name.is_none() => name = Some(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(match name.as_deref() {
        Some("threads") => Box::new(standard::threads),
        Some("channels") => Box::new(standard::channels),
        Some("maps") => Box::new(standard::maps),
        Some("files") => Box::new(standard::files),
        Some("processes") => Box::new(standard::processes),
        Some("uring") => Box::new(uring::run),
        Some("uring-disk") => Box::new(move || uring::disk(&disk.path)),
        Some("uring-disk-errors") => Box::new(move || uring::disk_errors(&disk.path)),
        Some("uring-hostile") => Box::new(uring::hostile),
        Some("faults") => Box::new(faults::run),
        Some("fail-nth") => Box::new(fail_nth::run),
        Some("limits") => Box::new(limits::run),
        Some("hoard") => Box::new(hoard::run),
        Some("fairness") => Box::new(fairness::run),
        Some("spans") => Box::new(spans::run),
        Some("messages") => Box::new(messages::run),
        Some("lean") => Box::new(lean::run),
        Some("fuzz") => Box::new(move || fuzz::run(&fuzz)),
        Some("disk-write") => Box::new(move || disks::write(&disk)),
        Some("disk-verify") => Box::new(move || disks::verify(&disk)),
        Some("disk-use") => Box::new(move || disks::use_until_error(&disk)),
        Some(other) => return Err(format!("there is no test {other:?}").into()),
        None => return Err("no test is named".into()),
    }))
}

/// An error with these words.
fn failed(why: impl Into<String>) -> Box<dyn std::error::Error + Send + Sync> {
    why.into().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_one_test() {
        let parse = |words: &[&str]| parse(lexopt::Parser::from_args(words));
        assert!(parse(&["threads"]).unwrap().is_some() && parse(&["--help"]).unwrap().is_none());
        assert!(parse(&["fuzz", "--calls", "7", "--seed=1", "--processes", "3"]).unwrap().is_some());
        assert!(parse(&["disk-write", "--path", "/dev/disk0", "--rounds", "9"]).unwrap().is_some());
        for words in [&[][..], &["nothing"], &["threads", "maps"], &["fuzz", "--calls", "x"]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
