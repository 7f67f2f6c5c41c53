// SPDX-License-Identifier: MIT OR Apache-2.0
//! `device-bench`: how fast the my_rng device fills memory with the entropy stream, alone: this program takes the place of
//! the virtual machine, so that neither a hypervisor nor a guest is measured.
//!
//! The figure is per core: bytes in a second of processor time that the device's process used. It counts whatever the device
//! does, looking for work included, and hardly depends on what else the host is busy with.
#![forbid(unsafe_code)]

mod arguments;
mod dump;
mod guest;
mod process;

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use arguments::Arguments;
use bench_report::{Report, Row, quantity};
use clap::Parser as _;
use guest::Guest;
use process::Device;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match (arguments.dump, arguments.bytes) {
        (Some(way), Some(bytes)) => dump(&arguments.device, way, bytes),
        _ => run(&arguments),
    };
    bench_report::exit_code("device-bench", result)
}

fn dump(device: &Path, way: dump::Way, bytes: u64) -> anyhow::Result<()> {
    let device = Device::start(device)?;
    let (mut registers, memory) = guest::connect(device.socket())?;
    dump::dump(&mut registers, &memory, way, bytes)
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let device = Device::start(&arguments.device)?;
    let mut guest = Guest::attach(device.socket())?;
    // The first round has page faults that later ones do not have.
    sample(&device, &mut guest, arguments)?;
    let values = (0..arguments.options.runs)
        .map(|_| sample(&device, &mut guest, arguments))
        .collect::<Result<Vec<_>, _>>()?;
    let row = Row::of("device.entropy_memory", "B/s", &values).context("nothing was measured")?;
    if arguments.options.json {
        return Ok(Report::new(vec![row]).print(true)?);
    }
    let [median, min, max] = [row.median, row.min, row.max].map(|value| quantity(value, row.unit));
    println!("{}: {median} per core, {min} to {max}", row.name);
    Ok(())
}

/// Bytes per second of the device's processor time.
fn sample(device: &Device, guest: &mut Guest, arguments: &Arguments) -> anyhow::Result<f64> {
    let (before, start) = (device.processor_time()?, Instant::now());
    let (mut bytes, mut sum) = (0_u64, 0_u64);
    while start.elapsed() < arguments.options.window {
        let (count, words) = guest.take()?;
        bytes = bytes.saturating_add(count);
        sum = sum.wrapping_add(words);
    }
    black_box(sum);
    let used = device.processor_time()?.saturating_sub(before).as_secs_f64();
    anyhow::ensure!(bytes > 0 && used > 0.0, "the device gave {bytes} bytes in {used} s of processor time");
    Ok(bytes as f64 / used)
}
