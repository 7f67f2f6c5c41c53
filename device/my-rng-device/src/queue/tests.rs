// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver and a hostile guest against the queue, in plain memory.

use std::collections::HashSet;

use super::*;
use crate::registers::{Stream, Vector};

const SIZE: usize = 8 << 20;
const DESCRIPTORS: u64 = 0x1000;
const STATE: u64 = 0x8000;
const BUFFERS: u64 = 0x1_0000;

/// Guest memory that is a vector. It can be cut short while it is in use.
struct Guest {
    bytes: Vec<u8>,
    /// So many writes of data still work; then the memory is gone.
    writes_left: usize,
    /// Done to the memory just before the queue reads POSTED the next time.
    before_posted: Option<fn(&mut Vec<u8>)>,
}

impl Guest {
    fn new() -> Self {
        Self { bytes: vec![0; SIZE], writes_left: usize::MAX, before_posted: None }
    }

    fn put(&mut self, address: u64, value: u32) {
        put(&mut self.bytes, address, value);
    }

    fn get(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.bytes[address as usize..][..4].try_into().unwrap())
    }

    fn state(&self, field: usize) -> u32 {
        self.get(STATE + field as u64)
    }

    fn descriptor(&mut self, place: u64, address: u64, length: u32) {
        let at = DESCRIPTORS + place * 16;
        self.put(at, address as u32);
        self.put(at + 4, (address >> 32) as u32);
        self.put(at + 8, length);
        self.put(at + 12, 0);
    }

    fn post(&mut self, posted: u32) {
        self.put(STATE + abi::POSTED as u64, posted);
    }

    fn range(&self, address: u64, length: usize) -> Result<std::ops::Range<usize>, NoMemory> {
        let start = usize::try_from(address).map_err(|_| NoMemory)?;
        let end = start.checked_add(length).filter(|&end| end <= self.bytes.len()).ok_or(NoMemory)?;
        Ok(start..end)
    }
}

fn put(bytes: &mut [u8], address: u64, value: u32) {
    bytes[address as usize..][..4].copy_from_slice(&value.to_le_bytes());
}

impl Memory for Guest {
    fn load(&mut self, address: u64) -> Result<u32, NoMemory> {
        if address == STATE + abi::POSTED as u64 {
            if let Some(act) = self.before_posted.take() {
                act(&mut self.bytes);
            }
        }
        self.range(address, 4).map(|_| self.get(address))
    }

    fn store(&mut self, address: u64, value: u32) -> Result<(), NoMemory> {
        self.range(address, 4)?;
        self.put(address, value);
        Ok(())
    }

    fn load16(&mut self, address: u64) -> Result<u16, NoMemory> {
        self.range(address, 2).map(|range| u16::from_le_bytes(self.bytes[range].try_into().unwrap()))
    }

    fn store16(&mut self, address: u64, value: u16) -> Result<(), NoMemory> {
        let range = self.range(address, 2)?;
        self.bytes[range].copy_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn read(&mut self, address: u64, to: &mut [u8]) -> Result<(), NoMemory> {
        to.copy_from_slice(&self.bytes[self.range(address, to.len())?]);
        Ok(())
    }

    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), NoMemory> {
        let range = self.range(address, from.len())?;
        self.writes_left = self.writes_left.checked_sub(1).ok_or(NoMemory)?;
        self.bytes[range].copy_from_slice(from);
        Ok(())
    }

    fn check_writable(&mut self, address: u64, length: usize) -> Result<(), NoMemory> {
        self.range(address, length).map(drop)
    }
}

/// Counts up in 32-bit numbers, so that nothing can be given twice unseen.
#[derive(Default)]
struct CountUp(u32);

impl Source for CountUp {
    fn fill(&mut self, bytes: &mut [u8], pieces: &[usize]) -> Result<(), SourceDry> {
        assert_eq!(pieces.iter().sum::<usize>(), bytes.len());
        let mut rest = bytes;
        for &piece in pieces {
            let (bytes, after) = rest.split_at_mut(piece);
            for word in bytes.chunks_mut(4) {
                self.0 += 1;
                word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
            }
            rest = after;
        }
        Ok(())
    }
}

