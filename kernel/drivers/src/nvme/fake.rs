// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fake NVMe controller for tests: two namespaces, queues as the driver makes them, and a taste for mischief.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use exo_platform::fake::{FakeDevice, Wires, dma};

use crate::block::{
    fake_disk::FakeDisk,
    suite::{FakeController, Misdeed},
};

#[derive(Clone, Copy, Default)]
struct Submissions {
    address: u64,
    entries: u16,
    head: u16,
    tail: u16,
    completions: u16,
}

#[derive(Clone, Copy, Default)]
struct Completions {
    address: u64,
    entries: u16,
    tail: u16,
    is_phase_zero: bool,
    vector: u16,
}

#[derive(Default)]
struct Inner {
    configuration: u32,
    is_shut_down: bool,
    admin_attributes: u32,
    admin_submissions: u64,
    admin_completions: u64,
    submissions: BTreeMap<u16, Submissions>,
    completions: BTreeMap<u16, Completions>,
    is_paused: bool,
    misdeed: Option<Misdeed>,
    /// Every I/O command ends because its queue is deleted.
    gives_up: bool,
    /// Commands that were aborted, for the tests.
    aborted: Vec<(u16, u16)>,
    resets: usize,
    /// It makes no queues.
    refuses_queues: bool,
    /// Doorbells in memory and the values that are waited for.
    shadows: Option<(u64, u64)>,
    /// Writes to doorbells of I/O submission queues, for the tests.
    doorbells: usize,
    /// Queues and identifiers of the last completions.
    recent: Vec<(u16, u16)>,
}

/// The controller.
pub(super) struct FakeNvme {
    disks: Vec<Arc<FakeDisk>>,
    wires: Wires,
    vectors: usize,
    has_shadows: bool,
    inner: Mutex<Inner>,
}

const READY: u32 = 1;
const QUEUE_DELETED: u16 = 0x08;
const LBA_OUT_OF_RANGE: u16 = 0x80;
const INVALID_OPCODE: u16 = 0x01;
const INVALID_QUEUE: u16 = 0x101;
const WRITE_PROTECTED: u16 = 0x20;
const UNRECOVERED_READ_ERROR: u16 = 0x281;
const QUEUE_PAIRS: u32 = 3;

