// SPDX-License-Identifier: MIT OR Apache-2.0
//! `my-rng-device bench`: how fast one worker fills memory, with the real queues and workers, on memory that is shared with a
//! driver in the same process instead of a virtual machine.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use thiserror::Error;
use vfio_user_server::{Client, DmaError, Interrupts, Irqs, Shutdown};

use crate::chacha;
use crate::driver::{Layout, PlainMemory, Ring};
use crate::generators::Kind;
use crate::limiter::{Limits, Rate};
use crate::registers::{Effect, Stream, Vector};
use crate::shared::Shared;
use crate::stream::PowerOn;
use crate::workers::Workers;

/// Measurements of each row.
const RUNS: usize = 7;
/// How long each takes.
const RUN: Duration = Duration::from_millis(300);
/// A ring as a driver would have it, 4 MiB in all.
const LAYOUT: Layout = Layout { base: 0, depth: 64, buffer: 64 << 10 };
/// Limits under which a worker is measured, in bytes per second: much less than it could give.
const LIMIT: u64 = 200_000_000;
/// How often the driver looks; the ring lasts longer than that at any speed that memory has.
const LOOK: Duration = Duration::from_micros(100);
/// How long the worker may take for the first buffers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum BenchError {
    /// There are no threads, descriptors or memory.
    #[error("preparing the measurement: {0}")]
    Setup(#[from] io::Error),
    /// A bug of this program.
    #[error("the measurement's own memory: {0}")]
    Memory(#[from] DmaError),
    /// A bug of this program.
    #[error("the queue stands still")]
    Stalled,
}

/// A result, in the format of all of this project's measurements.
#[derive(Debug, Serialize)]
pub struct Report {
    environment: Environment,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Environment {
    version: &'static str,
    processor: String,
    processors: usize,
    chacha20: &'static str,
    buffer_bytes: u32,
    queue_depth: u32,
    run_milliseconds: u128,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    runs: usize,
}

/// Measures.
///
/// # Errors
/// See [`BenchError`].
pub fn run() -> Result<Report, BenchError> {
    let mut rows = Vec::from(measure("device.entropy_memory", Stream::Entropy, Kind::default())?);
    for (kind, name, _) in Kind::ALL {
        rows.extend(measure(&format!("device.seedable_memory_{name}"), Stream::Seedable, *kind)?);
    }
    // What a limit costs: processor time of the worker alone, as the driver's is spent waiting.
    for (name, limit) in [("unlimited", None), ("limited", Some(Rate::new(LIMIT)))] {
        rows.extend(measure_worker(&format!("device.entropy_memory_{name}_per_worker_second"), limit)?);
    }
    Ok(Report { environment: environment(), rows })
}

impl Report {
    /// A table for people.
    pub fn table(&self) -> String {
        let Environment { processor, processors, chacha20, .. } = &self.environment;
        let head = format!("{processor}, {processors} processors, ChaCha20 by {chacha20}; one worker\n");
        let rows = self.rows.iter().map(|Row { name, median, min, max, runs, .. }| {
            let [median, min, max] = [median, min, max].map(|bytes| bytes / 1e9);
            format!("{name:<48} {median:6.2} GB/s   {min:.2} to {max:.2} in {runs} runs\n")
        });
        std::iter::once(head).chain(rows).collect()
    }
}

fn environment() -> Environment {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Environment {
        version: env!("CARGO_PKG_VERSION"),
        processor: model.map_or("unknown", |(_, model)| model).to_owned(),
        processors: thread::available_parallelism().map_or(1, NonZero::get),
        chacha20: chacha::implementation(),
        buffer_bytes: LAYOUT.buffer,
        queue_depth: LAYOUT.depth,
        run_milliseconds: RUN.as_millis(),
    }
}

/// By the clock on the wall, and by the processor time that the whole process took, which other processes do not disturb.
fn measure(name: &str, stream: Stream, kind: Kind) -> Result<[Row; 2], BenchError> {
    let memory = PlainMemory::new(LAYOUT.end())?;
    let shared = Arc::new(Shared::new(PowerOn { generator: kind, ..PowerOn::default() }));
    let workers = Workers::start(shared, NonZero::<usize>::MIN, &Shutdown::new()?)?;
    let client = Client::new(memory.memory.clone(), Interrupts::new(&Irqs::default()));
    workers.join(&client);
    let mut ring = Ring::new(&memory.memory, LAYOUT)?;
    workers.act(Effect::Start(0, LAYOUT.set_up(stream, Vector(None))));
    // Once around, so that every page is there.
    keep_busy(&mut ring, &workers, |_, completed| completed >= LAYOUT.depth)?;
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (first, cpu_before) = (ring.completed()?, cpu_time());
        let (time, last) = keep_busy(&mut ring, &workers, |time, _| time >= RUN)?;
        let bytes = f64::from(last.wrapping_sub(first)) * f64::from(LAYOUT.buffer);
        cpu.push(bytes / cpu_time().saturating_sub(cpu_before).as_secs_f64());
        wall.push(bytes / time.as_secs_f64());
    }
    Ok([row(name.to_owned(), wall), row(format!("{name}_per_cpu_second"), cpu)])
}

/// By the processor time that the worker took.
fn measure_worker(name: &str, limit: Option<Rate>) -> Result<Option<Row>, BenchError> {
    let memory = PlainMemory::new(LAYOUT.end())?;
    let shared = Arc::new(Shared::new(PowerOn::default()));
    shared.limiter.set(Limits { bytes: limit, operations: None });
    let workers = Workers::start(shared, NonZero::<usize>::MIN, &Shutdown::new()?)?;
    workers.join(&Client::new(memory.memory.clone(), Interrupts::new(&Irqs::default())));
    let mut ring = Ring::new(&memory.memory, LAYOUT)?;
    workers.act(Effect::Start(0, LAYOUT.set_up(Stream::Entropy, Vector(None))));
    keep_busy(&mut ring, &workers, |_, completed| completed >= LAYOUT.depth)?;
    let mut speeds = Vec::new();
    let start = Instant::now();
    while speeds.len() < RUNS {
        let (first, Some(before)) = (ring.completed()?, worker_time()) else { return Ok(None) };
        let (_, last) = keep_busy(&mut ring, &workers, |time, _| time >= RUN)?;
        let bytes = f64::from(last.wrapping_sub(first)) * f64::from(LAYOUT.buffer);
        let time = worker_time().unwrap_or_default().saturating_sub(before);
        // On a busy host the worker may have got no processor all the while.
        if time.is_zero() && start.elapsed() < PATIENCE {
            continue;
        }
        speeds.push(bytes / time.as_secs_f64());
    }
    Ok(Some(row(name.to_owned(), speeds)))
}

/// Processor time of this process's workers so far, if the kernel tells.
fn worker_time() -> Option<Duration> {
    let of_task = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let times = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let time = times.split_whitespace().next()?.parse().ok()?;
        (name.trim() == "worker").then_some(Duration::from_nanos(time))
    };
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    tasks.filter_map(|task| of_task(task.ok()?)).reduce(|sum, time| sum.saturating_add(time))
}

