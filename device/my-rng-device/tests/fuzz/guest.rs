// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that attacks its device, of either personality: its memory, which comes and goes, and its monitor's messages. What
//! it does with its device is in `ring.rs` and `virtio.rs`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use my_rng_device::stream::PowerOn;
use rustix::io::{pread, pwrite};
use vfio_user_server::Limits;

use super::campaign::{Attack, Effects};
use super::common::Served;
use super::common::client::{
    BAR0, CONFIG, Client, DMA_MAP, DMA_READ, DMA_UNMAP, Message, NO_REPLY, PATIENCE, REGION_READ,
    REGION_WRITE, RESET, SET_IRQS, access, dma_map, dma_unmap, write,
};
use super::random::Random;

/// Inputs between two looks at whether the device still answers.
const BATCH: u64 = 64;

/// Size of the guest's memory. A guest address is an offset in its file.
const MEMORY: usize = 0x20_0000;

/// A part of guest memory that is shared or not.
pub(crate) struct Part {
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// Without, only messages reach it.
    pub(crate) has_file: bool,
    pub(crate) writable: bool,
}

pub(crate) const PARTS: [Part; 4] = [
    Part { start: 0x4_0000, size: 0x4_0000, has_file: true, writable: true },
    Part { start: 0x8_0000, size: 0x4_0000, has_file: true, writable: true },
    Part { start: 0xc_0000, size: 0x4_0000, has_file: false, writable: true },
    Part { start: 0x14_0000, size: 0x1_0000, has_file: true, writable: false },
];

/// Parts of the file that are never shared for writing, and stay 0 whatever happens.
const UNTOUCHED: [std::ops::Range<usize>; 2] = [0..0x4_0000, 0xc_0000..MEMORY];

/// One thing that a guest does: a line of the corpus, or 16 random bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Action {
    pub(crate) what: u8,
    pub(crate) small: u8,
    pub(crate) number: u16,
    pub(crate) word: u32,
    pub(crate) wide: u64,
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

/// The guest's side of one device.
pub(crate) struct Guest {
    served: Served,
    pub(crate) client: Client,
    pub(crate) file: OwnedFd,
    /// The part that only messages reach.
    pub(crate) by_message: Vec<u8>,
    eventfd: OwnedFd,
    /// Vendor and device, which the device must always answer with.
    identity: u32,
}

