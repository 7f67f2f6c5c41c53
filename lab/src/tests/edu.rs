// SPDX-License-Identifier: MIT OR Apache-2.0
//! The example of `vfio-user-server` beside the device that it is a copy of: QEMU's `edu`, in a machine with both.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::Lab;
use crate::machine::{self, Config, Output, vfio_user_device};
use crate::process::Running;
use crate::programs;

/// How long the example may take until it listens.
const START_TIME: Duration = Duration::from_secs(10);

/// A program asks both the same, through their registers, and by transfers both ways.
pub(super) fn the_example_does_what_qemus_device_does(lab: &Lab) -> anyhow::Result<()> {
    let context = &lab.parts.context;
    let check = programs::build_guest(context, "edu-check")?;
    let example = programs::build_example(context, "vfio-user-server", "edu")?;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("edu");
    let mut command = Command::new(example);
    command.arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
    let mut device = Running::start(&mut command)?;
    let started = Instant::now();
    while !socket.exists() {
        ensure!(device.ended()?.is_none() && started.elapsed() < START_TIME, "the example does not start");
        std::thread::sleep(Duration::from_millis(2));
    }
    let ours = vfio_user_device("edu0", &socket, "");
    // Its own one reaches 28 bits of addresses by default.
    let qemu_args = ["-device", &ours, "-device", "edu,dma_mask=0xffffffffffffffff"];
    let config = Config {
        rng: 0,
        load_modules: false,
        files: vec![(check, "/bin/edu-check".into())],
        qemu_args: qemu_args.map(str::to_owned).to_vec(),
        ..lab.config()
    };
    let outcome =
        machine::Machine::start(&lab.parts, &config, &["edu-check".to_owned()], Output::Capture)?.wait()?;
    let said = &outcome.captured;
    ensure!(outcome.status == 0, "status {}: {}{}", outcome.status, said.stdout, said.stderr);
    let boards: Vec<_> = said.stdout.lines().filter_map(|line| line.split(": an edu of ").nth(1)).collect();
    ensure!(boards.len() == 2, "output: {:?}", said.stdout);
    for board in ["0x1234: ok", "0x1af4: ok"] {
        boards.iter().find(|found| **found == board).with_context(|| format!("no {board}: {boards:?}"))?;
    }
    if let Some(report) = outcome.report()? {
        anyhow::bail!("the kernel complained:\n{report}");
    }
    Ok(())
}
