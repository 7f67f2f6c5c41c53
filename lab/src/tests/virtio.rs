// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device as a virtio entropy device, with the driver that Linux has and no module of this project.

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::Lab;
use crate::machine::{Captured, Config, Machine, Outcome, Output, Personality};

/// Bytes that the machine reads.
const BYTES: u64 = 256 << 10;

fn start(lab: &Lab, config: Config, line: &str) -> anyhow::Result<Machine> {
    let config = Config { personality: Personality::Virtio, load_modules: false, ..config };
    Machine::start(&lab.parts, &config, &["sh", "-ec", line].map(str::to_owned), Output::Capture)
}

pub(super) fn the_stock_driver_feeds_dev_hwrng(lab: &Lab) -> anyhow::Result<()> {
    it_feeds_dev_hwrng(lab, lab.config())
}

/// Where the device reaches only what the driver has mapped: both must have agreed on VIRTIO_F_ACCESS_PLATFORM.
pub(super) fn the_stock_driver_works_behind_an_iommu(lab: &Lab) -> anyhow::Result<()> {
    it_feeds_dev_hwrng(lab, Config { iommu: true, ..lab.config() })
}

/// `/dev/hwrng` reads from it, and the device has given as many bytes.
fn it_feeds_dev_hwrng(lab: &Lab, config: Config) -> anyhow::Result<()> {
    let line = format!(
        "cat /sys/class/misc/hw_random/rng_current; lspci -n -d 1af4:1044 | wc -l; \
         dd if=/dev/hwrng of=/tmp/a bs=64 count={} 2>/dev/null; wc -c < /tmp/a; \
         sort -u /proc/modules | grep -c my_rng || true; echo done; sleep 1000",
        BYTES / 64
    );
    let mut machine = start(lab, config, &line)?;
    machine.wait_until("the bytes", |said| said.ends_with("done\n"))?;
    let given = machine.devices().sum("counters", "entropy_bytes")?.context("there is no device")?;
    let errors = machine.devices().sum("counters", "queue_errors")?.context("there is no device")?;
    ensure!(given >= BYTES && errors == 0, "the device gave {given} bytes of {BYTES}, with {errors} errors");
    let said = machine.stdout_so_far();
    ensure!(said == format!("virtio_rng.0\n1\n{BYTES}\n0\ndone\n"), "output: {said:?}");
    Ok(())
}

/// Waits until the machine reads, unplugs its device, and gives what came of it, of a command that succeeded.
pub(super) fn unplug_while_it_reads(mut machine: Machine) -> anyhow::Result<Outcome> {
    machine.wait_for("reading")?;
    let mut qmp = machine.qmp()?;
    qmp.execute("device_del", &json!({ "id": "rng0" }))?;
    qmp.wait_for("DEVICE_DELETED")?;
    let outcome = machine.wait()?;
    let Captured { stdout, stderr } = &outcome.captured;
    ensure!(outcome.status == 0, "status {}: {stdout}{stderr}", outcome.status);
    Ok(outcome)
}

/// By the pin alone, and unplugged while it is read: the reader gets an error, and the kernel does not complain.
pub(super) fn it_can_be_unplugged_while_it_is_read(lab: &Lab) -> anyhow::Result<()> {
    let line = "! grep 'virtio[0-9]*-input' /proc/interrupts; \
                dd if=/dev/hwrng of=/dev/null bs=64 count=100 2>/dev/null; echo reading; \
                ! cat /dev/hwrng > /dev/null 2>&1; cat /sys/class/misc/hw_random/rng_current";
    let machine = start(lab, Config { hotplug: true, smp: 2, ..lab.config() }, line)?;
    let outcome = unplug_while_it_reads(machine)?;
    let said = &outcome.captured.stdout;
    ensure!(said.ends_with("reading\nnone\n"), "output: {said:?}");
    if let Some(report) = outcome.report()? {
        anyhow::bail!("the kernel complained:\n{report}");
    }
    Ok(())
}
