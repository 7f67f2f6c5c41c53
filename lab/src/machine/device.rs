// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device processes beside a machine: one `my-rng-device` with a socket for each device.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::process::{Running, indent, output};
use crate::ui;

/// How long a device process may take until it listens.
const START_TIME: Duration = Duration::from_secs(10);

/// What the devices are to the machine (`my-rng-device --personality`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Personality {
    /// my_rng, for the drivers of this project
    #[default]
    Native,
    /// A virtio entropy device, for the driver that Linux has
    Virtio,
}

impl Personality {
    /// What the device process is told.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Native => &[],
            Self::Virtio => &["--personality", "virtio"],
        }
    }
}

/// The running process, if any device was asked for.
#[derive(Debug)]
pub(crate) struct RngDevices {
    process: Option<Running>,
    sockets: Vec<PathBuf>,
    program: PathBuf,
    control: PathBuf,
    arguments: Vec<String>,
}

impl RngDevices {
    /// No device at all.
    pub(crate) fn none() -> Self {
        Self {
            process: None,
            sockets: Vec::new(),
            program: PathBuf::new(),
            control: PathBuf::new(),
            arguments: Vec::new(),
        }
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
        let control = folder.join("rng-control");
        command.arg("--control").arg(&control);
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
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Ok(Self { process: Some(process), sockets, program: program.to_owned(), control, arguments })
    }

    /// Starts a process for the same sockets, when the one before has ended.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let count = u32::try_from(self.sockets.len()).context("too many devices")?;
        let folder = self.control.parent().context("the control socket has no folder")?;
        *self = Self::start(&self.program, count, folder, &arguments)?;
        Ok(())
    }

    /// How often the devices wanted to reach memory of the machine that is not there, or not for them; `None` if there is
    /// no process to ask.
    pub(crate) fn dma_faults(&mut self) -> anyhow::Result<Option<u64>> {
        self.sum("server", "dma_faults")
    }

    /// The sum of a count of all devices, by the part of their status and the name there; `None` if there is no process to ask.
    pub(crate) fn sum(&mut self, part: &str, name: &str) -> anyhow::Result<Option<u64>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        if process.ended()?.is_some() {
            return Ok(None);
        }
        let status: serde_json::Value = serde_json::from_str(&self.control("status", &["--format", "json"])?)
            .context("cannot read what the device says of itself")?;
        let devices = status["devices"].as_array().context("the device names no devices")?;
        let sum = devices.iter().map(|device| device[part][name].as_u64()).sum::<Option<u64>>();
        sum.map(Some).with_context(|| format!("the device does not say its {part}.{name}"))
    }

    /// Runs a subcommand of the program on the process's control socket, and gives what it says.
    pub(crate) fn control(&self, subcommand: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        output(command.args([subcommand, "--control"]).arg(&self.control).args(arguments))
    }

    /// The number of the process, if there is one.
    pub(crate) fn process(&mut self) -> Option<u32> {
        self.process.as_mut().map(|process| process.child().id())
    }

    /// The sockets, a device each.
    pub(crate) fn sockets(&self) -> &[PathBuf] {
        &self.sockets
    }

    /// Kills the process as a crash would. Its connections end when what QEMU has sent meanwhile was read: QEMU 11.1 aborts
    /// when its peer closes the connection with a request unread, and a machine that is gone tests no driver.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let connections = connections_of(process.child().id())?;
        process.kill();
        for mut connection in connections {
            // Nothing more can be sent; what was sent before is read. A socket that was never connected refuses both.
            if connection.shutdown(Shutdown::Both).is_ok() {
                let _ = std::io::copy(&mut connection, &mut std::io::sink());
            }
        }
        Ok(())
    }
}

/// The sockets of another process.
fn connections_of(process: u32) -> anyhow::Result<Vec<UnixStream>> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).context("a process id out of range")?;
    let process_fd = pidfd_open(pid, PidfdFlags::empty()).context("cannot open the device's process")?;
    let mut connections = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fd")).context("cannot list descriptors")? {
        let entry = entry.context("cannot list descriptors")?;
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        let number = entry.file_name().to_string_lossy().parse();
        if let (true, Ok(number)) = (is_socket, number) {
            let socket = pidfd_getfd(&process_fd, number, PidfdGetfdFlags::empty())
                .context("cannot take a descriptor of the device's process")?;
            connections.push(UnixStream::from(socket));
        }
    }
    Ok(connections)
}
