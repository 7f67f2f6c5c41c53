// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver and a hostile guest against the virtqueue, in plain memory.

use std::ops::Range;
use std::time::Duration;

use super::*;
use crate::memory::NoMemory;
use crate::queue::SourceDry;
use crate::queue::{Limit, Source, Step};

const MEMORY: usize = 1 << 20;
const TABLE: u64 = 0x1000;
const DRIVER: u64 = 0x3000;
const DEVICE: u64 = 0x4000;
const INDIRECT_TABLE: u64 = 0x6000;
const BUFFERS: u64 = 0x1_0000;

/// Guest memory that is a vector.
struct Guest(Vec<u8>);

impl Guest {
    fn range(&self, address: u64, length: usize) -> Result<Range<usize>, NoMemory> {
        let start = usize::try_from(address).map_err(|_| NoMemory)?;
        let end = start.checked_add(length).filter(|&end| end <= self.0.len()).ok_or(NoMemory)?;
        Ok(start..end)
    }
}

impl Memory for Guest {
    fn load(&mut self, address: u64) -> Result<u32, NoMemory> {
        self.range(address, 4).map(|range| u32::from_le_bytes(self.0[range].try_into().unwrap()))
    }

    fn store(&mut self, address: u64, value: u32) -> Result<(), NoMemory> {
        self.write(address, &value.to_le_bytes())
    }

    fn load16(&mut self, address: u64) -> Result<u16, NoMemory> {
        assert_eq!(address % 2, 0, "the trait's rule");
        self.range(address, 2).map(|range| u16::from_le_bytes(self.0[range].try_into().unwrap()))
    }

    fn store16(&mut self, address: u64, value: u16) -> Result<(), NoMemory> {
        assert_eq!(address % 2, 0, "the trait's rule");
        self.write(address, &value.to_le_bytes())
    }

    fn read(&mut self, address: u64, to: &mut [u8]) -> Result<(), NoMemory> {
        to.copy_from_slice(&self.0[self.range(address, to.len())?]);
        Ok(())
    }

    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), NoMemory> {
        let range = self.range(address, from.len())?;
        self.0[range].copy_from_slice(from);
        Ok(())
    }

    fn check_writable(&mut self, address: u64, length: usize) -> Result<(), NoMemory> {
        self.range(address, length).map(drop)
    }
}

/// Bytes that are never 0, and so seen.
struct Ones(usize);

impl Source for Ones {
    fn fill(&mut self, bytes: &mut [u8], pieces: &[usize]) -> Result<(), SourceDry> {
        assert_eq!(pieces.iter().sum::<usize>(), bytes.len());
        self.0 += bytes.len();
        bytes.fill(1);
        Ok(())
    }
}

/// A limit of so many operations and bytes at once; nothing waits.
struct AtMost(Amount);

impl Limit for AtMost {
    fn most(&self) -> Amount {
        self.0
    }

    fn take(&mut self, amount: Amount) -> Result<(), Duration> {
        assert!(amount.operations <= self.0.operations && amount.bytes <= self.0.bytes, "{amount:?}");
        Ok(())
    }

    fn leave(&mut self) {}
}

const FREE: Amount = Amount { operations: u64::MAX, bytes: u64::MAX };

struct Bench {
    guest: Guest,
    queue: Virtqueue,
    source: Ones,
    limit: AtMost,
    space: Box<[u8; STEP]>,
    /// Chains that the driver has made available.
    posted: u16,
}

fn set_up(size: u16) -> SetUp {
    SetUp { size, descriptors: TABLE, driver: DRIVER, device: DEVICE, event_index: false, indirect: true }
}

impl Bench {
    fn new(size: u16) -> Self {
        Self::with(set_up(size))
    }

    fn with(set_up: SetUp) -> Self {
        let mut guest = Guest(vec![0; MEMORY]);
        let queue = Virtqueue::start(set_up.checked().unwrap(), &mut guest).unwrap();
        Self { guest, queue, source: Ones(0), limit: AtMost(FREE), space: Box::new([0; STEP]), posted: 0 }
    }

    fn describe_in(&mut self, table: u64, place: u16, (address, length, flags, next): (u64, u32, u16, u16)) {
        let bytes =
            [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()];
        self.guest.write(table + u64::from(place) * 16, &bytes.concat()).unwrap();
    }

    fn describe(&mut self, place: u16, descriptor: (u64, u32, u16, u16)) {
        self.describe_in(TABLE, place, descriptor);
    }

