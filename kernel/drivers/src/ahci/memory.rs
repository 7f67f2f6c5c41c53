// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory that a port works on: its command list, the frames that come from the drive, and a table for each command.

use exo_platform::{Dma, NoMemory};

use super::command::{
    self, Frame, HEADER_BYTES, MAX_TRIM_SECTORS, RECEIVED_BYTES, REGION_BYTES, REGIONS_OFFSET, SLOTS,
    TABLE_BYTES, TRIM_BYTES,
};
use crate::block::{Cause, Operation, Request};

/// Where the received frames, and where the tables are. The command list is at the beginning.
const RECEIVED: usize = SLOTS * HEADER_BYTES;
const TABLES: usize = (RECEIVED + RECEIVED_BYTES).next_multiple_of(TABLE_BYTES);
const ALIGNMENT: usize = 4096;
/// Where the ranges to trim, or what IDENTIFY answers, are in a command's table: behind the one region that such commands have.
const BLOCK_OFFSET: usize = TABLE_BYTES - TRIM_BYTES;

/// Received frames that end commands: register frames and set-device-bits frames (AHCI 4.2.1). The first byte is the frame's
/// type and never zero.
const FRAMES: [usize; 2] = [0x40, 0x58];

const _: () = assert!(BLOCK_OFFSET >= REGIONS_OFFSET + REGION_BYTES);

/// How a command is to be given to the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueMode {
    /// Together with others, as a queued command.
    Queued,
    /// With no other beside it.
    Alone,
}

/// See the module's description.
pub(super) struct PortMemory {
    dma: Dma,
    has_wide_addresses: bool,
}

impl PortMemory {
    pub(super) fn new(has_wide_addresses: bool) -> Result<Self, NoMemory> {
        let dma = Dma::new(TABLES + SLOTS * TABLE_BYTES, ALIGNMENT, None)?;
        let end = dma.address() + dma.len() as u64;
        if !has_wide_addresses && end > 1 << 32 {
            return Err(NoMemory);
        }
        let this = Self { dma, has_wide_addresses };
        for slot in 0..SLOTS {
            this.dma.write64(slot * HEADER_BYTES + 8, this.dma.address() + Self::table(slot) as u64);
        }
        Ok(this)
    }

    fn table(slot: usize) -> usize {
        TABLES + slot * TABLE_BYTES
    }

    /// Bus addresses of the command list and of the received frames.
    pub(super) fn addresses(&self) -> (u64, u64) {
        (self.dma.address(), self.dma.address() + RECEIVED as u64)
    }

    /// Lays the command for `request` out in `slot`.
    #[inline]
    pub(super) fn lay_out(&self, slot: u16, request: &Request, manner: QueueMode) -> Result<(), Cause> {
        let index = usize::from(slot);
        let is_write = matches!(request.operation, Operation::Write | Operation::Discard);
        let regions = match request.operation {
            Operation::Flush => 0,
            Operation::Discard => {
                if request.sectors > MAX_TRIM_SECTORS {
                    return Err(Cause::Unsupported);
                }
                let ranges = command::trim_ranges(request.sector, request.sectors);
                self.dma.write_bytes(Self::table(index) + BLOCK_OFFSET, &ranges);
                self.describe_block(index)
            }
            Operation::Read | Operation::Write => {
                let buffer = request.buffer.as_ref().ok_or(Cause::Misaligned)?;
                let at = Self::table(index) + REGIONS_OFFSET;
                command::describe(buffer.segments(), self.has_wide_addresses, |region, address, last| {
                    self.dma.write64(at + region * REGION_BYTES, address);
                    self.dma.write64(at + region * REGION_BYTES + 8, last);
                })
                .map_err(|_| Cause::Misaligned)?
            }
        };
        let frame = frame(slot, request, manner)?;
        self.put(index, frame, regions, is_write);
        Ok(())
    }

    /// One region: the block behind the command's table.
    fn describe_block(&self, index: usize) -> usize {
        let at = Self::table(index) + REGIONS_OFFSET;
        self.dma.write64(at, self.dma.address() + (Self::table(index) + BLOCK_OFFSET) as u64);
        self.dma.write64(at + 8, (TRIM_BYTES as u64 - 1) << 32);
        1
    }

    #[inline]
    fn put(&self, index: usize, frame: Frame, regions: usize, is_write: bool) {
        self.dma.write_bytes(Self::table(index), &frame.bytes());
        self.dma.write64(index * HEADER_BYTES, command::header(regions, is_write));
    }

    /// Lays IDENTIFY DEVICE out in slot 0.
    pub(super) fn lay_out_identify(&self) {
        let regions = self.describe_block(0);
        self.put(0, Frame::identify(), regions, false);
    }

    /// What IDENTIFY DEVICE answered.
    pub(super) fn identity(&self) -> [u8; TRIM_BYTES] {
        let mut bytes = [0; TRIM_BYTES];
        self.dma.read_bytes(Self::table(0) + BLOCK_OFFSET, &mut bytes);
        bytes
    }

    /// Whether a frame came since the last call that may end commands. This is memory, so it costs next to nothing to ask, where a
    /// register costs an access that the device's own work has to wait for in an emulator.
    #[inline]
    pub(super) fn take_news(&self) -> bool {
        let mut has_news = false;
        for at in FRAMES {
            if self.dma.read8(RECEIVED + at) != 0 {
                self.dma.write8(RECEIVED + at, 0);
                has_news = true;
            }
        }
        has_news
    }

    /// Forgets the frames that came.
    pub(super) fn clear_frames(&self) {
        for at in FRAMES {
            self.dma.write32(RECEIVED + at, 0);
        }
    }
}

#[inline]
fn frame(slot: u16, request: &Request, manner: QueueMode) -> Result<Frame, Cause> {
    let start = request.sector;
    // 65536 sectors are said as 0, but no transfer is so long.
    let sectors = || u16::try_from(request.sectors).map_err(|_| Cause::Misaligned);
    let tag = slot as u8;
    Ok(match (request.operation, manner) {
        (Operation::Read, QueueMode::Queued) => Frame::read_queued(start, sectors()?, tag),
        (Operation::Read, QueueMode::Alone) => Frame::read(start, sectors()?),
        (Operation::Write, QueueMode::Queued) => Frame::write_queued(start, sectors()?, tag),
        (Operation::Write, QueueMode::Alone) => Frame::write(start, sectors()?),
        (Operation::Flush, _) => Frame::flush(),
        (Operation::Discard, _) => Frame::trim(),
    })
}
