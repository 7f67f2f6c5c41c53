// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that answers but does not stop its queues when it is told to, or late: `slow_to_stop`, an example of the device.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::Lab;
use crate::machine::{Config, Machine, Output, Parts};
use crate::process::output;
use crate::ui;

fn build(lab: &Lab) -> anyhow::Result<PathBuf> {
    let context = &lab.parts.context;
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&context.checkout).arg("build").args(["--release", "--package", "my-rng-device"]);
    output(cargo.args(["--example", "slow_to_stop", "--target-dir"]).arg(&context.target))?;
    Ok(context.target.join("release/examples/slow_to_stop"))
}

/// Starts a script in a machine with that device, which has the option and its file.
fn start(lab: &Lab, option: &str, file: &Path, script: &str) -> anyhow::Result<Machine> {
    let file = file.to_str().context("a folder for temporary files that is no text")?;
    start_with(lab, option, file, script)
}

fn start_with(lab: &Lab, option: &str, file: &str, script: &str) -> anyhow::Result<Machine> {
    let parts = Parts { device: build(lab)?, ..lab.parts.clone() };
    let config = Config { device_args: vec![option.to_owned(), file.to_owned()], ..lab.config() };
    Machine::start(&parts, &config, &["sh", "-c", script].map(str::to_owned), Output::Capture)
}

fn finish(machine: Machine) -> anyhow::Result<String> {
    let outcome = machine.wait()?;
    let said = outcome.captured;
    ensure!(outcome.status == 0, "status {}; output:\n{}{}", outcome.status, said.stdout, said.stderr);
    Ok(said.stdout)
}

/// All queues are told to stop before the first is waited for, and when its time is over, so is that of the others.
pub(super) fn unbinding_waits_once(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder for temporary files")?;
    let events = folder.path().join("events");
    let script = "rmmod my_rng && insmod /lib/modules/exo/my_rng.ko queues=6 && cat /sys/class/my_rng/my_rng0/queues && \
                  cd /sys/bus/pci/drivers/my_rng && device=$(ls -d 0000:*) && echo stop 9 && \
                  read -r before rest < /proc/uptime && echo $device > unbind && read -r after rest < /proc/uptime && \
                  echo from $before to $after && test ! -e /dev/my_rng0 && rmmod my_rng";
    let said = finish(start(lab, "--events", &events, script)?)?;
    let times = said.strip_prefix("6\nstop 9\n").with_context(|| format!("it said:\n{said}"))?;
    // For whoever wants to know; how busy the host is says more about it than the driver.
    ui::say(&format!("unbinding a device that does not stop, in seconds since boot: {}", times.trim()));

    let events = std::fs::read_to_string(&events).context("the device has told nothing")?;
    // Those of the second loading: the last six queues that were told to stop, and what came after.
    let all: Vec<&str> = events.lines().collect();
    let mut stops = all.iter().enumerate().rev().filter(|(_, event)| event.starts_with("stop "));
    let first =
        stops.nth(5).with_context(|| format!("six queues were expected to be told to stop:\n{events}"))?.0;
    let (stops, looks) = all[first..].split_at(6);
    ensure!(stops.iter().all(|event| event.starts_with("stop ")), "one was waited for too early:\n{events}");
    let others = looks.iter().filter(|look| **look != looks[0]).count();
    ensure!(looks.len() > 6 && others == 5, "each queue was waited for by itself:\n{events}");
    Ok(())
}

/// The queue of a file that is closed stays in use until the device has stopped it, and is then given to the next.
pub(super) fn a_queue_that_stops_late_is_used_again(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder for temporary files")?;
    let may_stop = folder.path().join("may-stop");
    // The only queue for that. A program that got it has mapped it; one that did not says so.
    let script = "rmmod my_rng && insmod /lib/modules/exo/my_rng.ko mapped_queues=1 || exit 1; \
                  queues=/sys/class/my_rng/my_rng0/mapped_queues; \
                  start() { rng-dump --bytes 1 mmap > /dev/null 2> /tmp/error & program=$!; \
                  until grep -q /dev/my_rng /proc/$program/maps; do test -s /tmp/error && return 1; sleep 0.1; done; }; \
                  start && kill $program; wait $program; cat $queues; start || echo refused; \
                  dmesg | grep -c 'does not stop; it stays in use'; echo stuck; \
                  until start; do sleep 0.1; done; kill $program; wait $program; cat $queues";
    let mut machine = start(lab, "--stop-when", &may_stop, script)?;
    machine.wait_for("stuck")?;
    std::fs::write(&may_stop, "").context("cannot tell the device to stop")?;
    let said = finish(machine)?;
    ensure!(said == "1 of 1\nrefused\n1\nstuck\n0 of 1\n", "it said:\n{said}");
    Ok(())
}

/// Any program can ask for a queue, as often as it likes: the log tells of the first that was refused.
pub(super) fn refused_queues_do_not_fill_the_log(lab: &Lab) -> anyhow::Result<()> {
    // One for reading and one for the seedable stream are given.
    let script = "rmmod my_rng && insmod /lib/modules/exo/my_rng.ko queues=1 || exit 1; \
                  for i in 1 2 3 4 5; do rng-dump --bytes 1 mmap > /dev/null && exit 1; done; \
                  dmesg | grep -c 'the device refuses queue'";
    let said = finish(start_with(lab, "--refuse-from", "2", script)?)?;
    ensure!(said == "1\n", "it said:\n{said}");
    Ok(())
}
