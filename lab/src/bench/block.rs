// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite `block`: what block devices give to a program, on Exo-Kernel and on Linux beside it: the same binary, `block-bench`, the
//! same QEMU settings and the same images, in machines that take turns.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bench_report::{Row, row_name, vcpus_text};

use super::figures::{Figure, Goal, Of};
use super::values::Values;
use super::{Measured, Options, Suite, measured_in_machine, printed_rows};
use crate::exo_kernel::{self, Profile};
use crate::machine::{self, Accel, Config, Disk, Output, Parts, System};
use crate::ui::Step;
use crate::{process, programs};

pub(super) const SUITE: Suite = Suite {
    name: "block",
    title: "Block devices on Exo-Kernel and on Linux",
    ours: "the block layer alone",
    measure,
    figures: FIGURES,
};

const fn faster(exo: &'static str, linux: &'static str, must: f64, aim: f64) -> Figure {
    Figure { of: Of::Ratio(exo, linux), must, aim: Some(aim), goal: Goal::AtLeast }
}

/// A row of the block layer by itself, in nanoseconds.
const fn native(name: &'static str, must: f64, aim: f64) -> Figure {
    Figure { of: Of::Row(name, "ns"), must, aim: Some(aim), goal: Goal::AtMost }
}

/// What this project promises.
const FIGURES: &[Figure] = &[
    native("block.submit_complete_ns", 100.0, 30.0),
    native("block.ram_read_4k_ns", 500.0, 150.0),
    faster("block.queue_2_threads", "block.queue_1_thread", 1.8, 2.0),
    Figure { of: Of::Row("block.allocations", "events"), must: 0.0, aim: None, goal: Goal::AtMost },
    faster("exo.ahci.read_4k_qd32", "linux.ahci.read_4k_qd32", 1.0, 1.5),
    faster("exo.ahci.write_4k_qd32", "linux.ahci.write_4k_qd32", 1.0, 1.5),
    faster("exo.nvme.read_4k_qd32", "linux.nvme.read_4k_qd32", 1.0, 1.5),
    faster("exo.nvme.write_4k_qd32", "linux.nvme.write_4k_qd32", 1.0, 1.5),
    faster("exo.virtio.read_4k_qd32", "linux.virtio.read_4k_qd32", 1.0, 1.5),
    faster("exo.virtio.write_4k_qd32", "linux.virtio.write_4k_qd32", 1.0, 1.5),
    faster("exo.ram.read_4k_qd32", "linux.ram.read_4k_qd32", 1.0, 1.5),
    faster("exo.ram.write_4k_qd32", "linux.ram.write_4k_qd32", 1.0, 1.5),
    faster("exo.ram.pread_4k", "linux.ram.pread_4k", 1.5, 3.0),
];

/// The disks with images, by the drivers' names in `--disk`.
const IMAGES: [&str; 3] = ["virtio", "nvme", "ahci"];
/// Rows of each device that `block-bench` measures one after the other; the two of costs sleep, too.
const ROWS: u32 = 9;
/// Size of each disk in MiB.
const MEBIBYTES: u32 = 64;
/// A machine's boot and end.
const MARGIN: Duration = Duration::from_secs(60);

fn measure(parts: &Parts, options: &Options) -> anyhow::Result<Measured> {
    let kernel = exo_kernel::build(&parts.context, &parts.toolroot, Profile::Optimised)?;
    let exo = Parts { system: System::Exo(kernel), ..parts.clone() };
    let folder = tempfile::Builder::new().prefix("exo-").tempdir().context("cannot create a folder")?;
    let disks = disks(folder.path())?;
    let (mut values, mut accel) = (Values::default(), Accel::Tcg);
    let alone = block_layer_alone(parts, options)?;
    for &vcpus in &options.vcpus {
        let name = format!("Measuring block devices with {}", vcpus_text(vcpus));
        let step = Step::new(&name, Some((window(options) + Duration::from_secs(8)) * options.runs * 2));
        for run in 1..=options.runs {
            for (group, parts) in [("exo", &exo), ("linux", parts)] {
                step.message(&format!("run {run} of {} on {}", options.runs, parts.system.name()));
                accel = machine_run(parts, options, vcpus, &disks, group, &mut values)
                    .with_context(|| format!("on {}", parts.system.name()))?;
            }
        }
        step.done();
    }
    let rows = alone.into_iter().chain(values.rows()).collect();
    Ok(Measured { rows, accel })
}

/// What Exo-Kernel's block layer costs on this host, without a device and a machine.
fn block_layer_alone(parts: &Parts, options: &Options) -> anyhow::Result<Vec<Row>> {
    let program = programs::build_host(&parts.context, "driver-bench")?;
    let step = Step::new("Measuring the block layer alone", None);
    let mut command = std::process::Command::new(program);
    command.arg("--json").args(["--runs", &options.runs.to_string()]);
    command.args(["--window", &options.window.as_millis().to_string()]);
    let rows = printed_rows(&process::output(&mut command)?)?;
    step.done();
    Ok(rows)
}

/// The time that a machine measures.
fn window(options: &Options) -> Duration {
    options.window * ROWS * (IMAGES.len() as u32 + 1)
}

/// Images whose first sector says which disk they are, and a RAM disk.
fn disks(folder: &Path) -> anyhow::Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for driver in IMAGES {
        let path = folder.join(format!("{driver}.img"));
        let mut file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        file.set_len(u64::from(MEBIBYTES) << 20).context("cannot make an image")?;
        file.write_all(format!("exo block-bench {driver}\n").as_bytes()).context("cannot write an image")?;
        let disk = format!("{driver}={}", path.display());
        disks.push(disk.parse().map_err(anyhow::Error::msg)?);
    }
    disks.push(Disk::Ram { mebibytes: MEBIBYTES });
    Ok(disks)
}

/// One machine, from its start to its figures.
fn machine_run(
    parts: &Parts,
    options: &Options,
    vcpus: u32,
    disks: &[Disk],
    group: &str,
    values: &mut Values,
) -> anyhow::Result<Accel> {
    let config = Config {
        accel: options.accel,
        smp: vcpus,
        rng: 0,
        load_modules: false,
        disks: disks.to_vec(),
        timeout: Some(window(options) * 4 + MARGIN),
        ..Config::default()
    };
    let (window, images) = (options.window.as_millis(), IMAGES.join(" "));
    // Exo-Kernel's RAM disk is the last one of its disks.
    let script = format!(
        "ram=/dev/ram0; [ -e $ram ] || ram=$(ls /dev/disk? | tail -n 1)\n\
         exec block-bench --json --runs 1 --window {window} {images} ram=$ram"
    );
    let outcome = machine::run(parts, &config, &["sh", "-ec", &script].map(str::to_owned), Output::Capture)?;
    for row in measured_in_machine("block-bench", &outcome)? {
        values.add(row_name(&format!("{group}.{}", row.name), vcpus), row.unit, row.median);
    }
    Ok(outcome.accel)
}
