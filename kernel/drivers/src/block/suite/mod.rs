// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests that every block driver has to pass, with a fake of its device. A driver says how to set itself up
//! ([`Start`]), and [`block_suite!`](crate::block_suite) makes the tests.

mod rig;
pub(crate) mod trouble;
pub(crate) mod work;

use std::sync::{Arc, Mutex};

use exo_platform::{Buffer, fake};

use super::{
    BlockError, Cause, Completion, Operation, Request, Requests, Sink, TIMEOUT_NS, Tag, fake_disk::FakeDisk,
};

pub(crate) use rig::{FakeController, Rig};

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

/// Starts a driver on a device with this disk.
pub(crate) type Start<F> = fn(Arc<FakeDisk>) -> Rig<F>;

/// Keeps what completed, with a copy of the buffer as it was then. The buffer itself is freed: a device that still writes
/// there is found out.
#[derive(Default)]
pub(crate) struct Collector(Mutex<Vec<Completion>>);

impl Sink for Collector {
    fn complete(&self, mut completion: Completion) {
        completion.buffer = completion.buffer.map(|buffer| filled(&content(&buffer)));
        self.0.lock().unwrap().push(completion);
    }
}

impl Collector {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Takes them out, in the order in which they came.
    pub(crate) fn take(&self) -> Vec<Completion> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A rig, and what the requests to it came to.
pub(crate) struct Bench<F> {
    rig: Rig<F>,
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

pub(crate) fn filled(bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::kernel(bytes.len()).unwrap();
    buffer.copy_from(0, bytes);
    buffer
}

pub(crate) fn content(buffer: &Buffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.len()];
    buffer.copy_to(0, &mut bytes);
    bytes
}

/// What became of requests, for messages: tokens and results.
pub(crate) fn summary(ended: &[Completion]) -> Vec<(u64, Result<usize, Cause>)> {
    ended
        .iter()
        .map(|completion| (completion.token, completion.result.map_err(|error| error.cause)))
        .collect()
}

impl<F: FakeController> Bench<F> {
    fn new(start: Start<F>) -> Self {
        Self::with(start, FakeDisk::new(SECTORS, 512))
    }

    fn with(start: Start<F>, disk: Arc<FakeDisk>) -> Self {
        fake::cpu::set_clock(1_000_000_000);
        let rig = start(disk.clone());
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
        let mut ended = self.ended.take();
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

impl<F> Drop for Bench<F> {
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

/// Makes the tests of a driver that a function ([`Start`](crate::block::suite::Start)) sets up.
#[macro_export]
macro_rules! block_suite {
    ($start:path) => {
        $crate::block_suite! { $start, work:
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
            a_long_random_run_agrees_with_a_model,
        }
        $crate::block_suite! { $start, trouble:
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
        }
    };
    ($start:path, $part:ident: $($test:ident,)*) => {
        $(
            #[test]
            fn $test() {
                $crate::block::suite::$part::$test($start);
            }
        )*
    };
}
