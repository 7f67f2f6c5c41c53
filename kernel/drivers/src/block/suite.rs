// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests that every block driver has to pass, with a fake of its device. A driver says how to set itself up ([`Rig`]),
//! and [`block_suite!`](crate::block_suite) makes the tests.

use std::sync::{Arc, Mutex};

use exo_platform::{Buffer, fake};

use super::{
    BlockError, Cause, Completion, Operation, Request, Requests, Sink, TIMEOUT_NS, Tag,
    fake_disk::{Deed, FakeDisk},
};
use crate::Driver;

/// What a device does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misdeed {
    /// Nothing.
    None,
    /// It answers no command, until it is reset.
    Silent,
    /// It answers no command and does not react to a reset.
    Dead,
    /// It was pulled out.
    Gone,
    /// It reports, beside true completions, ends of requests that nobody made, with numbers in range and out of range.
    Unasked,
    /// It reports every completion twice.
    Twice,
    /// It fills what it writes for the driver with garbage.
    Garbage,
}

/// All that go on while requests are under way.
const LIES: [Misdeed; 3] = [Misdeed::Unasked, Misdeed::Twice, Misdeed::Garbage];

/// A driver with its fake device, started.
pub(crate) trait Rig: Sized {
    /// Starts the driver on a device with this disk.
    fn start(disk: Arc<FakeDisk>) -> Self;
    /// The driver.
    fn driver(&self) -> Arc<dyn Driver>;
    /// The disk as the driver offers it.
    fn device(&self) -> Arc<dyn Requests>;
    /// Makes the device wait (true) before it carries commands out, or go on with those that came meanwhile.
    fn pause(&self, is_paused: bool);
    /// Delivers the interrupts that the device has raised.
    fn deliver(&self);
    /// Makes the device misbehave.
    fn misbehave(&self, misdeed: Misdeed);
}

/// Keeps what completed, with a copy of the buffer as it was then. The buffer itself is freed: a device that still writes
/// there is found out.
#[derive(Default)]
struct Collector(Mutex<Vec<Completion>>);

impl Sink for Collector {
    fn complete(&self, mut completion: Completion) {
        completion.buffer = completion.buffer.map(|buffer| filled(&content(&buffer)));
        self.0.lock().unwrap().push(completion);
    }
}

/// A rig, and what the requests to it came to.
pub(crate) struct Bench<R> {
    rig: R,
    disk: Arc<FakeDisk>,
    device: Arc<dyn Requests>,
    ended: Arc<Collector>,
}

const SECTORS: u64 = 4096;

/// `length` bytes that depend on `seed` in every place.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn filled(bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::kernel(bytes.len()).unwrap();
    buffer.copy_from(0, bytes);
    buffer
}

fn content(buffer: &Buffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.len()];
    buffer.copy_to(0, &mut bytes);
    bytes
}

/// What became of requests, for messages: tokens and results.
fn summary(ended: &[Completion]) -> Vec<(u64, Result<usize, Cause>)> {
    ended
        .iter()
        .map(|completion| (completion.token, completion.result.map_err(|error| error.cause)))
        .collect()
}

impl<R: Rig> Bench<R> {
    fn new() -> Self {
        Self::with(FakeDisk::new(SECTORS, 512))
    }

    fn with(disk: Arc<FakeDisk>) -> Self {
        fake::cpu::set_clock(1_000_000_000);
        let rig = R::start(disk.clone());
        let device = rig.device();
        Self { rig, disk, device, ended: Arc::default() }
    }

    fn request(
        &self,
        operation: Operation,
        sector: u64,
        sectors: u32,
        buffer: Option<Buffer>,
        token: u64,
    ) -> Request {
        Request { operation, sector, buffer, sectors, sink: self.ended.clone(), token }
    }

    /// A read of `sectors` sectors.
    fn read(&self, sector: u64, sectors: u32, token: u64) -> Request {
        let buffer = Buffer::kernel(sectors as usize * self.disk.sector_size as usize).unwrap();
        self.request(Operation::Read, sector, sectors, Some(buffer), token)
    }

