// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ring that is kept full.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};

use crate::Failure;
use crate::devices::{Device, RESERVED};
use crate::memory::Memory;

/// Requests of one kind to one device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) write: bool,
    /// Bytes of a request.
    pub(crate) size: usize,
    /// Requests at a time.
    pub(crate) depth: usize,
    /// At random places, rather than one after the other.
    pub(crate) random: bool,
}

/// Where the next request goes.
struct Places {
    state: u64,
    next: u64,
    count: u64,
    load: Load,
}

impl Places {
    fn new(device: &Device, load: Load) -> Self {
        let count = (device.size - RESERVED) / load.size as u64;
        Self { state: 0x9e37_79b9_7f4a_7c15, next: 0, count, load }
    }

    fn next(&mut self) -> u64 {
        let place = if self.load.random {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.state % self.count
        } else {
            self.next = (self.next + 1) % self.count;
            self.next
        };
        RESERVED + place * self.load.size as u64
    }
}

/// A ring with its buffers.
pub(crate) struct Bench<'a> {
    ring: IoUring,
    memory: Memory,
    device: &'a Device,
    load: Load,
    places: Places,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(device: &'a Device, load: Load) -> Result<Self, Failure> {
        let entries = u32::try_from(load.depth.next_power_of_two())?;
        let ring = IoUring::new(entries).map_err(|error| format!("no io_uring: {error}"))?;
        let memory = Memory::new(load.size * load.depth)?;
        Ok(Self { ring, memory, device, load, places: Places::new(device, load) })
    }

    fn entry(&mut self, slot: usize) -> squeue::Entry {
        let (fd, length) = (Fd(self.device.file.as_raw_fd()), self.load.size as u32);
        let (offset, address) = (self.places.next(), self.memory.part(slot, self.load.size));
        let entry = if self.load.write {
            opcode::Write::new(fd, address, length).offset(offset).build()
        } else {
            opcode::Read::new(fd, address, length).offset(offset).build()
        };
        entry.user_data(slot as u64)
    }

    fn push(&mut self, slot: usize) -> Result<(), Failure> {
        let entry = self.entry(slot);
        // SAFETY: the buffer lives as long as the ring, and `drain` waits for all requests before either goes. After a failure
        // the program ends with both; no memory is mapped in between where a request that is left over could write to.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| "the submission ring is full")?;
        Ok(())
    }

    /// Takes completions: their slots go to `done`.
    fn reap(&mut self, done: &mut Vec<usize>) -> Result<(), Failure> {
        for completion in self.ring.completion() {
            let result = completion.result();
            if usize::try_from(result) != Ok(self.load.size) {
                return Err(match result {
                    short @ 0.. => format!("{short} bytes instead of {}", self.load.size).into(),
                    error => io::Error::from_raw_os_error(-error).into(),
                });
            }
            done.push(usize::try_from(completion.user_data())?);
        }
        Ok(())
    }

    /// Keeps the ring full for `window`; requests a second.
    pub(crate) fn rate(&mut self, window: Duration) -> Result<f64, Failure> {
        let mut free: Vec<usize> = (0..self.load.depth).collect();
        let (mut count, start) = (0_u64, Instant::now());
        let time = loop {
            for slot in free.drain(..) {
                self.push(slot)?;
            }
            self.ring.submit_and_wait(1)?;
            self.reap(&mut free)?;
            count += free.len() as u64;
            let time = start.elapsed();
            if time >= window {
                break time;
            }
        };
        self.drain(self.load.depth - free.len())?;
        Ok(count as f64 / time.as_secs_f64())
    }

    fn drain(&mut self, mut left: usize) -> Result<(), Failure> {
        let mut done = Vec::new();
        while left > 0 {
            self.ring.submit_and_wait(1)?;
            self.reap(&mut done)?;
            left -= done.len();
            done.clear();
        }
        Ok(())
    }

    /// What a request costs the program: nanoseconds until the kernel has it, and nanoseconds to take its end when the device
    /// has long been done with it.
    pub(crate) fn costs(&mut self, window: Duration) -> Result<(f64, f64), Failure> {
        /// Longer than any of these devices needs for a ring full.
        const DEVICE_TIME: Duration = Duration::from_millis(4);
        let (mut submits, mut completes) = (Vec::new(), Vec::new());
        let start = Instant::now();
        let mut done = Vec::with_capacity(self.load.depth);
        while start.elapsed() < window || submits.len() < 9 {
            for slot in 0..self.load.depth {
                self.push(slot)?;
            }
            let before = Instant::now();
            self.ring.submit()?;
            submits.push(before.elapsed().as_secs_f64());
            std::thread::sleep(DEVICE_TIME);
            let before = Instant::now();
            while done.len() < self.load.depth {
                self.ring.submit_and_wait(self.load.depth - done.len())?;
                self.reap(&mut done)?;
            }
            completes.push(before.elapsed().as_secs_f64());
            done.clear();
        }
        let each = |mut times: Vec<f64>| -> f64 {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or_default() * 1e9 / self.load.depth as f64
        };
        Ok((each(submits), each(completes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64) -> Device {
        let path = std::env::temp_dir().join(format!("block-bench-ring-{}-{size}", std::process::id()));
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.unwrap();
        file.set_len(size).unwrap();
        std::fs::remove_file(path).unwrap();
        Device { file, size }
    }

    #[test]
    fn places_stay_behind_the_reserved_part_and_on_the_device() {
        let device = file(8 << 20);
        for random in [true, false] {
            let load = Load { write: false, size: 128 * 1024, depth: 1, random };
            let mut places = Places::new(&device, load);
            let found: Vec<u64> = (0..1000).map(|_| places.next()).collect();
            assert!(found.iter().all(|at| *at >= RESERVED && at + load.size as u64 <= device.size));
            let unlike: std::collections::BTreeSet<_> = found.iter().collect();
            assert_eq!(unlike.len(), 63, "every place of the device has its turn");
        }
    }
}
