// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that does anything: registers, rings and buffers that make sense, nearly so, or not at all, while its memory
//! comes and goes under the device.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use my_rng_abi::{queue, registers};
use my_rng_device::stream::PowerOn;
use rustix::io::{pread, pwrite};
use vfio_user_server::Limits;

use super::campaign::{Attack, Effects};
use super::common::Served;
use super::common::client::{
    BAR0, CONFIG, Client, DMA_MAP, DMA_READ, DMA_UNMAP, Message, NO_REPLY, REGION_READ, REGION_WRITE, RESET,
    SET_IRQS, access, dma_map, dma_unmap, write,
};
use super::random::Random;

/// Inputs between two looks at whether the device still answers.
const BATCH: u64 = 64;

/// Size of the guest's memory. A guest address is an offset in its file.
const MEMORY: usize = 0x20_0000;

/// A part of guest memory that is shared or not.
struct Part {
    start: u64,
    size: u64,
    /// Without, only messages reach it.
    has_file: bool,
    writable: bool,
}

const PARTS: [Part; 4] = [
    Part { start: 0x4_0000, size: 0x4_0000, has_file: true, writable: true },
    Part { start: 0x8_0000, size: 0x4_0000, has_file: true, writable: true },
    Part { start: 0xc_0000, size: 0x4_0000, has_file: false, writable: true },
    Part { start: 0x14_0000, size: 0x1_0000, has_file: true, writable: false },
];

/// Parts of the file that are never shared for writing, and stay 0 whatever happens.
const UNTOUCHED: [std::ops::Range<usize>; 2] = [0..0x4_0000, 0xc_0000..MEMORY];

/// One thing that a guest does: a line of the corpus, or 16 random bytes.
#[derive(Debug, Clone, Copy)]
struct Action {
    what: u8,
    small: u8,
    number: u16,
    word: u32,
    wide: u64,
}

impl Action {
    fn decode(bytes: &[u8; 16]) -> Self {
        let [what, small, n0, n1, w0, w1, w2, w3, rest @ ..] = *bytes;
        Self {
            what,
            small,
            number: u16::from_le_bytes([n0, n1]),
            word: u32::from_le_bytes([w0, w1, w2, w3]),
            wide: u64::from_le_bytes(rest),
        }
    }
}

pub(crate) struct Attacker {
    served: Served,
    client: Client,
    file: OwnedFd,
    /// The part that only messages reach.
    by_message: Vec<u8>,
    eventfd: OwnedFd,
    inputs: u64,
    /// Actions of the corpus, to start from.
    known: Vec<[u8; 16]>,
}

