// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver against a port that these tests make up.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use exo_platform::{
    InterruptLine, Registers,
    fake::{FakeDevice, Wires, cpu::set_clock},
};

use super::{RING, Serial, registers::*};
use crate::{
    Driver, DriverError,
    character::{ByteListener, CharDevice},
};

#[derive(Default)]
struct Port {
    scratch: u8,
    enabled: u8,
    line_control: u8,
    divisor: u8,
    /// Bytes in the FIFOs.
    input: VecDeque<u8>,
    output: Vec<u8>,
    sent: Vec<u8>,
    /// Nothing leaves the transmitter.
    blocked: bool,
    /// The transmitter has become empty and nobody has been told.
    output_cause: bool,
    fixed_cause: Option<u8>,
    absent: bool,
    status_reads: usize,
}

struct Fake {
    port: Mutex<Port>,
    wires: Wires,
}

impl Fake {
    fn lock(&self) -> MutexGuard<'_, Port> {
        self.port.lock().unwrap()
    }

    /// The wire carries what is in the transmitter away.
    fn unblock(&self) {
        let mut port = self.lock();
        port.blocked = false;
        self.flush(&mut port);
    }

    fn flush(&self, port: &mut Port) {
        if !port.blocked && !port.output.is_empty() {
            let bytes = std::mem::take(&mut port.output);
            port.sent.extend(bytes);
            port.output_cause = true;
        }
        self.update(port);
    }

    fn update(&self, port: &Port) {
        let input = port.enabled & ENABLE_INPUT != 0 && !port.input.is_empty();
        let output = port.enabled & ENABLE_OUTPUT != 0 && port.output_cause;
        if input || output {
            self.wires.raise(0);
        }
    }

    /// Bytes come down the wire; how many the port had room for.
    fn type_in(&self, bytes: &[u8]) -> usize {
        let mut port = self.lock();
        let count = bytes.len().min(FIFO - port.input.len());
        port.input.extend(&bytes[..count]);
        self.update(&port);
        count
    }
}

impl FakeDevice for Fake {
    fn bar_size(&self, _bar: u8) -> usize {
        8
    }

    fn read(&self, _bar: u8, offset: usize, size: u8) -> u64 {
        assert_eq!(size, 1);
        let mut port = self.lock();
        let value = match offset {
            DATA => port.input.pop_front().unwrap_or(0),
            INTERRUPT_ENABLE => port.enabled,
            INTERRUPT_IDENTIFICATION => {
                if let Some(cause) = port.fixed_cause {
                    cause
                } else if port.enabled & ENABLE_INPUT != 0 && !port.input.is_empty() {
                    if port.input.len() >= 14 { CAUSE_INPUT } else { CAUSE_PAUSE }
                } else if port.enabled & ENABLE_OUTPUT != 0 && port.output_cause {
                    // Reading it is the answer.
                    port.output_cause = false;
                    CAUSE_OUTPUT
                } else {
                    NO_CAUSE
                }
            }
            LINE_STATUS => {
                port.status_reads += 1;
                let ready = if port.input.is_empty() { 0 } else { DATA_READY };
                ready | if port.output.is_empty() { TRANSMITTER_EMPTY } else { 0 }
            }
            SCRATCH => port.scratch,
            _ => 0,
        };
        value.into()
    }

    fn write(&self, _bar: u8, offset: usize, size: u8, value: u64) {
        assert_eq!(size, 1);
        let mut port = self.lock();
        let value = value as u8;
        let latched = port.line_control & DIVISOR_LATCH != 0;
        match offset {
            DATA if latched => port.divisor = value,
            DATA => {
                assert!(port.output.len() < FIFO, "more than the FIFO holds");
                port.output.push(value);
                self.flush(&mut port);
            }
            INTERRUPT_ENABLE if latched => assert_eq!(value, 0),
            INTERRUPT_ENABLE => {
                if value & ENABLE_OUTPUT & !port.enabled != 0 && port.output.is_empty() {
                    port.output_cause = true;
                }
                port.enabled = value;
                self.update(&port);
            }
            LINE_CONTROL => port.line_control = value,
            SCRATCH => port.scratch = value,
            _ => {}
        }
    }