fn row(name: String, mut speeds: Vec<f64>) -> Row {
    speeds.sort_by(f64::total_cmp);
    let at = |place: usize| speeds.get(place).copied().unwrap_or_default();
    Row { name, unit: "B/s", median: at(RUNS / 2), min: at(0), max: at(RUNS - 1), runs: RUNS }
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// Posts buffers as they are completed until `enough`. Gives how long that took, and how many were completed by then.
fn keep_busy(
    ring: &mut Ring,
    workers: &Workers,
    enough: impl Fn(Duration, u32) -> bool,
) -> Result<(Duration, u32), BenchError> {
    let start = Instant::now();
    loop {
        let completed = ring.completed()?;
        let time = start.elapsed();
        if enough(time, completed) {
            return Ok((time, completed));
        }
        if time > PATIENCE {
            return Err(BenchError::Stalled);
        }
        let free = LAYOUT.depth.saturating_sub(ring.posted().wrapping_sub(completed));
        if ring.post(free)? {
            workers.act(Effect::Doorbell(0));
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_common_format() {
        let row = Row { name: "a".to_owned(), unit: "B/s", median: 2e9, min: 1e9, max: 3e9, runs: 5 };
        let report = Report { environment: environment(), rows: vec![row] };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["rows"][0]["median"], 2e9);
        assert!(json["environment"]["processors"].as_u64().unwrap() >= 1);
        assert!(report.table().contains("2.00 GB/s   1.00 to 3.00 in 5 runs"), "{}", report.table());
    }
}
