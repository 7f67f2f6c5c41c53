// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that come and go while programs hold them open.

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use super::Lab;
use crate::machine::{Config, Machine, Outcome, Output, Qmp};

/// Draws without end by ioctl, read and mmap, and says how that ended: with the error of each.
const DRAW_FOREVER: &str = "guest-tests --draw-until-error /dev/my_rng0";

/// The ways of drawing.
const WAYS: usize = 3;

fn start(lab: &Lab, line: &str) -> anyhow::Result<Machine> {
    let config = Config { hotplug: true, smp: 2, ..lab.config() };
    Machine::start(&lab.parts, &config, &["sh", "-c", line].map(str::to_owned), Output::Capture)
}

/// Unplugs the device and waits until the guest has let go of it.
pub(super) fn unplug(machine: Machine, qmp: &mut Qmp) -> anyhow::Result<Machine> {
    let unplugged =
        qmp.execute("device_del", &json!({ "id": "rng0" })).and_then(|_| qmp.wait_for("DEVICE_DELETED"));
    match unplugged {
        Ok(_) => Ok(machine),
        Err(error) => {
            let said = machine.wait()?.captured;
            bail!("{error:#}; the machine said:\n{}{}", said.stdout, said.stderr);
        }
    }
}

/// The module must be removable afterwards and the kernel must not have complained.
pub(super) fn end(machine: Machine) -> anyhow::Result<Outcome> {
    let outcome = machine.wait()?;
    let text = &outcome.captured.stdout;
    ensure!(outcome.status == 0, "status {}; output:\n{text}{}", outcome.status, outcome.captured.stderr);
    if let Some(report) = outcome.report()? {
        bail!("the kernel complained:\n{report}\nits whole console is in {}", outcome.log.path().display());
    }
    Ok(outcome)
}

/// `device_del` under load: the program's next draw gives ENODEV, the nodes vanish, the module unloads.
pub(super) fn an_unplugged_device_gives_enodev(lab: &Lab) -> anyhow::Result<()> {
    let line = format!(
        "{DRAW_FOREVER} && echo gone; ls /dev/my_rng* 2>/dev/null; rmmod my_rng && ! grep -q my_rng /proc/modules"
    );
    let mut machine = start(lab, &line)?;
    machine.wait_for("drawing")?;
    let mut qmp = machine.qmp()?;
    let machine = unplug(machine, &mut qmp)?;
    let outcome = end(machine)?;
    let text = outcome.captured.stdout;
    ensure!(text.matches(": ENODEV: ").count() == WAYS && text.ends_with("gone\n"), "output: {text:?}");
    Ok(())
}

/// Unplug and plug in again: the node is back and gives the classic numbers.
pub(super) fn a_device_can_be_plugged_in_again(lab: &Lab) -> anyhow::Result<()> {
    let line = "echo ready; while test -e /dev/my_rng0; do sleep 0.1; done; echo out; \
                while ! test -e /dev/my_rng0; do sleep 0.1; done; my-app --rounds 1";
    let mut machine = start(lab, line)?;
    machine.wait_for("ready")?;
    let mut qmp = machine.qmp()?;
    let mut machine = unplug(machine, &mut qmp)?;
    machine.wait_for("out")?;
    plug_in_again(&mut machine, &mut qmp)?;
    let outcome = end(machine)?;
    ensure!(
        outcome.captured.stdout.contains("number 0: 1804289383"),
        "output: {:?}",
        outcome.captured.stdout
    );
    Ok(())
}

/// The device process dies as by a crash, under load: every way of drawing gives an error, nothing hangs, the module unloads.
pub(super) fn a_killed_device_process_hangs_nobody(lab: &Lab) -> anyhow::Result<()> {
    let line = format!("{DRAW_FOREVER} && echo gone; my-app || echo refused; rmmod my_rng && echo unloaded");
    let mut machine = start(lab, &line)?;
    machine.wait_for("drawing")?;
    machine.devices().kill()?;
    let outcome = if lab.checked { end_with_memory_left(machine)? } else { end(machine)? };
    ensure!(
        outcome.captured.stdout.ends_with("gone\nrefused\nunloaded\n"),
        "output: {:?}",
        outcome.captured.stdout
    );
    Ok(())
}

/// The service is restarted under a guest: the device is unplugged, which the monitor does without a process, too, and plugged
/// in again, and the guest has it back.
pub(super) fn a_restarted_device_process_serves_again(lab: &Lab) -> anyhow::Result<()> {
    let line = "echo ready; while test -e /dev/my_rng0; do sleep 0.1; done; echo out; \
                while ! test -e /dev/my_rng0; do sleep 0.1; done; my-app --rounds 1";
    let mut machine = start(lab, line)?;
    machine.wait_for("ready")?;
    machine.devices().kill()?;
    machine.devices().start_again()?;
    let mut qmp = machine.qmp()?;
    let mut machine = unplug(machine, &mut qmp)?;
    machine.wait_for("out")?;
    plug_in_again(&mut machine, &mut qmp)?;
    let outcome = machine.wait()?;
    let text = &outcome.captured.stdout;
    ensure!(outcome.status == 0 && text.contains("number 0: 1804289383"), "output: {text:?}");
    Ok(())
}