    fn post(&mut self, head: u16) {
        let size = self.queue.set_up.size;
        self.guest.store16(DRIVER + 4 + u64::from(self.posted % size) * 2, head).unwrap();
        self.posted = self.posted.wrapping_add(1);
        self.guest.store16(DRIVER + 2, self.posted).unwrap();
    }

    fn step(&mut self) -> Result<Step, Fault> {
        self.queue.step(&mut self.guest, &mut self.source, &mut self.space, &mut self.limit)
    }

    /// Steps until there is nothing to do. Gives bytes, chains and interrupts.
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

    /// The used entries so far.
    fn used(&mut self) -> Vec<(u32, u32)> {
        let (size, count) = (self.queue.set_up.size, self.guest.load16(DEVICE + 2).unwrap());
        let entry = |place: u16| DEVICE + 4 + u64::from(place % size) * 8;
        let first = count.saturating_sub(size);
        (first..count)
            .map(|place| (self.guest.load(entry(place)).unwrap(), self.guest.load(entry(place) + 4).unwrap()))
            .collect()
    }

    fn filled(&self, address: u64) -> usize {
        self.guest.0[address as usize..].iter().take_while(|&&byte| byte == 1).count()
    }
}

#[test]
fn chains_are_filled_and_given_back_in_order() {
    let mut bench = Bench::new(8);
    bench.describe(5, (BUFFERS, 64, WRITE, 0));
    bench.describe(2, (BUFFERS + 0x100, 10, WRITE | NEXT, 7));
    bench.describe(7, (BUFFERS + 0x200, 0, WRITE | NEXT, 1));
    bench.describe(1, (BUFFERS + 0x300, 20, WRITE, 0));
    bench.post(2);
    bench.post(5);
    assert_eq!(bench.drain(), Ok((94, 2, 1)));
    assert_eq!(bench.used(), [(2, 30), (5, 64)]);
    let filled = [0, 0x100, 0x200, 0x300].map(|offset| bench.filled(BUFFERS + offset));
    assert_eq!(filled, [64, 10, 0, 20]);
    assert_eq!(bench.guest.0.iter().skip(BUFFERS as usize).filter(|&&byte| byte != 0).count(), 94);
}

#[test]
fn indexes_run_past_their_end() {
    let mut bench = Bench::new(4);
    bench.describe(0, (BUFFERS, 4, WRITE, 0));
    for round in 0..0x1_0010_u32 {
        bench.post(0);
        assert_eq!(bench.step(), Ok(Step::Worked(Work { bytes: 4, buffers: 1, interrupt: true })), "{round}");
    }
    assert_eq!(bench.guest.load16(DEVICE + 2), Ok(0x10));
}

#[test]
fn an_indirect_table_is_a_chain_that_may_follow_others() {
    let mut bench = Bench::new(4);
    bench.describe(0, (BUFFERS, 8, WRITE | NEXT, 1));
    bench.describe(1, (INDIRECT_TABLE, 32, INDIRECT | WRITE, 0));
    bench.describe_in(INDIRECT_TABLE, 0, (BUFFERS + 0x100, 16, WRITE | NEXT, 1));
    bench.describe_in(INDIRECT_TABLE, 1, (BUFFERS + 0x200, 32, WRITE, 0));
    bench.post(0);
    assert_eq!(bench.drain(), Ok((56, 1, 1)));
    assert_eq!(bench.used(), [(0, 56)]);
    assert_eq!([0, 0x100, 0x200].map(|offset| bench.filled(BUFFERS + offset)), [8, 16, 32]);
}

#[test]
fn a_large_buffer_gets_what_a_step_has_and_a_limit_allows() {
    let mut bench = Bench::new(4);
    bench.describe(0, (BUFFERS, 500_000, WRITE, 0));
    bench.post(0);
    assert_eq!(bench.drain(), Ok((STEP, 1, 1)));
    bench.limit = AtMost(Amount { operations: 1, bytes: 100 });
    bench.describe(1, (BUFFERS, 60, WRITE | NEXT, 2));
    bench.describe(2, (BUFFERS, 60, WRITE, 0));
    bench.post(1);
    bench.post(0);
    assert_eq!(bench.drain(), Ok((200, 2, 2)), "one at a time");
    assert_eq!(bench.used(), [(0, STEP as u32), (1, 100), (0, 100)]);
}

