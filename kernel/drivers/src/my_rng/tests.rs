// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver against a device that these tests make up, well-behaved and not.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use exo_platform::{
    fake::{
        FakeDevice, Wires,
        cpu::{advance, set_clock, set_cpu},
        dma::{device_read, device_read32, device_read64, device_write, stray_accesses},
    },
    pci::{Address, Config as _, Function, Identity, command, register},
};
use my_rng_abi::{
    queue::{
        COMPLETED, DESCRIPTOR_ADDRESS, DESCRIPTOR_LENGTH, DESCRIPTOR_SIZE, ERROR, ERROR_GONE, INTERRUPT_AT,
        INTERRUPT_WANTED, POSTED, SLEEPING, passes,
    },
    registers::*,
};

use super::{MyRng, OwnState};
use crate::{
    Driver, DriverError,
    my_rng::Delivery,
    random::{Awaited, Listener, RandomDevice, RandomError},
};

#[derive(Clone, Copy, Default)]
struct FakeQueue {
    control: u32,
    depth: u32,
    vector: u32,
    descriptors: u64,
    state: u64,
    completed: u32,
}

#[derive(Default)]
struct Inner {
    queues: BTreeMap<u32, FakeQueue>,
    selected: u32,
    doorbells: usize,
    /// The next byte of the entropy stream, so that each is seen to come once.
    entropy: u8,
    /// The seedable stream: number `i` after seed `s` is `s + i`.
    next: u32,
    absent: bool,
    never_stops: bool,
    refuses: bool,
}

struct Fake {
    inner: Mutex<Inner>,
    wires: Wires,
    queues: u32,
}

impl Fake {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The device works on a queue: completes up to `most` buffers; how many.
    fn work(&self, number: u32, most: u32) -> u32 {
        let mut inner = self.lock();
        let mut queue = inner.queues[&number];
        assert_eq!(queue.control & QUEUE_ENABLE, QUEUE_ENABLE, "queue {number} is not enabled");
        let state = |offset: usize| device_read32(queue.state + offset as u64);
        let (old, posted) = (queue.completed, state(POSTED));
        assert!(posted.wrapping_sub(old) <= queue.depth, "too many buffers are posted");
        let count = posted.wrapping_sub(old).min(most);
        for _ in 0..count {
            let at = queue.descriptors + u64::from(queue.completed % queue.depth) * DESCRIPTOR_SIZE as u64;
            let address = device_read64(at + DESCRIPTOR_ADDRESS as u64);
            let length = device_read32(at + DESCRIPTOR_LENGTH as u64) as usize;
            let bytes: Vec<u8> = if queue.control >> QUEUE_STREAM_SHIFT == 1 {
                (0..length / 4)
                    .flat_map(|_| {
                        inner.next += 1;
                        (inner.next - 1).to_le_bytes()
                    })
                    .collect()
            } else {
                inner.entropy = inner.entropy.wrapping_add(1);
                vec![inner.entropy; length]
            };
            assert!(device_write(address, &bytes));
            queue.completed = queue.completed.wrapping_add(1);
        }
        assert!(device_write(queue.state + COMPLETED as u64, &queue.completed.to_le_bytes()));
        assert!(device_write(queue.state + SLEEPING as u64, &1u32.to_le_bytes()));
        if state(INTERRUPT_WANTED) == 1 && passes(state(INTERRUPT_AT), old, queue.completed) {
            self.wires.raise(queue.vector as usize);
        }
        inner.queues.insert(number, queue);
        count
    }

    /// Writes a word of a queue's state, as no good device would.
    fn spoil(&self, number: u32, offset: usize, value: u32) {
        let state = self.lock().queues[&number].state;
        assert!(device_write(state + offset as u64, &value.to_le_bytes()));
    }
}

impl FakeDevice for Fake {
    fn bar_size(&self, bar: u8) -> usize {
        if bar == REGISTER_BAR { BAR0_SIZE } else { 0 }
    }

    fn read(&self, _bar: u8, offset: usize, size: u8) -> u64 {
        assert_eq!(size, 4, "registers have 32 bits");
        let mut inner = self.lock();
        let queue = inner.queues.get(&inner.selected).copied().unwrap_or_default();
        let value = match offset {
            IDENT => IDENT_VALUE,
            VERSION => VERSION_VALUE + 7,
            FEATURES if self.queues > 0 => FEATURE_QUEUES,
            QUEUE_COUNT => self.queues,
            QUEUE_CONTROL => queue.control,
            RAND32 => {
                inner.next += 1;
                inner.next - 1
            }
            RAND64_LOW => {
                inner.next += 2;
                inner.next - 1
            }
            RAND64_HIGH => inner.next - 2,
            _ => 0,
        };
        u64::from(value)
    }

