// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue of the entropy stream in this program's own memory: random bytes without a copy, and without a system call
//! as long as the device keeps up.
//!
//! The safe face of `mmap(2)` on `/dev/my_rngN`. The kernel's side, and what the words in the shared page mean, is in
//! [`my_rng_abi::ioctl::MAP_INFO`] and [`my_rng_abi::queue`].
#![expect(unsafe_code, reason = "the purpose of this module")]

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use my_rng_abi::ioctl::{MAP_INFO, MapInfo, WAKE};
use my_rng_abi::queue::{ERROR_GONE, ERROR_STALE, GENERATION, STATE_SIZE};
use my_rng_ring::ring::is_reached;
use my_rng_ring::{Fault, Layout, Ring, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::ioctl::{Getter, NoArg, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::{Device, Error, Operation};

/// How long to wait before asking the driver again. Nobody needs this while the device works: a device that has died says
/// nothing, and the driver looks for it only when it is asked.
const LOOK_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// A mapped queue of one device: a stream of random bytes that nobody else gets.
///
/// ```no_run
/// # fn main() -> Result<(), my_rng_client::Error> {
/// let mut ring = my_rng_client::MappedRing::open("/dev/my_rng0")?;
/// let mut sum = 0_u64;
/// for _ in 0..1000 {
///     // Waits if the device is behind. The bytes are where the device wrote them.
///     let bytes = ring.next(1 << 16)?;
///     sum = bytes.chunks_exact(8).fold(sum, |sum, word| {
///         sum.wrapping_add(u64::from_le_bytes(word.try_into().unwrap_or_default()))
///     });
/// } // Each call gives the buffers of the one before back to the device.
/// println!("{sum:#x}");
/// # Ok(())
/// # }
/// ```
///
/// The memory is not inherited by `fork(2)`: the child has no ring, and touching one there ends it with a signal.
#[derive(Debug)]
pub struct MappedRing {
    ring: Ring<Shared>,
    /// What [`GENERATION`] was when the queue was mapped.
    generation: u32,
    /// How often another queue was asked for.
    renewals: u64,
    device: Device,
}

/// Asks for a queue and maps it. Also returns its generation.
fn map(device: &Device) -> Result<(Ring<Shared>, u32), Error> {
    let failed = |operation| {
        let path: PathBuf = device.path().to_owned();
        move |errno| Error::new(&path, operation, errno)
    };
    // SAFETY: MAP_INFO is `_IOR('q', 3, struct my_rng_map_info)`: on success the driver has written a `MapInfo`, of which all
    // values are valid.
    let info: MapInfo =
        unsafe { ioctl(device, Getter::<MAP_INFO, MapInfo>::new()) }.map_err(failed(Operation::MapInfo))?;
    let layout = Layout::new(info.depth, info.buffer_size);
    let (layout, state, buffers, length) = layout
        .and_then(|layout| places(&info, layout))
        .ok_or(Errno::PROTO)
        .map_err(failed(Operation::MapInfo))?;

    // SAFETY: A new mapping, at an address that the kernel chooses.
    let start = unsafe {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, device, 0)
    }
    .map_err(failed(Operation::Map))?;
    let start = NonNull::new(start.cast::<u8>()).ok_or(Errno::FAULT).map_err(failed(Operation::Map))?;

    let shared = Shared { start, length, state, buffers };
    let generation = shared.load(GENERATION);
    Ok((Ring::attach(shared, layout), generation))
}

/// Why a [`MappedRing`] gives no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RingError {
    /// The device was unplugged or unbound.
    Gone,
    /// The queue has stopped with this error.
    Stopped(u32),
    /// The counts in the shared page make no sense.
    Corrupt,
}

