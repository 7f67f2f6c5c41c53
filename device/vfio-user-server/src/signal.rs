// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals an eventfd that belongs to somebody else, such that nothing that its owner does can make the caller wait.
//!
//! A `write` waits while the counter is full, unless the file is non-blocking; but that flag is shared with the owner,
//! who can clear it at any moment, and `RWF_NOWAIT` is not for eventfds. The kernel itself adds to an eventfd without
//! ever waiting: when a request of asynchronous I/O (io_submit(2)) that names the eventfd completes. So a signal is such a
//! request: it reads nothing from an empty file of ours, and is complete before the call returns. Where there is no
//! asynchronous I/O, the server's [`Reaper`](crate::reaper::Reaper) writes, on a thread that may wait.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::reaper::PeerFd;

/// Completions that are kept until they are thrown away together.
const RING: usize = 64;

/// `struct iocb` of `linux/aio_abi.h`, on a little-endian machine.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    result_eventfd: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct IoEvent([u64; 4]);

const OPCODE_PREAD: u16 = 0;
const FLAG_RESULT_EVENTFD: u32 = 1;

/// The way to signal eventfds, one for a server. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Signaller(Option<Arc<Mutex<Context>>>);

#[derive(Debug)]
struct Context {
    /// The kernel's name of the context.
    id: u64,
    /// A file without a byte in it.
    empty: OwnedFd,
    /// Completions that have not been thrown away.
    done: usize,
}

impl Signaller {
    /// A signaller; without asynchronous I/O where the kernel has none, or none left (`fs.aio-max-nr`).
    pub(crate) fn new() -> Self {
        let context = if cfg!(target_endian = "little") { Context::new().ok() } else { None };
        if context.is_none() {
            log::debug!("no asynchronous I/O: interrupts take a thread more");
        }
        Self(context.map(|context| Arc::new(Mutex::new(context))))
    }

    #[cfg(test)]
    pub(crate) fn without_asynchronous_io() -> Self {
        Self(None)
    }

    /// Adds one to the eventfd; to one that is full as much as there is room for. `false`: it is no eventfd, or too many
    /// wait for their signal.
    pub(crate) fn signal(&self, eventfd: &Arc<PeerFd>) -> bool {
        match (&self.0, eventfd.reaper()) {
            (Some(context), _) => context.lock().unwrap_or_else(PoisonError::into_inner).signal(eventfd),
            (None, Some(reaper)) => reaper.signal(eventfd.clone()),
            // The process's own.
            (None, None) => rustix::io::write(&**eventfd, &1_u64.to_ne_bytes()).is_ok(),
        }
    }
}

impl Context {
    fn new() -> io::Result<Self> {
        let empty = memfd_create(c"vfio-user-signal", MemfdFlags::CLOEXEC)?;
        let mut id = 0_u64;
        // SAFETY: the pointer is good for the call, which writes a number there.
        check(unsafe { libc::syscall(libc::SYS_io_setup, RING, &raw mut id) })?;
        Ok(Self { id, empty, done: 0 })
    }

    fn signal(&mut self, eventfd: &PeerFd) -> bool {
        if self.done >= RING {
            self.discard();
        }
        let number = |fd: i32| u32::try_from(fd).unwrap_or(u32::MAX);
        let request = Iocb {
            opcode: OPCODE_PREAD,
            file: number(self.empty.as_raw_fd()),
            flags: FLAG_RESULT_EVENTFD,
            result_eventfd: number(eventfd.as_fd().as_raw_fd()),
            ..Iocb::default()
        };
        let requests = [&raw const request];
        // SAFETY: one request, which stays until it is complete: a read of no bytes, so that its buffer is never touched,
        // from a file in memory, so that it is complete when the call returns.
        let submitted =
            check(unsafe { libc::syscall(libc::SYS_io_submit, self.id, 1_usize, requests.as_ptr()) });
        self.done = self.done.saturating_add(usize::from(submitted.is_ok()));
        matches!(submitted, Ok(1))
    }

    /// Throws completions away.
    fn discard(&mut self) {
        let mut events = [IoEvent::default(); RING];
        let no_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes at most `RING` events to where there is room for so many, and does not wait.
        let taken = check(unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id,
                0_usize,
                RING,
                events.as_mut_ptr(),
                &raw const no_time,
            )
        });
        self.done =
            self.done.saturating_sub(taken.ok().and_then(|taken| usize::try_from(taken).ok()).unwrap_or(0));
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and nothing is under way in it.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id, ptr::null::<u8>()) };
    }
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reaper::Reaper;
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::{Errno, read, write};
    use std::sync::mpsc;
    use std::time::Duration;

    /// An eventfd that blocks, with so much in it.
    fn blocking(count: u64, reaper: &Reaper) -> Arc<PeerFd> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        write(&fd, &count.to_ne_bytes()).unwrap();
        Arc::new(PeerFd::new(fd, reaper))
    }

    fn take(eventfd: &PeerFd) -> Result<u64, Errno> {
        let mut count = [0; 8];
        read(eventfd, &mut count).map(|_| u64::from_ne_bytes(count))
    }

    fn kinds() -> [Signaller; 2] {
        [Signaller::new(), Signaller::without_asynchronous_io()]
    }

    #[test]
    fn every_signal_is_counted() {
        let reaper = Reaper::start(2000, Arc::default()).unwrap();
        for signaller in kinds() {
            let eventfd = blocking(1, &reaper);
            assert!((0..300).all(|_| signaller.signal(&eventfd)));
            let mut sum = 0;
            while sum < 301 {
                sum += take(&eventfd).unwrap();
            }
            assert_eq!(sum, 301);
        }
    }

    #[test]
    fn a_full_eventfd_that_blocks_makes_nobody_wait() {
        for signaller in kinds() {
            let reaper = Reaper::start(0, Arc::default()).unwrap();
            let (full, other) = (blocking(u64::MAX - 1, &reaper), blocking(1, &reaper));
            let (done, is_done) = mpsc::channel();
            let (theirs, signal) = (full.clone(), signaller.clone());
            std::thread::spawn(move || {
                (0..200).for_each(|_| {
                    signal.signal(&theirs);
                });
                done.send(()).unwrap();
            });
            is_done.recv_timeout(Duration::from_secs(20)).expect("the signals wait");
            take(&full).unwrap();
            drop((full, other));
        }
    }

    #[test]
    fn what_is_no_eventfd_is_refused() {
        let signaller = Signaller::new();
        let Signaller(Some(_)) = &signaller else { return };
        let file = PeerFd::own(memfd_create(c"none", MemfdFlags::CLOEXEC).unwrap());
        assert!(!signaller.signal(&Arc::new(file)));
    }
}