fn set_up(depth: u32) -> SetUp {
    SetUp { depth, descriptors: DESCRIPTORS, state: STATE, stream: Stream::Seedable, vector: Vector(Some(0)) }
}

struct Bench {
    guest: Guest,
    queue: Queue,
    source: CountUp,
    space: Box<[u8; STEP]>,
}

impl Bench {
    fn new(depth: u32) -> Self {
        let mut guest = Guest::new();
        let queue = Queue::start(set_up(depth), &mut guest).unwrap();
        Self { guest, queue, source: CountUp::default(), space: Box::new([0; STEP]) }
    }

    fn step(&mut self) -> Result<Step, Fault> {
        self.queue.step(&mut self.guest, &mut self.source, &mut self.space, &mut Free)
    }

    /// Steps until there is nothing to do. Gives bytes, buffers and interrupts.
    fn drain(&mut self) -> Result<(usize, u32, u32), Fault> {
        let mut all = (0, 0, 0);
        loop {
            match self.step()? {
                Step::Worked(work) => {
                    all = (all.0 + work.bytes, all.1 + work.buffers, all.2 + u32::from(work.interrupt));
                }
                Step::Idle => return Ok(all),
                other => panic!("{other:?}"),
            }
        }
    }

    fn numbers(&self, address: u64, count: usize) -> Vec<u32> {
        (0..count as u64).map(|place| self.guest.get(address + place * 4)).collect()
    }
}

#[test]
fn buffers_are_filled_in_the_order_in_which_they_were_posted() {
    let mut bench = Bench::new(4);
    for (place, address) in
        [BUFFERS + 0x300, BUFFERS + 0x200, BUFFERS + 0x100, BUFFERS].into_iter().enumerate()
    {
        bench.guest.descriptor(place as u64, address, 16);
    }
    bench.guest.post(3);
    assert_eq!(bench.drain(), Ok((48, 3, 0)));
    assert_eq!(bench.guest.state(abi::COMPLETED), 3);
    assert_eq!(bench.numbers(BUFFERS + 0x300, 5), [1, 2, 3, 4, 0]);
    assert_eq!(bench.numbers(BUFFERS + 0x100, 5), [9, 10, 11, 12, 0]);
    bench.guest.post(5);
    assert_eq!(bench.drain(), Ok((32, 2, 0)), "around the ring's end");
    assert_eq!(bench.numbers(BUFFERS, 4), [13, 14, 15, 16]);
    assert_eq!(bench.numbers(BUFFERS + 0x300, 4), [17, 18, 19, 20]);
}

#[test]
fn large_buffers_are_cut_and_no_number_is_lost_or_given_twice() {
    let mut bench = Bench::new(8);
    let lengths = [abi::BUFFER_SIZE_MAX, 4, 100_000, 32_764, 4096, 68, 1 << 20, 12];
    let mut address = BUFFERS;
    for (place, length) in lengths.into_iter().enumerate() {
        bench.guest.descriptor(place as u64, address, length);
        address += u64::from(length);
    }
    bench.guest.post(8);
    let total: u32 = lengths.iter().sum();
    assert_eq!(bench.drain(), Ok((total as usize, 8, 0)));
    let expected: Vec<u32> = (1..=total / 4).collect();
    assert_eq!(bench.numbers(BUFFERS, total as usize / 4), expected);
}

#[test]
fn a_buffer_of_odd_length_ends_with_part_of_a_number_and_the_next_begins_with_a_whole_one() {
    let mut bench = Bench::new(2);
    bench.guest.bytes[BUFFERS as usize..][..32].fill(0xee);
    bench.guest.descriptor(0, BUFFERS + 1, 5);
    bench.guest.descriptor(1, BUFFERS + 16, 4);
    bench.guest.post(2);
    assert_eq!(bench.drain(), Ok((9, 2, 0)));
    let bytes = &bench.guest.bytes[BUFFERS as usize..][..32];
    assert_eq!(bytes[..8], [0xee, 1, 0, 0, 0, 2, 0xee, 0xee]);
    assert_eq!(bytes[16..21], [3, 0, 0, 0, 0xee]);
}

