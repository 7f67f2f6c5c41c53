// SPDX-License-Identifier: MIT OR Apache-2.0
//! `procmon query` and `procmon snapshot`.

use std::io::{self, Write};
use std::process::ExitCode;

use bench_report::Table;
use procmon::abi::process::{Record, state};
use procmon::{Monitor, full_name};
use serde::Serialize;

use super::Outcome;

/// Looks processes up, one by one.
pub(crate) fn query(pids: &[i32]) -> Outcome {
    let monitor = Monitor::open()?;
    let mut all_found = true;
    let mut out = io::stdout().lock();
    for &pid in pids {
        match monitor.query(pid)? {
            Some(found) => {
                // A state is positive for a process that exists.
                let letter = state::letter(u32::try_from(found.state).unwrap_or(u32::MAX));
                let name = full_name(pid, &found.comm, found.vsize);
                writeln!(out, "{pid}: {name} state {letter} vsize {} bytes", found.vsize)?;
            }
            None => {
                eprintln!("{pid}: no such process");
                all_found = false;
            }
        }
    }
    Ok(if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints all processes.
pub(crate) fn snapshot(json: bool) -> Outcome {
    let records = Monitor::open()?.snapshot()?;
    let mut out = io::stdout().lock();
    if json {
        let shown: Vec<Shown> = records.iter().map(Shown::from).collect();
        serde_json::to_writer_pretty(&mut out, &shown)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        Table::new(&["name", "pid", "ppid", "uid", "state", "threads", "vsize KiB", "rss KiB", "cpu s"]);
    for record in &records {
        table.row(vec![
            full_name(record.pid, &record.comm, record.vsize),
            record.pid.to_string(),
            record.ppid.to_string(),
            record.uid.to_string(),
            state::letter(record.state).to_string(),
            record.threads.to_string(),
            (record.vsize / 1024).to_string(),
            (record.rss / 1024).to_string(),
            seconds(record.utime.saturating_add(record.stime)),
        ]);
    }
    write!(out, "{table}")?;
    Ok(ExitCode::SUCCESS)
}

fn seconds(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// A process as JSON. Times in nanoseconds, sizes in bytes.
#[derive(Serialize)]
struct Shown {
    pid: i32,
    tgid: i32,
    ppid: i32,
    uid: u32,
    state: char,
    threads: u32,
    comm: String,
    vsize: u64,
    rss: u64,
    utime: u64,
    stime: u64,
    start: u64,
}

impl From<&Record> for Shown {
    fn from(record: &Record) -> Self {
        Self {
            pid: record.pid,
            tgid: record.tgid,
            ppid: record.ppid,
            uid: record.uid,
            state: state::letter(record.state),
            threads: record.threads,
            comm: full_name(record.pid, &record.comm, record.vsize),
            vsize: record.vsize,
            rss: record.rss,
            utime: record.utime,
            stime: record.stime,
            start: record.start,
        }
    }
}
