// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/diskN` and `/dev/diskNpM`: disks and partitions as files.
//!
//! There is no page cache: every read and write goes to the device, straight from or to the program's pages, as with O_DIRECT on
//! Linux. Unlike there, any place and length will do: what is no whole sector goes through a buffer of the kernel's.
//!
//! | call | does |
//! | --- | --- |
//! | `read`, `pread`, `write`, `pwrite`, … | sectors |
//! | `fsync`, `fdatasync` | everything that was written is on the medium |
//! | `ioctl` | `BLKGETSIZE64`, `BLKGETSIZE`, `BLKSSZGET`, `BLKPBSZGET`, `BLKROGET`, `BLKFLSBUF`, `BLKDISCARD`, `BLKRRPART` |
//! | `lseek` | `SEEK_END` is the size |

mod pieces;
mod transfer;

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::{boxed::Box, sync::Arc};

use exo_drivers::block::{
    BlockError, Geometry, Operation, Polled, Requests, partitions,
    registry::{Registered, registry},
};
use exo_hal::{log, sync::SpinLock, time};
use linux_raw_sys::general as abi;

use self::transfer::Pace;
use crate::{
    errno::{Errno, Result},
    fs::{
        OpenFile,
        device::{self, Opener},
        file::{File, Io},
        inode::kind,
    },
    io_buf::{IoBuf, IoSource},
    sched::{
        mutex::Mutex,
        wait::{Ended, WaitQueue, wait_on},
    },
    task::{account::Event, current, kernel_thread},
    user,
};

/// As on Linux: root and the group of disks.
const NODE_MODE: u32 = 0o660;

/// Requests of `linux/fs.h`.
mod request {
    pub(super) const BLKROGET: u32 = 0x125e;
    pub(super) const BLKRRPART: u32 = 0x125f;
    pub(super) const BLKGETSIZE: u32 = 0x1260;
    pub(super) const BLKFLSBUF: u32 = 0x1261;
    pub(super) const BLKSSZGET: u32 = 0x1268;
    pub(super) const BLKDISCARD: u32 = 0x1277;
    pub(super) const BLKPBSZGET: u32 = 0x127b;
    pub(super) const BLKGETSIZE64: u32 = 0x8008_1272;
}

/// A disk or partition.
pub struct Disk {
    registered: Registered,
    geometry: Geometry,
    pace: Pace,
    /// Held by who reads a sector to change a part of it.
    changing: Mutex,
}

/// A disk has come: it gets its node, and its partitions do when its table has been read.
pub fn add(device: &Arc<dyn Requests>) -> Result<()> {
    let whole = {
        let _changing = NODES.lock();
        let whole = registry().register(device.clone());
        announce(&whole)?;
        whole
    };
    let geometry = device.geometry();
    log!(
        "{}: {} {}, {} sectors of {} bytes",
        whole.name,
        device.name(),
        device.model(),
        geometry.sectors,
        geometry.sector_size
    );
    READING.fetch_add(1, Ordering::Relaxed);
    // The disk may not answer, and who calls this, the timer or the boot, cannot wait.
    let reader = Box::new(move || {
        if let Err(error) = read_partitions(&whole) {
            log!("{}: no partition table: {error}", whole.name);
        }
        one_was_read();
    });
    if let Err(error) = kernel_thread::start(b"partitions", None, u64::MAX, reader) {
        log!("{}: nobody can read its partition table: error {}", device.name(), error.0);
        one_was_read();
    }
    Ok(())
}

/// Held by who changes what is registered and its nodes, so that both agree.
static NODES: SpinLock<()> = SpinLock::new(());
/// New disks whose partitions are not known yet.
static READING: AtomicUsize = AtomicUsize::new(0);
static ALL_READ: WaitQueue = WaitQueue::new();

fn one_was_read() {
    READING.fetch_sub(1, Ordering::SeqCst);
    ALL_READ.wake_all();
}

/// Waits until the partitions of all disks so far are there, or cannot be read: for the first program, which may look for them.
pub fn wait_for_partitions() {
    // The drivers' own limits end it; nobody can be told if the task ends before.
    let _ = wait_on(&[&ALL_READ], None, false, || (READING.load(Ordering::SeqCst) == 0).then_some(()));
}

/// Reads a disk's partition table, and makes the nodes of what it has instead of those of before. It sleeps while it waits.
fn read_partitions(whole: &Registered) -> core::result::Result<(), BlockError> {
    let table = partitions::read(&Polled::with_pause(whole.device.clone(), pause))?;
    let _changing = NODES.lock();
    let (new, gone) = registry().set_partitions(whole, table)?;
    gone.iter().for_each(|gone| device::withdraw(&gone.name));
    for partition in &new {
        if let Err(error) = announce(partition) {
            log!("{} gets no node: error {}", partition.name, error.0);
        }
    }
    Ok(())
}

/// Sleeps for about `ns` nanoseconds.
fn pause(ns: u64) {
    let woken = wait_on(&[], Some(time::now_ns() + ns), false, || None::<()>);
    if woken == Err(Ended::Interrupted) {
        // A task that is to end does not sleep any more, but the request is still the device's.
        kernel_thread::pause();
    }
}

