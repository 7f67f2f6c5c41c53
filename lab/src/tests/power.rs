// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that sleep, are cloned, or have errors on their bus, while programs use a device.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use super::Lab;
use crate::kmod;
use crate::machine::{Config, Disk, DiskDriver, Machine, Outcome, Output, Qmp};

/// How long a machine may take to fall asleep.
const SLEEP_TIME: Duration = Duration::from_secs(120);

fn start(lab: &Lab, config: &Config, line: &str) -> anyhow::Result<Machine> {
    Machine::start(&lab.parts, config, &["sh", "-c", line].map(str::to_owned), Output::Capture)
}

fn finish(machine: Machine, last_line: &str) -> anyhow::Result<Outcome> {
    let outcome = machine.wait()?;
    let said = &outcome.captured;
    ensure!(
        outcome.status == 0 && said.stdout.ends_with(last_line),
        "status {}; output:\n{}{}\nconsole: {}",
        outcome.status,
        said.stdout,
        said.stderr,
        outcome.log.path().display()
    );
    if let Some(report) = outcome.report()? {
        bail!("the kernel complained:\n{report}");
    }
    Ok(outcome)
}

fn wait_until_suspended(qmp: &mut Qmp) -> anyhow::Result<()> {
    let deadline = Instant::now() + SLEEP_TIME;
    loop {
        let status = qmp.execute("query-status", &json!({}))?;
        if status["status"] == "suspended" {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the machine does not sleep: {status}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Suspend to memory resets the device: what is read goes on, what is mapped is mapped anew, and the seedable stream has no
/// gap, with a longer seed neither. The kernel has its source of entropy back.
pub(super) fn programs_go_on_after_suspend(lab: &Lab) -> anyhow::Result<()> {
    let config = Config { smp: 2, rng: 2, ..lab.config() };
    // The result goes to the console: QEMU's virtio-serial, which carries the rest, does not come back from sleep.
    let line = "grep -q deep /sys/power/mem_sleep || exit 1; \
                echo mem | guest-tests --across-suspend /dev/my_rng0 2>&1 | tee /tmp/said; \
                cat /tmp/said > /dev/kmsg; echo the end > /dev/kmsg; sleep 1000";
    let mut machine = start(lab, &config, line)?;
    machine.wait_for("in use")?;
    let mut qmp = machine.qmp()?;
    wait_until_suspended(&mut qmp)?;
    qmp.execute("system_wakeup", &json!({}))?;
    for said in ["PM: suspend exit", "queues mapped anew: 1", "all went on", "the end"] {
        machine.wait_for_console(said)?;
    }
    Ok(())
}

/// Size of the disk to which a machine is hibernated: as large as its memory.
const SWAP_SIZE: u64 = 512 << 20;

/// The same when the machine was switched off meanwhile, and another one took its image from the disk: its devices know nothing
/// of what was before.
pub(super) fn programs_go_on_after_hibernation(lab: &Lab) -> anyhow::Result<()> {
    let image = tempfile::NamedTempFile::new().context("cannot make a disk")?;
    image.as_file().set_len(SWAP_SIZE).context("cannot make a disk")?;
    let disk = Disk::Image { driver: DiskDriver::Virtio, path: image.path().to_owned(), serial: None };
    let config = Config { smp: 2, rng: 2, disks: vec![disk], ..lab.config() };
    let line = "mkswap /dev/vda && swapon /dev/vda && cat /sys/class/block/vda/dev > /sys/power/resume && \
                echo shutdown > /sys/power/disk || exit 1; \
                echo disk | guest-tests --across-suspend /dev/my_rng0 > /tmp/said 2>&1; \
                cat /tmp/said > /dev/kmsg; echo the end > /dev/kmsg; sleep 1000";
    let outcome = start(lab, &config, line)?.wait()?;
    let told = outcome.log.text()?;
    ensure!(
        told.contains("PM: Image saving done") && !told.contains("the end"),
        "the machine did not hibernate: {}{}\nconsole: {}",
        outcome.captured.stdout,
        outcome.captured.stderr,
        outcome.log.path().display()
    );

    let line = "cat /sys/class/block/vda/dev > /sys/power/resume; echo there was no image; exit 1";
    let mut machine = start(lab, &config, line)?;
    for said in ["queues mapped anew: 1", "all went on", "the end"] {
        machine.wait_for_console(said)?;
    }
    Ok(())
}

/// What was mapped before the machine was cloned is not used afterwards.
pub(super) fn a_clone_of_a_machine_drops_its_entropy(lab: &Lab) -> anyhow::Result<()> {
    let parts = &lab.parts;
    let folder = parts.context.checkout.join("linux/test-modules/vmfork");
    let more_modules = kmod::build(
        &parts.context,
        &parts.toolroot,
        &parts.linux()?.kernel,
        &folder,
        kmod::Options::default(),
    )?;
    let config = Config { smp: 2, more_modules, ..lab.config() };
    let line = "mkfifo /tmp/in; guest-tests --across-suspend /dev/my_rng0 < /tmp/in > /tmp/out & program=$!; exec 3> /tmp/in; \
                while ! grep -q 'in use' /tmp/out; do sleep 0.1; done; \
                insmod /lib/modules/exo/vmfork_test.ko; echo 'go on' >&3; \
                wait $program; status=$?; cat /tmp/out; exit $status";
    finish(start(lab, &config, line)?, "queues mapped anew: 1\nall went on\n").map(drop)
}

/// A fatal error on the port above the device: the port is reset, and the device works again.
pub(super) fn a_device_works_again_after_an_error_on_its_bus(lab: &Lab) -> anyhow::Result<()> {
    let config = Config { smp: 2, hotplug: true, ..lab.config() };
    let line = "my-app --rounds 1 > /tmp/before; (cat /dev/my_rng0 > /dev/null; true) & echo ready; \
                while ! dmesg | grep -q 'device recovery'; do sleep 0.1; done; dmesg | grep 'device recovery' >&2; \
                my-app --rounds 1 > /tmp/after; cmp /tmp/before /tmp/after && rng-dump --bytes 100000 mmap | wc -c && \
                rmmod my_rng 2> /dev/null; kill %1 2> /dev/null; echo over";
    let mut machine = start(lab, &config, line)?;
    machine.wait_for("ready")?;
    let mut qmp = machine.qmp()?;
    // A malformed packet: fatal, so the port is reset.
    let inject = "pcie_aer_inject_error port0 MALF_TLP";
    let said = qmp.execute("human-monitor-command", &json!({ "command-line": inject }))?;
    ensure!(said.as_str().is_some_and(|said| said.starts_with("OK")), "QEMU said {said}");
    let outcome = finish(machine, "100000\nover\n").with_context(|| format!("QEMU said {said}"))?;
    let told = outcome.captured.stderr;
    ensure!(told.contains("device recovery successful"), "the kernel said: {told}");
    Ok(())
}
