// SPDX-License-Identifier: MIT OR Apache-2.0
//! virtio entropy devices: this project's own and QEMU's, by `/dev/hwrng`.

use anyhow::{Context as _, ensure};

use super::super::Lab;
use super::super::virtio::unplug_while_it_reads;
use super::super::vm::succeed;
use super::Both;
use crate::machine::{Config, Machine, Output, Personality};

/// Bytes that the machine reads.
const BYTES: u64 = 64 << 10;

/// Reads the device. Of random bytes one in 256 is 0; a page of the driver's that was not filled would be sixteen times as many.
fn reading() -> String {
    format!(
        "cat /sys/class/misc/hw_random/rng_current; stat -c '%A %F' /dev/hwrng; \
         dd if=/dev/hwrng of=/tmp/a bs=64 count={} 2> /dev/null; wc -c < /tmp/a; \
         test $(tr -d '\\000' < /tmp/a | wc -c) -gt {} && echo random",
        BYTES / 64,
        BYTES * 63 / 64
    )
}

/// What that says.
fn expected() -> String {
    format!("virtio_rng.0\ncrw------- character special file\n{BYTES}\nrandom\n")
}

pub(super) fn dev_hwrng_reads_a_virtio_device_as_on_linux(both: &Both<'_>) -> anyhow::Result<()> {
    reads_this_projects_device(both.linux)?;
    reads_this_projects_device(&both.exo)
}

/// The bytes are as many as the device says that it has given, at least.
fn reads_this_projects_device(lab: &Lab) -> anyhow::Result<()> {
    let config = Config { rng: 1, personality: Personality::Virtio, load_modules: false, ..lab.config() };
    let line = format!("{}; echo done; sleep 1000", reading());
    let command = ["sh", "-ec", &line].map(str::to_owned);
    let mut machine = Machine::start(&lab.parts, &config, &command, Output::Capture)?;
    machine.wait_until("the bytes", |said| said.ends_with("done\n"))?;
    let given = machine.devices().sum("counters", "entropy_bytes")?.context("there is no device")?;
    let errors = machine.devices().sum("counters", "queue_errors")?.context("there is no device")?;
    ensure!(given >= BYTES && errors == 0, "the device gave {given} bytes of {BYTES}, with {errors} errors");
    let said = machine.stdout_so_far();
    ensure!(said == format!("{}done\n", expected()), "output: {said:?}");
    Ok(())
}

pub(super) fn qemus_entropy_device_is_read_and_feeds_the_kernel(both: &Both<'_>) -> anyhow::Result<()> {
    let qemu_args = ["-device", "virtio-rng-pci"].map(str::to_owned).to_vec();
    let config = Config { smp: 2, rng: 0, qemu_args, ..both.exo.config() };
    let line = format!("{}; until grep -q '^random_fed [1-9]' /proc/exo; do :; done; echo fed", reading());
    let said = succeed(&both.exo, &config, &line)?.stdout;
    ensure!(said == format!("{}fed\n", expected()), "output: {said:?}");
    Ok(())
}

/// By the pin alone; the reader gets an error, and the node goes.
pub(super) fn an_entropy_device_can_be_unplugged_while_it_is_read(both: &Both<'_>) -> anyhow::Result<()> {
    let line = "dd if=/dev/hwrng of=/dev/null bs=64 count=100 2> /dev/null; echo reading; \
                ! cat /dev/hwrng > /dev/null 2>&1; while test -e /dev/hwrng; do :; done; echo gone";
    let config =
        Config { rng: 1, personality: Personality::Virtio, hotplug: true, smp: 2, ..both.exo.config() };
    let command = ["sh", "-ec", line].map(str::to_owned);
    let machine = Machine::start(&both.exo.parts, &config, &command, Output::Capture)?;
    let said = unplug_while_it_reads(machine)?.captured.stdout;
    ensure!(said == "reading\ngone\n", "output: {said:?}");
    Ok(())
}