impl MappedRing {
    /// Opens the node at `path`, asks for a queue, and maps it.
    ///
    /// # Errors
    /// As of `open(2)`; `EBUSY` when all queues of the device are in use, `EOPNOTSUPP` when it has none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let device = Device::open(path)?;
        let (ring, generation) = map(&device)?;
        let mut new = Self { ring, generation, renewals: 0, device };
        new.give_back()?;
        Ok(new)
    }

    /// Whether the machine was suspended or cloned since the last call: the bytes that it returned may be known to somebody
    /// else then. [`MappedRing::fill`] sees to that itself.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.ring.state().load_acquire(GENERATION) != self.generation
    }

    /// How often the machine was found suspended or cloned, so that another queue was mapped.
    #[must_use]
    pub fn renewals(&self) -> u64 {
        self.renewals
    }

    /// Asks for another queue if this one has become stale.
    fn renew_if_stale(&mut self) -> Result<(), Error> {
        while self.is_stale() {
            (self.ring, self.generation) = map(&self.device)?;
            self.renewals += 1;
        }
        Ok(())
    }

    /// The next random bytes: at least one, at most `limit` (and at most what lies in one piece in the ring). Waits if
    /// there are none. The slice lives until the next call, which gives its buffers back.
    ///
    /// # Errors
    /// `ENODEV` when the device is gone, `EIO` when the queue has stopped, `EINVAL` for a limit of 0.
    pub fn next(&mut self, limit: usize) -> Result<&[u8], Error> {
        if limit == 0 {
            return Err(self.error(Errno::INVAL));
        }
        loop {
            self.renew_if_stale()?;
            self.give_back()?;
            if let Some(piece) = self.take(limit)? {
                // What was taken of a stale queue is dropped.
                if self.is_stale() {
                    continue;
                }
                return Ok(self.ring.state().bytes(piece));
            }
            if self.is_stale() {
                continue;
            }
            // What was taken last is free now that nothing is left.
            self.give_back()?;
            self.wait(limit)?;
        }
    }

    /// As [`MappedRing::next`], but does not wait: `None` if there are no bytes.
    ///
    /// # Errors
    /// As [`MappedRing::next`].
    pub fn try_next(&mut self, limit: usize) -> Result<Option<&[u8]>, Error> {
        self.renew_if_stale()?;
        self.give_back()?;
        let piece = self.take(limit)?.filter(|_| !self.is_stale());
        Ok(piece.map(|piece| self.ring.state().bytes(piece)))
    }

    /// Fills `to`.
    ///
    /// # Errors
    /// As [`MappedRing::next`]. The content of `to` is then unspecified.
    pub fn fill(&mut self, to: &mut [u8]) -> Result<(), Error> {
        let mut rest = to;
        while !rest.is_empty() {
            let bytes = self.next(rest.len())?;
            let length = bytes.len();
            rest.get_mut(..length).unwrap_or_default().copy_from_slice(bytes);
            // A machine that was cloned while they were copied has given the same bytes twice: they are read again.
            if !self.is_stale() {
                rest = rest.get_mut(length..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// How large the queue is.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.ring.layout()
    }

    /// The node that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.device.path()
    }

    fn take(&mut self, limit: usize) -> Result<Option<my_rng_ring::Piece>, Error> {
        match self.ring.take(limit) {
            // The caller looks whether the queue is stale, and asks for another.
            Err(Fault::Stopped(ERROR_STALE)) => Ok(None),
            taken => taken.map_err(|fault| Error::of_ring(self.device.path(), RingError::from(fault))),
        }
    }

    /// Gives buffers back, if it is time, and wakes the device if it sleeps.
    fn give_back(&mut self) -> Result<(), Error> {
        if self.ring.give_back() {
            // SAFETY: WAKE is `_IO('q', 4)`: it has no argument.
            unsafe { ioctl(&self.device, NoArg::<WAKE>::new()) }
                .map_err(|errno| Error::new(self.device.path(), Operation::Wake, errno))?;
        }
        Ok(())
    }

    /// Sleeps until bytes are there, or there will be none.
    fn wait(&mut self, bytes: usize) -> Result<(), Error> {
        // At most half of the queue: while we use one half, the device fills the other.
        let buffers = bytes / self.layout().buffer_size() as usize;
        let half = self.layout().depth() / 2;
        let count = self.ring.ask_for_interrupt(u32::try_from(buffers).unwrap_or(half).min(half));
        if is_reached(self.ring.state(), count) {
            return Ok(());
        }
        let mut files = [PollFd::from_borrowed_fd(self.device.as_fd(), PollFlags::IN)];
        match poll(&mut files, Some(&LOOK_AFTER)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::new(self.device.path(), Operation::Poll, errno)),
        }
    }

    fn error(&self, errno: Errno) -> Error {
        Error::new(self.device.path(), Operation::Map, errno)
    }
}

