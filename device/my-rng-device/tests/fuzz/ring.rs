// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that does anything with its queues: registers, rings and buffers that make sense, nearly so, or not at all, while
//! its memory comes and goes under the device.

use my_rng_abi::{queue, registers};
use my_rng_device::stream::PowerOn;

use super::common::client::{BAR0, CONFIG, write};
use super::guest::{Action, Attacker, Guest, PARTS};

/// MSI-X, as VFIO numbers it.
const MSIX: u32 = 2;

pub(crate) fn attacker() -> Attacker {
    let identity = u32::from(registers::VENDOR_ID) | u32::from(registers::DEVICE_ID) << 16;
    Attacker::new(PowerOn::default(), identity, Guest::act)
}

impl Guest {
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
            215..=219 => self.interrupts(MSIX, action),
            220 if small < 16 => self.cut_short(),
            220 if small < 40 => self.come_again(),
            221..=244 => self.register(usize::from(number % 0xa0), word),
            _ => {
                let width = [1, 2, 4, 8][usize::from(small % 4)];
                self.post(&write(BAR0, (number % 0x1000).min(0xff8).into(), &wide.to_le_bytes()[..width]));
            }
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
        self.get(at, &mut completed);
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
}
