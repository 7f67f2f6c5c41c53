// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ends of pipes: the open files that lead to them.

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, sync::Arc};

use linux_raw_sys::{general as abi, ioctl};

use super::{ATOMIC, Pipe};
use crate::{
    errno::{Errno, Result},
    events::Events,
    fallible,
    file::{File, Io},
    inode::{Inode, InodeContent, kind},
    io_buf::{IoBuf, IoSource},
    mount::Path,
    open_file::OpenFile,
    permission,
    sched::wait::{Ended, WaitQueue, wait_for},
    superblock::ANONYMOUS,
    user,
};

/// An end, or both ends of a pipe with a name.
struct End {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
}

impl End {
    fn new(pipe: &Arc<Pipe>, reads: bool, writes: bool) -> Result<Box<Self>> {
        if reads {
            pipe.readers.fetch_add(1, Ordering::AcqRel);
            pipe.read_openings.fetch_add(1, Ordering::AcqRel);
            pipe.writable.wake_all();
        }
        if writes {
            pipe.writers.fetch_add(1, Ordering::AcqRel);
            pipe.write_openings.fetch_add(1, Ordering::AcqRel);
            pipe.readable.wake_all();
        }
        // Without memory for it, its end takes the counts back.
        fallible::boxed(Self { pipe: pipe.clone(), reads, writes })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.reads {
            self.pipe.readers.fetch_sub(1, Ordering::AcqRel);
            self.pipe.writable.wake_all();
        }
        if self.writes {
            self.pipe.writers.fetch_sub(1, Ordering::AcqRel);
            self.pipe.readable.wake_all();
            if let Some(outlet) = self.pipe.outlet.get() {
                outlet.left();
            }
        }
    }
}

/// The pipe behind an open file, if it is an end of one.
pub fn of(file: &OpenFile) -> Option<&Arc<Pipe>> {
    file.file().downcast::<End>().map(|end| &end.pipe)
}

impl File for End {
    /// Half of the pipe's memory: the other end has the other half.
    fn kernel_memory(&self) -> usize {
        self.pipe.content.lock().ring.capacity() / 2
    }

    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        self.pipe.read(io, to)
    }

    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        self.pipe.write(io, from)
    }

    fn events(&self) -> Events {
        let (length, room) = {
            let content = self.pipe.content.lock();
            (content.len(), self.pipe.room(&content))
        };
        let mut events = Events::empty();
        if self.reads {
            events.set(Events::IN, length > 0);
            let opened = self.pipe.write_openings.load(Ordering::Acquire) > 0;
            events.set(Events::HUP, opened && self.pipe.writers.load(Ordering::Acquire) == 0);
        }
        if self.writes {
            events.set(Events::OUT, room >= ATOMIC);
            events.set(Events::ERR, self.pipe.readers.load(Ordering::Acquire) == 0);
        }
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(if self.reads { &self.pipe.readable } else { &self.pipe.writable })
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        match request {
            ioctl::FIONREAD => {
                let length = self.pipe.content.lock().len() as i32;
                user::write(argument, &length)?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }
}

/// A new pipe: its read end and its write end. `flags` are `O_` bits of both.
///
/// # Errors
/// ENOMEM.
pub fn new_pair(flags: u32) -> Result<(Arc<OpenFile>, Arc<OpenFile>)> {
    let pipe = Pipe::new()?;
    let (read, write) = (End::new(&pipe, true, false)?, End::new(&pipe, false, true)?);
    let node = Inode::new(&ANONYMOUS, kind::FIFO | 0o600, InodeContent::Fifo(pipe));
    permission::set_first_owner(&node);
    Ok((
        OpenFile::new(read, node.clone(), abi::O_RDONLY | flags)?,
        OpenFile::new(write, node, abi::O_WRONLY | flags)?,
    ))
}

/// Opens a pipe with a name: waits for the other side, as POSIX says.
pub fn open_named(pipe: &Arc<Pipe>, path: &Path, flags: u32) -> Result<Arc<OpenFile>> {
    let (reads, writes) = match flags & abi::O_ACCMODE {
        abi::O_RDONLY => (true, false),
        abi::O_WRONLY => (false, true),
        _ => (true, true),
    };
    // A pipe without a name is opened again through /proc/PID/fd: its other end may be gone for good.
    let no_wait = flags & abi::O_NONBLOCK != 0 || !path.system.has_names();
    if flags & abi::O_NONBLOCK != 0 && !reads && pipe.readers.load(Ordering::Acquire) == 0 {
        return Err(Errno::ENXIO);
    }
    let (reads_before, writes_before) =
        (pipe.read_openings.load(Ordering::Acquire), pipe.write_openings.load(Ordering::Acquire));
    let file = OpenFile::at(End::new(pipe, reads, writes)?, path.clone(), flags, None)?;
    let waited = match (reads, writes) {
        _ if no_wait => Ok(()),
        (true, false) => wait_for(&pipe.readable, || {
            let met = pipe.writers.load(Ordering::Acquire) > 0
                || pipe.write_openings.load(Ordering::Acquire) != writes_before;
            met.then_some(())
        }),
        (false, true) => wait_for(&pipe.writable, || {
            let met = pipe.readers.load(Ordering::Acquire) > 0
                || pipe.read_openings.load(Ordering::Acquire) != reads_before;
            met.then_some(())
        }),
        _ => Ok(()),
    };
    waited.map_err(|_: Ended| Errno::RESTART)?;
    Ok(file)
}