    fn is_present(&self) -> bool {
        !self.lock().absent
    }
}

/// Takes what comes, as long as it may, and counts how often it was told.
struct Taker {
    port: Arc<Serial>,
    taken: Mutex<Vec<u8>>,
    room: AtomicUsize,
    told: AtomicUsize,
}

impl Taker {
    fn take(&self) {
        while self.room.load(Ordering::Relaxed) > 0 {
            let Some(byte) = self.port.receive() else { return };
            self.taken.lock().unwrap().push(byte);
            self.room.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl ByteListener for Taker {
    fn happened(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
        self.take();
    }
}

fn started() -> (Arc<Fake>, Arc<Serial>, Arc<Taker>) {
    let fake = Arc::new(Fake { port: Mutex::default(), wires: Wires::new() });
    let registers = Registers::fake(fake.clone(), 0);
    let port = Serial::new(2, registers, InterruptLine::fake(fake.wires.clone())).unwrap();
    port.init().unwrap();
    let taker = Arc::new(Taker {
        port: port.clone(),
        taken: Mutex::default(),
        room: AtomicUsize::new(usize::MAX),
        told: AtomicUsize::new(0),
    });
    port.listen(taker.clone());
    (fake, port, taker)
}

fn numbers(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8).collect()
}

#[test]
fn a_port_is_set_to_115200_8n1() {
    let (fake, port, _) = started();
    let port_state = fake.lock();
    assert_eq!((port_state.divisor, port_state.line_control), (1, EIGHT_BITS));
    assert_eq!(port_state.enabled, ENABLE_INPUT);
    drop(port_state);
    assert_eq!((CharDevice::name(&*port), port.unit()), ("serial2", 2));
    assert_eq!(port.devices().len(), 1);
}

#[test]
fn a_free_wire_takes_everything_at_once_with_one_look_for_each_fifo() {
    let (fake, port, _) = started();
    let before = fake.lock().status_reads;
    assert_eq!(port.send(&numbers(10_000)), 10_000);
    assert_eq!(fake.lock().sent, numbers(10_000));
    assert_eq!(port.pending(), 0);
    assert_eq!(fake.lock().status_reads - before, 10_000 / FIFO);
    assert_eq!(fake.lock().enabled & ENABLE_OUTPUT, 0, "no interrupt was needed");
}

#[test]
fn a_held_wire_fills_the_ring_and_goes_on_by_interrupt() {
    let (fake, port, taker) = started();
    fake.lock().blocked = true;
    let bytes = numbers(3 * RING);
    let mut accepted = port.send(&bytes);
    assert_eq!(accepted, RING + FIFO);
    assert!(!port.has_room() && port.send(&bytes[accepted..]) == 0);
    assert_eq!(fake.lock().enabled & ENABLE_OUTPUT, ENABLE_OUTPUT);
    let told = taker.told.load(Ordering::Relaxed);
    // The wire comes free and is held again, over and over.
    while accepted < bytes.len() || port.pending() > 0 {
        fake.unblock();
        fake.lock().blocked = true;
        fake.wires.deliver();
        if port.has_room() {
            accepted += port.send(&bytes[accepted..]);
        }
    }
    fake.unblock();
    assert!(fake.lock().sent == bytes, "bytes were lost or mixed up");
    assert!(taker.told.load(Ordering::Relaxed) > told, "who waits for room was not told");
    fake.wires.deliver();
    assert_eq!(fake.lock().enabled & ENABLE_OUTPUT, 0, "off when there is nothing to send");
}

#[test]
fn input_is_taken_as_it_comes() {
    let (fake, _port, taker) = started();
    for part in numbers(1000).chunks(FIFO) {
        assert_eq!(fake.type_in(part), part.len());
        fake.wires.deliver();
    }
    assert_eq!(*taker.taken.lock().unwrap(), numbers(1000));
}

#[test]
fn input_that_nobody_takes_holds_the_sender_back() {
    let (fake, port, taker) = started();
    taker.room.store(5, Ordering::Relaxed);
    assert_eq!(fake.type_in(&numbers(20)), FIFO);
    fake.wires.deliver();
    assert_eq!(fake.lock().enabled & ENABLE_INPUT, 0, "it does not interrupt for what nobody takes");
    assert_eq!(fake.type_in(&numbers(20)[FIFO..]), 4);
    assert_eq!(fake.wires.deliver(), 0);
    assert_eq!(fake.type_in(&[1, 2]), 1, "full");
    taker.room.store(usize::MAX, Ordering::Relaxed);
    taker.take();
    assert_eq!(fake.lock().enabled & ENABLE_INPUT, ENABLE_INPUT);
    let expected: Vec<u8> = numbers(20).into_iter().chain([1]).collect();
    assert_eq!(*taker.taken.lock().unwrap(), expected);
    assert_eq!(port.overruns(), 0);
}

/// Takes one byte each time it is told, as if the next had come just after it looked.
struct Slow(Arc<Serial>, Mutex<Vec<u8>>);

impl ByteListener for Slow {
    fn happened(&self) {
        self.1.lock().unwrap().extend(self.0.receive());
    }
}

#[test]
fn a_byte_that_comes_while_others_are_taken_is_not_left_behind() {
    let (fake, port, _) = started();
    let slow = Arc::new(Slow(port.clone(), Mutex::default()));
    port.listen(slow.clone());
    for part in numbers(200).chunks(10) {
        fake.type_in(part);
        fake.wires.deliver();
    }
    assert_eq!(*slow.1.lock().unwrap(), numbers(200));
    assert_eq!(fake.lock().enabled & ENABLE_INPUT, ENABLE_INPUT);
}

#[test]
fn both_directions_work_at_once() {
    let (fake, port, taker) = started();
    for round in 0..100 {
        fake.lock().blocked = round % 3 == 0;
        port.send(&[round; 5]);
        fake.type_in(&[round; 3]);
        if round % 3 == 2 {
            fake.unblock();
        }
        fake.wires.deliver();
    }
    fake.unblock();
    fake.wires.deliver();
    let expected = |count| (0..100).flat_map(|round| std::iter::repeat_n(round, count)).collect::<Vec<u8>>();
    assert_eq!(fake.lock().sent, expected(5));
    assert_eq!(*taker.taken.lock().unwrap(), expected(3));
}

#[test]
fn what_must_go_out_goes_out_behind_what_waits() {
    let (fake, port, _) = started();
    fake.lock().blocked = true;
    port.send(b"first ");
    fake.unblock();
    port.send_now(b"second");
    assert_eq!(fake.lock().sent, b"first second");
}

#[test]
fn a_port_that_takes_nothing_is_given_up() {
    let (fake, port, _) = started();
    fake.lock().blocked = true;
    // Time passes as in the machine: nothing is said about how much.
    port.send_now(b"nobody will read this, and there is more of it than the port holds");
    assert!(fake.lock().sent.is_empty());
    port.discard();
    assert_eq!(port.pending(), 0);
    port.shutdown().unwrap();
    assert_eq!(fake.lock().enabled, 0);
    assert!(!port.is_ready());
}

#[test]
fn a_cause_that_never_goes_away_ends_the_interrupts() {
    for cause in [CAUSE_INPUT, CAUSE_OUTPUT, CAUSE_STATUS, 0, 0b1000, 0xfe] {
        let (fake, port, _) = started();
        fake.lock().fixed_cause = Some(cause);
        fake.wires.raise(0);
        assert_eq!(fake.wires.deliver(), 1);
        assert_eq!(fake.lock().enabled, 0, "cause {cause:#x}");
        assert_eq!(port.send(b"still"), 5);
        assert_eq!(fake.lock().sent, b"still");
    }
}

#[test]
fn a_port_that_is_not_there_is_declined_and_one_that_goes_keeps_nothing() {
    let (fake, port, _) = started();
    fake.lock().absent = true;
    assert_eq!(port.send(&numbers(100)), 100);
    assert_eq!((port.pending(), port.receive()), (0, None));
    fake.wires.raise(0);
    fake.wires.deliver();
    assert!(!port.is_ready());
    let registers = Registers::fake(fake.clone(), 0);
    let line = InterruptLine::fake(fake.wires.clone());
    assert!(matches!(Serial::new(0, registers, line), Err(DriverError::Declined(_))));
    set_clock(0);
}