#[test]
fn what_breaks_a_rule_stops_the_queue_when_its_turn_comes_and_is_given_nothing() {
    type Entry = (u64, u32, u16, u16);
    let good = (BUFFERS, 16, WRITE, 0);
    let outside = MEMORY as u64;
    // Descriptors 1 and 2, the first of the indirect table, and what is wrong.
    let cases: [(&str, [Entry; 3], Fault); 17] = [
        ("a buffer for the device to read", [(BUFFERS, 16, 0, 0), good, good], Fault::Descriptor),
        (
            "one at the end of a chain",
            [(BUFFERS, 16, WRITE | NEXT, 2), (BUFFERS, 1, 0, 0), good],
            Fault::Descriptor,
        ),
        ("a circle of one", [(BUFFERS, 16, WRITE | NEXT, 1), good, good], Fault::Descriptor),
        (
            "a circle of two",
            [(BUFFERS, 1, WRITE | NEXT, 2), (BUFFERS, 1, WRITE | NEXT, 1), good],
            Fault::Descriptor,
        ),
        ("a next one that is not there", [(BUFFERS, 16, WRITE | NEXT, 4), good, good], Fault::Descriptor),
        ("far from there", [(BUFFERS, 16, WRITE | NEXT, 0xffff), good, good], Fault::Descriptor),
        ("no byte at all", [(BUFFERS, 0, WRITE, 0), good, good], Fault::Descriptor),
        ("the end outside", [(outside - 15, 16, WRITE, 0), good, good], Fault::Address),
        ("outside", [(outside, 1, WRITE, 0), good, good], Fault::Address),
        ("at the end of all addresses", [(u64::MAX, 16, WRITE, 0), good, good], Fault::Address),
        ("4 GiB", [(BUFFERS, u32::MAX, WRITE, 0), good, good], Fault::Address),
        (
            "an indirect one with a next",
            [(INDIRECT_TABLE, 16, INDIRECT | NEXT, 2), good, good],
            Fault::Descriptor,
        ),
        ("half an entry", [(INDIRECT_TABLE, 24, INDIRECT, 0), good, good], Fault::Descriptor),
        ("no entry", [(INDIRECT_TABLE, 0, INDIRECT, 0), good, good], Fault::Descriptor),
        ("more entries than the queue", [(INDIRECT_TABLE, 80, INDIRECT, 0), good, good], Fault::Descriptor),
        (
            "an indirect one in an indirect one",
            [(INDIRECT_TABLE, 16, INDIRECT, 0), good, (INDIRECT_TABLE, 16, INDIRECT, 0)],
            Fault::Descriptor,
        ),
        (
            "a circle in an indirect one",
            [(INDIRECT_TABLE, 64, INDIRECT, 0), good, (BUFFERS, 1, WRITE | NEXT, 0)],
            Fault::Descriptor,
        ),
    ];
    for (what, [first, second, inner], fault) in cases {
        let mut bench = Bench::new(4);
        bench.describe(0, (BUFFERS, 64, WRITE, 0));
        bench.describe(1, first);
        bench.describe(2, second);
        bench.describe_in(INDIRECT_TABLE, 0, inner);
        bench.post(0);
        bench.post(1);
        bench.post(0);
        assert_eq!(bench.drain(), Err(fault), "{what}");
        assert_eq!(bench.used(), [(0, 64)], "{what}: the one before it is done");
        assert_eq!(bench.source.0, 64, "{what}: nothing was drawn for it");
    }
}

#[test]
fn an_indirect_table_that_was_not_agreed_on_or_is_nowhere_stops_the_queue() {
    for (indirect, table, fault) in [
        (false, INDIRECT_TABLE, Fault::Descriptor),
        (true, MEMORY as u64, Fault::Address),
        (true, u64::MAX - 7, Fault::Address),
    ] {
        let mut bench = Bench::with(SetUp { indirect, ..set_up(4) });
        bench.describe(0, (table, 32, INDIRECT, 0));
        bench.describe_in(INDIRECT_TABLE, 0, (BUFFERS, 16, WRITE, 0));
        bench.post(0);
        assert_eq!(bench.drain(), Err(fault), "{table:#x}");
    }
}

#[test]
fn more_than_the_queue_has_and_heads_that_are_not_there_stop_it() {
    for index in [5, 0x8000, u16::MAX] {
        let mut bench = Bench::new(4);
        bench.describe(0, (BUFFERS, 16, WRITE, 0));
        bench.guest.store16(DRIVER + 2, index).unwrap();
        assert_eq!(bench.step(), Err(Fault::Count), "{index}");
    }
    for head in [4, 0xffff] {
        let mut bench = Bench::new(4);
        bench.post(head);
        assert_eq!(bench.step(), Err(Fault::Descriptor), "{head}");
    }
}

