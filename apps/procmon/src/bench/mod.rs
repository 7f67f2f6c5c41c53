// SPDX-License-Identifier: MIT OR Apache-2.0
//! `procmon bench`: how fast the module answers, and `/proc` beside it in the same run.
//!
//! | row | is |
//! | --- | --- |
//! | `procmon.query_ns` | one QUERY_PID |
//! | `peer.proc_stat_ns` | `/proc/PID/stat`: open, read, parse, close |
//! | `procmon.snapshot_ns_per_process` | one SNAPSHOT, divided by the number of processes |
//! | `peer.proc_scan_ns_per_process` | the same from `/proc`: the folder, and `stat` of each process |
//! | `procmon.read_ns.Nreaders` | one `pread` of a message of 100 bytes, with N threads that read; 2 only where there are as many processors |
//! | `peer.zero_read_ns.Nreaders` | the same of `/dev/zero`: what readers of a machine's processors share in any case |
//! | `procmon.fork_exit_ns.…` | `fork` of a process that exits at once: `absent` without the module, `loaded` with it, `events` while a program reads the events |
//! | `procmon.event_overhead_ns`, `…_percent` | `events` less `absent`, of the same turn |
//! | `procmon.storm_forks_per_second` | as fast as all processors together can fork, with one reader |
//! | `procmon.storm_events_lost` | events that this reader has lost |

mod fork;
pub(crate) mod forker;
mod module;
mod overhead;
mod proc;
pub(crate) mod reader;
mod storm;

use std::fs::File;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bench_report::{Report, Row};
use procmon::Monitor;

use crate::arguments::BenchOptions;
use crate::commands::Outcome;

/// What can go wrong on the way to a figure.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is read.
const NODE: &str = "/dev/procmon";

/// The message that is read.
const MESSAGE: [u8; 100] = [b'm'; 100];

/// Measures everything and shows it.
pub(crate) fn run(options: &BenchOptions) -> Outcome {
    Report::new(measure(options)?).print(options.common.json)?;
    Ok(ExitCode::SUCCESS)
}

fn measure(options: &BenchOptions) -> Result<Vec<Row>, Failure> {
    let pid = i32::try_from(std::process::id())?;
    let mut rows = Vec::new();
    // Subject and peer take turns, so that a machine that slows down does so for both.
    let mut query = Values::new("procmon.query_ns", "ns");
    let mut stat = Values::new("peer.proc_stat_ns", "ns");
    let mut snapshot = Values::new("procmon.snapshot_ns_per_process", "ns");
    let mut scan = Values::new("peer.proc_scan_ns_per_process", "ns");
    {
        let monitor = Monitor::open()?;
        let mut records = Vec::new();
        for _ in 0..options.common.runs {
            query.add(each(options.common.window, || Ok(black_box(monitor.query(pid)?).map_or(0, |_| 1)))?);
            stat.add(each(options.common.window, || black_box(proc::stat(pid)).map(|_| 1))?);
            snapshot.add(each(options.common.window, || {
                monitor.snapshot_into(&mut records)?;
                Ok(black_box(&records).len())
            })?);
            scan.add(each(options.common.window, || Ok(black_box(proc::scan()?).len()))?);
        }
    }
    rows.extend([query, stat, snapshot, scan].iter().filter_map(Values::row));

    let processors = thread::available_parallelism()?.get();
    for readers in (1..=2).filter(|&readers| readers <= processors) {
        let mut values = Values::new(format!("procmon.read_ns.{readers}readers"), "ns");
        let mut zero = Values::new(format!("peer.zero_read_ns.{readers}readers"), "ns");
        Monitor::open()?.set_message(&MESSAGE)?;
        for _ in 0..options.common.runs {
            values.add(read_by(readers, NODE, options.common.window)?);
            zero.add(read_by(readers, "/dev/zero", options.common.window)?);
        }
        rows.extend([values, zero].iter().filter_map(Values::row));
    }
    rows.extend(overhead::measure(options)?);
    rows.extend(storm::measure(options)?);
    Ok(rows)
}

/// The values of a row so far.
pub(crate) struct Values {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
}

impl Values {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, values: Vec::new() }
    }

    pub(crate) fn add(&mut self, value: f64) {
        self.values.push(value);
    }

    pub(crate) fn extend(&mut self, value: Option<f64>) {
        self.values.extend(value);
    }

    pub(crate) fn row(&self) -> Option<Row> {
        Row::of(self.name.clone(), self.unit, &self.values)
    }
}

/// The middle value.
fn median(values: Vec<f64>) -> Option<f64> {
    Row::of("", "ns", &values).map(|row| row.median)
}

/// Repeats `call` for as long as the window, and returns the nanoseconds for each of what it says that it has done.
fn each(window: Duration, mut call: impl FnMut() -> Result<usize, Failure>) -> Result<f64, Failure> {
    // Once before, so that memory is there and caches are warm.
    call()?;
    let (start, mut done) = (Instant::now(), 0_usize);
    loop {
        done = done.saturating_add(call()?);
        let elapsed = start.elapsed();
        if elapsed >= window {
            if done == 0 {
                return Err("nothing was done in the whole window".into());
            }
            #[expect(clippy::cast_precision_loss, reason = "a count of calls; a figure needs no more")]
            return Ok(elapsed.as_secs_f64() * 1e9 / done as f64);
        }
    }
}

/// Nanoseconds for a read of as many bytes as the message has, when so many threads read through files of their own.
fn read_by(readers: usize, path: &str, window: Duration) -> Result<f64, Failure> {
    let start = Barrier::new(readers);
    let times = thread::scope(|scope| {
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                scope.spawn(|| {
                    let file = File::open(path)?;
                    let mut buffer = [0; MESSAGE.len()];
                    start.wait();
                    each(window, || {
                        let length = rustix::io::pread(&file, &mut buffer, 0)?;
                        if length == MESSAGE.len() { Ok(1) } else { Err("the message has changed".into()) }
                    })
                })
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<f64, Failure>>| {
            thread.join().map_err(|_| Failure::from("a reader has panicked"))?
        };
        threads.into_iter().map(join).collect::<Result<Vec<f64>, Failure>>()
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a handful of readers")]
    Ok(times.iter().sum::<f64>() / readers as f64)
}