/// A disk has gone. Files that are open say so.
pub fn remove(device: &Arc<dyn Requests>) {
    let _changing = NODES.lock();
    for gone in registry().unregister(device) {
        device::withdraw(&gone.name);
    }
}

fn announce(registered: &Registered) -> Result<()> {
    let disk = Arc::new(Disk::new(registered.clone()));
    device::announce(&registered.name, kind::BLOCK, NODE_MODE, Arc::new(DiskOpener(disk)))
}

/// The whole disk with a number, for the kernel's own calls.
pub fn by_number(number: u32) -> Result<Disk> {
    registry().by_number(number).map(Disk::new).ok_or(Errno::ENODEV)
}

struct DiskOpener(Arc<Disk>);

impl Opener for DiskOpener {
    fn open(&self, flags: u32) -> Result<Box<dyn File>> {
        if !self.0.registered.device.is_present() {
            return Err(Errno::ENXIO);
        }
        if self.0.geometry.read_only && flags & abi::O_ACCMODE != abi::O_RDONLY {
            return Err(Errno::EROFS);
        }
        Ok(Box::new(DiskFile(self.0.clone())))
    }
}

/// An open disk.
struct DiskFile(Arc<Disk>);

impl Disk {
    fn new(registered: Registered) -> Self {
        let geometry = registered.device.geometry();
        Self { registered, geometry, pace: Pace::default(), changing: Mutex::new() }
    }

    fn device(&self) -> &dyn Requests {
        &*self.registered.device
    }

    /// The device, for who gives it requests of their own.
    pub fn requests(&self) -> &Arc<dyn Requests> {
        &self.registered.device
    }

    /// Bytes of a sector.
    pub fn sector_size(&self) -> u32 {
        self.geometry.sector_size
    }

    fn size(&self) -> u64 {
        self.geometry.sectors.saturating_mul(self.geometry.sector_size.into())
    }

    /// Waits until everything that was written is on the medium.
    pub fn flush(&self) -> Result<()> {
        transfer::run(self.device(), &self.pace, Operation::Flush, (0, 0), None).map(|_| ())
    }

    /// Reads at `offset`.
    pub fn read(&self, offset: u64, to: &mut IoBuf<'_>) -> Result {
        self.transfer(offset, to)
    }

    /// Writes; ENOSPC where the device ends, EROFS if it cannot be written.
    pub fn write(&self, offset: u64, from: &mut IoSource<'_>) -> Result {
        if self.geometry.read_only {
            return Err(Errno::EROFS);
        }
        if !from.is_empty() && offset >= self.size() {
            return Err(Errno::ENOSPC);
        }
        self.transfer(offset, from)
    }

    /// The range of a BLKDISCARD, in bytes, which must be whole sectors.
    fn discard(&self, argument: usize) -> Result {
        let [start, length]: [u64; 2] = user::read(argument)?;
        let size = u64::from(self.geometry.sector_size);
        let end = start.checked_add(length).ok_or(Errno::EINVAL)?;
        if start % size != 0 || length % size != 0 || end > self.size() {
            return Err(Errno::EINVAL);
        }
        let (mut sector, end) = (start / size, end / size);
        while sector < end {
            // Controllers count discarded sectors in 16 bits, or in blocks of that many.
            let sectors = (end - sector).min(0x8000) as u32;
            transfer::run(self.device(), &self.pace, Operation::Discard, (sector, sectors), None)?;
            sector += u64::from(sectors);
        }
        Ok(0)
    }

    fn read_partitions_again(&self) -> Result {
        if self.registered.partition != 0 {
            return Err(Errno::EINVAL);
        }
        read_partitions(&self.registered)?;
        Ok(0)
    }
}

/// The disk behind an open file, if it is one's.
pub fn of(file: &OpenFile) -> Option<&Arc<Disk>> {
    file.file().downcast::<DiskFile>().map(|file| &file.0)
}

impl File for DiskFile {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        let count = self.0.read(io.offset, to)?;
        current().account.count(Event::DiskByteRead, count as u64);
        Ok(count)
    }

    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        let count = self.0.write(io.offset, from)?;
        current().account.count(Event::DiskByteWritten, count as u64);
        Ok(count)
    }

    fn seek_size(&self) -> Option<u64> {
        Some(self.0.size())
    }

    fn sync(&self) -> Result<()> {
        self.0.flush()
    }

    fn ioctl(&self, number: u32, argument: usize) -> Result {
        let disk = &self.0;
        let geometry = &disk.geometry;
        match number {
            request::BLKGETSIZE64 => user::write(argument, &disk.size())?,
            request::BLKGETSIZE => user::write(argument, &(disk.size() / 512))?,
            request::BLKSSZGET | request::BLKPBSZGET => user::write(argument, &geometry.sector_size)?,
            request::BLKROGET => user::write(argument, &u32::from(geometry.read_only))?,
            request::BLKFLSBUF => disk.flush()?,
            request::BLKDISCARD => return disk.discard(argument),
            request::BLKRRPART => return disk.read_partitions_again(),
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }
}

/// Flushes all disks; errors are for those who use the disk.
pub fn flush_all() {
    for whole in registry().list().into_iter().filter(|r| r.partition == 0) {
        // As with sync on Linux: there is nobody to tell.
        let _ = Disk::new(whole).flush();
    }
}