#[test]
fn counts_run_past_their_end() {
    let mut bench = Bench::new(4);
    for start in [u32::MAX - 2, 0x7fff_fffe] {
        bench.queue.completed = start;
        for place in 0..4 {
            bench.guest.descriptor(place, BUFFERS + place * 64, 64);
        }
        bench.guest.post(start.wrapping_add(4));
        assert_eq!(bench.drain(), Ok((256, 4, 0)));
        assert_eq!(bench.guest.state(abi::COMPLETED), start.wrapping_add(4));
    }
}

#[test]
fn posting_more_than_the_depth_is_an_error() {
    for posted in [5, 6, 0x8000_0000, u32::MAX] {
        let mut bench = Bench::new(4);
        (0..4).for_each(|place| bench.guest.descriptor(place, BUFFERS, 64));
        bench.guest.post(posted);
        assert_eq!(bench.step(), Err(Fault::Count), "posted {posted}");
        assert_eq!(bench.guest.state(abi::COMPLETED), 0);
    }
}

#[test]
fn a_wrong_descriptor_stops_the_queue_when_its_turn_comes() {
    let wrong: [(u64, u32, u32, Fault); 8] = [
        (BUFFERS, 0, 0, Fault::Descriptor),
        (BUFFERS, abi::BUFFER_SIZE_MAX + 1, 0, Fault::Descriptor),
        (BUFFERS, u32::MAX, 0, Fault::Descriptor),
        (BUFFERS, 64, 1, Fault::Descriptor),
        (SIZE as u64 - 63, 64, 0, Fault::Address),
        (SIZE as u64, 1, 0, Fault::Address),
        (u64::MAX, 1, 0, Fault::Address),
        (u64::MAX - 10, 64, 0, Fault::Address),
    ];
    for (address, length, reserved, fault) in wrong {
        let mut bench = Bench::new(4);
        bench.guest.descriptor(0, BUFFERS, 64);
        bench.guest.descriptor(1, address, length);
        bench.guest.put(DESCRIPTORS + 16 + 12, reserved);
        bench.guest.descriptor(2, BUFFERS + 128, 64);
        bench.guest.post(3);
        assert_eq!(bench.drain(), Err(fault), "{length} bytes at {address:#x}");
        assert_eq!(bench.guest.state(abi::COMPLETED), 1, "the one before it is done");
        assert_eq!(bench.numbers(BUFFERS + 128, 1), [0], "the one after it is not");
        assert_eq!(bench.source.0, 16, "nothing was drawn for it");
        Queue::fail(&set_up(4), fault, &mut bench.guest);
        assert_eq!(bench.guest.state(abi::ERROR), fault.code());
    }
}

#[test]
fn descriptors_and_state_must_be_memory() {
    let mut guest = Guest::new();
    let nowhere = SetUp { state: SIZE as u64, ..set_up(4) };
    assert_eq!(Queue::start(nowhere, &mut guest).unwrap_err(), Fault::Address);
    let nowhere = SetUp { descriptors: SIZE as u64 - 16, ..set_up(4) };
    let mut bench = Bench { queue: Queue::start(nowhere, &mut guest).unwrap(), ..Bench::new(4) };
    bench.guest.post(2);
    assert_eq!(bench.step(), Err(Fault::Address));
}

#[test]
fn memory_that_goes_away_during_a_transfer_is_an_error() {
    let mut bench = Bench::new(4);
    bench.guest.descriptor(0, BUFFERS, abi::BUFFER_SIZE_MAX);
    bench.guest.post(1);
    assert!(matches!(bench.step(), Ok(Step::Worked(Work { bytes: STEP, buffers: 0, interrupt: false }))));
    bench.guest.writes_left = 1;
    assert_eq!(bench.drain(), Err(Fault::Address));
    assert_eq!(bench.guest.state(abi::COMPLETED), 0);
}

