// SPDX-License-Identifier: MIT OR Apache-2.0
//! Negative controls: modules with one fault each, which a detector of the kernel must report. They show that the net which
//! the other tests rely on has no hole: the detector fires, *and* this program takes what it says for a report.
//!
//! Several fit in one machine if none silences a later one. lockdep, and KASAN as well, report once only, and a report of
//! KASAN silences lockdep and RCU, so those come last. A module whose fault ends the machine is the last of all
//! (`--last-control`); that it was reported is seen on the console, from outside.

use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use regex_lite::Regex;

use super::arguments::LOAD_AND_UNLOAD;
use super::kernel_log::Mark;
use super::runner::{Ended, run_to_end, show};
use super::{Options, Output, Stop, kmemleak, modules, reports, slowness};

/// How long a module may take to load, or a report to come, on a kernel without detectors.
const SOON: Duration = Duration::from_secs(2);

/// Time for what was printed to reach the host, before the machine ends.
const TIME_TO_PRINT: Duration = Duration::from_secs(1);

/// A module and what it must bring.
#[derive(Debug, Clone)]
pub(super) struct Control {
    pub(super) name: String,
    expected: Expected,
}

#[derive(Debug, Clone)]
enum Expected {
    /// A report of which one line matches.
    Report(Regex),
    /// The end of the machine.
    TheEnd,
}

impl Control {
    /// A module that ends the machine.
    pub(super) fn last(name: String) -> Self {
        Self { name, expected: Expected::TheEnd }
    }
}

impl FromStr for Control {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = text.split_once('=').filter(|(name, pattern)| !name.is_empty() && !pattern.is_empty());
        let (name, pattern) = pair.ok_or_else(|| format!("{text:?} is not NAME=REGEX"))?;
        let pattern = Regex::new(pattern).map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { name: name.to_owned(), expected: Expected::Report(pattern) })
    }
}

/// Loads one control after the other and prints what fired.
pub(super) fn run_all(controls: &[Control], options: &Options) -> ExitCode {
    let mut failed = 0_u32;
    for control in controls {
        print!("test net::{} ... ", control.name);
        // A line that does not come out is missed by who reads it.
        let _ = io::stdout().flush();
        let fired = match &control.expected {
            Expected::Report(pattern) => fires(&control.name, pattern, options),
            Expected::TheEnd => ends_the_machine(&control.name, options),
        };
        match fired {
            Ok(line) => println!("ok ({line})"),
            Err(why) => {
                println!("FAILED");
                show(&why);
                failed = failed.saturating_add(1);
            }
        }
    }
    println!("\n{} controls, {failed} failed", controls.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Loads and unloads a module, in the process that [`run_all`] starts for it.
pub(super) fn load_and_unload(name: &str, options: &Options) -> ExitCode {
    match modules::load(&options.modules, name).and_then(|()| modules::unload(name)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Failed(why) | Stop::Skipped(why)) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The line of the report that the module brings.
fn fires(name: &str, pattern: &Regex, options: &Options) -> Result<String, String> {
    let log_error = |error: io::Error| format!("cannot read the kernel's log: {error}");
    let mut log = Mark::here().map_err(log_error)?;
    cycle(name, options)?;
    let mut lines = Vec::new();
    let deadline = Instant::now() + SOON * slowness();
    let mut asked = false;
    loop {
        lines.extend(log.lines().map_err(log_error)?);
        if let Some(line) = lines.iter().find(|line| pattern.is_match(line)) {
            return if reports::first_report(&lines).is_empty() {
                Err(format!("{line}\nis what was expected, but the tests would not take it for a report"))
            } else {
                Ok(line.clone())
            };
        }
        // All others report by themselves; kmemleak wants to be asked.
        if !asked && pattern.as_str().contains("kmemleak") {
            kmemleak::scan().map_err(|error| format!("cannot scan for leaks: {error}"))?;
            asked = true;
        } else if asked || Instant::now() > deadline {
            let log = if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") };
            return Err(format!("no line matches {:?}; the kernel logged\n{log}", pattern.as_str()));
        } else {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn ends_the_machine(name: &str, options: &Options) -> Result<String, String> {
    std::thread::sleep(TIME_TO_PRINT);
    cycle(name, options)?;
    // A panic takes a moment to come through.
    std::thread::sleep(SOON * slowness());
    Err("the machine lives on: it should have ended with an oops (is oops=panic on its command line?)"
        .to_owned())
}

/// Loads and unloads the module in a process of its own, which the fault may hang or kill.
fn cycle(name: &str, options: &Options) -> Result<(), String> {
    let run = || -> io::Result<(Ended, String)> {
        let mut output = Output::new()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(format!("--{LOAD_AND_UNLOAD}")).arg(name).arg("--modules").arg(&options.modules);
        command.stdin(Stdio::null()).stdout(output.end()?).stderr(output.end()?);
        let ended = run_to_end(&mut command, options.timeout())?;
        Ok((ended, output.read()?))
    };
    match run().map_err(|error| format!("cannot load it: {error}"))? {
        (Ended::InTime(status), _) if status.success() => Ok(()),
        (Ended::InTime(status), said) => Err(format!("{}{status}", said)),
        (Ended::TooLate(whereabouts), said) => Err(format!("{said}loading it did not end{whereabouts}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_is_a_name_and_a_pattern() {
        let control: Control = "leak=kmemleak: [0-9]+ new = x".parse().unwrap();
        let Expected::Report(pattern) = &control.expected else { panic!("{control:?}") };
        assert_eq!((control.name.as_str(), pattern.as_str()), ("leak", "kmemleak: [0-9]+ new = x"));
        for wrong in ["leak", "leak=", "=x", "leak=["] {
            assert!(wrong.parse::<Control>().is_err(), "{wrong}");
        }
    }
}
