// SPDX-License-Identifier: MIT OR Apache-2.0
//! The peer: the same facts from `/proc`, as quickly as one can get them there.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;

use super::Failure;

/// What `/proc/PID/stat` tells of what the module tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) comm: String,
    pub(super) state: char,
    pub(super) ppid: i32,
    pub(super) utime: u64,
    pub(super) stime: u64,
    pub(super) start: u64,
    pub(super) vsize: u64,
    pub(super) rss: u64,
}

/// Reads one process.
pub(super) fn stat(pid: i32) -> Result<Process, Failure> {
    let mut path = String::with_capacity(32);
    write!(path, "/proc/{pid}/stat")?;
    let mut text = [0; 1024];
    let length = File::open(&path)?.read(&mut text)?;
    let text = std::str::from_utf8(text.get(..length).unwrap_or_default())?;
    parse(text).ok_or_else(|| format!("{path} says {text:?}").into())
}

/// Reads all processes.
pub(super) fn scan() -> Result<Vec<Process>, Failure> {
    let mut found = Vec::with_capacity(256);
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            // Who has gone meanwhile is left out.
            found.extend(stat(pid).ok());
        }
    }
    Ok(found)
}

fn parse(text: &str) -> Option<Process> {
    // The name may hold blanks and parentheses: it ends at the last one.
    let (start, rest) = text.rsplit_once(") ")?;
    let (pid, comm) = start.split_once(" (")?;
    let mut fields = rest.split_ascii_whitespace();
    // Numbers as in proc_pid_stat(5), which counts the state as the third.
    let state = fields.next()?.chars().next()?;
    let ppid = fields.next()?.parse().ok()?;
    let (utime, stime) = (fields.nth(9)?.parse().ok()?, fields.next()?.parse().ok()?);
    let start = fields.nth(6)?.parse().ok()?;
    let (vsize, rss) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Process {
        pid: pid.parse().ok()?,
        comm: comm.to_owned(),
        state,
        ppid,
        utime,
        stime,
        start,
        vsize,
        rss,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found() {
        let text =
            "42 (a) b) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 77 1000 9 18446744073709551615 1 1\n";
        let expected = Process {
            pid: 42,
            comm: "a) b".into(),
            state: 'S',
            ppid: 1,
            utime: 5,
            stime: 6,
            start: 77,
            vsize: 1000,
            rss: 9,
        };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("42 (cut"), None);
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(stat(own).unwrap().pid, own);
        assert!(scan().unwrap().iter().any(|process| process.pid == own));
    }
}