impl Attacker {
    pub(crate) fn new() -> Self {
        let limits = Limits::default().with_reply(Duration::from_millis(200));
        let served = Served::start(PowerOn::default(), 2, limits);
        let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, MEMORY as u64).unwrap();
        let mut new = Self {
            client: served.connect(),
            served,
            file,
            by_message: vec![0; PARTS[2].size as usize],
            eventfd: rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap(),
            inputs: 0,
            known: Vec::new(),
        };
        new.begin();
        new
    }

    /// What a guest's firmware and driver do first.
    fn begin(&mut self) {
        for part in &PARTS {
            self.map(part);
        }
        self.post(&write(CONFIG, 4, &6_u16.to_le_bytes()));
    }

    /// A write that nobody answers, as QEMU's are.
    fn post(&mut self, payload: &[u8]) {
        self.client.send(REGION_WRITE, NO_REPLY, payload, &[]);
    }

    fn register(&mut self, offset: usize, value: u32) {
        self.post(&write(BAR0, offset as u64, &value.to_le_bytes()));
    }

    fn map(&mut self, part: &Part) {
        let mut payload = dma_map(if part.has_file { part.start } else { 0 }, part.start, part.size);
        payload[4] = if part.writable { 3 } else { 1 };
        let file = self.file.as_fd().try_clone_to_owned().unwrap();
        let fds = if part.has_file { &[file.as_fd()][..] } else { &[] };
        self.client.send(DMA_MAP, NO_REPLY, &payload, fds);
    }

    fn unmap(&mut self, part: &Part) {
        self.client.send(DMA_UNMAP, NO_REPLY, &dma_unmap(0, part.start, part.size), &[]);
    }

    /// Asks for a register's value, and serves the device until the answer comes.
    fn synchronize(&mut self) {
        let id = self.client.send(REGION_READ, 0, &access(BAR0, registers::IDENT as u64, 4), &[]);
        loop {
            let message = self.client.receive().expect("the connection was closed without a reason");
            if message.is_reply() {
                assert_eq!((message.id, message.error), (id, 0));
                assert_eq!(message.payload[16..], registers::IDENT_VALUE.to_le_bytes());
                return;
            }
            self.serve(&message);
        }
    }

    /// Does what the device asks for, which must be about the one part without a file.
    fn serve(&mut self, request: &Message) {
        let (address, count) = request.dma_range();
        let start = address.checked_sub(PARTS[2].start).expect("an address in the part") as usize;
        let place = self.by_message.get_mut(start..start + count).expect("a range in the part");
        if request.command == DMA_READ {
            let data = place.to_vec();
            self.client.answer(request, &data);
        } else {
            place.copy_from_slice(&request.payload[16..]);
            self.client.answer(request, &[]);
        }
    }

    /// Writes to guest memory where it is shared for writing, else nowhere.
    fn put(&mut self, address: u64, bytes: &[u8]) {
        let end = address.saturating_add(bytes.len() as u64);
        let Some(part) =
            PARTS[..3].iter().find(|part| address >= part.start && end <= part.start + part.size)
        else {
            return;
        };
        if part.has_file {
            pwrite(&self.file, bytes, address).unwrap();
        } else {
            let start = (address - part.start) as usize;
            self.by_message[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Where a queue keeps its state: few places, so that queues share them now and then.
    fn state(queue: u16) -> u64 {
        PARTS[usize::from(queue % 3)].start + u64::from(queue / 3 % 8) * 0x1000
    }

    fn descriptors(queue: u16) -> u64 {
        Self::state(queue) + 0x1_0000
    }

    fn act(&mut self, action: Action) {
        let Action { what, small, number, word, wide } = action;
        // Some of the 32 queues, so that they have a life.
        let queue = if small >= 250 { number } else { u16::from(small % 6) };
        match what {
            0..=29 => self.enable(queue, action),
            30..=79 => self.post_buffers(queue, word % 10),
            80..=89 => self.put(Self::state(queue) + queue::POSTED as u64, &word.to_le_bytes()),
            90..=129 => self.describe(queue, action),
            130..=139 => self.put(Self::descriptors(queue) + u64::from(number), &wide.to_le_bytes()),
            140..=144 => self.put(Self::state(queue) + u64::from(number % 0x100), &wide.to_le_bytes()),
            145..=159 => self.register(registers::DOORBELL, if small < 200 { queue.into() } else { word }),
            160..=174 => self.disable(queue),
            175..=189 => self.map(&PARTS[usize::from(small % 4)]),
            190..=192 => self.unmap(&PARTS[usize::from(small % 4)]),
            193..=207 => self.one_shot(action),
            208 => self.reset(small),
            209..=214 => self.post(&write(CONFIG, 4, &[if small < 16 { 2 } else { 6 }, 0])),
            215..=219 => self.interrupts(action),
            220 if small < 16 => self.cut_short(),
            220 if small < 40 => self.come_again(),
            221..=244 => self.register(usize::from(number % 0xa0), word),
            _ => {
                let width = [1, 2, 4, 8][usize::from(small % 4)];
                self.post(&write(BAR0, (number % 0x1000).min(0xff8).into(), &wide.to_le_bytes()[..width]));
            }
        }
    }

    /// A reset, after which the device may not reach memory until it is allowed to again.
    fn reset(&mut self, small: u8) {
        self.client.send(RESET, NO_REPLY, &[], &[]);
        if small >= 32 {
            self.post(&write(CONFIG, 4, &6_u16.to_le_bytes()));
        }
    }

    /// Sets a queue up, mostly as one should.
    fn enable(&mut self, queue: u16, action: Action) {
        let Action { small, number, word, wide, .. } = action;
        if number % 4 != 0 {
            // It can be set up only while it is off.
            self.disable(queue);
            self.synchronize();
        }
        if number % 8 != 7 {
            let good = |place: u16| Action { number: 3, small: place as u8 % 3, ..action };
            (0..16).for_each(|place| self.write_descriptor(queue, place, good(place)));
        }
        let odd = number % 16 == 0;
        let depth = if odd { word } else { 1 << (word % 5) };
        let (descriptors, state) = (Self::descriptors(queue), Self::state(queue));
        let (descriptors, state) = match number % 37 {
            0 => (wide, state),
            1 => (descriptors, wide & !0xfff),
            2 => (PARTS[3].start, state),
            3 => (descriptors, PARTS[3].start),
            _ => (descriptors, state),
        };
        // As the contract wants it: all of the state is 0 at the start.
        self.put(state, &[0; 0x8c]);
        for (register, value) in [
            (registers::QUEUE_SELECT, queue.into()),
            (registers::QUEUE_DEPTH, depth),
            (registers::QUEUE_VECTOR, if odd { word } else { u32::from(queue % 33) }),
            (registers::QUEUE_DESCRIPTORS_LOW, descriptors as u32),
            (registers::QUEUE_DESCRIPTORS_HIGH, (descriptors >> 32) as u32),
            (registers::QUEUE_STATE_LOW, state as u32),
            (registers::QUEUE_STATE_HIGH, (state >> 32) as u32),
            (
                registers::QUEUE_CONTROL,
                registers::QUEUE_ENABLE | (u32::from(small % 2) << registers::QUEUE_STREAM_SHIFT),
            ),
        ] {
            self.register(register, value);
        }
        if wide % 4 != 0 {
            self.post_buffers(queue, word % 4);
        }
    }

    fn disable(&mut self, queue: u16) {
        self.register(registers::QUEUE_SELECT, queue.into());
        self.register(registers::QUEUE_CONTROL, 0);
    }

    /// Posts some more buffers than are complete.
    fn post_buffers(&mut self, queue: u16, more: u32) {
        let at = Self::state(queue) + queue::COMPLETED as u64;
        let mut completed = [0; 4];
        match PARTS.iter().find(|part| (part.start..part.start + part.size).contains(&at)) {
            Some(part) if part.has_file => drop(pread(&self.file, &mut completed, at)),
            _ => completed.copy_from_slice(&self.by_message[(at - PARTS[2].start) as usize..][..4]),
        }
        let posted = u32::from_le_bytes(completed).wrapping_add(more);
        self.put(Self::state(queue) + queue::POSTED as u64, &posted.to_le_bytes());
        self.register(registers::DOORBELL, queue.into());
    }

    /// Writes a descriptor: a buffer inside a part, across an end of one, or anywhere.
    fn describe(&mut self, queue: u16, action: Action) {
        self.write_descriptor(queue, action.number % 20, action);
    }

    fn write_descriptor(&mut self, queue: u16, place: u16, action: Action) {
        let Action { small, number, word, wide, .. } = action;
        let part = &PARTS[usize::from(small % 4)];
        let length = match number % 16 {
            0 => word,
            1 => word % (2 << 20),
            _ => 1 + word % 5000,
        };
        let address = match number % 8 {
            0 => wide,
            1 => part.start.wrapping_sub(u64::from(word % 5000)),
            2 => part.start + part.size - u64::from(word % 5000),
            // Behind the rings, so that not every buffer is written over one.
            _ => part.start + 0x2_0000 + wide % 0x1_f000,
        };
        let reserved = u32::from(number % 64 == 5);
        let descriptor =
            [&address.to_le_bytes()[..], &length.to_le_bytes(), &reserved.to_le_bytes()].concat();
        self.put(Self::descriptors(queue) + 16 * u64::from(place), &descriptor);
    }

    fn one_shot(&mut self, Action { small, number, word, wide, .. }: Action) {
        let part = &PARTS[usize::from(small % 4)];
        let count = if number % 16 == 0 { wide } else { u64::from(word % 70_000) };
        let address = if number % 8 == 1 { wide } else { part.start + wide % (part.size + 0x1000) };
        for (register, value) in [
            (registers::ONE_SHOT_SOURCE, u64::from(number % 3)),
            (registers::ONE_SHOT_DESTINATION, address),
            (registers::ONE_SHOT_COUNT, count),
        ] {
            self.post(&write(BAR0, register as u64, &value.to_le_bytes()));
        }
        self.register(registers::ONE_SHOT_VECTOR, u32::from(number % 40));
        self.register(registers::ONE_SHOT_COMMAND, if number % 32 == 2 { word } else { 7 });
    }

    fn interrupts(&mut self, Action { small, number, .. }: Action) {
        let count = if small % 2 == 0 { 1 } else { 0 };
        let start = u32::from(number % 34);
        let payload: Vec<u8> =
            [20, 0x24, 2, start, 1_u32].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let eventfd = self.eventfd.try_clone().unwrap();
        self.client.send(SET_IRQS, NO_REPLY, &payload, &[eventfd.as_fd()][..count]);
    }

    /// Takes the memory away from under the device's maps, and gives other memory back.
    fn cut_short(&mut self) {
        rustix::fs::ftruncate(&self.file, 0x5_0000).unwrap();
        rustix::fs::ftruncate(&self.file, MEMORY as u64).unwrap();
        for part in &PARTS {
            self.unmap(part);
            self.map(part);
        }
    }

    /// Does what the device must never do.
    pub(crate) fn spoil(&mut self) {
        pwrite(&self.file, &[1], 0x3_ffff).unwrap();
    }

    /// Leaves, and comes back as another machine.
    fn come_again(&mut self) {
        self.synchronize();
        let (gone, _) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(std::mem::replace(&mut self.client.socket, gone));
        self.client = self.served.connect();
        self.begin();
    }
}

impl Attack for Attacker {
    /// Lines of 16 bytes in hexadecimal.
    fn play(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let digits: String = line.split_whitespace().collect();
            let byte =
                |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hexadecimal digits");
            let bytes: [u8; 16] = std::array::from_fn(byte);
            self.act(Action::decode(&bytes));
            self.known.push(bytes);
        }
    }

    fn input(&mut self, random: &mut Random) {
        let mut bytes: [u8; 16] = random.bytes(16).try_into().unwrap();
        if !self.known.is_empty() && random.once_in(32) {
            bytes = self.known[random.below(self.known.len())];
            if random.once_in(2) {
                bytes[random.below(16)] = random.u32() as u8;
            }
        }
        if random.once_in(16) {
            bytes[8..].copy_from_slice(&random.edge().to_le_bytes());
        }
        self.act(Action::decode(&bytes));
        self.inputs += 1;
        if self.inputs % BATCH == 0 {
            self.synchronize();
        }
    }

    fn check(&mut self) {
        self.synchronize();
        assert!(!self.served.has_failed());
        for range in UNTOUCHED {
            let mut bytes = vec![0; range.len()];
            assert_eq!(pread(&self.file, &mut bytes, range.start as u64), Ok(range.len()));
            let touched = bytes.iter().position(|&byte| byte != 0);
            assert_eq!(touched, None, "something was written after {:#x}", range.start);
        }
    }

    fn effects(&self) -> Effects {
        self.served.effects()
    }
}
