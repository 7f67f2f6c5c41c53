// SPDX-License-Identifier: MIT OR Apache-2.0
//! A read or write in pieces that the device takes: whole sectors straight to or from the memory of the call, and through a buffer of the
//! kernel's what is none, or what the device cannot reach.

use exo_drivers::block::{Cause, Operation};
use exo_hal::mm::user::without_waiting;
use exo_mm::pin;
use exo_platform::Buffer;

use super::{
    Disk,
    transfer::{self, Transfer, WINDOW},
};
use crate::{
    errno::{Errno, Result},
    io_buf::{IoBuf, IoMemory, IoSource, Run},
    sched::spans,
    task::current,
};

/// Bytes that are copied between a buffer and a call's memory at a time.
const CHUNK: usize = 512;

/// Bytes that are copied to or from a disk in memory between two preemption points.
const COPIED: usize = 64 << 10;

/// Part of a call: whole sectors, or a piece of one or more that goes through a buffer.
pub(super) struct Part {
    sector: u64,
    sectors: u32,
    /// Bytes of the first sector that are left out.
    skip: usize,
    length: usize,
    is_direct: bool,
}

/// What the directions do differently.
pub(super) trait Direction {
    /// What the device does.
    const OPERATION: Operation;

    /// Copies between the disk's memory and the call's; how many bytes.
    fn copy(&mut self, bytes: &mut [u8]) -> Result;

    /// Waits for the page of the call's memory that comes first; EFAULT if it is bad.
    fn await_page(&self) -> Result<()>;

    /// Moves a part through a buffer; how many bytes.
    fn piece(&mut self, disk: &Disk, part: &Part) -> Result;
}

impl Direction for IoBuf<'_> {
    const OPERATION: Operation = Operation::Read;

    fn copy(&mut self, bytes: &mut [u8]) -> Result {
        self.put(bytes)
    }

    fn await_page(&self) -> Result<()> {
        self.fault_in(1)
    }

    fn piece(&mut self, disk: &Disk, part: &Part) -> Result {
        let buffer = disk.read_whole(part)?;
        self.count(|to| {
            let mut bytes = [0; CHUNK];
            let mut done = 0;
            while done < part.length {
                let chunk = bytes.get_mut(..CHUNK.min(part.length - done)).unwrap_or_default();
                buffer.copy_to(part.skip + done, chunk);
                let count = to.put(chunk)?;
                if count < chunk.len() {
                    break;
                }
                done += count;
            }
            Ok(())
        })
    }
}

impl Direction for IoSource<'_> {
    const OPERATION: Operation = Operation::Write;

    fn copy(&mut self, bytes: &mut [u8]) -> Result {
        self.take(bytes)
    }

    fn await_page(&self) -> Result<()> {
        self.fault_in(1)
    }

    /// Reads the sectors, changes a part of them and writes them back. One at a time, so that two writers of one sector do not
    /// undo each other's work.
    fn piece(&mut self, disk: &Disk, part: &Part) -> Result {
        let _changing = disk.changing.lock()?;
        disk.change(part, self)
    }
}

impl Disk {
    /// The first part of a transfer at `offset`.
    fn first_part(&self, offset: u64, run: &Run<'_>, left: usize) -> Part {
        let size = self.geometry.sector_size as usize;
        let sector = offset / size as u64;
        let skip = (offset % size as u64) as usize;
        // Controllers want data to begin at a multiple of four bytes.
        let (is_reachable, here) = match *run {
            Run::Program { address, length } => (address % 4 == 0, length),
            Run::Frames { offset, length, .. } => (offset % 4 == 0, length),
            Run::Kernel { length } => (false, length),
        };
        let is_direct = skip == 0 && here >= size && is_reachable;
        let most = self.geometry.max_transfer.min(Buffer::MAX) / size * size;
        let length = match is_direct {
            true => here.min(most) / size * size,
            // Up to the next whole sector, or all if that does not help.
            false if is_reachable && skip + left >= size => size - skip,
            false => left.min(most - skip),
        };
        Part { sector, sectors: (skip + length).div_ceil(size) as u32, skip, length, is_direct }
    }