    /// A write of `bytes`.
    fn write(&self, sector: u64, bytes: &[u8], token: u64) -> Request {
        let sectors = bytes.len() as u32 / self.disk.sector_size;
        self.request(Operation::Write, sector, sectors, Some(filled(bytes)), token)
    }

    fn submit(&self, request: Request) -> Result<Tag, Cause> {
        self.submit_on(0, request)
    }

    fn submit_on(&self, cpu: usize, request: Request) -> Result<Tag, Cause> {
        let token = request.token;
        self.device.submit(cpu, request).map_err(|refused| {
            assert_eq!(refused.request.token, token, "another request came back");
            assert_eq!(refused.why.device, self.device.name());
            refused.why.cause
        })
    }

    /// Lets the device work and takes what it has completed, ordered by token.
    fn settle(&self) -> Vec<Completion> {
        for cpu in 0..exo_platform::cpu_count() {
            self.device.ring(cpu);
        }
        for _ in 0..4 {
            self.rig.deliver();
            for cpu in 0..exo_platform::cpu_count() {
                self.device.poll(cpu);
                self.device.ring(cpu);
            }
        }
        self.taken()
    }

    fn taken(&self) -> Vec<Completion> {
        let mut ended = std::mem::take(&mut *self.ended.0.lock().unwrap());
        ended.sort_by_key(|completion| completion.token);
        ended
    }

    /// One request, from submission to end.
    fn run(&self, request: Request) -> Completion {
        let token = request.token;
        self.submit(request).unwrap();
        let mut ended = self.settle();
        assert_eq!(ended.len(), 1, "one request, {:?}", summary(&ended));
        let completion = ended.remove(0);
        assert_eq!(completion.token, token);
        completion
    }

    fn read_back(&self, sector: u64, sectors: u32) -> Result<Vec<u8>, BlockError> {
        let completion = self.run(self.read(sector, sectors, 7));
        completion.result.map(|bytes| {
            let content = content(&completion.buffer.unwrap());
            assert_eq!(bytes, content.len());
            content
        })
    }

    fn write_all(&self, sector: u64, bytes: &[u8]) -> Result<usize, BlockError> {
        self.run(self.write(sector, bytes, 8)).result
    }

    /// Lets `seconds` pass, with the timer four times a second.
    fn wait(&self, seconds: u64) -> Vec<Completion> {
        let mut ended = Vec::new();
        for _ in 0..4 * seconds {
            fake::cpu::advance(250_000_000);
            self.device.check_timeouts(exo_platform::now_ns());
            self.rig.deliver();
            ended.append(&mut self.taken());
        }
        ended
    }

    /// The device works as if nothing had been.
    fn assert_works(&self) {
        let bytes = pattern(99, 8192);
        assert_eq!(self.write_all(40, &bytes), Ok(8192));
        assert_eq!(self.read_back(40, 16), Ok(bytes));
        assert!(self.device.is_present());
    }
}

impl<R> Drop for Bench<R> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(
                fake::dma::stray_accesses(),
                0,
                "the device was told of memory that was not the driver's"
            );
        }
    }
}

/// Seconds after which the last request has ended, however often the device is reset: each attempt may take the time-out and
/// what the driver grants an abort.
const LONG: u64 = 8 * (TIMEOUT_NS / 1_000_000_000 + 10);

pub(crate) fn what_is_written_is_read_back<R: Rig>() {
    let bench = Bench::<R>::new();
    let most = bench.device.geometry().max_transfer;
    for (seed, (sector, length)) in
        [(0, 512), (1, 1024), (7, 4096), (100, 4608), (333, 65536), (1000, most), (2000, most - 512)]
            .into_iter()
            .enumerate()
    {
        let bytes = pattern(seed as u64, length);
        assert_eq!(bench.write_all(sector, &bytes), Ok(length));
        assert_eq!(bench.read_back(sector, (length / 512) as u32), Ok(bytes.clone()));
        assert_eq!(bench.disk.read(sector, length as u64 / 512), Ok(bytes), "on the medium");
    }
}