#[test]
fn a_buffer_that_was_begun_is_not_moved_by_a_change_of_its_descriptor() {
    let mut bench = Bench::new(4);
    bench.guest.descriptor(0, BUFFERS, 2 * STEP as u32);
    bench.guest.post(1);
    bench.step().unwrap();
    bench.guest.descriptor(0, SIZE as u64, 0);
    assert_eq!(bench.drain(), Ok((STEP, 1, 0)));
}

#[test]
fn the_interrupt_comes_when_its_completion_is_passed() {
    let mut bench = Bench::new(8);
    (0..8).for_each(|place| bench.guest.descriptor(place, BUFFERS, 64));
    let cases = [(3, 0, 0), (10, 1, 0), (10, 1, 1), (100, 1, 0), (20, 1, 1), (24, 2, 1), (24, 1, 0)];
    for (at, wanted, interrupts) in cases {
        bench.guest.put(STATE + abi::INTERRUPT_AT as u64, at);
        bench.guest.put(STATE + abi::INTERRUPT_WANTED as u64, wanted);
        let posted = bench.guest.state(abi::POSTED) + 4;
        bench.guest.post(posted);
        assert_eq!(bench.drain().unwrap().2, interrupts, "at {at}, posted {posted}");
    }
}

#[test]
fn who_sleeps_says_so_and_who_wakes_too() {
    let mut bench = Bench::new(4);
    bench.guest.descriptor(0, BUFFERS, 64);
    assert_eq!(bench.queue.try_to_sleep(&mut bench.guest), Ok(true));
    assert!(bench.queue.is_asleep());
    assert_eq!(bench.guest.state(abi::SLEEPING), 1);
    bench.guest.post(1);
    bench.queue.wake(&mut bench.guest).unwrap();
    assert_eq!(bench.guest.state(abi::SLEEPING), 0);
    assert_eq!(bench.drain(), Ok((64, 1, 0)));
}

#[test]
fn work_that_comes_while_it_falls_asleep_keeps_it_awake() {
    let mut bench = Bench::new(4);
    bench.guest.descriptor(0, BUFFERS, 64);
    bench.guest.before_posted = Some(|bytes| put(bytes, STATE + abi::POSTED as u64, 1));
    assert_eq!(bench.queue.try_to_sleep(&mut bench.guest), Ok(false));
    assert_eq!(bench.guest.state(abi::SLEEPING), 0);
    assert_eq!(bench.drain(), Ok((64, 1, 0)));
}

const EVERYTHING: Amount = Amount { operations: u64::MAX, bytes: u64::MAX };

/// Everything is allowed.
struct Free;

impl Limit for Free {
    fn most(&self) -> Amount {
        EVERYTHING
    }
    fn take(&mut self, _: Amount) -> Result<(), Duration> {
        Ok(())
    }
    fn leave(&mut self) {}
}

/// A limit that remembers.
struct Strict {
    most: Amount,
    allowed: bool,
    asked: Vec<(u64, u64)>,
    left: u32,
}

impl Limit for Strict {
    fn most(&self) -> Amount {
        self.most
    }
    fn take(&mut self, Amount { operations, bytes }: Amount) -> Result<(), Duration> {
        self.asked.push((operations, bytes));
        if self.allowed { Ok(()) } else { Err(Duration::from_millis(5)) }
    }
    fn leave(&mut self) {
        self.left += 1;
        self.most = EVERYTHING;
    }
}

#[test]
fn no_more_is_done_than_was_asked_for_whatever_the_guest_makes_of_it() {
    let mut bench = Bench::new(4);
    let small = Amount { operations: 1, bytes: 16 };
    let mut strict = Strict { most: small, allowed: true, asked: Vec::new(), left: 0 };
    (0..4).for_each(|place| bench.guest.descriptor(place, BUFFERS, 16));
    bench.guest.post(4);
    let mut step = |bench: &mut Bench, most| {
        strict.most = most;
        let Bench { guest, queue, source, space } = bench;
        queue.step(guest, source, space, &mut strict).unwrap();
        (strict.asked.last().copied(), strict.left)
    };
    assert_eq!(step(&mut bench, small), (Some((1, 16)), 0));
    assert_eq!(step(&mut bench, Amount { operations: 2, ..EVERYTHING }), (Some((2, 32)), 0));
    // A buffer that has grown does not fit: the place is left and another one taken.
    bench.guest.descriptor(3, BUFFERS, 100);
    assert_eq!(step(&mut bench, small), (Some((1, 100)), 1));
    assert_eq!(step(&mut bench, small), (Some((1, 100)), 2), "there is nothing to wait for");
}