#[test]
fn the_longest_chains_are_walked_in_pieces() {
    let mut bench = Bench::new(SIZE_MAX);
    for place in 0..SIZE_MAX {
        let next = if place + 1 < SIZE_MAX { NEXT } else { 0 };
        bench.describe(place, (BUFFERS + u64::from(place), 1, WRITE | next, place + 1));
    }
    (0..SIZE_MAX).for_each(|_| bench.post(0));
    let step = bench.step();
    assert_eq!(step, Ok(Step::Worked(Work { bytes: 256, buffers: 1, interrupt: true })), "one chain a step");
    assert_eq!(bench.drain(), Ok((255 * 256, 255, 255)));
}

#[test]
fn a_queue_is_where_it_may_be() {
    assert!(set_up(SIZE_MAX).checked().is_some());
    let wrong = [
        SetUp { size: 0, ..set_up(4) },
        SetUp { size: 3, ..set_up(4) },
        SetUp { size: SIZE_MAX * 2, ..set_up(4) },
        SetUp { descriptors: TABLE + 8, ..set_up(4) },
        SetUp { driver: DRIVER + 1, ..set_up(4) },
        SetUp { device: DEVICE + 2, ..set_up(4) },
        SetUp { descriptors: u64::MAX - 15, ..set_up(4) },
        SetUp { driver: u64::MAX - 7, ..set_up(4) },
        SetUp { device: u64::MAX - 3, ..set_up(4) },
    ];
    for set_up in wrong {
        assert_eq!(set_up.checked(), None, "{set_up:?}");
    }
    let mut guest = Guest(vec![0; MEMORY]);
    for nowhere in
        [SetUp { driver: MEMORY as u64, ..set_up(4) }, SetUp { device: MEMORY as u64 - 8, ..set_up(4) }]
    {
        assert_eq!(Virtqueue::start(nowhere, &mut guest).unwrap_err(), Fault::Address);
    }
}

#[test]
fn without_event_indexes_flags_say_who_wants_to_be_told() {
    let mut bench = Bench::new(4);
    assert_eq!(bench.guest.load16(DEVICE), Ok(NO_NOTIFY), "it is watched");
    bench.describe(0, (BUFFERS, 4, WRITE, 0));
    bench.post(0);
    assert_eq!(bench.queue.try_to_sleep(&mut bench.guest), Ok(false), "there is work");
    assert_eq!(bench.guest.load16(DEVICE), Ok(NO_NOTIFY));
    bench.guest.store16(DRIVER, NO_INTERRUPT).unwrap();
    assert_eq!(bench.drain(), Ok((4, 1, 0)));
    assert_eq!(bench.queue.try_to_sleep(&mut bench.guest), Ok(true));
    assert_eq!(bench.guest.load16(DEVICE), Ok(0));
    assert!(bench.queue.is_asleep());
    bench.queue.wake(&mut bench.guest).unwrap();
    assert!(!bench.queue.is_asleep());
    assert_eq!(bench.guest.load16(DEVICE), Ok(NO_NOTIFY));
}

#[test]
fn event_indexes_say_when_somebody_wants_to_be_told() {
    let mut bench = Bench::with(SetUp { event_index: true, ..set_up(4) });
    let (used_event, available_event) = (DRIVER + 4 + 4 * 2, DEVICE + 4 + 4 * 8);
    bench.describe(0, (BUFFERS, 4, WRITE, 0));
    bench.guest.store16(used_event, 2).unwrap();
    let interrupts: Vec<_> = (0..5)
        .map(|_| {
            bench.post(0);
            bench.drain().unwrap().2
        })
        .collect();
    assert_eq!(interrupts, [0, 0, 1, 0, 0]);
    bench.guest.store16(used_event, 6).unwrap();
    (0..4).for_each(|_| bench.post(0));
    assert_eq!(bench.drain(), Ok((16, 4, 1)), "within several");
    assert_eq!(bench.queue.try_to_sleep(&mut bench.guest), Ok(true));
    assert_eq!(bench.guest.load16(available_event), Ok(9), "the next one");
    assert_eq!(bench.guest.load16(DEVICE), Ok(0), "the flags stay 0");
}
