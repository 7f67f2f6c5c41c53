// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that does anything with a virtio device: initialization in order and out of it, chains that run in circles,
//! into each other or out of memory, indexes that jump, doorbells, and a queue that is changed while it works.

use my_rng_device::shared::Personality;
use my_rng_device::stream::PowerOn;
use my_rng_device::virtio::layout::{DEVICE_ID, ISR, NOTIFY, VENDOR_ID, WINDOW_BAR};
use my_rng_device::virtio::transport::FEATURES;

use super::common::client::{BAR0, CONFIG, NO_REPLY, REGION_READ, access, write};
use super::guest::{Action, Attacker, Guest, PARTS};

/// Interrupts, as VFIO numbers them.
const INTX: u32 = 0;
const MSIX: u32 = 2;

/// Entries of a queue that is set up as it should be.
const SIZE: u16 = 16;

/// Fields of the common configuration.
const STATUS: u64 = 0x14;
const DRIVER_FEATURE_SELECT: u64 = 0x08;
const DRIVER_FEATURE: u64 = 0x0c;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_VECTOR: u64 = 0x1a;
const QUEUE_ENABLE: u64 = 0x1c;
const QUEUE_ADDRESSES: u64 = 0x20;

/// In the number of an action that describes: a buffer by itself, behind the rings.
const PLAIN: u16 = 0x940;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

pub(crate) fn attacker() -> Attacker {
    let power_on = PowerOn { personality: Personality::Virtio, ..PowerOn::default() };
    let identity = u32::from(VENDOR_ID) | u32::from(DEVICE_ID) << 16;
    Attacker::new(power_on, identity, Guest::act_on_virtio).after(Guest::live_once)
}

/// Where the driver has its rings: in memory that is shared, or that only messages reach.
#[derive(Clone, Copy)]
struct Rings(u64);

impl Rings {
    fn of(small: u8) -> Self {
        Self(PARTS[usize::from(small % 3)].start)
    }

    fn table(self) -> u64 {
        self.0
    }

    fn driver(self) -> u64 {
        self.0 + 0x2000
    }

    fn device(self) -> u64 {
        self.0 + 0x3000
    }

    fn indirect(self) -> u64 {
        self.0 + 0x4000
    }

    /// Behind the rings.
    fn buffers(self) -> u64 {
        self.0 + 0x1_0000
    }
}

impl Guest {
    /// A driver's life as it should be, up to where the queue sleeps: whatever comes later may never give it the time.
    fn live_once(&mut self) {
        let rings = Rings::of(0);
        self.initialize(rings, Action { what: 0, small: 0, number: 5, word: 0, wide: 0 });
        self.offer(rings, 1, 3);
        self.wait_for("sleeps");
    }

    fn act_on_virtio(&mut self, action: Action) {
        let Action { what, small, number, word, wide } = action;
        // Rings at one place mostly, so that they have a life.
        let rings = Rings::of(if small < 160 { 0 } else { small });
        match what {
            0..=29 => self.initialize(rings, action),
            30..=89 => self.offer(rings, number, word % 10),
            90..=99 => self.put(rings.driver() + 2, &number.to_le_bytes()),
            100..=134 => self.describe_chain(rings, action),
            135..=139 => self.put(rings.table() + u64::from(number % 0x100), &wide.to_le_bytes()),
            140..=144 => self.put(rings.driver() + u64::from(number % 0x40), &wide.to_le_bytes()),
            145..=169 => self.post(&write(BAR0, NOTIFY.offset.into(), &(number % 4 / 3).to_le_bytes())),
            170..=174 => self.common(STATUS, &[0]),
            175..=184 => self.map(&PARTS[usize::from(small % 4)]),
            185..=187 => self.unmap(&PARTS[usize::from(small % 4)]),
            188 => self.reset(small),
            189..=191 => self.post(&write(CONFIG, 4, &[if small < 16 { 2 } else { 6 }, small & 4])),
            192..=199 => self.interrupts(if small < 128 { MSIX } else { INTX }, action),
            200 if small < 16 => self.cut_short(),
            200 if small < 40 => self.come_again(),
            201..=209 => self.look(u64::from(number) % 0x1000),
            210..=219 => {
                self.post(&write(CONFIG, WINDOW_BAR as u64 + u64::from(number % 16), &word.to_le_bytes()))
            }
            220..=244 => self
                .common(u64::from(number % 0x38), &word.to_le_bytes()[..[1, 2, 4][usize::from(small % 3)]]),
            _ => {
                let width = [1, 2, 4, 8][usize::from(small % 4)];
                self.post(&write(BAR0, (number % 0x1000).min(0xff8).into(), &wide.to_le_bytes()[..width]));
            }
        }
    }

    fn common(&mut self, offset: u64, data: &[u8]) {
        self.post(&write(BAR0, offset, data));
    }

    /// A read whose answer nobody wants.
    fn look(&mut self, offset: u64) {
        let offset = if offset % 4 == 0 { ISR.offset.into() } else { offset.min(0xff8) };
        self.client.send(REGION_READ, NO_REPLY, &access(BAR0, offset, 1), &[]);
    }