    fn write(&self, _bar: u8, offset: usize, size: u8, value: u64) {
        assert_eq!(size, 4, "registers have 32 bits");
        let mut inner = self.lock();
        let value = u32::try_from(value).unwrap();
        let (selected, never_stops, refuses) = (inner.selected, inner.never_stops, inner.refuses);
        let queue = inner.queues.entry(selected).or_default();
        let set_low = |word: &mut u64| *word = ((*word >> 32) << 32) | u64::from(value);
        let set_high = |word: &mut u64| *word = (*word & 0xffff_ffff) | (u64::from(value) << 32);
        match offset {
            QUEUE_SELECT => inner.selected = value,
            QUEUE_DEPTH => queue.depth = value,
            QUEUE_VECTOR => queue.vector = value,
            QUEUE_DESCRIPTORS_LOW => set_low(&mut queue.descriptors),
            QUEUE_DESCRIPTORS_HIGH => set_high(&mut queue.descriptors),
            QUEUE_STATE_LOW => set_low(&mut queue.state),
            QUEUE_STATE_HIGH => set_high(&mut queue.state),
            QUEUE_CONTROL if value & QUEUE_ENABLE == 0 && never_stops => {}
            QUEUE_CONTROL if value & QUEUE_ENABLE != 0 && refuses => {}
            QUEUE_CONTROL => {
                queue.control = value;
                queue.completed = 0;
            }
            SEED => inner.next = value,
            DOORBELL => inner.doorbells += 1,
            _ => {}
        }
    }

    fn interrupts(&self) -> usize {
        32
    }

    fn is_present(&self) -> bool {
        !self.lock().absent
    }
}

/// Counts what it hears.
#[derive(Default)]
struct Heard(AtomicUsize);

