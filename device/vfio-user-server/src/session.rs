// SPDX-License-Identifier: MIT OR Apache-2.0
//! One client's connection: takes messages off the socket, does what they ask, answers.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use log::{Level, debug};
use vfio_bindings::bindings::vfio::{
    VFIO_DEVICE_FLAGS_PCI, VFIO_DEVICE_FLAGS_RESET, VFIO_IRQ_INFO_AUTOMASKED, VFIO_IRQ_INFO_EVENTFD,
    VFIO_IRQ_INFO_MASKABLE, VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE,
};

use crate::counters::{Counters, Reason};
use crate::device::{Client, Device, Irqs, REGION_COUNT, Region, Regions};
use crate::dma::{GuestMemory, Remote};
use crate::failure::{Failure, SessionError};
use crate::irq::{IRQ_INDEXES, Interrupts, IrqIndex};
use crate::limits::Limits;
use crate::log_budget::LogBudget;
use crate::reaper::{PeerFd, Reaper};
use crate::receiver::{Received, Receiver};
use crate::request::{
    DEVICE_INFO_SIZE, DMA_UNMAP_SIZE, IRQ_INFO_SIZE, REGION_INFO_SIZE, Request, UnmapRange,
};
use crate::sender::Sender;
use crate::shutdown::Shutdown;
use crate::signal::Signaller;
use crate::version;
use crate::wire::{Header, Kind, REGION_ACCESS_SIZE, Writer};

/// After so many messages the caller gets its turn, to see whether it should end or somebody else knocks.
const MESSAGES_PER_TURN: usize = 64;

/// What remains to be done after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// All that had come is done.
    Idle,
    /// There may be more at once.
    More,
    /// The client has left.
    Left,
}

/// The fixed part of an answer; the data of a region read is apart.
struct Answer {
    fixed: [u8; REGION_INFO_SIZE],
    length: usize,
}

impl Answer {
    fn empty() -> Self {
        Self { fixed: [0; REGION_INFO_SIZE], length: 0 }
    }

    fn new(length: usize, fill: impl FnOnce(&mut Writer<'_>)) -> Self {
        let mut answer = Self { length, ..Self::empty() };
        fill(&mut Writer::new(&mut answer.fixed));
        answer
    }

    fn bytes(&self) -> &[u8] {
        self.fixed.get(..self.length).unwrap_or(&self.fixed)
    }
}

/// What a server's sessions have in common.
#[derive(Debug)]
pub(crate) struct Common {
    /// What the log calls the server.
    pub(crate) name: String,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shutdown: Shutdown,
    pub(crate) reaper: Reaper,
    pub(crate) signaller: Signaller,
    pub(crate) budget: LogBudget,
}

impl Common {
    /// Logs a line about a client, unless there have been too many.
    pub(crate) fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        self.budget.log(level, &self.name, line);
    }
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session<'d, D: Device> {
    common: &'d Common,
    device: &'d mut D,
    sender: Arc<Sender>,
    receiver: Receiver,
    remote: Arc<Remote>,
    memory: GuestMemory,
    interrupts: Interrupts,
    regions: Regions,
    irqs: Irqs,
    agreed: bool,
    /// Data of a region read, kept for the next one.
    data: Vec<u8>,
}