impl Guest {
    fn new(power_on: PowerOn, identity: u32) -> Self {
        let limits = Limits::default().with_reply(Duration::from_millis(200));
        let served = Served::start(power_on, 2, limits);
        let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, MEMORY as u64).unwrap();
        let mut new = Self {
            client: served.connect(),
            served,
            file,
            by_message: vec![0; PARTS[2].size as usize],
            eventfd: rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap(),
            identity,
        };
        new.begin();
        new
    }

    /// What a guest's firmware and driver do first.
    pub(crate) fn begin(&mut self) {
        for part in &PARTS {
            self.map(part);
        }
        self.post(&write(CONFIG, 4, &6_u16.to_le_bytes()));
    }

    /// A write that nobody answers, as QEMU's are.
    pub(crate) fn post(&mut self, payload: &[u8]) {
        self.client.send(REGION_WRITE, NO_REPLY, payload, &[]);
    }

    pub(crate) fn register(&mut self, offset: usize, value: u32) {
        self.post(&write(BAR0, offset as u64, &value.to_le_bytes()));
    }

    pub(crate) fn map(&mut self, part: &Part) {
        let mut payload = dma_map(if part.has_file { part.start } else { 0 }, part.start, part.size);
        payload[4] = if part.writable { 3 } else { 1 };
        let file = self.file.as_fd().try_clone_to_owned().unwrap();
        let fds = if part.has_file { &[file.as_fd()][..] } else { &[] };
        self.client.send(DMA_MAP, NO_REPLY, &payload, fds);
    }

    pub(crate) fn unmap(&mut self, part: &Part) {
        self.client.send(DMA_UNMAP, NO_REPLY, &dma_unmap(0, part.start, part.size), &[]);
    }

    /// Asks what the device is, and serves the device until the answer comes.
    pub(crate) fn synchronize(&mut self) {
        let id = self.client.send(REGION_READ, 0, &access(CONFIG, 0, 4), &[]);
        loop {
            let message = self.client.receive().expect("the connection was closed without a reason");
            if message.is_reply() {
                assert_eq!((message.id, message.error), (id, 0));
                assert_eq!(message.payload[16..], self.identity.to_le_bytes());
                return;
            }
            self.serve(&message);
        }
    }

    /// Does what the device asks for, which must be about the one part without a file.
    pub(crate) fn serve(&mut self, request: &Message) {
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
    pub(crate) fn put(&mut self, address: u64, bytes: &[u8]) {
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

    /// Takes the memory away from under the device's maps, and gives other memory back.
    pub(crate) fn cut_short(&mut self) {
        rustix::fs::ftruncate(&self.file, 0x5_0000).unwrap();
        rustix::fs::ftruncate(&self.file, MEMORY as u64).unwrap();
        for part in &PARTS {
            self.unmap(part);
            self.map(part);
        }
    }

    /// Does what the device must never do.
    fn spoil(&mut self) {
        pwrite(&self.file, &[1], 0x3_ffff).unwrap();
    }

    /// Leaves, and comes back as another machine.
    pub(crate) fn come_again(&mut self) {
        self.synchronize();
        let (gone, _) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(std::mem::replace(&mut self.client.socket, gone));
        self.client = self.served.connect();
        self.begin();
    }

    /// A reset, after which the device may not reach memory until it is allowed to again.
    pub(crate) fn reset(&mut self, small: u8) {
        self.client.send(RESET, NO_REPLY, &[], &[]);
        if small >= 32 {
            self.post(&write(CONFIG, 4, &6_u16.to_le_bytes()));
        }
    }

    /// Assigns an eventfd to an interrupt of that kind, or none.
    pub(crate) fn interrupts(&mut self, index: u32, Action { small, number, .. }: Action) {
        let count = if small % 2 == 0 { 1 } else { 0 };
        let start = u32::from(number % 34);
        let payload: Vec<u8> =
            [20, 0x24, index, start, 1_u32].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let eventfd = self.eventfd.try_clone().unwrap();
        self.client.send(SET_IRQS, NO_REPLY, &payload, &[eventfd.as_fd()][..count]);
    }

    /// Waits until the device has counted one of those.
    pub(crate) fn wait_for(&mut self, what: &str) {
        let start = std::time::Instant::now();
        while !self.served.effects().iter().any(|(name, _)| *name == what) {
            assert!(start.elapsed() < PATIENCE, "no {what}");
            self.synchronize();
        }
    }

    /// Reads guest memory where it is shared.
    pub(crate) fn get(&self, address: u64, bytes: &mut [u8]) {
        match PARTS.iter().find(|part| (part.start..part.start + part.size).contains(&address)) {
            Some(part) if part.has_file => drop(pread(&self.file, bytes, address)),
            _ => {
                let start = (address - PARTS[2].start) as usize;
                bytes.copy_from_slice(&self.by_message[start..start + bytes.len()]);
            }
        }
    }
}

/// What a guest does with its device.
type Act = fn(&mut Guest, Action);

/// A guest with a campaign.
pub(crate) struct Attacker {
    guest: Guest,
    act: Act,
    inputs: u64,
    /// Actions of the corpus, to start from.
    known: Vec<[u8; 16]>,
}

impl Attacker {
    pub(crate) fn new(power_on: PowerOn, identity: u32, act: Act) -> Self {
        Self { guest: Guest::new(power_on, identity), act, inputs: 0, known: Vec::new() }
    }

    /// The same after the guest has done that.
    pub(crate) fn after(mut self, act: impl FnOnce(&mut Guest)) -> Self {
        act(&mut self.guest);
        self
    }

    /// Does what the device must never do.
    pub(crate) fn spoil(&mut self) {
        self.guest.spoil();
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
            (self.act)(&mut self.guest, Action::decode(&bytes));
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
        (self.act)(&mut self.guest, Action::decode(&bytes));
        self.inputs += 1;
        if self.inputs % BATCH == 0 {
            self.guest.synchronize();
        }
    }

    fn check(&mut self) {
        self.guest.synchronize();
        assert!(!self.guest.served.has_failed());
        for range in UNTOUCHED {
            let mut bytes = vec![0; range.len()];
            assert_eq!(pread(&self.guest.file, &mut bytes, range.start as u64), Ok(range.len()));
            let touched = bytes.iter().position(|&byte| byte != 0);
            assert_eq!(touched, None, "something was written after {:#x}", range.start);
        }
    }

    fn effects(&self) -> Effects {
        self.guest.served.effects()
    }
}
