// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done with an open file, of whatever kind.

use core::{any::Any, fmt};

use alloc::sync::Arc;

use exo_logic::areas::Flags;

use super::events::Events;
pub use super::io::Io;
use crate::{
    errno::{Errno, Result},
    io_buf::{IoBuf, IoSource},
    mm::{Pages, VmObject},
    sched::wait::WaitQueue,
};

/// A mapping that a program asks for.
#[derive(Clone, Copy, Debug)]
pub struct MapRequest {
    /// Bytes.
    pub length: usize,
    /// From which byte of the file on; a multiple of the page size.
    pub offset: u64,
    /// Protection, and whether it is shared.
    pub area: Flags,
}

/// A device that keeps no state, so that using it needs neither its open file nor a lock. A bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stateless {
    /// /dev/null.
    Null = 4,
    /// /dev/zero.
    Zero = 8,
}

/// What can be asked of which type it is.
pub trait AsAny {
    /// The thing itself.
    fn as_any(&self) -> &dyn Any;
}

impl<T: Any> AsAny for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl dyn File {
    /// The file, if it is of the type `T`: for calls that are of use for one kind of files alone, as those of sockets are.
    pub fn downcast<T: File + 'static>(&self) -> Option<&T> {
        self.as_any().downcast_ref()
    }
}

/// What can be done with an open file.
///
/// The memory of a read or write is a program's, the kernel's or frames: a file need not know which. What a call answers is how many bytes
/// it has moved there; who finds that they are fewer than asked for, or an error, does not use the rest.
pub trait File: AsAny + Send + Sync {
    /// Reads up to as many bytes as `to` has room for.
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        let _ = (io, to);
        Err(Errno::EINVAL)
    }

    /// Writes up to as many bytes as `from` has.
    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        let _ = (io, from);
        Err(Errno::EINVAL)
    }

    /// Writes at the end; where that was, and how many bytes.
    fn append(&self, io: Io, from: &mut IoSource<'_>) -> Result<(u64, usize)> {
        let offset = self.seek_size().unwrap_or(io.offset);
        self.write(Io { offset, ..io }, from).map(|count| (offset, count))
    }

    /// Whether reads, or with `write` writes, take the parts of a vector one by one, as if each were a call, rather than as one memory.
    fn takes_parts(&self, write: bool) -> bool {
        let _ = write;
        false
    }

    /// Whether splice and its family read it, or with `write` write it. Linux's files say so each for itself.
    fn splices(&self, write: bool) -> bool {
        let _ = write;
        true
    }

    /// The size, if the file has places that can be sought.
    fn seek_size(&self) -> Option<u64> {
        None
    }

    /// Seeks in a file with places of its own kind; none if it has none.
    fn seek(&self, distance: i64, whence: u32) -> Option<Result> {
        let _ = (distance, whence);
        None
    }

    /// Whether it has an end that can be sought: a text that is made when it is read has none.
    fn has_end(&self) -> bool {
        true
    }

    /// Whether reads and writes have an offset; always the same.
    fn has_offset(&self) -> bool {
        self.seek_size().is_some()
    }

    /// What is possible now.
    fn events(&self) -> Events {
        Events::IN | Events::OUT
    }

    /// Whether it tells normal data from other (POLLRDNORM and POLLWRNORM are said with POLLIN and POLLOUT).
    fn has_bands(&self) -> bool {
        true
    }

    /// Whether it can be watched by epoll: not what is ready at all times, as files on disks are.
    fn can_be_polled(&self) -> bool {
        self.queue().is_some()
    }

    /// Who is woken when that changes.
    fn queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// A device's own requests.
    fn ioctl(&self, request: u32, argument: usize) -> Result {
        let _ = (request, argument);
        Err(Errno::ENOTTY)
    }

    /// The pages of a file that is in memory; none says that zeros will do (as /dev/zero).
    fn pages(&self) -> Result<Option<Arc<Pages>>> {
        Err(Errno::ENODEV)
    }

    /// What a mapping shows; none says that zeros will do. A device may refuse some.
    fn map(&self, request: MapRequest) -> Result<Option<Arc<dyn VmObject>>> {
        let _ = request;
        Ok(self.pages()?.map(|pages| pages as Arc<dyn VmObject>))
    }

    /// Which byte of those pages a mapping of the file from `offset` on shows first.
    fn mapped_from(&self, offset: u64) -> u64 {
        offset
    }

    /// Whether a write leaves the file's own offset where it is.
    fn writes_anywhere(&self) -> bool {
        false
    }

    /// Where `lseek` leads, for a device where that means nothing.
    fn seek_result(&self) -> Option<u64> {
        None
    }

    /// The file's pages, if it has holes that can be sought.
    fn sparse_pages(&self) -> Option<&Pages> {
        None
    }

    /// Waits until what was written is where it survives the loss of power, as far as the file has such a place. EINVAL for what keeps
    /// nothing.
    fn sync(&self) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// Whether it may keep other files open: two that did so to each other would never go.
    fn holds_files(&self) -> bool {
        false
    }

    /// For a file without a name: what it is, as /proc/PID/fd shows it.
    fn anonymous_name(&self) -> Option<&'static str> {
        None
    }

    /// What /proc/PID/fdinfo tells of it, besides what it does of all files.
    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = out;
        Ok(())
    }

    /// Bytes of the kernel's memory that closing it would free; asked when memory is out, by whoever may hold a lock of the file.
    fn kernel_memory(&self) -> usize {
        0
    }

    /// For a device that keeps no state: which, so that it can be used without looking at the open file.
    fn stateless(&self) -> Option<Stateless> {
        None
    }
}