    /// Moves bytes between the device at `offset` and the memory of a call; how many.
    pub(super) fn transfer<'a, K>(&self, offset: u64, memory: &mut IoMemory<'a, K>) -> Result
    where
        IoMemory<'a, K>: Direction,
    {
        let there = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        memory.within(there, |memory| {
            if memory.is_empty() {
                return Ok(0);
            }
            if let Some(result) = self.copy(offset, memory) {
                return result;
            }
            memory.count(|memory| {
                let mut at = offset;
                while !memory.is_empty() {
                    let run = memory.run();
                    let part = self.first_part(at, &run, memory.left());
                    let done = if part.is_direct {
                        let done = self.transfer_direct(IoMemory::<'a, K>::OPERATION, at, &run)?;
                        memory.skip(done);
                        done
                    } else {
                        memory.piece(self, &part)?
                    };
                    at += done as u64;
                }
                Ok(())
            })
        })
    }

    /// The same, where the disk is memory: no request is needed for a copy.
    fn copy<'a, K>(&self, offset: u64, memory: &mut IoMemory<'a, K>) -> Option<Result>
    where
        IoMemory<'a, K>: Direction,
    {
        let mut is_memory = true;
        let result = memory.count(|memory| {
            let mut at = offset;
            while is_memory && !memory.is_empty() {
                match memory.within(COPIED, |memory| self.copy_now(at, memory)) {
                    None => is_memory = false,
                    Some(Ok(0)) => break,
                    Some(Ok(count)) => at += count as u64,
                    // A page may have to be waited for, which is done with nothing locked.
                    Some(Err(Errno::EFAULT)) => memory.await_page()?,
                    Some(Err(error)) => return Err(error),
                }
                if spans::point() {
                    break;
                }
            }
            Ok(())
        });
        is_memory.then_some(result)
    }

    /// Copies as far as no page has to be waited for; EFAULT if that is the first. None if the disk is no memory.
    fn copy_now<'a, K>(&self, offset: u64, memory: &mut IoMemory<'a, K>) -> Option<Result>
    where
        IoMemory<'a, K>: Direction,
    {
        let (length, mut result) = (memory.left(), Ok(0));
        // With the disk's page locked.
        let mut each = |done: usize, bytes: &mut [u8]| match without_waiting(|| memory.copy(bytes)) {
            Ok(count) => {
                result = Ok(done + count);
                count == bytes.len()
            }
            Err(error) if done == 0 => {
                result = Err(error);
                false
            }
            Err(_) => false,
        };
        match self.device().with_memory(offset, length, &mut each)? {
            Err(error) => Some(Err(error.into())),
            Ok(()) => Some(result),
        }
    }

    /// Whole sectors of memory in one piece, several requests at a time; how many bytes from the start on were moved.
    fn transfer_direct(&self, operation: Operation, offset: u64, run: &Run<'_>) -> Result {
        let memory = current().memory();
        let mut transfer = Transfer::new(self.device(), &self.pace);
        let (mut sent, mut first_error) = (0, None::<(u64, Errno)>);
        loop {
            let rest = run.from(sent);
            let part = self.first_part(offset + sent as u64, &rest, rest.length());
            let more = rest.length() > 0 && part.is_direct && first_error.is_none();
            if more && transfer.under_way() < WINDOW {
                let buffer = match pin::run(&memory, &rest, part.length, operation == Operation::Read) {
                    Ok(buffer) => buffer,
                    Err(error) => {
                        first_error = Some((part.sector, error));
                        continue;
                    }
                };
                match transfer.submit(operation, part.sector, part.sectors, Some(buffer)) {
                    Ok(()) => {
                        sent += part.length;
                        continue;
                    }
                    Err((_, why)) if why.cause != Cause::QueueFull => {
                        first_error = Some((part.sector, why.into()));
                        continue;
                    }
                    // Our own requests have to end first, if there are any.
                    Err(_) if transfer.under_way() == 0 => {
                        transfer::make_room(self.device(), &transfer)?;
                        continue;
                    }
                    Err(_) => {}
                }
            }
            if transfer.under_way() == 0 {
                break;
            }
            if let Err(error) = transfer.wait()?.result {
                let sector = error.sector.unwrap_or_default();
                if first_error.is_none_or(|(before, _)| sector < before) {
                    first_error = Some((sector, error.into()));
                }
            }
        }
        let Some((sector, error)) = first_error else { return Ok(sent) };
        let good = sector.saturating_mul(self.geometry.sector_size.into()).saturating_sub(offset);
        if good == 0 { Err(error) } else { Ok(sent.min(good as usize)) }
    }

    fn read_whole(&self, part: &Part) -> Result<Buffer> {
        let length = part.sectors as usize * self.geometry.sector_size as usize;
        let buffer = Buffer::kernel(length).map_err(|_| Errno::ENOMEM)?;
        let place = (part.sector, part.sectors);
        let back = transfer::run(self.device(), &self.pace, Operation::Read, place, Some(buffer))?;
        back.ok_or(Errno::EIO)
    }

    fn change(&self, part: &Part, from: &mut IoSource<'_>) -> Result {
        let mut buffer = self.read_whole(part)?;
        let mut bytes = [0; CHUNK];
        let mut done = 0;
        while done < part.length {
            let chunk = bytes.get_mut(..CHUNK.min(part.length - done)).unwrap_or_default();
            from.take_all(chunk)?;
            buffer.copy_from(part.skip + done, chunk);
            done += chunk.len();
        }
        let place = (part.sector, part.sectors);
        transfer::run(self.device(), &self.pace, Operation::Write, place, Some(buffer))?;
        Ok(done)
    }
}
