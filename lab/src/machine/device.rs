// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device processes beside a machine: one `my-rng-device` with a socket for each device.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::process::{Running, indent};
use crate::ui;

/// How long a device process may take until it listens.
const START_TIME: Duration = Duration::from_secs(10);

/// The running process, if any device was asked for.
#[derive(Debug)]
pub(crate) struct RngDevices {
    process: Option<Running>,
    sockets: Vec<PathBuf>,
}

impl RngDevices {
    /// No device at all.
    pub(crate) fn none() -> Self {
        Self { process: None, sockets: Vec::new() }
    }

    /// Starts `count` devices with their sockets in `folder`, and waits until each can be connected to.
    pub(crate) fn start(
        program: &Path,
        count: u32,
        folder: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let sockets: Vec<PathBuf> = (0..count).map(|index| folder.join(format!("rng{index}"))).collect();
        if sockets.is_empty() {
            return Ok(Self::none());
        }
        let log = folder.join("device.log");
        let mut command = Command::new(program);
        command.args(sockets.iter().flat_map(|socket| ["--socket".as_ref(), socket.as_os_str()]));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        if ui::verbose() {
            command.arg("-v");
        } else {
            command.stderr(std::fs::File::create(&log)?);
        }
        let mut process = Running::start(&mut command)?;
        let deadline = Instant::now() + START_TIME;
        for socket in &sockets {
            // A socket that listens accepts the look; the device serves its next client after this one has left.
            while UnixStream::connect(socket).is_err() {
                if process.ended()?.is_some() || Instant::now() > deadline {
                    let said = std::fs::read_to_string(&log).unwrap_or_default();
                    bail!("the device did not start:\n{}", indent(said.trim_end()));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(Self { process: Some(process), sockets })
    }

    /// The sockets, a device each.
    pub(crate) fn sockets(&self) -> &[PathBuf] {
        &self.sockets
    }

    /// Kills the process as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }
}
