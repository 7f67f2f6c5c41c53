// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs in PID and user namespaces of their own see only what is theirs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use procmon::{Events, Monitor};

use super::machine::{own_pid, soon};
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};
use crate::raw::unshare_time_for_children;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_pid_means_that_of_the_callers_namespace", a_pid_means_that_of_the_callers_namespace),
        Test::new("a_snapshot_shows_the_callers_namespace", a_snapshot_shows_the_callers_namespace),
        Test::new("events_are_not_for_another_pid_namespace", events_are_not_for_another_pid_namespace),
        Test::new("a_filter_from_another_namespace_is_translated", a_filter_is_translated),
        Test::new("a_user_without_a_number_here_is_the_overflow_uid", the_overflow_uid_is_obeyed),
        Test::new("times_are_those_of_the_callers_time_namespace", times_are_the_callers),
    ]
}

/// Runs the program `procmon` as the first process of a PID namespace of its own.
fn in_own_namespace(arguments: &[&str]) -> Result<Output, Stop> {
    if is_exo_kernel() {
        return skip("this kernel has no namespaces");
    }
    let Ok(program) = which("procmon") else { return skip("this machine has no program procmon") };
    let Ok(unshare) = which("unshare") else { return skip("this machine has no program unshare") };
    Ok(Command::new(unshare).args(["-p", "-f"]).arg(program).args(arguments).output()?)
}

fn which(name: &str) -> Result<std::path::PathBuf, Stop> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.map_or_else(|| fail(format!("no {name}")), Ok)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn a_pid_means_that_of_the_callers_namespace(_: &Options) -> Result<(), Stop> {
    let outer = own_pid()?.to_string();
    let output = in_own_namespace(&["query", "1", &outer, "2"])?;
    let told = text(&output);
    assert!(told.contains("1: procmon state R"), "who is 1: {told}");
    assert!(told.contains(&format!("{outer}: no such process")), "a process outside: {told}");
    assert!(told.contains("2: no such process"), "kthreadd: {told}");
    Ok(())
}

fn a_snapshot_shows_the_callers_namespace(_: &Options) -> Result<(), Stop> {
    let output = in_own_namespace(&["snapshot"])?;
    let told = text(&output);
    let lines: Vec<Vec<&str>> = told.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
    let [line] = &lines[..] else { return fail(format!("one process was expected:\n{told}")) };
    assert_eq!(line[..3], ["procmon", "1", "0"], "name, number, parent");
    Ok(())
}

fn events_are_not_for_another_pid_namespace(_: &Options) -> Result<(), Stop> {
    let output = in_own_namespace(&["events", "--timeout", "1"])?;
    assert!(!output.status.success());
    assert!(text(&output).contains("PID namespace"), "{}", text(&output));
    Ok(())
}

fn a_filter_is_translated(_: &Options) -> Result<(), Stop> {
    let monitor = Monitor::open()?;
    // 1 in there is the program itself, which ends at once; out here it has another number.
    let output = in_own_namespace(&["filter", "1"])?;
    assert!(output.status.success(), "{}", text(&output));
    let number = monitor.stats()?.current_filter_pid;
    assert!(number > own_pid()?, "out here the process was {number}");
    monitor.set_filter(0)?;
    Ok(())
}

const OVERFLOW_UID: &str = "/proc/sys/kernel/overflowuid";

fn the_overflow_uid_is_obeyed(_: &Options) -> Result<(), Stop> {
    if is_exo_kernel() || !Path::new("/proc/self/ns/user").exists() {
        return skip("this kernel has no user namespaces");
    }
    let usual = fs::read_to_string(OVERFLOW_UID)?;
    fs::write(OVERFLOW_UID, "12345")?;
    // Nobody has a number in a namespace without a map.
    let output = Command::new(which("unshare")?).arg("-U").arg(which("procmon")?).arg("snapshot").output();
    fs::write(OVERFLOW_UID, usual)?;
    let output = output?;
    let told = text(&output);
    let lines: Vec<Vec<&str>> = told.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
    let ends: Vec<&str> = lines.iter().filter_map(|line| line.iter().rev().nth(5).copied()).collect();
    assert!(!ends.is_empty() && ends.iter().all(|uid| *uid == "12345"), "users other than 12345:\n{told}");
    Ok(())
}

/// Set in the part of the test that runs in the other namespace.
const INSIDE: &str = "GUEST_TESTS_IN_TIME_NAMESPACE";
/// What that namespace adds.
const OFFSET_SECONDS: u64 = 100_000;

fn times_are_the_callers(_: &Options) -> Result<(), Stop> {
    if std::env::var_os(INSIDE).is_some() {
        return times_match();
    }
    if !Path::new("/proc/self/timens_offsets").exists() {
        return skip("this kernel has no time namespaces");
    }
    unshare_time_for_children()?;
    let offsets = format!("monotonic {OFFSET_SECONDS} 0\nboottime {OFFSET_SECONDS} 0\n");
    fs::write("/proc/self/timens_offsets", offsets)?;
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", "procmon::times_are_those_of_the_callers_time_namespace"])
        .env(INSIDE, "1")
        .output()?;
    let told = text(&output);
    if output.status.success() && told.contains("... ok") { Ok(()) } else { fail(told) }
}

fn times_match() -> Result<(), Stop> {
    let pid = own_pid()?;
    let record = Monitor::open()?.snapshot()?.into_iter().find(|record| record.pid == pid);
    let told = fs::read_to_string("/proc/self/stat")?;
    let start = told.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19));
    let (Some(record), Some(start)) = (record, start) else { return fail("not in the snapshot") };
    assert_eq!((record.start / 10_000_000).to_string(), start, "the start of this process");
    assert!(record.start / 1_000_000_000 >= OFFSET_SECONDS, "the offset is not in it: {}", record.start);

    let monotonic = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
    };
    let mut events = Events::open()?;
    let before = monotonic();
    Command::new("true").status()?;
    let mut times = Vec::new();
    assert!(soon(|| {
        if let Ok(read) = events.read() {
            times.extend(read.map(|event| event.time));
        }
        !times.is_empty()
    }));
    assert!(times.iter().all(|time| (before..=monotonic()).contains(time)), "from {before}: {times:?}");

    // The rings have the times of the initial namespace, so they are not for this one.
    let mapped = Events::open()?.map().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(mapped.contains("mmap: Operation not permitted"), "mapping the rings: {mapped:?}");
    Ok(())
}