impl From<Fault> for RingError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Stopped(ERROR_GONE) => Self::Gone,
            Fault::Stopped(error) => Self::Stopped(error),
            Fault::Count => Self::Corrupt,
        }
    }
}

/// The mapped memory.
///
/// Invariants: `length` bytes from `start` on are mapped, readable and writable, until this is dropped. The state is
/// aligned and inside, at `state`; all buffers are inside, from `buffers` on. Nobody but the device and the kernel has
/// the memory, besides this.
#[derive(Debug)]
struct Shared {
    start: NonNull<u8>,
    length: usize,
    state: usize,
    buffers: usize,
}

// SAFETY: Memory of the process, which all its threads see alike.
unsafe impl Send for Shared {}

/// The places of state and buffers, and the length, if they fit together.
fn places(info: &MapInfo, layout: Layout) -> Option<(Layout, usize, usize, usize)> {
    let length = usize::try_from(info.length).ok()?;
    let (state, buffers) = (info.state_offset as usize, info.buffers_offset as usize);
    let state_fits = state % STATE_SIZE == 0 && state.checked_add(STATE_SIZE)? <= length;
    let buffers_fit = buffers.checked_add(layout.size())? <= length;
    let apart = state.checked_add(STATE_SIZE)? <= buffers || buffers.checked_add(layout.size())? <= state;
    (state_fits && buffers_fit && apart).then_some((layout, state, buffers, length))
}

impl Shared {
    /// The bytes of a piece. The ring gives out each piece once, and posts its buffers only when it is asked to, for
    /// which it must be borrowed mutably: so nothing writes there while the slice lives.
    fn bytes(&self, piece: my_rng_ring::Piece) -> &[u8] {
        // SAFETY: The piece is inside of the buffers, which are inside of the mapping, and the device is done with it.
        unsafe { slice::from_raw_parts(self.start.as_ptr().add(self.buffers + piece.offset), piece.length) }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset % 4 == 0 && offset < STATE_SIZE, "no word of the state: {offset:#x}");
        // SAFETY: Inside of the state, aligned; all accesses by this process are atomic.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(self.state + offset).cast()) }
    }
}

impl State for Shared {
    fn load(&self, offset: usize) -> u32 {
        u32::from_le(self.word(offset).load(Ordering::Relaxed))
    }

    fn load_acquire(&self, offset: usize) -> u32 {
        u32::from_le(self.word(offset).load(Ordering::Acquire))
    }

    fn store(&self, offset: usize, value: u32) {
        self.word(offset).store(value.to_le(), Ordering::Relaxed);
    }

    fn store_release(&self, offset: usize, value: u32) {
        self.word(offset).store(value.to_le(), Ordering::Release);
    }

    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: Exactly what was mapped, and no slice of it lives. An error would mean a leak, no more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> MapInfo {
        MapInfo { length: 4096 * 5, state_offset: 0, buffers_offset: 4096, depth: 4, buffer_size: 4096 }
    }

    fn check(info: MapInfo) -> Option<(usize, usize, usize)> {
        let layout = Layout::new(info.depth, info.buffer_size)?;
        places(&info, layout).map(|(_, state, buffers, length)| (state, buffers, length))
    }

    #[test]
    fn a_layout_that_fits_is_taken() {
        assert_eq!(check(info()), Some((0, 4096, 4096 * 5)));
        assert_eq!(
            check(MapInfo { state_offset: 4 * 4096, buffers_offset: 0, ..info() }),
            Some((16384, 0, 20480))
        );
    }

    #[test]
    fn a_layout_that_does_not_fit_is_refused() {
        for wrong in [
            MapInfo { length: 4096 * 5 - 1, ..info() },
            MapInfo { length: u64::MAX, buffers_offset: 0, ..info() },
            MapInfo { state_offset: 4, ..info() },
            MapInfo { state_offset: 4096 * 5, ..info() },
            MapInfo { buffers_offset: 4095, ..info() },
            MapInfo { buffers_offset: u32::MAX, ..info() },
            MapInfo { depth: 3, ..info() },
            MapInfo { buffer_size: 0, ..info() },
        ] {
            assert_eq!(check(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn another_kind_of_device_has_no_ring() {
        let error = MappedRing::open("/dev/null").unwrap_err();
        assert_eq!(error.to_string(), "/dev/null is not a my_rng device (ioctl MAP_INFO: ENOTTY)");
    }
}