#[test]
fn what_the_limits_forbid_stays_undone_and_undrawn() {
    let mut bench = Bench::new(4);
    bench.guest.descriptor(0, BUFFERS, 2 * STEP as u32);
    bench.guest.descriptor(1, BUFFERS, 64);
    bench.guest.post(2);
    let wait = Duration::from_millis(5);
    let mut strict = Strict { most: EVERYTHING, allowed: false, asked: Vec::new(), left: 0 };
    for allowed in [false, true, false, true] {
        let Bench { guest, queue, source, space } = &mut bench;
        strict.allowed = allowed;
        let step = queue.step(guest, source, space, &mut strict);
        assert_eq!(step.unwrap() == Step::Throttled(wait), !allowed);
    }
    let step = STEP as u64;
    assert_eq!(strict.asked, [(1, step), (1, step), (0, step), (0, step)]);
    assert_eq!(bench.drain(), Ok((64, 1, 0)));
    assert_eq!(bench.source.0 as usize, (2 * STEP + 64) / 4);
}

#[test]
fn a_dry_source_leaves_everything_as_it_is() {
    struct Dry;
    impl Source for Dry {
        fn fill(&mut self, _: &mut [u8], _: &[usize]) -> Result<(), SourceDry> {
            Err(SourceDry)
        }
    }
    let mut bench = Bench::new(4);
    bench.guest.descriptor(0, BUFFERS, 64);
    bench.guest.post(1);
    let step = bench.queue.step(&mut bench.guest, &mut Dry, &mut bench.space, &mut Free);
    assert_eq!(step, Ok(Step::Dry));
    assert_eq!(bench.drain(), Ok((64, 1, 0)));
}

/// Whatever the guest writes, the queue touches only its own fields and what the descriptors name, never fails in
/// another way than by a [`Fault`], and gives no number twice.
#[test]
fn a_hostile_guest_gains_nothing() {
    let mut random = crate::generators::Generator::new(crate::generators::Kind::ChaCha20, 1);
    let mut seen = HashSet::new();
    for _ in 0..300 {
        let depth = 1 << (random.next_u32() % 5);
        let mut bench = Bench::new(depth);
        bench.source.0 = seen.len() as u32;
        bench.queue.completed = random.next_u32() | 0xffff_fff0;
        for _ in 0..40 {
            let place = u64::from(random.next_u32() % depth);
            let address = match random.next_u32() % 4 {
                0 => u64::MAX - u64::from(random.next_u32() % 100),
                _ => BUFFERS + u64::from(random.next_u32() % 0x1000),
            };
            let length = match random.next_u32() % 16 {
                0 => random.next_u32(),
                _ => 1 + random.next_u32() % 100,
            };
            bench.guest.descriptor(place, address, length);
            let ahead = random.next_u32() % (depth + 1 + u32::from(random.next_u32() % 16 == 0));
            bench.guest.post(bench.queue.completed.wrapping_add(ahead));
            let before = bench.source.0;
            match bench.step() {
                Ok(Step::Worked(work)) => {
                    assert!(work.bytes <= STEP && work.buffers <= depth);
                    assert!((before..bench.source.0).all(|number| seen.insert(number)));
                }
                Ok(Step::Idle) => {}
                Ok(other) => panic!("{other:?}"),
                Err(_) => break,
            }
        }
        assert!(bench.guest.bytes[..DESCRIPTORS as usize].iter().all(|&byte| byte == 0));
        let after_state = &bench.guest.bytes[STATE as usize + abi::STATE_SIZE..BUFFERS as usize];
        assert!(after_state.iter().all(|&byte| byte == 0));
    }
}
