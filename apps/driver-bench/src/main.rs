// SPDX-License-Identifier: MIT OR Apache-2.0
//! `driver-bench`: what Exo-Kernel's block layer costs by itself. The kernel's own code runs here as a program of the host, so
//! that neither a device nor an emulator is measured.
#![forbid(unsafe_code)]

mod queues;
mod ram;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench_report::{Options, Report, Row};
use clap::Parser;

/// Measures what Exo-Kernel's block layer costs by itself, on this host
#[derive(Debug, Parser)]
#[command(version, max_term_width = 80)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    bench_report::exit_code("driver-bench", run(Arguments::parse().options))
}

/// A figure: its name, its unit and how to measure it once, in about the given time.
type Figure = (&'static str, bench_report::Unit, fn(Duration) -> anyhow::Result<f64>);

const FIGURES: [Figure; 9] = [
    ("block.submit_complete_ns", "ns", queues::submit_complete),
    ("block.submit_complete_batch_ns", "ns", queues::submit_complete_batch),
    ("block.queue_1_thread", "op/s", |window| queues::throughput(1, window)),
    ("block.queue_2_threads", "op/s", |window| queues::throughput(2, window)),
    ("block.ram_read_512_ns", "ns", |window| ram::read(512, window)),
    ("block.ram_read_4k_ns", "ns", |window| ram::read(4096, window)),
    ("block.ram_write_4k_ns", "ns", |window| ram::write(4096, window)),
    ("block.ram_request_4k_ns", "ns", |window| ram::request(4096, window)),
    ("block.allocations", "events", |_| ram::allocations()),
];

fn run(options: Options) -> anyhow::Result<()> {
    let mut values = vec![Vec::new(); FIGURES.len()];
    // Figure after figure in each run, so that what disturbs the host for a while does not hit one alone.
    for _ in 0..options.runs {
        for ((.., measure), values) in FIGURES.iter().zip(&mut values) {
            values.push(measure(options.window)?);
        }
    }
    let rows =
        FIGURES.iter().zip(&values).filter_map(|((name, unit, _), values)| Row::of(*name, unit, values));
    Ok(Report::new(rows.collect()).print(options.json)?)
}

/// Calls `batch`, which does `size` operations, until `window` is over; nanoseconds of one operation.
fn time(window: Duration, size: u32, mut batch: impl FnMut()) -> f64 {
    batch();
    let start = Instant::now();
    let mut count = 0.0;
    loop {
        for _ in 0..64 {
            batch();
        }
        count += 64.0 * f64::from(size);
        let elapsed = start.elapsed();
        if elapsed >= window {
            return elapsed.as_secs_f64() * 1e9 / count;
        }
    }
}