pub(crate) fn a_buffer_in_pieces_is_filled_in_order<R: Rig>() {
    let bench = Bench::<R>::new();
    for sizes in [&[4096, 512][..], &[4096, 4096, 4096, 1024], &[4096; 32]] {
        let length: usize = sizes.iter().sum();
        let bytes = pattern(length as u64, length);
        let mut buffer = Buffer::scattered(sizes).unwrap();
        buffer.copy_from(0, &bytes);
        let sectors = (length / 512) as u32;
        let request = bench.request(Operation::Write, 64, sectors, Some(buffer), 1);
        assert_eq!(bench.run(request).result, Ok(length));
        assert_eq!(bench.disk.read(64, u64::from(sectors)), Ok(bytes.clone()));
        let buffer = Buffer::scattered(sizes).unwrap();
        let completion = bench.run(bench.request(Operation::Read, 64, sectors, Some(buffer), 2));
        assert_eq!(completion.result, Ok(length));
        assert_eq!(content(&completion.buffer.unwrap()), bytes);
    }
}

pub(crate) fn the_last_sector_is_reached_and_none_beyond_it<R: Rig>() {
    let bench = Bench::<R>::new();
    assert_eq!(bench.device.geometry().sectors, SECTORS);
    let bytes = pattern(1, 512);
    assert_eq!(bench.write_all(SECTORS - 1, &bytes), Ok(512));
    assert_eq!(bench.read_back(SECTORS - 1, 1), Ok(bytes));
    assert_eq!(bench.submit(bench.read(SECTORS, 1, 1)), Err(Cause::OutOfRange));
    assert_eq!(bench.submit(bench.read(SECTORS - 1, 2, 1)), Err(Cause::OutOfRange));
    assert_eq!(bench.submit(bench.read(u64::MAX, 1, 1)), Err(Cause::OutOfRange));
    let empty = bench.request(Operation::Read, 0, 0, None, 1);
    assert_eq!(bench.submit(empty), Err(Cause::OutOfRange));
    let short = bench.request(Operation::Write, 0, 2, Some(filled(&[0; 512])), 1);
    assert_eq!(bench.submit(short), Err(Cause::Misaligned));
    let none = bench.request(Operation::Read, 0, 2, None, 1);
    assert_eq!(bench.submit(none), Err(Cause::Misaligned));
    assert!(bench.settle().is_empty(), "a refused request must not reach its sink");
    bench.assert_works();
}

pub(crate) fn sectors_of_4_kib_work<R: Rig>() {
    let bench = Bench::<R>::with(FakeDisk::new(64, 4096));
    assert_eq!(bench.device.geometry().sector_size, 4096);
    let bytes = pattern(4, 8192);
    assert_eq!(bench.write_all(62, &bytes), Ok(8192));
    assert_eq!(bench.read_back(62, 2), Ok(bytes));
}

pub(crate) fn a_full_queue_refuses_and_then_completes_everything<R: Rig>() {
    let bench = Bench::<R>::new();
    let depth = bench.device.geometry().depth as u64;
    for round in 0..3 {
        bench.rig.pause(true);
        for token in 0..depth {
            bench.submit(bench.write(token, &pattern(token + round, 512), token)).unwrap();
        }
        assert_eq!(bench.submit(bench.read(0, 1, 1000)), Err(Cause::QueueFull));
        assert!(bench.settle().is_empty(), "nothing can have completed");
        bench.rig.pause(false);
        let ended = bench.settle();
        assert_eq!(ended.iter().map(|c| c.token).collect::<Vec<_>>(), (0..depth).collect::<Vec<_>>());
        assert!(ended.iter().all(|c| c.result == Ok(512)));
        for token in 0..depth {
            assert_eq!(bench.disk.read(token, 1), Ok(pattern(token + round, 512)));
        }
    }
}