/// A device is unplugged under load and then removed from the process that serves it, which goes on; another one is added, and
/// plugged in, while the machine runs. That one is removed under load without being unplugged: programs get errors, and the
/// monitor lives.
pub(super) fn a_device_is_removed_and_another_added(lab: &Lab) -> anyhow::Result<()> {
    let line = format!(
        "{DRAW_FOREVER} && echo first gone; while test -e /dev/my_rng0; do sleep 0.1; done; echo out; \
         while ! test -e /dev/my_rng0; do sleep 0.1; done; my-app --rounds 1; \
         {DRAW_FOREVER} && echo second gone; rmmod my_rng && echo unloaded"
    );
    // QEMU does not say how it would be asked to let go, so that nobody waits for it.
    let device_args = ["--release", "60", "--max-devices", "1"].map(str::to_owned).to_vec();
    let config = Config { hotplug: true, smp: 2, device_args, ..lab.config() };
    let command = ["sh", "-c", &line].map(str::to_owned);
    let mut machine = Machine::start(&lab.parts, &config, &command, Output::Capture)?;
    machine.wait_for("drawing")?;
    let mut qmp = machine.qmp()?;
    let mut machine = unplug(machine, &mut qmp)?;
    let socket = machine.devices().sockets().first().context("there is no device")?.display().to_string();
    let said = machine.devices().control("remove", &["--socket", &socket])?;
    ensure!(said == "device 0: removed\n", "{said:?}");
    machine.wait_for("out\n")?;
    let said = machine.devices().control("add", &["--socket", &socket])?;
    ensure!(said == format!("device 0: {socket}\n"), "{said:?}");
    plug_in_again(&mut machine, &mut qmp)?;
    machine.wait_until("draws of the new device", |said| said.matches("drawing").count() == 2)?;
    machine.devices().control("remove", &["--device", "0"])?;
    let text = end(machine)?.captured.stdout;
    ensure!(text.matches(": ENODEV: ").count() >= WAYS, "output: {text:?}");
    ensure!(text.contains("first gone\nout\n") && text.contains("number 0: 1804289383"), "output: {text:?}");
    ensure!(text.ends_with("second gone\nunloaded\n"), "output: {text:?}");
    Ok(())
}

/// Plugs in the device that [`unplug`] took away.
pub(super) fn plug_in_again(machine: &mut Machine, qmp: &mut Qmp) -> anyhow::Result<()> {
    let socket = machine.devices().sockets().first().context("there is no device")?.clone();
    let arguments = json!({
        "driver": "vfio-user-pci", "id": "rng0", "bus": "port0", "socket": { "type": "unix", "path": socket },
    });
    qmp.execute("device_add", &arguments).map(drop)
}

/// A device that answers nothing cannot be told to stop: what it may still write to must stay its own, and the kernel's check
/// of DMA mappings must say so. There must be no other finding, such as a leak of the driver's own memory.
fn end_with_memory_left(machine: Machine) -> anyhow::Result<Outcome> {
    let outcome = machine.wait()?;
    let said = &outcome.captured.stderr;
    let findings: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("guest-init: final check: ")).collect();
    let report = outcome.report()?.unwrap_or_default();
    let is_expected = matches!(findings[..], [finding] if finding.starts_with("there was a warning"))
        && report.contains("dma_debug_device_change")
        && outcome.log.text()?.contains("pages are left to it for ever");
    ensure!(is_expected, "expected DMA mappings left behind and nothing else; it said:\n{said}\n{report}");
    Ok(outcome)
}

/// The guest restarts under load: the device begins anew with it, and works.
pub(super) fn a_machine_starts_again_with_its_device(lab: &Lab) -> anyhow::Result<()> {
    let line = "my-app --rounds 1 && rng-dump --bytes 100000 mmap | wc -c; cat /dev/my_rng0 > /dev/null & sleep 1; reboot -f";
    let qemu_args = ["-action", "reboot=reset"].map(str::to_owned).to_vec();
    let config = Config { smp: 2, qemu_args, ..lab.config() };
    let command = ["sh", "-c", line].map(str::to_owned);
    let mut machine = Machine::start(&lab.parts, &config, &command, Output::Capture)?;
    machine.wait_until("the numbers of both starts", |said| {
        said.matches("number 0: 1804289383\n").count() == 2 && said.ends_with("100000\n")
    })
}
