// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes over the control socket: a request is a line of JSON, and so is its answer.
//!
//! ```json
//! {"command":"status"}
//! {"command":"limit","device":0,"bytes_per_second":"10M:1M","operations_per_second":"none"}
//! {"command":"log","level":"info"}
//! {"command":"new_generation"}
//! {"command":"add"}
//! {"command":"remove","device":1}
//! ```
//!
//! The answers are objects with one member: `{"status":{…}}` ([`Status`]), `{"limits":[…]}` ([`DeviceLimits`], those that were
//! changed), `{"log":"info"}`, `{"generation":1}`, `{"added":{…}}` and `{"removed":{…}}` ([`Place`]), or `{"error":"…"}`. Any number of requests can follow one another; the next is read when the last is
//! answered. New members may be added to answers, so who reads them skips what it does not know.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vfio_user_server::CountersSnapshot as ServerCounters;

use crate::limiter::{Limits, NoRate, Rate};
use crate::metrics::{CountersSnapshot, QueueCountersSnapshot};
use crate::shared::{Personality, RunState};
use crate::usage::UsageSnapshot;

/// Most bytes of a request, with its newline.
pub const MAX_REQUEST: usize = 4096;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What is there, and what it has done.
    Status {},
    /// Change limits.
    Limit(LimitChange),
    /// Change how much is logged.
    Log {
        /// The least severe lines that are.
        level: LogLevel,
    },
    /// The host was cloned or restored: every worker takes a new key before its next byte.
    NewGeneration {},
    /// Serve one more device, on the listening socket whose descriptor comes with this (`SCM_RIGHTS`).
    Add {},
    /// End a device, with its client. The answer comes when it has ended.
    Remove(Which),
}

/// Names a device, in one way or the other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// By its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<usize>,
    /// By its socket: the path or the last part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
}

/// A device and where its clients connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its number.
    pub device: usize,
    /// Its socket.
    pub socket: PathBuf,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// What ends a device
    Error,
    /// What an administrator should know
    Warn,
    /// Clients that come and go, too
    Info,
    /// Every refused request, too
    Debug,
    /// Everything
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// Limits to change; what is not named stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitChange {
    /// The device's number; all devices, if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<usize>,
    /// `N`, `N:BURST` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<String>,
    /// `N`, `N:BURST` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations_per_second: Option<String>,
}

impl LimitChange {
    /// The limits after the change.
    ///
    /// # Errors
    /// What is given is no limit.
    pub fn apply(&self, old: Limits) -> Result<Limits, NoRate> {
        let change = |text: &Option<String>, old| text.as_deref().map_or(Ok(old), parse_limit);
        Ok(Limits {
            bytes: change(&self.bytes_per_second, old.bytes)?,
            operations: change(&self.operations_per_second, old.operations)?,
        })
    }
}

