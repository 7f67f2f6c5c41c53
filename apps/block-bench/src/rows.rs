// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows: what is measured, and under which names.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use bench_report::Unit;

use crate::Failure;
use crate::devices::{Device, RESERVED};
use crate::memory::Memory;
use crate::ring::{Bench, Load};

/// A figure.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    /// Measures it once, for about that long.
    pub(crate) measure: fn(&Device, Duration) -> Result<f64, Failure>,
}

const SMALL: usize = 4096;
const LARGE: usize = 128 * 1024;
const DEEP: usize = 32;
/// Enough large requests to keep a device busy.
const STREAM: usize = 8;

const fn row(name: &'static str, unit: Unit, measure: fn(&Device, Duration) -> Result<f64, Failure>) -> Row {
    Row { name, unit, measure }
}

/// Every row, in the order in which they are measured. Writes come first: they fill what is then read.
pub(crate) const ALL: &[Row] = &[
    row("write_128k", "B/s", |device, window| stream(device, window, true)),
    row("read_128k", "B/s", |device, window| stream(device, window, false)),
    row("write_4k_qd1", "op/s", |device, window| random(device, window, true, 1)),
    row("write_4k_qd32", "op/s", |device, window| random(device, window, true, DEEP)),
    row("read_4k_qd1", "op/s", |device, window| random(device, window, false, 1)),
    row("read_4k_qd32", "op/s", |device, window| random(device, window, false, DEEP)),
    row("submit_ns", "ns", |device, window| Ok(costs(device, window)?.0)),
    row("complete_ns", "ns", |device, window| Ok(costs(device, window)?.1)),
    row("pread_4k", "op/s", pread),
];

fn random(device: &Device, window: Duration, write: bool, depth: usize) -> Result<f64, Failure> {
    Bench::new(device, Load { write, size: SMALL, depth, random: true })?.rate(window)
}

fn stream(device: &Device, window: Duration, write: bool) -> Result<f64, Failure> {
    let load = Load { write, size: LARGE, depth: STREAM, random: false };
    Ok(Bench::new(device, load)?.rate(window)? * LARGE as f64)
}

fn costs(device: &Device, window: Duration) -> Result<(f64, f64), Failure> {
    Bench::new(device, Load { write: false, size: SMALL, depth: DEEP, random: true })?.costs(window)
}

/// Reads of 4 KiB by plain system calls, one after the other; how many a second.
fn pread(device: &Device, window: Duration) -> Result<f64, Failure> {
    /// Calls between two looks at the clock.
    const BATCH: u64 = 16;
    let memory = Memory::new(SMALL)?;
    let places = (device.size - RESERVED) / SMALL as u64;
    let (mut count, start) = (0_u64, Instant::now());
    loop {
        for _ in 0..BATCH {
            // Not in order, but the same ones every time.
            let place = (count * 7919) % places;
            let offset = i64::try_from(RESERVED + place * SMALL as u64)?;
            // SAFETY: the memory has room for what is read.
            let read =
                unsafe { libc::pread(device.file.as_raw_fd(), memory.part(0, SMALL).cast(), SMALL, offset) };
            if read != SMALL as isize {
                return Err(if read < 0 {
                    io::Error::last_os_error().into()
                } else {
                    format!("{read} bytes instead of {SMALL}").into()
                });
            }
            count += 1;
        }
        let time = start.elapsed();
        if time >= window {
            return Ok(count as f64 / time.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unlike() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