    /// As a driver should, mostly.
    fn initialize(&mut self, rings: Rings, action: Action) {
        let Action { number, word, wide, .. } = action;
        if number % 4 != 0 {
            self.common(STATUS, &[0]);
            self.synchronize();
        }
        let odd = number % 16 == 0;
        // All of the rings are 0 at the start.
        self.put(rings.driver(), &[0; 0x40]);
        self.put(rings.device(), &[0; 0x100]);
        if number % 8 != 7 {
            let plain = |place: u16| Action { number: place | PLAIN, ..action };
            (0..SIZE).for_each(|place| self.describe_chain(rings, plain(place)));
        }
        self.common(STATUS, &[3]);
        // With event indexes and without, and what was never offered.
        let features =
            if odd { wide } else { FEATURES & !(u64::from(word & 1) << 29) & !(u64::from(word & 2) << 27) };
        for select in 0..2_u32 {
            self.common(DRIVER_FEATURE_SELECT, &select.to_le_bytes());
            self.common(DRIVER_FEATURE, &((features >> (32 * select)) as u32).to_le_bytes());
        }
        self.common(STATUS, &[0xb]);
        self.common(QUEUE_SIZE, &if odd { number } else { SIZE }.to_le_bytes());
        self.common(QUEUE_VECTOR, &if odd { number } else { 1 }.to_le_bytes());
        let (table, driver, device) = match number % 37 {
            0 => (wide, rings.driver(), rings.device()),
            1 => (rings.table(), wide & !1, rings.device()),
            2 => (rings.table(), rings.driver(), wide & !3),
            3 => (PARTS[3].start, PARTS[3].start, PARTS[3].start),
            // The device's area lies over the driver's.
            4 => (rings.table(), rings.driver(), rings.driver()),
            _ => (rings.table(), rings.driver(), rings.device()),
        };
        for (place, address) in [table, driver, device].into_iter().enumerate() {
            self.common(QUEUE_ADDRESSES + 8 * place as u64, &address.to_le_bytes());
        }
        self.common(QUEUE_ENABLE, &[1, 0]);
        self.common(STATUS, &[0xf]);
        if wide % 4 != 0 {
            self.offer(rings, number, word % 4);
        }
    }

    /// Makes some more chains available than were used, and rings.
    fn offer(&mut self, rings: Rings, head: u16, more: u32) {
        let mut used = [0; 2];
        self.get(rings.device() + 2, &mut used);
        let mut index = u16::from_le_bytes(used);
        for place in 0..more as u16 {
            let head = if head % 64 == 0 { head } else { head.wrapping_add(place) % SIZE };
            self.put(rings.driver() + 4 + u64::from(index % SIZE) * 2, &head.to_le_bytes());
            index = index.wrapping_add(1);
        }
        self.put(rings.driver() + 2, &index.to_le_bytes());
        self.common(NOTIFY.offset.into(), &[0, 0]);
    }

    /// Writes a descriptor: one of a chain that makes sense, or anything.
    fn describe_chain(&mut self, rings: Rings, Action { small, number, word, wide, .. }: Action) {
        let place = number % SIZE;
        let part = &PARTS[usize::from(small % 4)];
        let (address, length) = match number / SIZE % 16 {
            0 => (wide, word),
            1 => (part.start + part.size - u64::from(word % 5000), word % 5000),
            2 => (part.start.wrapping_sub(u64::from(word % 5000)), word % 10_000),
            3 => (rings.buffers(), word),
            _ => (rings.buffers() + wide % 0x2_0000, 1 + word % 5000),
        };
        let (flags, next) = match number / SIZE / 16 % 16 {
            0 => (number >> 8, word as u16),
            // To itself, to the one before, to the one after.
            1 => (WRITE | NEXT, place),
            2 => (WRITE | NEXT, place.wrapping_sub(1)),
            3 | 4 => (WRITE | NEXT, (place + 1) % SIZE),
            5..=7 => {
                // A table of two, of which the second may be anything.
                let entry = |address: u64, length: u32, flags: u16, next: u16| {
                    [
                        &address.to_le_bytes()[..],
                        &length.to_le_bytes(),
                        &flags.to_le_bytes(),
                        &next.to_le_bytes(),
                    ]
                    .concat()
                };
                let second = if number % 64 == 0 { small.into() } else { WRITE };
                let table = [
                    entry(rings.buffers(), 1 + word % 100, WRITE | NEXT, 1),
                    entry(address, length, second, 0),
                ];
                self.put(rings.indirect() + u64::from(place) * 0x100, &table.concat());
                let descriptor = entry(
                    rings.indirect() + u64::from(place) * 0x100,
                    32,
                    INDIRECT | u16::from(small & 1),
                    0,
                );
                return self.put(rings.table() + u64::from(place) * 16, &descriptor);
            }
            8 => (0, 0),
            _ => (WRITE, 0),
        };
        let descriptor =
            [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()]
                .concat();
        self.put(rings.table() + u64::from(place) * 16, &descriptor);
    }
}
