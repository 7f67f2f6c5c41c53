// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fake adapter for tests, as strict as a real one: after an error of a queued command the drive drops everything until its
//! link is reset, and a command beside queued ones is a fault of the driver. Ports 0 and 2 have disks (the second one if the
//! test gives one), port 1 a DVD drive, and port 3 nothing.

use std::sync::{Arc, Mutex, MutexGuard};

use exo_platform::fake::{FakeDevice, Wires, dma};

use super::{
    command::code,
    registers::{host, port},
};
use crate::block::{
    fake_disk::FakeDisk,
    suite::{FakeController, Misdeed},
};

const PORTS: usize = 4;
const READY: u32 = 0x50;
/// The status and the error register of a medium error: ready, error; uncorrectable.
pub(super) const MEDIUM_ERROR: u32 = 0x4051;

#[derive(Default)]
struct FakePort {
    list: u64,
    received: u64,
    interrupts: u32,
    interrupt_enable: u32,
    command: u32,
    task_file: u32,
    signature: u32,
    sata_control: u32,
    active: u32,
    issued: u32,
    disk: Option<Arc<FakeDisk>>,
    is_linked: bool,
    /// After an error nothing works until the link is reset (of a queued command: true) or the list was stopped.
    halted: Option<bool>,
    link_resets: usize,
}

#[derive(Default)]
struct Inner {
    control: u32,
    ports: [FakePort; PORTS],
    is_bios_owner: bool,
    is_paused: bool,
    misdeed: Option<Misdeed>,
    /// Writes to PxCI, for the tests.
    doorbells: usize,
}

/// What the fake's drives can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skills {
    pub(super) queues: bool,
    pub(super) trims: bool,
    /// As QEMU's: the status shows an error until the link is reset or a command succeeds, and the next queued command that is taken
    /// meanwhile reports it once more.
    pub(super) keeps_error: bool,
}

/// The adapter.
pub(super) struct FakeAhci {
    wires: Wires,
    skills: Skills,
    inner: Mutex<Inner>,
}

