// SPDX-License-Identifier: MIT OR Apache-2.0
//! Superblocks: one for each file system instance, however often it is mounted. It has the device number that stat shows, and
//! the limits of a tmpfs.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use alloc::{collections::BTreeSet, sync::Arc};

use exo_hal::{once::Once, sync::SpinLock};

use crate::{
    errno::{Errno, Result},
    file_system::FileSystem,
    mm::Quota,
};

/// A file system instance.
pub struct SuperBlock {
    /// Its type.
    pub system: &'static dyn FileSystem,
    /// The minor number of `st_dev`; the major number is 0.
    pub device: u32,
    /// Nothing in it may be changed.
    pub read_only: AtomicBool,
    /// Its pages, and how many there may be.
    pub quota: Arc<Quota>,
    /// Its inodes.
    pub inodes: AtomicUsize,
    /// How many inodes there may be; 0 for any number.
    pub inode_limit: AtomicUsize,
    /// Files that are open for writing.
    pub writers: AtomicUsize,
    numbers: AtomicU64,
}

/// Minor numbers in use, besides those of file systems that exist once.
static DEVICES: SpinLock<BTreeSet<u32>> = SpinLock::new(BTreeSet::new());
const FIRST_DEVICE: u32 = 16;
/// Minor numbers have 20 bits.
const LAST_DEVICE: u32 = (1 << 20) - 1;

/// A file system that exists once.
pub struct Single {
    system: &'static dyn FileSystem,
    device: u32,
    superblock: Once<Arc<SuperBlock>>,
}

impl Single {
    /// `device` is the minor number of `st_dev`: below 16, and no other's.
    pub const fn new(system: &'static dyn FileSystem, device: u32) -> Self {
        Self { system, device, superblock: Once::new() }
    }

    /// Makes its superblock, at boot.
    pub fn init(&self) {
        self.superblock.set(Arc::new(SuperBlock::with_device(self.system, self.device)));
    }
}

impl From<&'static Single> for Arc<SuperBlock> {
    fn from(single: &'static Single) -> Self {
        single.superblock.get().unwrap_or_else(|| unreachable!("made at boot")).clone()
    }
}

/// The root, from the initial RAM disk.
pub static ROOT: Single = Single::new(&Root, 1);
/// What has no name: pipes, sockets, memory files.
pub static ANONYMOUS: Single = Single::new(&Anonymous, 5);

struct Root;

impl FileSystem for Root {
    fn name(&self) -> &'static str {
        "rootfs"
    }

    fn magic(&self) -> i64 {
        0x0102_1994
    }

    fn holds_files(&self) -> bool {
        true
    }
}

struct Anonymous;

impl FileSystem for Anonymous {
    fn name(&self) -> &'static str {
        "none"
    }

    fn magic(&self) -> i64 {
        0x5049_5045
    }

    fn has_names(&self) -> bool {
        false
    }
}

impl SuperBlock {
    fn with_device(system: &'static dyn FileSystem, device: u32) -> Self {
        Self {
            system,
            device,
            read_only: AtomicBool::new(false),
            quota: Arc::default(),
            inodes: AtomicUsize::new(0),
            inode_limit: AtomicUsize::new(0),
            writers: AtomicUsize::new(0),
            numbers: AtomicU64::new(1),
        }
    }

    /// Another instance, with a device number of its own.
    pub fn new(system: &'static dyn FileSystem) -> Result<Self> {
        let mut devices = DEVICES.lock();
        let mut free = FIRST_DEVICE;
        for used in devices.iter() {
            if *used != free {
                break;
            }
            free += 1;
        }
        if free > LAST_DEVICE {
            return Err(Errno::EMFILE);
        }
        devices.insert(free);
        Ok(Self::with_device(system, free))
    }

    /// `st_dev`.
    pub fn device_number(&self) -> u64 {
        u64::from(self.device & 0xff) | (u64::from(self.device >> 8) << 20)
    }

    /// A number for a new inode.
    pub fn next_inode(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether another inode may be made.
    pub fn has_room_for_inode(&self) -> bool {
        let limit = self.inode_limit.load(Ordering::Relaxed);
        limit == 0 || self.inodes.load(Ordering::Relaxed) < limit
    }
}

impl Drop for SuperBlock {
    fn drop(&mut self) {
        DEVICES.lock().remove(&self.device);
    }
}
