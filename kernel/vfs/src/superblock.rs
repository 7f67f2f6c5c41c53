// SPDX-License-Identifier: MIT OR Apache-2.0
//! Superblocks: one for each file system instance, however often it is mounted. It has the device number that stat shows, and
//! the limits of a tmpfs.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use alloc::{collections::BTreeSet, sync::Arc};

use exo_hal::{once::Once, sync::SpinLock};

use crate::{
    errno::{Errno, Result},
    mm::Quota,
};

/// The type of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// The root, from the initial RAM disk.
    Root = 1,
    /// A tmpfs or ramfs.
    Temporary = 2,
    /// /dev.
    Devices = 3,
    /// /proc.
    Processes = 4,
    /// What has no name: pipes, sockets, memory files.
    Anonymous = 5,
    /// /sys.
    System = 6,
}

impl FileSystem {
    /// Its magic number, from Linux's magic.h.
    pub fn magic(self) -> i64 {
        match self {
            Self::Processes => 0x9fa0,
            Self::System => 0x6265_6572,
            Self::Anonymous => 0x5049_5045,
            Self::Root | Self::Temporary | Self::Devices => 0x0102_1994,
        }
    }

    /// Whether files can be made in it.
    pub fn holds_files(self) -> bool {
        matches!(self, Self::Root | Self::Temporary | Self::Devices)
    }
}

/// A file system instance.
pub struct SuperBlock {
    /// Its type.
    pub system: FileSystem,
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

/// Minor numbers in use. Those of the file systems that exist once are their place in [`FileSystem`].
static DEVICES: SpinLock<BTreeSet<u32>> = SpinLock::new(BTreeSet::new());
const FIRST_DEVICE: u32 = 16;
/// Minor numbers have 20 bits.
const LAST_DEVICE: u32 = (1 << 20) - 1;

static SINGLE: [Once<Arc<SuperBlock>>; 7] = [const { Once::new() }; 7];

/// Makes the superblocks that exist once.
pub fn init() {
    for system in [
        FileSystem::Root,
        FileSystem::Temporary,
        FileSystem::Devices,
        FileSystem::Processes,
        FileSystem::Anonymous,
        FileSystem::System,
    ] {
        if let Some(once) = SINGLE.get(system as usize) {
            once.set(Arc::new(SuperBlock::with_device(system, system as u32)));
        }
    }
}

impl From<FileSystem> for Arc<SuperBlock> {
    /// The instance of a file system that exists once.
    fn from(system: FileSystem) -> Self {
        SINGLE.get(system as usize).and_then(Once::get).unwrap_or_else(|| unreachable!("set at boot")).clone()
    }
}

impl SuperBlock {
    fn with_device(system: FileSystem, device: u32) -> Self {
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
    pub fn new(system: FileSystem) -> Result<Self> {
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