impl FakeAhci {
    pub(super) fn new(disks: [Option<Arc<FakeDisk>>; 2], skills: Skills) -> Arc<Self> {
        let mut inner = Inner { is_bios_owner: true, ..Inner::default() };
        let [first, second] = disks;
        for (number, disk) in [(0, first), (2, second)] {
            let port = &mut inner.ports[number];
            (port.is_linked, port.signature, port.disk) = (disk.is_some(), port::DISK, disk);
        }
        (inner.ports[1].is_linked, inner.ports[1].signature) = (true, port::PACKET_DEVICE);
        for port in &mut inner.ports {
            port.task_file = READY;
        }
        Arc::new(Self { wires: Wires::new(), skills, inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Pulls the cable out of a port.
    pub(super) fn unplug(&self, number: usize) {
        let mut inner = self.inner();
        inner.ports[number].is_linked = false;
        self.report(&mut inner, number, port::PHY_CHANGE);
    }

    /// The drive at a port says something by itself, as after a reset of its own.
    pub(super) fn send_frame(&self, number: usize) {
        let port = &self.inner().ports[number];
        if port.command & port::RECEIVE_ENABLE != 0 {
            dma::device_write(port.received + 0x40, &[0x34; 20]);
        }
    }

    pub(super) fn doorbells(&self) -> usize {
        self.inner().doorbells
    }

    pub(super) fn link_resets(&self, number: usize) -> usize {
        self.inner().ports[number].link_resets
    }

    fn report(&self, inner: &mut Inner, number: usize, what: u32) {
        let port = &mut inner.ports[number];
        port.interrupts |= what;
        if port.interrupts & port.interrupt_enable != 0 && inner.control & host::INTERRUPT_ENABLE != 0 {
            self.wires.raise(0);
        }
    }

    /// Carries out what a port was given.
    fn work(&self, inner: &mut Inner, number: usize) {
        while let Some(slot) = Self::next(inner, number) {
            let port = &inner.ports[number];
            let header = port.list + 32 * u64::from(slot);
            let flags = dma::device_read32(header);
            let table = dma::device_read64(header + 8);
            assert_eq!((flags & 0x1f, table % 128), (5, 0), "a frame of five dwords in an aligned table");
            let mut frame = [0; 20];
            assert!(dma::device_read(table, &mut frame));
            assert_eq!(frame[..2], [0x27, 0x80]);
            let is_queued = matches!(frame[2], code::READ_FPDMA_QUEUED | code::WRITE_FPDMA_QUEUED);
            let is_io = frame[2] != code::IDENTIFY_DEVICE;
            if is_io && (inner.is_paused || matches!(inner.misdeed, Some(Misdeed::Silent | Misdeed::Dead))) {
                return;
            }
            if is_queued {
                assert_eq!(u32::from(frame[12] >> 3), slot, "the tag is the slot's number");
                assert!(port.active & (1 << slot) != 0, "SACT before CI");
                assert!(self.skills.queues);
            } else {
                assert_eq!((port.active, port.issued), (0, 1 << slot), "a command that is not alone");
            }
            let regions = Self::regions(table, flags >> 16);
            let result = self.carry_out(port, &frame, &regions, flags & (1 << 6) != 0);
            self.finish(inner, number, slot, is_queued, result);
            self.lie(inner, number);
        }
    }

    fn next(inner: &Inner, number: usize) -> Option<u32> {
        let port = &inner.ports[number];
        let works = port.command & port::START != 0 && port.halted.is_none() && port.is_linked;
        (works && port.issued != 0).then(|| port.issued.trailing_zeros())
    }

    fn regions(table: u64, count: u32) -> Vec<(u64, usize)> {
        (0..u64::from(count))
            .map(|index| {
                let at = table + 0x80 + 16 * index;
                let length = (dma::device_read32(at + 12) & 0x3f_ffff) + 1;
                (dma::device_read64(at), length as usize)
            })
            .collect()
    }

    fn carry_out(
        &self,
        port: &FakePort,
        frame: &[u8; 20],
        regions: &[(u64, usize)],
        is_write: bool,
    ) -> Result<(), ()> {
        let disk = port.disk.as_ref().expect("a command for no disk");
        let block = u64::from_le_bytes([frame[4], frame[5], frame[6], frame[8], frame[9], frame[10], 0, 0]);
        let features = u16::from_le_bytes([frame[3], frame[11]]);
        let count = u16::from_le_bytes([frame[12], frame[13]]);
        let gather = || {
            let mut bytes = Vec::new();
            for &(address, length) in regions {
                let mut part = vec![0; length];
                assert!(dma::device_read(address, &mut part));
                bytes.append(&mut part);
            }
            bytes
        };
        let scatter = |bytes: &[u8]| {
            assert_eq!(regions.iter().map(|region| region.1).sum::<usize>(), bytes.len());
            let mut at = 0;
            for &(address, length) in regions {
                dma::device_write(address, &bytes[at..at + length]);
                at += length;
            }
        };
        match frame[2] {
            code::IDENTIFY_DEVICE => scatter(&self.identity(disk)),
            code::READ_FPDMA_QUEUED | code::READ_DMA_EXT => {
                assert!(!is_write);
                let sectors = if frame[2] == code::READ_DMA_EXT { count } else { features };
                scatter(&disk.read(block, sectors.into()).map_err(drop)?);
            }
            code::WRITE_FPDMA_QUEUED | code::WRITE_DMA_EXT => {
                assert!(is_write);
                let sectors = if frame[2] == code::WRITE_DMA_EXT { count } else { features };
                let bytes = gather();
                assert_eq!(bytes.len(), usize::from(sectors) * disk.sector_size as usize);
                disk.write(block, &bytes).map_err(drop)?;
            }
            code::FLUSH_CACHE_EXT => disk.flush(),
            code::DATA_SET_MANAGEMENT => {
                assert!(self.skills.trims && is_write && features == 1 && count == 1);
                for range in gather().chunks_exact(8) {
                    let range = u64::from_le_bytes(range.try_into().unwrap());
                    if range >> 48 != 0 {
                        disk.discard(range & 0xffff_ffff_ffff, range >> 48).map_err(drop)?;
                    }
                }
            }
            other => panic!("command {other:#x}"),
        }
        Ok(())
    }

    fn identity(&self, disk: &FakeDisk) -> [u8; 512] {
        let mut data = [0; 512];
        let mut put =
            |word: usize, value: u16| data[2 * word..2 * word + 2].copy_from_slice(&value.to_le_bytes());
        put(27, u16::from_be_bytes(*b"Fa"));
        put(28, u16::from_be_bytes(*b"ke"));
        put(83, 0x4400);
        for part in 0..4 {
            put(100 + part, (disk.sectors >> (16 * part)) as u16);
        }
        if self.skills.queues {
            put(75, 31);
            put(76, 1 << 8);
        }
        if disk.sector_size != 512 {
            put(106, 0x5000);
            put(117, (disk.sector_size / 2) as u16);
        }
        put(169, u16::from(self.skills.trims));
        data
    }

    fn finish(&self, inner: &mut Inner, number: usize, slot: u32, is_queued: bool, result: Result<(), ()>) {
        let port = &mut inner.ports[number];
        let (frame, kind, report) =
            if is_queued { (0x58, 0xa1, port::DEVICE_BITS) } else { (0x40, 0x34, port::REGISTER_FRAME) };
        let received = port.received;
        let status = if result.is_ok() { READY } else { MEDIUM_ERROR };
        port.task_file = status;
        let [status, error] = (status as u16).to_le_bytes();
        dma::device_write(received + frame, &[kind, 1 << 6, status, error]);
        match result {
            Ok(()) => {
                port.issued &= !(1 << slot);
                port.active &= !(1 << slot);
                self.report(inner, number, report);
            }
            Err(()) => {
                // The bit of a queued command leaves CI when the drive has taken it; SACT keeps it.
                if is_queued {
                    port.issued &= !(1 << slot);
                }
                port.halted = Some(is_queued);
                self.report(inner, number, report | port::TASK_FILE_ERROR);
            }
        }
    }

    fn lie(&self, inner: &mut Inner, number: usize) {
        match inner.misdeed {
            Some(Misdeed::Unasked) => {
                self.report(inner, number, port::DEVICE_BITS | port::REGISTER_FRAME | port::PIO_FRAME);
                self.wires.raise(0);
                self.wires.raise(0);
            }
            Some(Misdeed::Twice) => self.wires.raise(0),
            Some(Misdeed::Garbage) => {
                let received = inner.ports[number].received;
                dma::device_write(received, &[0xa7; 256]);
            }
            _ => {}
        }
    }

    fn command(&self, inner: &mut Inner, number: usize, value: u32) {
        let is_dead = inner.misdeed == Some(Misdeed::Dead);
        let port = &mut inner.ports[number];
        let was_started = port.command & port::START != 0;
        port.command = value & !(port::LIST_RUNNING | port::RECEIVE_RUNNING);
        if value & port::START != 0 {
            assert!(value & port::RECEIVE_ENABLE != 0 && port.list % 1024 == 0 && port.received % 256 == 0);
            assert_eq!(
                port.task_file & (port::BUSY | port::DATA_REQUEST),
                0,
                "started while the drive is busy"
            );
        } else if was_started && !is_dead {
            (port.issued, port.active) = (0, 0);
            if !self.skills.keeps_error {
                port.task_file = READY;
            }
            port.halted = port.halted.filter(|was_queued| *was_queued);
        }
        self.work(inner, number);
    }

    fn link(&self, inner: &mut Inner, number: usize, value: u32) {
        let port = &mut inner.ports[number];
        let is_reset = port.sata_control & 0xf == port::LINK_RESET && value & 0xf == 0;
        port.sata_control = value;
        if !is_reset || inner.misdeed == Some(Misdeed::Dead) {
            return;
        }
        assert_eq!(port.command & port::START, 0, "a link reset with the list running");
        port.link_resets += 1;
        (port.halted, port.issued, port.active, port.task_file) = (None, 0, 0, READY);
        if inner.misdeed == Some(Misdeed::Silent) {
            inner.misdeed = None;
        }
        self.report(inner, number, port::CONNECT_CHANGE | port::PHY_CHANGE);
    }

    fn read_port(inner: &Inner, number: usize, register: usize) -> u32 {
        let port = &inner.ports[number];
        match register {
            port::INTERRUPTS => port.interrupts,
            port::INTERRUPT_ENABLE => port.interrupt_enable,
            port::COMMAND => {
                let is_stuck = inner.misdeed == Some(Misdeed::Dead);
                let list = if port.command & port::START != 0 || is_stuck { port::LIST_RUNNING } else { 0 };
                let receive =
                    if port.command & port::RECEIVE_ENABLE != 0 { port::RECEIVE_RUNNING } else { 0 };
                port.command | list | receive
            }
            port::TASK_FILE => port.task_file,
            port::SIGNATURE => port.signature,
            port::SATA_STATUS if port.is_linked => 0x113,
            port::SATA_CONTROL => port.sata_control,
            port::SATA_ACTIVE => match inner.misdeed {
                // Tags that nobody has used.
                Some(Misdeed::Unasked) => port.active | 0xffff_0000,
                _ => port.active,
            },
            port::COMMAND_ISSUE => port.issued,
            _ => 0,
        }
    }

    fn write_port(&self, inner: &mut Inner, number: usize, register: usize, value: u32) {
        let port = &mut inner.ports[number];
        let low = |old: u64| (old >> 32 << 32) | u64::from(value);
        let high = |old: u64| old & 0xffff_ffff | (u64::from(value) << 32);
        match register {
            0x00 => port.list = low(port.list),
            0x04 => port.list = high(port.list),
            0x08 => port.received = low(port.received),
            0x0c => port.received = high(port.received),
            port::INTERRUPTS => port.interrupts &= !value,
            port::INTERRUPT_ENABLE => port.interrupt_enable = value,
            port::COMMAND => self.command(inner, number, value),
            port::SATA_CONTROL => self.link(inner, number, value),
            port::SATA_ERROR => {}
            port::SATA_ACTIVE => port.active |= value,
            port::COMMAND_ISSUE => {
                assert!(port.command & port::START != 0, "a command while the list is stopped");
                port.issued |= value;
                let repeats =
                    self.skills.keeps_error && port.active != 0 && port.task_file & port::ERROR != 0;
                inner.doorbells += 1;
                if repeats {
                    self.report(inner, number, port::TASK_FILE_ERROR);
                }
                self.work(inner, number);
            }
            other => panic!("a write to port register {other:#x}"),
        }
    }
}

impl FakeController for FakeAhci {
    fn wires(&self) -> &Wires {
        &self.wires
    }

    fn pause(&self, is_paused: bool) {
        let mut inner = self.inner();
        inner.is_paused = is_paused;
        for number in 0..PORTS {
            self.work(&mut inner, number);
        }
    }

    fn misbehave(&self, misdeed: Misdeed) {
        self.inner().misdeed = Some(misdeed).filter(|misdeed| *misdeed != Misdeed::None);
    }
}

impl FakeDevice for FakeAhci {
    fn bar_size(&self, bar: u8) -> usize {
        if bar == 5 { 0x1000 } else { 0 }
    }

    fn read(&self, _bar: u8, offset: usize, size: u8) -> u64 {
        assert_eq!(size, 4);
        let inner = self.inner();
        let value = match offset {
            host::CAPABILITIES => {
                host::WIDE_ADDRESSES | host::NATIVE_QUEUEING | (31 << 8) | (PORTS as u32 - 1)
            }
            host::CONTROL => inner.control,
            host::INTERRUPTS => (0..PORTS)
                .filter(|n| inner.ports[*n].interrupts & inner.ports[*n].interrupt_enable != 0)
                .fold(0, |bits, n| bits | (1 << n)),
            host::PORTS => (1 << PORTS) - 1,
            host::CAPABILITIES_2 => host::HAS_HANDOFF,
            host::HANDOFF => u32::from(inner.is_bios_owner),
            0x100.. => Self::read_port(&inner, (offset - 0x100) / 0x80, offset % 0x80),
            _ => 0,
        };
        value.into()
    }

    fn write(&self, _bar: u8, offset: usize, size: u8, value: u64) {
        assert_eq!(size, 4);
        let (mut inner, value) = (self.inner(), value as u32);
        match offset {
            host::CONTROL => {
                assert!(!inner.is_bios_owner, "the BIOS was not asked");
                inner.control = value & !host::RESET;
            }
            host::HANDOFF => inner.is_bios_owner = value & host::SYSTEM_OWNS == 0,
            host::INTERRUPTS => {}
            0x100.. => self.write_port(&mut inner, (offset - 0x100) / 0x80, offset % 0x80, value),
            other => panic!("a write to {other:#x}"),
        }
    }

    fn is_present(&self) -> bool {
        self.inner().misdeed != Some(Misdeed::Gone)
    }
}
