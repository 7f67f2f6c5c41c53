// SPDX-License-Identifier: MIT OR Apache-2.0
//! `procmon events`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use procmon::abi::event::{COMM, EXEC, EXIT, Event, FORK, LOST, STATUS_HIDDEN};
use procmon::{Events, Monitor, name};
use serde::Serialize;

use super::Outcome;
use crate::arguments::EventOptions;

/// How long is waited for an event before looking at the clock.
const PATIENCE: Duration = Duration::from_millis(250);

/// Prints events as they happen.
pub(crate) fn events(options: &EventOptions) -> Outcome {
    let mut events = Events::open()?;
    let _filter = options.pid.map(FilterFor::set).transpose()?;
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    let mut left = options.count.unwrap_or(u64::MAX);
    let mut out = io::stdout().lock();
    while left > 0 && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        if !events.wait(PATIENCE)? {
            continue;
        }
        for event in events.read()? {
            if options.json {
                serde_json::to_writer(&mut out, &Shown::from(&event))?;
                writeln!(out)?;
            } else {
                let at = Duration::from_nanos(event.time);
                writeln!(out, "{:>6}.{:06} {}", at.as_secs(), at.subsec_micros(), describe(&event))?;
            }
            left = left.saturating_sub(1);
            if left == 0 {
                break;
            }
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The filter for one process; gives back everybody's events when dropped.
struct FilterFor(Monitor);

impl FilterFor {
    fn set(pid: i32) -> Result<Self, procmon::Error> {
        let monitor = Monitor::open()?;
        monitor.set_filter(pid)?;
        Ok(Self(monitor))
    }
}

impl Drop for FilterFor {
    fn drop(&mut self) {
        // When the module is gone, so is its filter.
        let _ = self.0.set_filter(0);
    }
}

/// An event in a line, without its time.
pub(crate) fn describe(event: &Event) -> String {
    let (who, pid) = (name(&event.comm), event.pid);
    let what = match event.kind {
        FORK => return format!("fork  {pid:>7} {who:<15} by {}", event.detail),
        EXEC if event.detail == u64::try_from(pid).unwrap_or(0) => "exec".to_owned(),
        EXEC => return format!("exec  {pid:>7} {who:<15} by thread {}", event.detail),
        EXIT => return format!("exit  {pid:>7} {who:<15} {}", Ending::of(event.detail)),
        COMM => "comm".to_owned(),
        LOST => return format!("lost  {} events", event.detail),
        other => format!("kind {other}"),
    };
    format!("{what}  {pid:>7} {who:<15} of {}", event.ppid)
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Hidden,
    Code(u64),
    Signal { number: u64, core: bool },
}

impl Ending {
    /// From a status as `wait(2)` gives it.
    fn of(status: u64) -> Self {
        match (status, status & 0x7f) {
            (STATUS_HIDDEN, _) => Self::Hidden,
            (_, 0) => Self::Code(status >> 8 & 0xff),
            (_, number) => Self::Signal { number, core: status & 0x80 != 0 },
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hidden => write!(f, "(another user's)"),
            Self::Code(code) => write!(f, "code {code}"),
            Self::Signal { number, core: true } => write!(f, "signal {number}, core dumped"),
            Self::Signal { number, core: false } => write!(f, "signal {number}"),
        }
    }
}

/// An event as JSON.
#[derive(Serialize)]
struct Shown {
    kind: &'static str,
    time_ns: u64,
    cpu: u32,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ShownProcess>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
}

#[derive(Serialize)]
struct ShownProcess {
    pid: i32,
    tgid: i32,
    ppid: i32,
    uid: u32,
    comm: String,
}

impl From<&Event> for Shown {
    fn from(event: &Event) -> Self {
        let kind = match event.kind {
            FORK => "fork",
            EXEC => "exec",
            EXIT => "exit",
            COMM => "comm",
            LOST => "lost",
            _ => "unknown",
        };
        let process = ShownProcess {
            pid: event.pid,
            tgid: event.tgid,
            ppid: event.ppid,
            uid: event.uid,
            comm: name(&event.comm),
        };
        let (exit_code, signal) = match (event.kind, Ending::of(event.detail)) {
            (EXIT, Ending::Code(code)) => (Some(code), None),
            (EXIT, Ending::Signal { number, .. }) => (None, Some(number)),
            _ => (None, None),
        };
        Self {
            kind,
            time_ns: event.time,
            cpu: event.cpu,
            sequence: event.sequence,
            process: (event.kind != LOST).then_some(process),
            caller: matches!(event.kind, FORK | EXEC).then_some(event.detail),
            exit_code,
            signal,
            lost: (event.kind == LOST).then_some(event.detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u32, detail: u64) -> Event {
        let comm = *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        Event { kind, detail, pid: 7, tgid: 7, ppid: 1, comm, ..Event::default() }
    }

    #[test]
    fn endings_are_told_apart() {
        assert!(describe(&event(EXIT, 0x300)).ends_with("code 3"));
        assert!(describe(&event(EXIT, 9)).ends_with("signal 9"));
        assert!(describe(&event(EXIT, 0x80 | 11)).ends_with("signal 11, core dumped"));
        assert!(describe(&event(EXIT, STATUS_HIDDEN)).ends_with("(another user's)"));
    }

    #[test]
    fn json_has_what_the_kind_means() {
        let json = |kind, detail| serde_json::to_value(Shown::from(&event(kind, detail))).unwrap();
        assert_eq!(json(EXIT, 0x300)["exit_code"], 3);
        assert_eq!(json(EXIT, 9)["signal"], 9);
        assert_eq!(json(FORK, 5)["caller"], 5);
        assert_eq!(json(FORK, 5)["process"]["comm"], "sh");
        assert_eq!(json(LOST, 42)["lost"], 42);
        assert!(json(LOST, 42).get("process").is_none());
    }
}
