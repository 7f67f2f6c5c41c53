// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs tests, each in a process of its own.

use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::kernel_log::Mark;
use super::reports::first_report;
use super::{Group, Options, Output, Stop, Test, slowness};

/// How a test's process says "skipped"; its output is the reason. As of automake's tests.
const STATUS_SKIPPED: u8 = 77;

/// How long a killed process may take to die, on a kernel without detectors, before it counts as stuck in the kernel.
const TIME_TO_DIE: Duration = Duration::from_secs(5);

/// How a test went.
enum Outcome {
    /// With what it said.
    Passed(String),
    Skipped(String),
    Failed(String),
}

/// Prints the names of the tests that would run.
pub(super) fn list(groups: &[Group], options: &Options) -> ExitCode {
    let wanted: Vec<_> = wanted(groups, options).collect();
    for (name, _) in &wanted {
        println!("{name}: test");
    }
    println!("\n{} tests", wanted.len());
    ExitCode::SUCCESS
}

/// Runs all tests that the options ask for.
pub(super) fn run_all(groups: &[Group], options: &Options) -> ExitCode {
    let mut log = match Mark::at_last_clearing() {
        Ok(log) => log,
        Err(error) => {
            println!("cannot read the kernel's log, /dev/kmsg: {error} (run this as root, in a machine)");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed, mut skipped) = (0_u32, Vec::new(), 0_u32);
    let start = Instant::now();
    let wanted: Vec<_> = wanted(groups, options).collect();
    if wanted.is_empty() {
        // Most likely a name was mistyped: that must not pass.
        println!("no test has such a name; guest-tests --list shows all");
        return ExitCode::FAILURE;
    }
    // What the kernel has reported before, as when the module was loaded, is a failure as well.
    if let Err(why) = no_report(&mut log) {
        let name = "kernel::no_report_before_the_tests".to_owned();
        println!("test {name} ... FAILED");
        show(&why);
        failed.push(name);
    }
    for (name, test) in wanted {
        print!("test {name} ... ");
        // A line that does not come out shows up as a missing line: nothing is to be done about it here.
        let _ = io::stdout().flush();
        let mut outcome = run_isolated(&name, test, options, &mut log)
            .unwrap_or_else(|error| Outcome::Failed(format!("cannot run it: {error}")));
        if let (true, Outcome::Skipped(why)) = (options.no_skips, &outcome) {
            outcome = Outcome::Failed(format!("skipped, which --no-skips forbids: {why}"));
        }
        match outcome {
            Outcome::Passed(said) => {
                println!("{}", if said.is_empty() { "ok".to_owned() } else { format!("ok ({said})") });
                passed = passed.saturating_add(1);
            }
            Outcome::Skipped(why) => {
                println!("skipped ({why})");
                skipped = skipped.saturating_add(1);
            }
            Outcome::Failed(why) => {
                println!("FAILED");
                show(&why);
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        println!("\nfailed:\n    {}", failed.join("\n    "));
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("\n{passed} passed, {} failed, {skipped} skipped in {seconds:.1} s", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(super) fn show(why: &str) {
    for line in why.trim_start().lines() {
        println!("    {line}");
    }
}

/// Runs one test in this process.
pub(super) fn run_one(groups: &[Group], options: &Options) -> ExitCode {
    let name = &options.test;
    let found = groups.iter().find_map(|group| {
        let test = group.tests.iter().find(|test| full_name(group, test) == *name)?;
        Some((group, test))
    });
    let Some((group, test)) = found else {
        println!("there is no test {name}");
        return ExitCode::FAILURE;
    };
    // A process in which something shall fail finds the machine as the test that started it has prepared it.
    let prepared = if options.armed.is_none() { (group.prepare)(options) } else { Ok(()) };
    match prepared.and_then(|()| (test.run)(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Failed(why)) => {
            println!("{why}");
            ExitCode::FAILURE
        }
        Err(Stop::Skipped(why)) => {
            println!("{why}");
            ExitCode::from(STATUS_SKIPPED)
        }
    }
}

fn wanted<'a>(groups: &'a [Group], options: &'a Options) -> impl Iterator<Item = (String, &'a Test)> {
    let all =
        groups.iter().flat_map(|group| group.tests.iter().map(move |test| (full_name(group, test), test)));
    all.filter(|(name, _)| options.wants(name))
}

fn full_name(group: &Group, test: &Test) -> String {
    format!("{}::{}", group.name, test.name)
}

fn run_isolated(name: &str, test: &Test, options: &Options, log: &mut Mark) -> io::Result<Outcome> {
    let mut output = Output::new()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(options.for_one(name)).stdin(Stdio::null()).stdout(output.end()?).stderr(output.end()?);
    let ended = run_to_end(&mut command, test.time_limit(options))?;
    let said = output.read()?;
    let outcome = match ended {
        Ended::InTime(status) => judge(status, said),
        Ended::TooLate(whereabouts) => {
            let limit = test.time_limit(options).as_secs();
            Outcome::Failed(format!("{said}it did not end within {limit} s{whereabouts}"))
        }
    };
    Ok(match (no_report(log), outcome) {
        (Ok(()), outcome) => outcome,
        (Err(report), Outcome::Failed(why)) => Outcome::Failed(format!("{why}\n{report}")),
        (Err(report), _) => Outcome::Failed(report),
    })
}

/// Fails with the kernel's report, if there is one since the last look.
fn no_report(log: &mut Mark) -> Result<(), String> {
    let lines = log.lines().map_err(|error| format!("cannot read the kernel's log: {error}"))?;
    let report = first_report(&lines);
    if report.is_empty() { Ok(()) } else { Err(format!("the kernel reports:\n{}", report.join("\n"))) }
}

fn judge(status: ExitStatus, said: String) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(0), _) => Outcome::Passed(said.trim().replace('\n', "; ")),
        (Some(code), _) if code == i32::from(STATUS_SKIPPED) => Outcome::Skipped(said.trim().to_owned()),
        (_, Some(signal)) => Outcome::Failed(format!("{said}it was killed by signal {signal}")),
        _ if said.trim().is_empty() => Outcome::Failed(format!("it ended without a word ({status})")),
        _ => Outcome::Failed(said),
    }
}

/// How a process ended.
pub(super) enum Ended {
    InTime(ExitStatus),
    /// Where it was stuck, as far as the kernel tells.
    TooLate(String),
}

/// Runs a process; one that takes longer than this is killed.
pub(super) fn run_to_end(command: &mut Command, limit: Duration) -> io::Result<Ended> {
    let child = &mut command.process_group(0).spawn()?;
    if let Some(status) = wait_until(child, Instant::now() + limit)? {
        return Ok(Ended::InTime(status));
    }
    let mut whereabouts = String::new();
    let stack = std::fs::read_to_string(format!("/proc/{}/stack", child.id())).unwrap_or_default();
    if !stack.is_empty() {
        whereabouts = format!("; in the kernel it was at\n{stack}");
    }
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kill_process_group(pid, Signal::KILL)?;
    }
    if wait_until(child, Instant::now() + TIME_TO_DIE * slowness())?.is_none() {
        whereabouts.push_str("\nit cannot even be killed");
    }
    Ok(Ended::TooLate(whereabouts))
}

fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() > deadline {
            return Ok(ended);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