impl FakeNvme {
    pub(super) fn new(disks: Vec<Arc<FakeDisk>>, vectors: usize, has_shadows: bool) -> Arc<Self> {
        Arc::new(Self { disks, wires: Wires::new(), vectors, has_shadows, inner: Mutex::default() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// From now on it makes no queue but its own.
    pub(super) fn refuse_queues(&self) {
        self.inner().refuses_queues = true;
    }

    /// From now on no I/O command is carried out: each ends as those do whose queue is deleted.
    pub(super) fn give_up(&self) {
        self.inner().gives_up = true;
    }

    pub(super) fn aborted(&self) -> Vec<(u16, u16)> {
        self.inner().aborted.clone()
    }

    pub(super) fn doorbells(&self) -> usize {
        self.inner().doorbells
    }

    pub(super) fn resets(&self) -> usize {
        self.inner().resets
    }

    fn status(&self, inner: &Inner) -> u32 {
        let is_enabled = inner.configuration & 1 != 0;
        // A dead controller sticks to what it was.
        let is_ready = is_enabled || inner.misdeed == Some(Misdeed::Dead);
        let shutdown = if inner.is_shut_down { 2 << 2 } else { 0 };
        shutdown | if is_ready { READY } else { 0 }
    }

    fn configure(&self, inner: &mut Inner, value: u32) {
        if inner.misdeed == Some(Misdeed::Dead) {
            return;
        }
        let was_enabled = inner.configuration & 1 != 0;
        inner.configuration = value;
        inner.is_shut_down = value & (3 << 14) != 0;
        match (was_enabled, value & 1 != 0) {
            (true, false) => {
                inner.submissions.clear();
                inner.completions.clear();
                inner.shadows = None;
                inner.resets += 1;
                if inner.misdeed == Some(Misdeed::Silent) {
                    inner.misdeed = None;
                }
            }
            (false, true) => {
                let submission_entries = (inner.admin_attributes & 0xfff) as u16 + 1;
                let completion_entries = ((inner.admin_attributes >> 16) & 0xfff) as u16 + 1;
                let (address, completions) = (inner.admin_submissions, inner.admin_completions);
                let queue = Submissions { address, entries: submission_entries, ..Submissions::default() };
                inner.submissions.insert(0, queue);
                let queue = Completions {
                    address: completions,
                    entries: completion_entries,
                    ..Completions::default()
                };
                inner.completions.insert(0, queue);
            }
            _ => {}
        }
    }

    fn doorbell(&self, inner: &mut Inner, index: usize, value: u16) {
        let queue = (index / 2) as u16;
        if index % 2 == 0 {
            if let Some(submissions) = inner.submissions.get_mut(&queue) {
                assert!(value < submissions.entries, "a tail beyond the queue");
                submissions.tail = value;
            }
            if queue != 0 {
                inner.doorbells += 1;
                self.lie(inner);
            }
            self.work(inner);
        } else if let Some(completions) = inner.completions.get(&queue) {
            assert!(value < completions.entries, "a head beyond the queue");
        }
    }

    /// Carries out what was submitted; I/O commands only if the controller neither is paused nor keeps silent.
    fn work(&self, inner: &mut Inner) {
        let is_silent = matches!(inner.misdeed, Some(Misdeed::Silent | Misdeed::Dead));
        let numbers: Vec<u16> = inner.submissions.keys().copied().collect();
        for number in numbers {
            if number != 0 && (inner.is_paused || is_silent) || inner.misdeed == Some(Misdeed::Dead) {
                continue;
            }
            self.look_at_shadow(inner, number);
            while let Some(queue) =
                inner.submissions.get_mut(&number).filter(|queue| queue.head != queue.tail)
            {
                let at = queue.address + 64 * u64::from(queue.head);
                queue.head = (queue.head + 1) % queue.entries;
                let mut command = [0; 64];
                assert!(dma::device_read(at, &mut command), "the queue is not memory");
                let word = |n: usize| u32::from_le_bytes(command[4 * n..4 * n + 4].try_into().unwrap());
                let words: [u32; 16] = std::array::from_fn(word);
                let (result, status) = match number {
                    0 => self.administer(inner, &words),
                    _ if inner.gives_up => (0, QUEUE_DELETED),
                    _ => (0, self.transfer(&words)),
                };
                self.complete(inner, number, (words[0] >> 16) as u16, result, status);
            }
        }
    }

    /// Takes the tail of an I/O queue from memory, and waits for it to move on from there.
    fn look_at_shadow(&self, inner: &mut Inner, number: u16) {
        let (Some((doorbells, events)), 1..) = (inner.shadows, number) else { return };
        let Some(queue) = inner.submissions.get_mut(&number) else { return };
        let at = 8 * u64::from(number);
        let tail = dma::device_read32(doorbells + at);
        assert!(tail < u32::from(queue.entries), "a tail beyond the queue");
        queue.tail = tail as u16;
        dma::device_write(events + at, &tail.to_le_bytes());
        let head = dma::device_read32(doorbells + at + 4);
        assert!(head < u32::from(inner.completions[&number].entries), "a head beyond the queue");
    }

    fn administer(&self, inner: &mut Inner, words: &[u32; 16]) -> (u32, u16) {
        let data = u64::from(words[6]) | (u64::from(words[7]) << 32);
        let (queue, entries) = (words[10] as u16, (words[10] >> 16) as u16 + 1);
        match words[0] & 0xff {
            0x06 => {
                let page = self.identify(words[1], words[10]);
                assert!(dma::device_write(data, &page));
            }
            0x09 => return (((QUEUE_PAIRS - 1) << 16) | (QUEUE_PAIRS - 1), 0),
            0x01 | 0x05 if inner.refuses_queues => return (0, INVALID_QUEUE),
            0x05 => {
                assert!(u32::from(queue) <= QUEUE_PAIRS && words[11] & 3 == 3);
                let vector = (words[11] >> 16) as u16;
                assert!(usize::from(vector) < self.vectors);
                inner
                    .completions
                    .insert(queue, Completions { address: data, entries, vector, ..Completions::default() });
            }
            0x01 => {
                let completions = (words[11] >> 16) as u16;
                assert!(inner.completions.contains_key(&completions), "no such completion queue");
                inner.submissions.insert(
                    queue,
                    Submissions { address: data, entries, completions, ..Submissions::default() },
                );
            }
            0x7c => {
                assert!(self.has_shadows);
                let events = u64::from(words[8]) | (u64::from(words[9]) << 32);
                inner.shadows = Some((data, events));
            }
            0x08 => inner.aborted.push((words[10] as u16, (words[10] >> 16) as u16)),
            _ => return (0, INVALID_OPCODE),
        }
        (0, 0)
    }

    fn identify(&self, namespace: u32, structure: u32) -> [u8; 4096] {
        let mut page = [0; 4096];
        match structure {
            0 => {
                let disk = &self.disks[namespace as usize - 1];
                page[..8].copy_from_slice(&disk.sectors.to_le_bytes());
                page[130] = disk.sector_size.trailing_zeros() as u8;
                page[99] = u8::from(disk.is_read_only);
            }
            1 => {
                page[4..24].copy_from_slice(b"FAKE-1              ");
                page[24..28].copy_from_slice(b"Fake");
                page[520] = 4;
                page[257] = u8::from(self.has_shadows);
            }
            2 => {
                for (to, number) in page.chunks_exact_mut(4).zip(1..=self.disks.len() as u32) {
                    to.copy_from_slice(&number.to_le_bytes());
                }
            }
            other => panic!("identify structure {other}"),
        }
        page
    }

    /// The pages of a command's data, each cut to what is left.
    fn pages(words: &[u32; 16], length: usize) -> Vec<(u64, usize)> {
        let first = u64::from(words[6]) | (u64::from(words[7]) << 32);
        let second = u64::from(words[8]) | (u64::from(words[9]) << 32);
        let mut left = length;
        let mut take = |address: u64| {
            let bytes = left.min(4096 - (address % 4096) as usize);
            left -= bytes;
            (address, bytes, left)
        };
        let (address, bytes, rest) = take(first);
        let mut pages = vec![(address, bytes)];
        if rest > 4096 {
            for entry in 0.. {
                let address = dma::device_read64(second + 8 * entry);
                assert_eq!(address % 4096, 0, "a page of a list begins at its beginning");
                let (address, bytes, rest) = take(address);
                pages.push((address, bytes));
                if rest == 0 {
                    break;
                }
            }
        } else if rest > 0 {
            assert_eq!(second % 4096, 0);
            let (address, bytes, rest) = take(second);
            assert_eq!(rest, 0);
            pages.push((address, bytes));
        }
        pages
    }

    fn transfer(&self, words: &[u32; 16]) -> u16 {
        let Some(disk) = self.disks.get((words[1] as usize).wrapping_sub(1)) else { return 0x0b };
        let start = u64::from(words[10]) | (u64::from(words[11]) << 32);
        let sectors = u64::from(words[12] & 0xffff) + 1;
        let length = sectors as usize * disk.sector_size as usize;
        match words[0] & 0xff {
            0 => disk.flush(),
            1 => {
                if disk.is_read_only {
                    return WRITE_PROTECTED;
                }
                let mut bytes = Vec::new();
                for (address, length) in Self::pages(words, length) {
                    let mut page = vec![0; length];
                    dma::device_read(address, &mut page);
                    bytes.append(&mut page);
                }
                if disk.write(start, &bytes).is_err() {
                    return UNRECOVERED_READ_ERROR;
                }
            }
            2 => {
                let Ok(bytes) = disk.read(start, sectors) else { return UNRECOVERED_READ_ERROR };
                let mut at = 0;
                for (address, length) in Self::pages(words, length) {
                    dma::device_write(address, &bytes[at..at + length]);
                    at += length;
                }
            }
            9 => {
                assert_eq!(words[10..12], [0, 4]);
                let address = u64::from(words[6]) | (u64::from(words[7]) << 32);
                let (count, start) = (dma::device_read32(address + 4), dma::device_read64(address + 8));
                if disk.discard(start, u64::from(count)).is_err() {
                    return LBA_OUT_OF_RANGE;
                }
            }
            _ => return INVALID_OPCODE,
        }
        0
    }

    fn complete(&self, inner: &mut Inner, queue: u16, identifier: u16, result: u32, status: u16) {
        self.post(inner, queue, identifier, result, status);
        if queue == 0 {
            return;
        }
        inner.recent.push((queue, identifier));
        if inner.misdeed == Some(Misdeed::Garbage) {
            let Some(completions) = inner.completions.get(&queue) else { return };
            for entry in 0..u64::from(completions.entries) * 2 {
                let garbage = (entry + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(identifier);
                dma::device_write(completions.address + 8 * entry, &garbage.to_le_bytes());
            }
        }
    }

    /// Completions that are none, posted when new commands have come and none of them was looked at: of old commands, whose slots
    /// may be used again by now, and of commands that never were.
    fn lie(&self, inner: &mut Inner) {
        let lies: Vec<(u16, u16)> = match inner.misdeed {
            Some(Misdeed::Twice) => std::mem::take(&mut inner.recent),
            Some(Misdeed::Unasked) => vec![(1, 0x7f), (1, 0xffff), (2, 0x80), (7, 0x80)],
            _ => return,
        };
        for (queue, identifier) in lies {
            self.post(inner, queue, identifier, 0, 0);
        }
    }

    fn post(&self, inner: &mut Inner, queue: u16, identifier: u16, result: u32, status: u16) {
        let Some(submissions) = inner.submissions.get(&queue).copied() else { return };
        let Some(completions) = inner.completions.get_mut(&submissions.completions) else {
            return;
        };
        let phase = u64::from(!completions.is_phase_zero);
        let high = (u64::from(status) << 49)
            | (phase << 48)
            | (u64::from(identifier) << 32)
            | (u64::from(queue) << 16)
            | u64::from(submissions.head);
        let at = completions.address + 16 * u64::from(completions.tail);
        assert!(dma::device_write(at, &u64::from(result).to_le_bytes()));
        assert!(dma::device_write(at + 8, &high.to_le_bytes()));
        completions.tail += 1;
        if completions.tail == completions.entries {
            (completions.tail, completions.is_phase_zero) = (0, !completions.is_phase_zero);
        }
        self.wires.raise(usize::from(completions.vector));
    }
}

impl FakeController for FakeNvme {
    fn wires(&self) -> &Wires {
        &self.wires
    }

    fn pause(&self, is_paused: bool) {
        let mut inner = self.inner();
        inner.is_paused = is_paused;
        self.work(&mut inner);
    }

    fn misbehave(&self, misdeed: Misdeed) {
        self.inner().misdeed = Some(misdeed).filter(|misdeed| *misdeed != Misdeed::None);
    }
}

impl FakeDevice for FakeNvme {
    fn bar_size(&self, bar: u8) -> usize {
        if bar == 0 { 0x2000 } else { 0 }
    }

    fn read(&self, _bar: u8, offset: usize, _size: u8) -> u64 {
        let inner = self.inner();
        match offset {
            // 1024 entries, 1 s, the NVM command set.
            0x00 => 0x0000_0020_0201_03ff,
            0x14 => inner.configuration.into(),
            0x1c => self.status(&inner).into(),
            _ => 0,
        }
    }

    fn write(&self, _bar: u8, offset: usize, size: u8, value: u64) {
        assert_eq!(size, 4, "32-bit accesses work everywhere");
        let mut inner = self.inner();
        let half = |old: u64, is_high: bool| {
            if is_high { old & 0xffff_ffff | (value << 32) } else { (old >> 32 << 32) | value }
        };
        match offset {
            0x14 => self.configure(&mut inner, value as u32),
            0x24 => inner.admin_attributes = value as u32,
            0x28 | 0x2c => inner.admin_submissions = half(inner.admin_submissions, offset == 0x2c),
            0x30 | 0x34 => inner.admin_completions = half(inner.admin_completions, offset == 0x34),
            0x1000.. => self.doorbell(&mut inner, (offset - 0x1000) / 4, value as u16),
            other => panic!("a write to {other:#x}"),
        }
    }

    fn interrupts(&self) -> usize {
        self.vectors
    }

    fn disable(&self) {
        let inner = self.inner();
        if inner.configuration & 1 != 0 && inner.misdeed != Some(Misdeed::Gone) {
            // It reads what it has been given once more.
            let submissions = inner.submissions.values().map(|queue| queue.address);
            for address in submissions.chain(inner.completions.values().map(|queue| queue.address)) {
                dma::device_read16(address);
            }
        }
    }

    fn is_present(&self) -> bool {
        self.inner().misdeed != Some(Misdeed::Gone)
    }
}