impl<'d, D: Device> Session<'d, D> {
    /// To be made by the thread that will call [`Self::turn`].
    pub(crate) fn new(socket: UnixStream, device: &'d mut D, common: &'d Common) -> Self {
        let Common { limits, counters, shutdown, reaper, signaller, .. } = common;
        let socket = PeerFd::connection(socket.into(), reaper);
        let sender = Arc::new(Sender::new(socket, limits.reply, shutdown.clone()));
        let remote = Arc::new(Remote::new(sender.clone(), limits.reply, counters.clone()));
        let max_data = usize::try_from(limits.max_data_xfer_size).unwrap_or(usize::MAX);
        let max_fds = usize::try_from(limits.max_msg_fds).unwrap_or(usize::MAX);
        let (regions, mut irqs) = (device.regions(), device.irqs());
        if !limits.release.is_zero() && irqs.get(IrqIndex::Req).count == 0 {
            irqs = irqs.with(IrqIndex::Req, 1);
        }
        Self {
            common,
            device,
            sender,
            receiver: Receiver::new(max_data.saturating_add(REGION_ACCESS_SIZE), max_fds, reaper.clone()),
            memory: GuestMemory::new(remote.clone(), limits),
            remote,
            interrupts: Interrupts::with(&irqs, signaller.clone(), counters.clone()),
            regions,
            irqs,
            agreed: false,
            data: Vec::new(),
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.sender.socket()
    }

    /// Asks the client to let go of the device. `false`: it has not said how.
    pub(crate) fn ask_to_release(&self) -> bool {
        self.interrupts.trigger(IrqIndex::Req, 0)
    }

    /// The device.
    pub(crate) fn device(&self) -> &D {
        self.device
    }

    /// The same, to be told something.
    pub(crate) fn device_mut(&mut self) -> &mut D {
        self.device
    }

    /// Whether the versions were exchanged.
    pub(crate) fn has_agreed(&self) -> bool {
        self.agreed
    }

    /// Does what has come. An error: the client is to be dropped.
    pub(crate) fn turn(&mut self) -> Result<Turn, SessionError> {
        for _ in 0..MESSAGES_PER_TURN {
            self.wait_for_room()?;
            match self.receiver.receive(self.sender.socket())? {
                Received::Message { header, fds } => self.message(&header, fds)?,
                Received::Unusable { header, why } => self.finish(&header, &Err(why.into()), false)?,
                Received::Nothing => return Ok(Turn::Idle),
                Received::Left => return Ok(Turn::Left),
            }
        }
        Ok(Turn::More)
    }

    /// A message can bring descriptors, and there must be room for them until they are closed.
    fn wait_for_room(&self) -> Result<(), SessionError> {
        let Common { reaper, limits, shutdown, .. } = self.common;
        if reaper.has_room() || reaper.wait_for_room(limits.reply, || shutdown.is_triggered()) {
            return Ok(());
        }
        Err(SessionError::NoRoom)
    }

    fn message(&mut self, header: &Header, fds: Vec<PeerFd>) -> Result<(), SessionError> {
        match header.kind() {
            Kind::Reply { .. } => {
                if !self.remote.answered(header, self.receiver.payload()) {
                    self.common.counters.stray_replies.add_one();
                }
                return Ok(());
            }
            Kind::Unknown => return self.finish(header, &Err(Failure::Flags), false),
            Kind::Command { .. } => {}
        }
        // Taken out, so that the request can borrow it while the session changes.
        let receiver = std::mem::replace(&mut self.receiver, Receiver::new(0, 0, self.common.reaper.clone()));
        let outcome = match Request::parse(header.command, receiver.payload(), fds) {
            Ok(Request::Version { major, minor, data }) if !self.agreed => {
                self.agree(header, major, minor, data)
            }
            Ok(_) | Err(_) if !self.agreed => self
                .finish(header, &Err(Failure::NoVersion), false)
                .and(Err(SessionError::NoVersion(header.command))),
            Ok(Request::RegionRead { region, offset, count }) => {
                let outcome = self.region_read(region, offset, count);
                self.finish(header, &outcome, true)
            }
            Ok(request) => {
                let outcome = self.execute(request);
                self.finish(header, &outcome, false)
            }
            Err(error) => self.finish(header, &Err(error.into()), false),
        };
        self.receiver = receiver;
        outcome
    }

    fn agree(&mut self, header: &Header, major: u16, minor: u16, data: &[u8]) -> Result<(), SessionError> {
        match version::negotiate(major, minor, data, &self.common.limits) {
            Ok(agreement) => {
                debug!("client speaks version {major}.{minor}, agreed on {major}.{}", agreement.minor);
                let payload = version::reply(&agreement, &self.common.limits);
                self.remote.set_max_transfer(agreement.max_data_xfer_size);
                self.agreed = true;
                self.common.counters.set_connected(true);
                self.device.client_joined(&Client {
                    memory: self.memory.clone(),
                    interrupts: self.interrupts.clone(),
                });
                self.common.counters.requests.add_one();
                if header.wants_reply() {
                    self.send(&header.reply(payload.len()), &payload, &[])?;
                }
                Ok(())
            }
            Err(error) => {
                self.finish(header, &Err(Failure::Version(error.errno())), false)?;
                Err(error.into())
            }
        }
    }

    /// Everything but the version and region reads.
    fn execute(&mut self, request: Request<'_>) -> Result<Answer, Failure> {
        match request {
            Request::Version { .. } => Err(Failure::SecondVersion),
            Request::DmaMap(map) => {
                self.memory.map(map).inspect_err(|_| self.common.counters.dma_maps_failed.add_one())?;
                Ok(Answer::empty())
            }
            Request::DmaUnmap { range, argsz, flags } => {
                self.memory.unmap(range)?;
                let (address, size) = match range {
                    UnmapRange::All => (0, 0),
                    UnmapRange::Exact { address, size } => (address, size),
                };
                Ok(Answer::new(DMA_UNMAP_SIZE, |answer| {
                    answer.u32(argsz);
                    answer.u32(flags);
                    answer.u64(address);
                    answer.u64(size);
                }))
            }
            Request::DeviceGetInfo => Ok(Answer::new(DEVICE_INFO_SIZE, |answer| {
                answer.u32(DEVICE_INFO_SIZE as u32);
                answer.u32(VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
                answer.u32(REGION_COUNT as u32);
                answer.u32(IRQ_INDEXES as u32);
            })),
            Request::RegionInfo { index } => self.region_info(index),
            Request::IrqInfo { index } => self.irq_info(index),
            Request::SetIrqs(request) => {
                self.interrupts.set(request)?;
                Ok(Answer::empty())
            }
            Request::RegionRead { region, offset, count } => self.region_read(region, offset, count),
            Request::RegionWrite { region, offset, data } => self.region_write(region, offset, data),
            Request::Reset => {
                self.device.reset();
                Ok(Answer::empty())
            }
        }
    }

    fn region_info(&self, index: u32) -> Result<Answer, Failure> {
        let info = self.regions.get(Region::from_number(index).ok_or(Failure::NoRegion(index))?);
        let mut flags = 0;
        if info.readable {
            flags |= VFIO_REGION_INFO_FLAG_READ;
        }
        if info.writable {
            flags |= VFIO_REGION_INFO_FLAG_WRITE;
        }
        Ok(Answer::new(REGION_INFO_SIZE, |answer| {
            answer.u32(REGION_INFO_SIZE as u32);
            answer.u32(flags);
            answer.u32(index);
            answer.u32(0); // No capabilities.
            answer.u64(info.size);
            answer.u64(0); // For mmap, which no region offers.
        }))
    }

    fn irq_info(&self, number: u32) -> Result<Answer, Failure> {
        let index = IrqIndex::from_number(number).ok_or(Failure::NoIrq(number))?;
        let mut flags = VFIO_IRQ_INFO_EVENTFD;
        if index.is_maskable() {
            flags |= VFIO_IRQ_INFO_MASKABLE;
        }
        if index.masks_itself() {
            flags |= VFIO_IRQ_INFO_AUTOMASKED;
        }
        let count = self.irqs.get(index).count;
        // As Linux answers for a device that is not PCI Express. QEMU warns about a count of 0 here.
        if index == IrqIndex::Err && count == 0 {
            return Err(Failure::NoErrorReporting);
        }
        Ok(Answer::new(IRQ_INFO_SIZE, |answer| {
            answer.u32(IRQ_INFO_SIZE as u32);
            answer.u32(flags);
            answer.u32(number);
            answer.u32(count.into());
        }))
    }

    /// Leaves the data in `self.data`.
    fn region_read(&mut self, number: u32, offset: u64, count: u32) -> Result<Answer, Failure> {
        let max = self.common.limits.max_data_xfer_size;
        if count > max {
            return Err(Failure::TooMuchData { count, max });
        }
        let region = self.region_for_access(number, offset, count.into())?;
        if !self.regions.get(region).readable {
            return Err(Failure::Forbidden(region));
        }
        self.data.clear();
        self.data.resize(usize::try_from(count).unwrap_or_default(), 0);
        if count > 0 {
            self.device.region_read(region, offset, &mut self.data).map_err(Failure::Device)?;
        }
        Ok(access_answer(number, offset, count))
    }

    fn region_write(&mut self, number: u32, offset: u64, data: &[u8]) -> Result<Answer, Failure> {
        let region = self.region_for_access(number, offset, data.len() as u64)?;
        if !self.regions.get(region).writable {
            return Err(Failure::Forbidden(region));
        }
        if !data.is_empty() {
            self.device.region_write(region, offset, data).map_err(Failure::Device)?;
        }
        Ok(access_answer(number, offset, u32::try_from(data.len()).unwrap_or(u32::MAX)))
    }

    fn region_for_access(&self, number: u32, offset: u64, count: u64) -> Result<Region, Failure> {
        let region = Region::from_number(number).ok_or(Failure::NoRegion(number))?;
        let size = self.regions.get(region).size;
        match offset.checked_add(count) {
            Some(end) if end <= size => Ok(region),
            _ => Err(Failure::OutsideRegion { region, offset, count, size }),
        }
    }

    /// Counts, logs and answers. `with_data`: what was read follows.
    fn finish(
        &mut self,
        header: &Header,
        outcome: &Result<Answer, Failure>,
        with_data: bool,
    ) -> Result<(), SessionError> {
        self.common.counters.requests.add_one();
        match outcome {
            Ok(answer) if header.wants_reply() => {
                let data = if with_data { self.data.as_slice() } else { &[] };
                let payload = answer.bytes().len().saturating_add(data.len());
                self.send(&header.reply(payload), answer.bytes(), data)
            }
            Ok(_) => Ok(()),
            Err(failure) => {
                self.common.counters.add_failed(failure.reason());
                self.log_mistake(header.command, failure);
                if header.wants_reply() {
                    self.send(&header.error_reply(failure.errno()), &[], &[])?;
                }
                Ok(())
            }
        }
    }

    fn log_mistake(&mut self, command: u16, failure: &Failure) {
        // A client asks for features until it is told that there are none; that is no mistake.
        if failure.reason() == Reason::Unsupported {
            self.common.log(Level::Debug, format_args!("command {command} refused: {failure}"));
            return;
        }
        self.common.log(Level::Warn, format_args!("command {command} failed: {failure}"));
    }

    fn send(&self, header: &Header, fixed: &[u8], data: &[u8]) -> Result<(), SessionError> {
        self.sender.send([&header.encode(), fixed, data]).map_err(SessionError::Send)
    }
}

/// The client is gone, however that came about: nothing of it stays.
impl<D: Device> Drop for Session<'_, D> {
    fn drop(&mut self) {
        // First what the device's threads may be waiting for, then the device, then what it used.
        self.remote.close();
        self.sender.close();
        if self.agreed {
            self.device.client_left();
            self.common.counters.set_connected(false);
        }
        // Everything can always be unmapped.
        let _ = self.memory.unmap(UnmapRange::All);
        self.interrupts.disable_all();
    }
}

impl<D: Device> AsFd for Session<'_, D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket()
    }
}

fn access_answer(region: u32, offset: u64, count: u32) -> Answer {
    Answer::new(REGION_ACCESS_SIZE, |answer| {
        answer.u64(offset);
        answer.u32(region);
        answer.u32(count);
    })
}