pub(crate) fn every_cpu_has_its_requests_completed<R: Rig>() {
    let bench = Bench::<R>::new();
    let cpus = exo_platform::cpu_count();
    for cpu in 0..cpus + 2 {
        bench.submit_on(cpu, bench.write(cpu as u64, &pattern(cpu as u64, 512), cpu as u64)).unwrap();
        bench.device.ring(cpu);
    }
    // Interrupts alone are enough.
    bench.rig.deliver();
    assert_eq!(bench.taken().len(), cpus + 2);
    for cpu in 0..cpus as u64 + 2 {
        assert_eq!(bench.disk.read(cpu, 1), Ok(pattern(cpu, 512)));
    }
}

pub(crate) fn a_request_that_was_not_rung_can_be_cancelled<R: Rig>() {
    let bench = Bench::<R>::new();
    for victim in 0..3 {
        let tags: Vec<Tag> =
            (0..3).map(|n| bench.submit(bench.write(10 + n, &pattern(n + 1, 512), n)).unwrap()).collect();
        assert!(bench.device.cancel(0, tags[victim]), "the device knows nothing of it yet");
        assert!(!bench.device.cancel(0, tags[victim]), "twice");
        let ended = bench.settle();
        assert_eq!(ended.len(), 3);
        for completion in &ended {
            if completion.token == victim as u64 {
                assert_eq!(
                    completion.result.map_err(|e| (e.cause, e.sector)),
                    Err((Cause::Cancelled, Some(10 + completion.token)))
                );
            } else {
                assert_eq!(completion.result, Ok(512));
            }
        }
        assert!(!bench.device.cancel(0, tags[(victim + 1) % 3]), "it has completed");
    }
    assert_eq!(bench.disk.deeds().len(), 6);
}

pub(crate) fn a_flush_comes_after_what_was_complete_before<R: Rig>() {
    let bench = Bench::<R>::new();
    assert_eq!(bench.write_all(5, &pattern(5, 512)), Ok(512));
    let completion = bench.run(bench.request(Operation::Flush, 0, 0, None, 3));
    assert_eq!(completion.result, Ok(0));
    assert_eq!(bench.disk.deeds(), [Deed::Write(5), Deed::Flush]);
}

pub(crate) fn flushes_among_many_writes_all_complete<R: Rig>() {
    let bench = Bench::<R>::new();
    bench.rig.pause(true);
    for token in 0..24 {
        let request = match token % 4 {
            3 => bench.request(Operation::Flush, 0, 0, None, token),
            _ => bench.write(token, &pattern(token, 512), token),
        };
        bench.submit(request).unwrap();
        if token % 5 == 0 {
            bench.device.ring(0);
        }
    }
    bench.device.ring(0);
    bench.rig.pause(false);
    let mut ended = Vec::new();
    for _ in 0..24 {
        ended.append(&mut bench.settle());
    }
    assert_eq!(ended.len(), 24);
    assert!(ended.iter().all(|completion| completion.result.is_ok()));
    assert_eq!(bench.disk.deeds().iter().filter(|deed| **deed == Deed::Flush).count(), 6);
}

pub(crate) fn discarded_sectors_are_gone_and_their_neighbours_are_not<R: Rig>() {
    let bench = Bench::<R>::new();
    let bytes = pattern(6, 4 * 512);
    assert_eq!(bench.write_all(100, &bytes), Ok(2048));
    let discard = bench.request(Operation::Discard, 101, 2, None, 1);
    if !bench.device.geometry().discard {
        assert_eq!(bench.submit(discard), Err(Cause::Unsupported));
        return;
    }
    assert_eq!(bench.run(discard).result, Ok(0));
    let mut expected = bytes;
    expected[512..1536].fill(0);
    assert_eq!(bench.read_back(100, 4), Ok(expected));
    let beyond = bench.request(Operation::Discard, SECTORS - 1, 2, None, 1);
    assert_eq!(bench.submit(beyond), Err(Cause::OutOfRange));
}

