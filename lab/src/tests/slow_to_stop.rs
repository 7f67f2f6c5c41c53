// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that answers but does not stop its queues when it is told to, or late: `slow_to_stop`, an example of the device.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use super::{Lab, vm};
use crate::machine::{Config, Parts};
use crate::process::output;

fn build(lab: &Lab) -> anyhow::Result<PathBuf> {
    let context = &lab.parts.context;
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&context.checkout).arg("build").args(["--release", "--package", "my-rng-device"]);
    output(cargo.args(["--example", "slow_to_stop", "--target-dir"]).arg(&context.target))?;
    Ok(context.target.join("release/examples/slow_to_stop"))
}

/// Runs a script in a machine with that device; its output.
fn run(lab: &Lab, device_args: &[&str], script: &str) -> anyhow::Result<String> {
    let parts = Parts { device: build(lab)?, ..lab.parts.clone() };
    let lab = Lab { parts, accel: lab.accel, checked: lab.checked, long: lab.long };
    let device_args = device_args.iter().copied().map(str::to_owned).collect();
    let (status, captured) = vm::shell(&lab, &Config { device_args, ..lab.config() }, script)?;
    ensure!(status == 0, "status {status}; output:\n{}{}", captured.stdout, captured.stderr);
    Ok(captured.stdout)
}

/// All queues are told to stop before the first is waited for: two seconds in all, not for each of eight.
pub(super) fn unbinding_waits_once(lab: &Lab) -> anyhow::Result<()> {
    let script = "cd /sys/bus/pci/drivers/my_rng && device=$(ls -d 0000:*) && cat /sys/class/my_rng/my_rng0/queues && \
                  read before rest < /proc/uptime && echo $device > unbind && read after rest < /proc/uptime && \
                  echo $before $after && test ! -e /dev/my_rng0 && rmmod my_rng";
    let said = run(lab, &[], script)?;
    let numbers: Vec<f64> =
        said.split_whitespace().map(str::parse).collect::<Result<_, _>>().context("no numbers")?;
    let [_, before, after] = numbers[..] else { anyhow::bail!("three numbers were expected: {said}") };
    let took = after - before;
    // Twice the two seconds for a busy host; seven queues that are waited for one by one take fourteen.
    ensure!((1.9..8.0).contains(&took), "unbinding took {took} s");
    Ok(())
}

/// The queue of a file that is closed stays in use until the device has stopped it, and is then given to the next.
pub(super) fn a_queue_that_stops_late_is_used_again(lab: &Lab) -> anyhow::Result<()> {
    let script = "queues=/sys/class/my_rng/my_rng0/mapped_queues; cat $queues; \
                  (rng-dump --bytes 1 mmap > /dev/null 2>&1 & program=$!; \
                  while ! grep -q '^1 of' $queues; do sleep 0.1; done; kill $program; wait $program); \
                  sleep 3; cat $queues; dmesg | grep -c 'does not stop; it stays in use'; sleep 5; \
                  (rng-dump --bytes 1 mmap > /dev/null 2>&1 & program=$!; sleep 2; cat $queues; kill $program); true";
    let said = run(lab, &["--stop-after", "6000"], script)?;
    let lines: Vec<&str> = said.lines().collect();
    let [none, stuck, logged, again] = lines[..] else { anyhow::bail!("four lines were expected:\n{said}") };
    ensure!(none.starts_with("0 of ") && stuck.starts_with("1 of ") && logged == "1", "it said:\n{said}");
    // Not two: the one that has stopped meanwhile.
    ensure!(again == stuck, "it said:\n{said}");
    Ok(())
}