impl Listener for Heard {
    fn happened(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn function(queues: u32) -> (Arc<Fake>, Function) {
    let fake = Arc::new(Fake { inner: Mutex::default(), wires: Wires::new(), queues });
    let identity = Identity {
        vendor: VENDOR_ID,
        device: DEVICE_ID,
        revision: REVISION_ID,
        class: 0,
        subclass: 0xff,
        interface: 0,
        subsystem_vendor: SUBSYSTEM_VENDOR_ID,
        subsystem: SUBSYSTEM_ID,
    };
    let address = Address { segment: 0, bus: 0, device: 3, function: 0 };
    let function = Function::fake(address, identity, fake.clone(), fake.wires.clone());
    (fake, function)
}

fn started(queues: u32) -> (Arc<Fake>, Arc<MyRng>) {
    set_clock(1_000_000_000);
    set_cpu(0);
    let (fake, function) = function(queues);
    let device = MyRng::new(&function).unwrap();
    device.init().unwrap();
    assert!(device.is_ready());
    (fake, device)
}

/// What is there, up to `limit` bytes.
fn read(device: &MyRng, limit: usize) -> Result<Vec<u8>, RandomError> {
    let mut out = Vec::new();
    let drawn = device.draw(limit, &mut |page, offset, length| {
        let mut part = vec![0; length];
        page.read_bytes(offset, &mut part);
        out.extend(part);
        length
    })?;
    assert_eq!(drawn.bytes, out.len());
    Ok(out)
}

fn numbers<const N: usize>(device: &MyRng) -> Result<Vec<u32>, Delivery> {
    let mut got = Vec::new();
    let ended = device.draw_numbers(|numbers: [u32; N]| {
        got.extend(numbers);
        true
    });
    match ended.unwrap() {
        Delivery::Done => Ok(got),
        other => Err(other),
    }
}

#[test]
fn each_byte_is_given_out_once_and_its_buffer_comes_back() {
    let (fake, device) = started(16);
    assert_eq!(read(&device, 100), Ok(Vec::new()), "nothing is there yet");
    assert_eq!(fake.work(0, 3), 3);
    assert_eq!(read(&device, 4000).unwrap(), [1; 4000]);
    let rest = read(&device, 100_000).unwrap();
    assert_eq!((rest.len(), rest[95], rest[96], rest[4192]), (96 + 8192, 1, 2, 3));
    // All were taken, so all are posted again.
    assert_eq!(fake.work(0, u32::MAX), 256);
    assert_eq!(read(&device, usize::MAX).unwrap().len(), 256 * 4096);
}

#[test]
fn a_cpu_reads_its_own_queue_first_and_then_the_others() {
    let (fake, device) = started(16);
    fake.work(2, 1);
    fake.work(1, 1);
    set_cpu(1);
    assert_eq!(read(&device, 10).unwrap(), [2; 10]);
    set_cpu(3);
    assert_eq!(read(&device, 10).unwrap(), [2; 10], "the next in turn after 3 and 0 is 1");
    set_cpu(0);
}

#[test]
fn who_waits_is_told_when_enough_is_there() {
    let (fake, device) = started(16);
    let heard = Arc::new(Heard::default());
    device.listen(heard.clone());
    let awaited = device.await_bytes(3 * 4096).unwrap().unwrap();
    assert!(!device.is_reached(awaited));
    fake.work(0, 2);
    assert_eq!(fake.wires.deliver(), 0, "two of three");
    fake.work(0, 2);
    assert_eq!(fake.wires.deliver(), 1);
    assert!(device.is_reached(awaited));
    assert_eq!((heard.0.load(Ordering::Relaxed), device.statistics().interrupts), (1, 1));
    assert_eq!(device.await_bytes(1).unwrap(), None, "some is there");
}

#[test]
fn numbers_come_in_the_order_of_the_stream_and_start_over_with_a_seed() {
    let (fake, device) = started(16);
    let queue = 4;
    device.seed(100).unwrap();
    assert_eq!(numbers::<1>(&device), Err(Delivery::Empty));
    assert!(device.await_numbers().unwrap().is_some());
    fake.work(queue, 1);
    assert_eq!(numbers::<1>(&device).unwrap(), [100]);
    assert_eq!(numbers::<2>(&device).unwrap(), [101, 102]);
    // What could not be delivered comes again.
    let refused = device.draw_numbers(|numbers: [u32; 2]| {
        assert_eq!(numbers, [103, 104]);
        false
    });
    assert_eq!(refused, Ok(Delivery::Refused));
    assert_eq!(numbers::<1>(&device).unwrap(), [103]);
    assert_eq!(numbers::<2>(&device).unwrap(), [104, 105]);
    // What was fetched before a seed is dropped.
    device.seed(7).unwrap();
    assert_eq!(numbers::<1>(&device), Err(Delivery::Empty));
    device.await_numbers().unwrap();
    fake.work(queue, 2);
    assert_eq!(numbers::<1>(&device).unwrap(), [7]);
    // A number of 64 bits may need one more buffer: its first half is not lost meanwhile.
    for expected in 8..7 + 2047 {
        assert_eq!(numbers::<1>(&device).unwrap(), [expected]);
    }
    assert_eq!(numbers::<2>(&device), Err(Delivery::Empty));
    fake.work(queue, 1);
    assert_eq!(numbers::<2>(&device).unwrap(), [7 + 2047, 7 + 2048]);
}

#[test]
fn a_device_without_queues_gives_numbers_from_its_registers() {
    let (_fake, device) = started(0);
    device.seed(50).unwrap();
    assert_eq!(numbers::<1>(&device).unwrap(), [50]);
    assert_eq!(numbers::<2>(&device).unwrap(), [51, 52]);
    assert_eq!(read(&device, 1), Err(RandomError::Unsupported));
    assert!(matches!(device.open_queue(), Err(RandomError::Unsupported)));
}

#[test]
fn a_program_has_its_queue_until_it_gives_it_back() {
    let (fake, device) = started(7);
    let own: Vec<_> = (0..2).map(|_| device.open_queue().unwrap()).collect();
    assert!(matches!(device.open_queue(), Err(RandomError::Busy)));
    let figures = device.statistics();
    assert_eq!((figures.queues, figures.depth, figures.own_in_use, figures.own), (4, 256, 2, 2));
    let (info, pages) = (own[1].info(), own[1].pages().cloned().collect::<Vec<_>>());
    assert_eq!((info.length, pages.len()), (257 * 4096, 257));
    // The program posts a buffer, and asks to be told of it.
    pages[0].store32(POSTED, 1);
    pages[0].store32(INTERRUPT_AT, 1);
    assert_eq!(own[1].state(), OwnState::Waiting);
    fake.work(6, 1);
    assert_eq!(own[1].state(), OwnState::Ready);
    assert_eq!(pages[1].load32(0), 0x0101_0101);
    own[1].wake().unwrap();
    assert_eq!(fake.lock().doorbells, 1, "it says that it sleeps");
    drop(own);
    assert_eq!(fake.lock().queues[&6].control, 0, "stopped");
    let again = device.open_queue().unwrap();
    assert_eq!(again.pages().next().unwrap().load32(COMPLETED), 0, "and the next has fresh memory");
}

#[test]
fn counts_that_cannot_be_fail_the_queue_and_no_more() {
    let (fake, device) = started(16);
    for (queue, count) in [(0, 257), (1, u32::MAX), (2, 1 << 31)] {
        fake.spoil(queue, COMPLETED, count);
    }
    fake.work(3, 1);
    assert_eq!(read(&device, 5).unwrap(), [1; 5], "the queue that works is used");
    fake.spoil(3, ERROR, 3);
    assert_eq!(read(&device, 1 << 20).unwrap().len(), 4091);
    assert_eq!(read(&device, 1), Err(RandomError::Failed));
    assert_eq!(device.await_bytes(1), Err(RandomError::Failed));
    // The other stream goes on.
    device.await_numbers().unwrap();
    fake.work(4, 1);
    assert!(numbers::<1>(&device).is_ok());
}

#[test]
fn a_device_that_falls_silent_is_gone_for_everybody() {
    let (fake, device) = started(16);
    let own = device.open_queue().unwrap();
    let heard = Arc::new(Heard::default());
    device.listen(heard.clone());
    let awaited = device.await_bytes(1).unwrap().unwrap();
    fake.lock().absent = true;
    assert!(!device.is_reached(awaited), "nobody knows yet");
    advance(1_000_000_000);
    device.tick(0);
    assert!(device.is_reached(awaited) && heard.0.load(Ordering::Relaxed) > 0);
    assert_eq!(device.look(), Err(RandomError::Gone));
    assert_eq!(device.await_bytes(1), Err(RandomError::Gone));
    assert_eq!(device.seed(1), Err(RandomError::Gone));
    assert_eq!(read(&device, 1), Err(RandomError::Gone));
    assert_eq!(device.draw_numbers(|_: [u32; 1]| true), Err(RandomError::Gone));
    assert_eq!(own.state(), OwnState::Gone);
    assert_eq!(own.pages().next().unwrap().load32(ERROR), ERROR_GONE, "the program finds it in its memory");
    assert_eq!(own.wake(), Err(RandomError::Gone));
    assert!(!device.is_ready());
    device.removed();
    device.shutdown().unwrap();
}

#[test]
fn memory_that_a_device_does_not_let_go_of_is_left_to_it() {
    let (fake, device) = started(16);
    let own = device.open_queue().unwrap();
    fake.lock().never_stops = true;
    let strays = stray_accesses();
    drop(own);
    device.shutdown().unwrap();
    drop(device);
    // It still writes where it was told to.
    let queues: Vec<u32> =
        fake.lock().queues.keys().copied().filter(|n| [0, 1, 2, 3, 5].contains(n)).collect();
    assert_eq!(queues.len(), 5);
    for queue in queues {
        fake.spoil(queue, COMPLETED, 1);
        let descriptors = fake.lock().queues[&queue].descriptors;
        assert!(device_read(descriptors, &mut [0; 16]));
        assert!(device_write(device_read64(descriptors), &[1; 4096]));
    }
    assert_eq!(stray_accesses(), strays);
}

#[test]
fn memory_of_a_device_that_stopped_is_freed() {
    let (fake, device) = started(16);
    let heard = Arc::new(Heard::default());
    device.listen(heard.clone());
    device.shutdown().unwrap();
    assert_eq!((heard.0.load(Ordering::Relaxed), Arc::strong_count(&heard)), (1, 1), "told, and let go of");
    assert_eq!(read(&device, 1), Err(RandomError::Failed));
    let state = fake.lock().queues[&0].state;
    drop(device);
    assert!(!device_write(state, &[0; 4]), "it is nobody's any more");
}

#[test]
fn a_device_that_refuses_its_queues_is_not_started() {
    let (fake, function) = function(16);
    fake.lock().refuses = true;
    let device = MyRng::new(&function).unwrap();
    assert!(matches!(device.init(), Err(DriverError::Device(_))));
    assert!(!device.is_ready() && device.devices().is_empty());
    // Queues that it has started before may be running.
    assert_eq!(function.config().read16(register::COMMAND) & command::MASTER, 0);
    fake.wires.raise(0);
    assert_eq!(fake.wires.deliver(), 0);
}

#[test]
fn what_is_no_such_device_is_declined() {
    let (fake, function) = function(16);
    fake.lock().absent = true;
    assert!(matches!(MyRng::new(&function), Err(DriverError::Declined(_))));
}

#[test]
fn nobody_waits_for_a_queue_that_does_not_exist() {
    let (_fake, device) = started(0);
    assert!(device.is_reached(Awaited { queue: 9, count: 9 }));
}
