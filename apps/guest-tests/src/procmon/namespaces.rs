// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs in PID and user namespaces of their own see only what is theirs.

use std::process::{Command, Output};

use procmon::Monitor;

use super::machine::own_pid;
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_pid_means_that_of_the_callers_namespace", a_pid_means_that_of_the_callers_namespace),
        Test::new("a_snapshot_shows_the_callers_namespace", a_snapshot_shows_the_callers_namespace),
        Test::new("events_are_not_for_another_pid_namespace", events_are_not_for_another_pid_namespace),
        Test::new("a_filter_from_another_namespace_is_translated", a_filter_is_translated),
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