pub(crate) fn a_bad_sector_fails_its_request_and_no_other<R: Rig>() {
    let bench = Bench::<R>::new();
    let depth = bench.device.geometry().depth.min(32) as u64;
    for bad in [0, depth / 2, depth - 1] {
        bench.disk.set_bad(bad * 8, true);
        bench.rig.pause(true);
        for token in 0..depth {
            bench.submit(bench.read(token * 8, 8, token)).unwrap();
        }
        bench.device.ring(0);
        bench.rig.pause(false);
        let mut ended = bench.settle();
        ended.append(&mut bench.wait(2));
        ended.sort_by_key(|completion| completion.token);
        assert_eq!(ended.len() as u64, depth);
        for completion in &ended {
            match completion.result {
                Ok(bytes) => assert_eq!((bytes, completion.token == bad), (4096, false)),
                Err(error) => {
                    assert!(matches!(error.cause, Cause::Medium(_)), "{error}");
                    assert_eq!((error.sector, completion.token), (Some(bad * 8), bad));
                }
            }
        }
        bench.disk.set_bad(bad * 8, false);
    }
    bench.assert_works();
}

pub(crate) fn two_bad_sectors_at_once_fail_both<R: Rig>() {
    let bench = Bench::<R>::new();
    for bad in [3, 9] {
        bench.disk.set_bad(bad, true);
    }
    bench.rig.pause(true);
    for token in 0..12 {
        let request = match token {
            // A flush in between is to blame for nothing.
            5 => bench.request(Operation::Flush, 0, 0, None, token),
            _ => bench.write(token, &pattern(token, 512), token),
        };
        bench.submit(request).unwrap();
    }
    bench.device.ring(0);
    bench.rig.pause(false);
    let mut ended = bench.settle();
    ended.append(&mut bench.wait(2));
    let mut failed: Vec<u64> = ended.iter().filter(|c| c.result.is_err()).map(|c| c.token).collect();
    failed.sort_unstable();
    assert_eq!((ended.len(), failed), (12, vec![3, 9]));
    bench.assert_works();
}

pub(crate) fn a_device_that_never_answers_gives_time_outs_and_works_after_the_reset<R: Rig>() {
    let bench = Bench::<R>::new();
    bench.rig.misbehave(Misdeed::Silent);
    for token in 0..4 {
        bench.submit(bench.read(token, 1, token)).unwrap();
    }
    bench.device.ring(0);
    assert!(bench.wait(TIMEOUT_NS / 1_000_000_000 - 1).is_empty(), "too early");
    let ended = bench.wait(30);
    assert_eq!(ended.len(), 4);
    assert!(
        ended.iter().all(|c| {
            // A device that takes one command at a time was given the others only after its reset.
            c.result == Ok(512) && c.token > 0 || c.result.is_err_and(|e| e.cause == Cause::TimedOut)
        }),
        "{:?}",
        summary(&ended)
    );
    bench.assert_works();
}

pub(crate) fn a_young_request_survives_the_reset_that_an_old_one_causes<R: Rig>() {
    let bench = Bench::<R>::new();
    bench.rig.misbehave(Misdeed::Silent);
    bench.submit(bench.read(0, 1, 0)).unwrap();
    bench.device.ring(0);
    let mut ended = bench.wait(TIMEOUT_NS / 1_000_000_000 - 1);
    let bytes = pattern(11, 512);
    bench.submit(bench.write(11, &bytes, 1)).unwrap();
    bench.device.ring(0);
    ended.append(&mut bench.wait(20));
    ended.append(&mut bench.settle());
    ended.sort_by_key(|completion| completion.token);
    assert_eq!(ended.len(), 2, "{:?}", summary(&ended));
    assert!(ended[0].result.is_err_and(|e| e.cause == Cause::TimedOut));
    assert_eq!(ended[1].result, Ok(512));
    assert_eq!(bench.disk.read(11, 1), Ok(bytes));
}

pub(crate) fn a_dead_device_is_given_up_and_every_request_ends<R: Rig>() {
    let bench = Bench::<R>::new();
    bench.rig.misbehave(Misdeed::Dead);
    for token in 0..8 {
        let request = match token {
            4 => bench.request(Operation::Flush, 0, 0, None, token),
            _ => bench.read(token, 1, token),
        };
        bench.submit(request).unwrap();
    }
    bench.device.ring(0);
    let ended = bench.wait(LONG);
    assert_eq!(ended.len(), 8, "{:?}", summary(&ended));
    assert!(ended.iter().all(|completion| completion.result.is_err()));
    assert!(!bench.device.is_present());
    assert_eq!(bench.submit(bench.read(0, 1, 9)), Err(Cause::Removed));
}