/// Reads `none` or a rate.
///
/// # Errors
/// It is neither.
pub fn parse_limit(text: &str) -> Result<Option<Rate>, NoRate> {
    if text == "none" { Ok(None) } else { Rate::from_str(text).map(Some) }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Limit`]: the limits of each device that was meant.
    Limits(Vec<DeviceLimits>),
    /// To [`Request::Log`]: the new level.
    Log(LogLevel),
    /// To [`Request::NewGeneration`]: how many there have been since the program started.
    Generation(u64),
    /// To [`Request::Add`]: the new device.
    Added(Place),
    /// To [`Request::Remove`]: the device that was there.
    Removed(Place),
    /// Why nothing was done.
    Error(String),
}

/// The limits of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLimits {
    /// Its number.
    pub device: usize,
    /// Its limits.
    pub limits: Limits,
}

/// The program and its devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// When it started, in seconds since 1970.
    #[serde(default)]
    pub start_time_seconds: f64,
    /// Seconds of processor time that it has taken.
    #[serde(default)]
    pub cpu_seconds: f64,
    /// Most descriptors that it may have.
    #[serde(default)]
    pub max_descriptors: u64,
    /// What is around it: the parts of the sandbox that are in force.
    pub sandbox: Vec<String>,
    /// Lines that were not logged, because there were too many or nobody read them.
    #[serde(default)]
    pub log_lines_left_out: u64,
    /// Times that the configuration file could not be used when it was read again.
    #[serde(default)]
    pub config_failures: u64,
    /// What it uses of its host.
    #[serde(default)]
    pub usage: UsageSnapshot,
    /// Most devices that it may have.
    #[serde(default)]
    pub max_devices: usize,
    /// The devices, in the order of the command line, or by the lowest number that was free when they were added.
    pub devices: Vec<DeviceStatus>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its number, from 0 on.
    pub device: usize,
    /// Where clients connect.
    pub socket: String,
    /// Whether one has it now.
    pub client_connected: bool,
    /// Whether it is being removed.
    #[serde(default)]
    pub ending: bool,
    /// Whether it has failed and is no longer served.
    #[serde(default)]
    pub failed: bool,
    /// Workers that do not get on.
    #[serde(default)]
    pub stuck_workers: u64,
    /// For how many seconds the one that has been stuck for longest has been so.
    #[serde(default)]
    pub stuck_seconds: u64,
    /// Descriptors of clients that are not needed any more and not closed yet.
    #[serde(default)]
    pub unclosed_descriptors: u64,
    /// For how many seconds the closing of one of them has been under way.
    #[serde(default)]
    pub closing_seconds: u64,
    /// The generator of the seedable stream at the moment.
    pub generator: String,
    /// What it is to its guest.
    #[serde(default)]
    pub personality: Personality,
    /// Whether there are only the classic registers.
    pub classic: bool,
    /// Its limits.
    pub limits: Limits,
    /// What the device has counted since it started.
    pub counters: CountersSnapshot,
    /// What the vfio-user server has counted.
    pub server: ServerCounters,
    /// The queues that are in use or have been.
    pub queues: Vec<QueueStatus>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Its number.
    pub queue: usize,
    /// Whether it is served.
    pub state: RunState,
    /// What it has counted since the program started.
    #[serde(flatten)]
    pub counters: QueueCountersSnapshot,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn requests_are_what_the_documentation_says() {
        assert_eq!(parse(r#"{"command":"status"}"#).unwrap(), Request::Status {});
        let text =
            r#"{"command":"limit","device":0,"bytes_per_second":"10M:1M","operations_per_second":"none"}"#;
        let change = LimitChange {
            device: Some(0),
            bytes_per_second: Some("10M:1M".to_owned()),
            operations_per_second: Some("none".to_owned()),
        };
        assert_eq!(parse(text).unwrap(), Request::Limit(change));
        assert_eq!(serde_json::to_string(&parse(text).unwrap()).unwrap(), text);
        assert_eq!(parse(r#"{"command":"add"}"#).unwrap(), Request::Add {});
        let which = Which { socket: Some("/a".into()), device: None };
        assert_eq!(parse(r#"{"command":"remove","socket":"/a"}"#).unwrap(), Request::Remove(which));
        for wrong in [
            "",
            "{}",
            "[]",
            "status",
            r#"{"command":"stop"}"#,
            r#"{"command":"status","x":1}"#,
            r#"{"command":"limit","byte":"1"}"#,
            r#"{"command":"limit","device":-1}"#,
            r#"{"command":"add","socket":"/a"}"#,
            r#"{"command":"remove","number":1}"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let rate = Rate { per_second: 10, burst: 20 };
        let old = Limits { bytes: Some(rate), operations: Some(rate) };
        let change = |bytes: Option<&str>, operations: Option<&str>| LimitChange {
            device: None,
            bytes_per_second: bytes.map(str::to_owned),
            operations_per_second: operations.map(str::to_owned),
        };
        assert_eq!(change(None, None).apply(old), Ok(old));
        assert_eq!(change(Some("none"), None).apply(old), Ok(Limits { bytes: None, ..old }));
        let new = Limits { operations: Some(Rate { per_second: 5000, burst: 7 }), ..old };
        assert_eq!(change(None, Some("5k:7")).apply(old), Ok(new));
        assert!(change(Some("much"), None).apply(old).is_err());
    }
}
