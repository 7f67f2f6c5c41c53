// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of a machine with a device. QEMU 11.1 takes them and migrates without a word to the device, which cannot refuse;
//! what the guest finds when one is restored is held fast here. If QEMU begins to refuse, the first of these tests says so, and
//! device/README.md must change.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::Lab;
use super::hotplug::{end, plug_in_again, unplug};
use crate::machine::{Config, Machine, Output, Qmp};

/// A disk with room for snapshots, in the machine's own folder.
fn add_snapshot_disk(machine: &mut Machine, qmp: &mut Qmp) -> anyhow::Result<()> {
    let socket = machine.devices().sockets().first().context("there is no device")?;
    let path = socket.with_file_name("snapshots.qcow2");
    std::fs::File::create(&path).context("cannot make a file for snapshots")?;
    qmp.execute("blockdev-add", &json!({ "driver": "file", "node-name": "file", "filename": path }))?;
    let options = json!({ "driver": "qcow2", "file": "file", "size": 1_u64 << 30 });
    job(qmp, "blockdev-create", json!({ "options": options }))?;
    qmp.execute("blockdev-add", &json!({ "driver": "qcow2", "node-name": "snapshots", "file": "file" }))?;
    Ok(())
}

/// Saves or loads a snapshot.
fn snapshot(qmp: &mut Qmp, command: &str) -> anyhow::Result<()> {
    job(qmp, command, json!({ "tag": "one", "vmstate": "snapshots", "devices": ["snapshots"] }))
}

/// Runs a job of QEMU's to its end.
fn job(qmp: &mut Qmp, command: &str, mut arguments: Value) -> anyhow::Result<()> {
    arguments["job-id"] = json!("job");
    qmp.execute(command, &arguments)?;
    loop {
        let jobs = qmp.execute("query-jobs", &json!({}))?;
        match jobs[0]["status"].as_str() {
            Some("concluded") if jobs[0]["error"].is_null() => break,
            Some("concluded") => bail!("{command}: {}", jobs[0]["error"]),
            Some(_) => std::thread::sleep(Duration::from_millis(20)),
            None => bail!("{command}: there is no such job: {jobs}"),
        }
    }
    qmp.execute("job-dismiss", &json!({ "id": "job" })).map(drop)
}

/// A snapshot that is taken while the device is attached has nothing of the device: restored, the device is as after a reset, and
/// the guest's driver gets an error from it in time.
pub(super) fn a_restored_machine_finds_its_device_reset(lab: &Lab) -> anyhow::Result<()> {
    // Long enough for the host to stop the machine.
    let line = "my-app --rounds 1 && echo drawn; sleep 20; my-app --rounds 1 || echo refused";
    let config = Config { smp: 2, ..lab.config() };
    let command = ["sh", "-c", line].map(str::to_owned);
    let mut machine = Machine::start(&lab.parts, &config, &command, Output::Capture)?;
    machine.wait_for("drawn")?;
    let mut qmp = machine.qmp()?;
    qmp.execute("stop", &json!({}))?;
    add_snapshot_disk(&mut machine, &mut qmp)?;
    snapshot(&mut qmp, "snapshot-save").context("QEMU refuses to save a machine with this device")?;
    let before = machine.devices().sum("counters", "resets")?;
    snapshot(&mut qmp, "snapshot-load")?;
    let after = machine.devices().sum("counters", "resets")?;
    ensure!(after > before, "the device was not reset: {before:?} resets before and {after:?} after");
    qmp.execute("cont", &json!({}))?;
    let outcome = end(machine)?;
    let text = &outcome.captured.stdout;
    ensure!(text.ends_with("drawn\nrefused\n"), "output: {text:?}");
    Ok(())
}

/// What the manual advises: the device is unplugged before the snapshot, and plugged in again after it was restored.
pub(super) fn a_machine_without_its_device_is_saved_whole(lab: &Lab) -> anyhow::Result<()> {
    let line = "echo ready; while test -e /dev/my_rng0; do sleep 0.1; done; echo out; \
                while ! test -e /dev/my_rng0; do sleep 0.1; done; my-app --rounds 1";
    let config = Config { hotplug: true, smp: 2, ..lab.config() };
    let command = ["sh", "-c", line].map(str::to_owned);
    let mut machine = Machine::start(&lab.parts, &config, &command, Output::Capture)?;
    machine.wait_for("ready")?;
    let mut qmp = machine.qmp()?;
    add_snapshot_disk(&mut machine, &mut qmp)?;
    let mut machine = unplug(machine, &mut qmp)?;
    machine.wait_for("out")?;
    snapshot(&mut qmp, "snapshot-save")?;
    qmp.execute("stop", &json!({}))?;
    snapshot(&mut qmp, "snapshot-load")?;
    qmp.execute("cont", &json!({}))?;
    plug_in_again(&mut machine, &mut qmp)?;
    let outcome = end(machine)?;
    let text = &outcome.captured.stdout;
    ensure!(text.contains("number 0: 1804289383"), "output: {text:?}");
    Ok(())
}