pub(crate) fn a_device_that_was_pulled_out_ends_everything_at_once<R: Rig>() {
    let bench = Bench::<R>::new();
    bench.rig.pause(true);
    for token in 0..4 {
        bench.submit(bench.read(token, 1, token)).unwrap();
    }
    bench.device.ring(0);
    bench.submit(bench.read(4, 1, 4)).unwrap();
    bench.rig.misbehave(Misdeed::Gone);
    let ended = bench.wait(1);
    assert_eq!(ended.len(), 5);
    assert!(
        ended.iter().all(|c| c.result.is_err_and(|e| e.cause == Cause::Removed)),
        "{:?}",
        summary(&ended)
    );
    assert!(!bench.device.is_present());
    assert_eq!(bench.submit(bench.read(0, 1, 9)), Err(Cause::Removed));
    bench.device.ring(0);
    assert_eq!(bench.device.poll(0), 0);
    assert!(bench.wait(LONG).is_empty());
}

pub(crate) fn removal_by_the_bus_ends_everything_at_once<R: Rig>() {
    let bench = Bench::<R>::new();
    bench.rig.pause(true);
    bench.submit(bench.read(1, 1, 1)).unwrap();
    bench.device.ring(0);
    bench.rig.misbehave(Misdeed::Gone);
    bench.rig.driver().removed();
    assert!(bench.taken().iter().all(|c| c.result.is_err_and(|e| e.cause == Cause::Removed)));
    let _ = bench.rig.driver().shutdown();
    assert!(!bench.rig.driver().is_ready());
    assert!(bench.submit(bench.read(0, 1, 9)).is_err());
}

pub(crate) fn lies_of_the_device_end_no_request_twice_and_corrupt_nothing<R: Rig>() {
    for lie in LIES {
        let bench = Bench::<R>::new();
        for token in 0..SECTORS.min(64) {
            bench.disk.write(token, &pattern(token, 512)).unwrap();
        }
        bench.rig.misbehave(lie);
        let mut ended = Vec::new();
        let mut accepted = 0_u64;
        for round in 0..8 {
            bench.rig.pause(true);
            for n in 0..8 {
                let token = 8 * round + n;
                accepted += u64::from(bench.submit(bench.read(token, 1, token)).is_ok());
            }
            // What ends before the device has looked at it has no data yet.
            ended.append(&mut bench.settle());
            bench.rig.pause(false);
            ended.append(&mut bench.settle());
        }
        bench.rig.misbehave(Misdeed::None);
        ended.append(&mut bench.wait(LONG));
        ended.sort_by_key(|completion| completion.token);
        let tokens: Vec<u64> = ended.iter().map(|completion| completion.token).collect();
        let mut unique = tokens.clone();
        unique.dedup();
        assert_eq!((tokens.len() as u64, unique.len()), (accepted, tokens.len()), "{lie:?}");
        // A device that lies may end a request early, but it is an error or the data are those of the sector.
        if lie != Misdeed::Garbage {
            for completion in ended.iter().filter(|completion| completion.result.is_ok()) {
                let bytes = content(completion.buffer.as_ref().unwrap());
                assert_eq!(bytes, pattern(completion.token, 512), "{lie:?}, sector {}", completion.token);
            }
        }
        if bench.device.is_present() {
            bench.assert_works();
        }
    }
}

pub(crate) fn a_read_only_disk_refuses_writes_and_reads<R: Rig>() {
    let bench = Bench::<R>::with(FakeDisk::with_protection(SECTORS, 512, true));
    let written = match bench.submit(bench.write(0, &[1; 512], 1)) {
        Err(cause) => Err(cause),
        // A device without a way to say so fails the command.
        Ok(_) => {
            let mut ended = bench.settle();
            ended.append(&mut bench.wait(1));
            ended.remove(0).result.map_err(|error| error.cause)
        }
    };
    assert!(matches!(written, Err(Cause::ReadOnly | Cause::Medium(_))), "{written:?}");
    assert_eq!(bench.read_back(0, 1), Ok(vec![0; 512]));
}

