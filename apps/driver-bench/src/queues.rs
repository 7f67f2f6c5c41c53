// SPDX-License-Identifier: MIT OR Apache-2.0
//! The queues alone: a command goes in, is taken out, its completion goes in and is taken out.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use exo_queue::{Consumer, Producer, queue};

use crate::time;

/// Items of a queue, as many as the RAM disk's have.
const CAPACITY: usize = 256;
/// Commands for which the bell rings once.
const BATCH: u32 = 32;

/// A command as small as a device's own: operation, place, length, memory, token.
#[derive(Clone, Copy)]
struct Command {
    operation: u8,
    sectors: u32,
    sector: u64,
    address: u64,
    token: u64,
}

#[derive(Clone, Copy)]
struct Completion {
    token: u64,
    bytes: u64,
}

/// One CPU's queues, with both of their sides.
struct Pair {
    submit: Producer<Command>,
    work: Consumer<Command>,
    complete: Producer<Completion>,
    reap: Consumer<Completion>,
    next: u64,
    reaped: u64,
}

impl Pair {
    fn new() -> Self {
        let (submit, work) = queue(CAPACITY);
        let (complete, reap) = queue(CAPACITY);
        Self { submit, work, complete, reap, next: 0, reaped: 0 }
    }

    /// `count` commands with one bell, from submission to completion.
    #[inline]
    fn round(&mut self, count: u32) {
        for _ in 0..count {
            let token = self.next;
            let command =
                black_box(Command { operation: 1, sectors: 8, sector: token * 8, address: 0x1000, token });
            if self.submit.push(command).is_ok() {
                self.next += 1;
            }
        }
        self.submit.publish();
        while let Some((_, command)) = self.work.pop() {
            let bytes = u64::from(command.sectors) * 512 + u64::from(command.operation == 0);
            black_box((command.address, command.sector));
            // As many completions as commands fit.
            let _ = self.complete.push(Completion { token: command.token, bytes });
        }
        self.complete.publish();
        while let Some((_, completion)) = self.reap.pop() {
            self.reaped += u64::from(black_box(completion).token == self.reaped && completion.bytes > 0);
        }
    }

    /// Batches until the time is over.
    fn work_for(&mut self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            for _ in 0..64 {
                self.round(BATCH);
            }
        }
    }

    /// Whether every command was completed, in order.
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.reaped == self.next, "{} of {} commands were completed", self.reaped, self.next);
        Ok(())
    }
}

/// Nanoseconds of one command with a bell of its own.
pub(crate) fn submit_complete(window: Duration) -> anyhow::Result<f64> {
    let mut pair = Pair::new();
    let ns = time(window, 1, || pair.round(1));
    pair.check().map(|()| ns)
}

/// Nanoseconds of one command of a batch.
pub(crate) fn submit_complete_batch(window: Duration) -> anyhow::Result<f64> {
    let mut pair = Pair::new();
    let ns = time(window, BATCH, || pair.round(BATCH));
    pair.check().map(|()| ns)
}

/// How long the host's scheduler may take to give each thread a CPU of its own: some of its ticks.
const SETTLING: Duration = Duration::from_millis(30);

/// Commands in a second that `threads` threads complete, each with queues of its own, as the CPUs of a kernel have.
pub(crate) fn throughput(threads: usize, window: Duration) -> anyhow::Result<f64> {
    let settled = AtomicUsize::new(0);
    let rates = thread::scope(|scope| {
        let work = || -> anyhow::Result<f64> {
            let mut pair = Pair::new();
            pair.work_for(SETTLING);
            // Awake: who sleeps may be woken on the other's CPU.
            settled.fetch_add(1, Ordering::SeqCst);
            while settled.load(Ordering::SeqCst) < threads {
                spin_loop();
            }
            let (start, before) = (Instant::now(), pair.next);
            pair.work_for(window);
            let rate = (pair.next - before) as f64 / start.elapsed().as_secs_f64();
            pair.check().map(|()| rate)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().ok().context("a thread ended badly")?).collect()
    });
    let rates: anyhow::Result<Vec<f64>> = rates;
    Ok(rates?.iter().sum())
}
