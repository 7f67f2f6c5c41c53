// SPDX-License-Identifier: MIT OR Apache-2.0
//! The RAM disk, through the interfaces that the kernel uses.

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use exo_drivers::block::{BlockDevice, Completion, GenericBlockDevice, Operation, Request, Requests, Sink};
use exo_platform::Buffer;

use crate::time;

/// Small enough to stay in the processor's cache: what is measured is the way to the memory.
const SECTORS: u64 = 256;
const SECTOR: usize = 512;

fn disk() -> anyhow::Result<GenericBlockDevice> {
    GenericBlockDevice::new("ram0", SECTORS, SECTOR as u32, 1).ok().context("no memory for a RAM disk")
}

/// Where the next of `sectors` sectors are, from end to end.
fn next(sector: &mut u64, sectors: u64) -> u64 {
    let here = *sector;
    *sector = if here + 2 * sectors <= SECTORS { here + sectors } else { 0 };
    here
}

/// Nanoseconds of one `read_sectors` of `bytes` bytes.
pub(crate) fn read(bytes: usize, window: Duration) -> anyhow::Result<f64> {
    let disk = disk()?;
    let device: &dyn BlockDevice = black_box(&disk);
    device.write_sectors(0, &vec![0xa5; bytes])?;
    let (mut out, mut sector, mut failed) = (vec![0; bytes], 0, 0);
    let ns = time(window, 1, || {
        let at = next(&mut sector, (bytes / SECTOR) as u64);
        failed += usize::from(device.read_sectors(at, black_box(&mut out)).is_err());
    });
    ensure!(failed == 0, "{failed} reads failed");
    device.read_sectors(0, &mut out)?;
    ensure!(out.iter().all(|byte| *byte == 0xa5), "what was read is not what was written");
    Ok(ns)
}

/// Nanoseconds of one `write_sectors` of `bytes` bytes.
pub(crate) fn write(bytes: usize, window: Duration) -> anyhow::Result<f64> {
    let disk = disk()?;
    let device: &dyn BlockDevice = black_box(&disk);
    let (data, mut sector, mut failed) = (vec![0x5a; bytes], 0, 0);
    let ns = time(window, 1, || {
        let at = next(&mut sector, (bytes / SECTOR) as u64);
        failed += usize::from(device.write_sectors(at, black_box(&data)).is_err());
    });
    ensure!(failed == 0, "{failed} writes failed");
    Ok(ns)
}

/// Keeps the last completion, whose buffer the next request takes.
#[derive(Default)]
struct Last(Mutex<Option<Completion>>);

impl Sink for Last {
    fn complete(&self, completion: Completion) {
        if let Ok(mut last) = self.0.lock() {
            *last = Some(completion);
        }
    }
}

/// One asynchronous read after the other, all in the same buffer.
struct Reader {
    disk: GenericBlockDevice,
    last: Arc<Last>,
    buffer: Option<Buffer>,
    sector: u64,
    done: u64,
}

impl Reader {
    fn new(bytes: usize) -> anyhow::Result<Self> {
        let buffer = Buffer::kernel(bytes).ok().context("no memory for a buffer")?;
        Ok(Self { disk: disk()?, last: Arc::default(), buffer: Some(buffer), sector: 0, done: 0 })
    }

    fn run(&mut self) {
        let Some(buffer) = self.buffer.take() else { return };
        let sectors = (buffer.len() / SECTOR) as u32;
        let request = Request {
            operation: Operation::Read,
            sector: next(&mut self.sector, sectors.into()),
            buffer: Some(buffer),
            sectors,
            sink: self.last.clone(),
            token: self.done,
        };
        if self.disk.submit(0, request).is_err() {
            return;
        }
        self.disk.ring(0);
        self.disk.poll(0);
        let completion = self.last.0.lock().ok().and_then(|mut last| last.take());
        if let Some(completion) = completion.filter(|c| c.result.is_ok() && c.token == self.done) {
            self.buffer = completion.buffer;
            self.done += 1;
        }
    }
}

/// Nanoseconds of one asynchronous read of `bytes` bytes, from submission to completion. Buffers are the host's fakes here, with
/// a lock that the kernel's do not have.
pub(crate) fn request(bytes: usize, window: Duration) -> anyhow::Result<f64> {
    let mut reader = Reader::new(bytes)?;
    let ns = time(window, 1, || reader.run());
    ensure!(reader.buffer.is_some(), "a request was lost after {}", reader.done);
    Ok(ns)
}

/// Allocations of 10 000 requests, asynchronous and not.
pub(crate) fn allocations() -> anyhow::Result<f64> {
    const REQUESTS: u64 = 10_000;
    let mut reader = Reader::new(4096)?;
    let mut out = vec![0; 4096];
    reader.run();
    let counted = allocation_counter::measure(|| {
        for _ in 0..REQUESTS {
            reader.run();
            // What is wrong with it, the check below says.
            let _ = black_box(reader.disk.read_sectors(0, &mut out));
        }
    });
    ensure!(reader.done == REQUESTS + 1, "only {} of the requests were completed", reader.done);
    Ok(counted.count_total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_allocate_nothing() {
        assert_eq!(allocations().unwrap(), 0.0);
    }
}