pub(crate) fn shutting_down_ends_everything<R: Rig>() {
    let bench = Bench::<R>::new();
    assert!(bench.rig.driver().is_ready());
    bench.rig.pause(true);
    bench.submit(bench.read(1, 1, 1)).unwrap();
    bench.device.ring(0);
    let _ = bench.rig.driver().shutdown();
    assert_eq!(bench.taken().len(), 1);
    assert!(!bench.rig.driver().is_ready());
    assert!(matches!(bench.submit(bench.read(0, 1, 9)), Err(Cause::NotReady | Cause::Removed)));
    bench.rig.pause(false);
    bench.rig.deliver();
    assert!(bench.taken().is_empty());
}

pub(crate) fn a_long_random_run_agrees_with_a_model<R: Rig>() {
    let bench = Bench::<R>::new();
    let mut model = vec![0; SECTORS as usize * 512];
    let mut random = pattern(2024, 40_000).into_iter().map(u64::from);
    let mut next = |below: u64| {
        let value = random.next().unwrap() << 16 | random.next().unwrap() << 8 | random.next().unwrap();
        value % below
    };
    for round in 0..400 {
        // Requests of one round touch areas of their own, as their order is nobody's promise.
        let area = SECTORS / 8;
        bench.rig.pause(next(2) == 0);
        let mut reads = Vec::new();
        for token in 0..8 {
            let sector = token * area + next(area - 16);
            let sectors = 1 + next(16) as u32;
            let range = sector as usize * 512..(sector as usize + sectors as usize) * 512;
            if next(2) == 0 {
                let bytes = pattern(round * 8 + token, range.len());
                bench.submit(bench.write(sector, &bytes, token)).unwrap();
                model[range].copy_from_slice(&bytes);
            } else {
                bench.submit(bench.read(sector, sectors, token)).unwrap();
                reads.push((token, range));
            }
            if next(3) == 0 {
                bench.device.ring(0);
            }
        }
        bench.rig.pause(false);
        let ended = bench.settle();
        assert_eq!(ended.len(), 8);
        for (token, range) in reads {
            let completion = ended.iter().find(|completion| completion.token == token).unwrap();
            assert!(content(completion.buffer.as_ref().unwrap()) == model[range], "round {round}");
        }
    }
    assert!(bench.disk.read(0, SECTORS).unwrap() == model);
}

/// Makes the tests for a [`Rig`].
#[macro_export]
macro_rules! block_suite {
    ($rig:ty) => {
        $crate::block_suite! { $rig:
            what_is_written_is_read_back,
            a_buffer_in_pieces_is_filled_in_order,
            the_last_sector_is_reached_and_none_beyond_it,
            sectors_of_4_kib_work,
            a_full_queue_refuses_and_then_completes_everything,
            every_cpu_has_its_requests_completed,
            a_request_that_was_not_rung_can_be_cancelled,
            a_flush_comes_after_what_was_complete_before,
            flushes_among_many_writes_all_complete,
            discarded_sectors_are_gone_and_their_neighbours_are_not,
            a_bad_sector_fails_its_request_and_no_other,
            two_bad_sectors_at_once_fail_both,
            a_device_that_never_answers_gives_time_outs_and_works_after_the_reset,
            a_young_request_survives_the_reset_that_an_old_one_causes,
            a_dead_device_is_given_up_and_every_request_ends,
            a_device_that_was_pulled_out_ends_everything_at_once,
            removal_by_the_bus_ends_everything_at_once,
            lies_of_the_device_end_no_request_twice_and_corrupt_nothing,
            a_read_only_disk_refuses_writes_and_reads,
            shutting_down_ends_everything,
            a_long_random_run_agrees_with_a_model,
        }
    };
    ($rig:ty: $($test:ident,)*) => {
        $(
            #[test]
            fn $test() {
                $crate::block::suite::$test::<$rig>();
            }
        )*
    };
}
