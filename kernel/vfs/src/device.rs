// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device files: who opens the devices of a number, and /dev with what drivers have announced. Numbers as in Linux's devices.txt.

use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc};

use exo_hal::{once::Once, sync::SpinLock};

use super::{
    dentry::Dentry,
    file::File,
    inode::{Inode, InodeContent, kind},
    notify,
};
use crate::errno::{Errno, Result};

/// Major numbers.
pub mod major {
    /// Memory.
    pub const MEMORY: u32 = 1;
    /// Serial terminals.
    pub const TTY: u32 = 4;
    /// The terminal of whoever asks.
    pub const CONSOLE: u32 = 5;
    /// Slaves of pseudo-terminals.
    pub const PTS: u32 = 136;
    /// The first of those for local use: what drivers announce.
    pub const LOCAL: u32 = 240;
}

const MAJORS: usize = major::LOCAL as usize;

/// First minor of the serial terminals.
pub const SERIAL_MINOR: u32 = 64;

/// Opens a driver's device.
pub trait Opener: Send + Sync {
    /// A file for a program that opens it with the `O_` bits `flags`.
    fn open(&self, flags: u32) -> Result<Box<dyn File>>;
}

/// Opens a character device by its major and minor number, with the `O_` bits of a program.
pub type OpenNumber = fn(u32, u32, u32) -> Result<Box<dyn File>>;

/// Who opens the character devices of a major number.
static REGISTERED: [Once<OpenNumber>; MAJORS] = [const { Once::new() }; MAJORS];

/// Registers who opens the character devices of a major number below [`major::LOCAL`]. Once for each.
pub fn register(major: u32, open: OpenNumber) {
    if let Some(slot) = REGISTERED.get(major as usize) {
        slot.set(open);
    }
}

static ROOT: Once<Arc<Dentry>> = Once::new();

/// The root of /dev.
pub fn root() -> Arc<Dentry> {
    ROOT.get().unwrap_or_else(|| unreachable!("set at boot")).clone()
}

/// What drivers have announced, by type bits and minor number under [`major::LOCAL`].
static ANNOUNCED: SpinLock<BTreeMap<(u32, u32), Announced>> = SpinLock::new(BTreeMap::new());

struct Announced {
    name: String,
    opener: Arc<dyn Opener>,
}

/// Makes `/dev/NAME` with permission bits: a device of type `kind` (type bits) that `opener` opens.
pub fn announce(name: &str, kind: u32, permissions: u32, opener: Arc<dyn Opener>) -> Result<()> {
    let minor = {
        let mut announced = ANNOUNCED.lock();
        let minor = (0..).find(|minor| !announced.contains_key(&(kind, *minor))).ok_or(Errno::ENOSPC)?;
        announced.insert((kind, minor), Announced { name: name.into(), opener });
        minor
    };
    let node = Inode::new(
        root().inode.superblock.clone(),
        kind | permissions,
        InodeContent::Device(major::LOCAL, minor),
    );
    root().add(name.as_bytes(), &node)?;
    notify::created(&root().inode, name.as_bytes(), &node);
    Ok(())
}

/// The number of the block device that is announced as `name`.
pub fn block_number(name: &str) -> Option<(u32, u32)> {
    let announced = ANNOUNCED.lock();
    let mut keys = announced.iter().filter(|((kind, _), a)| *kind == kind::BLOCK && a.name == name);
    keys.next().map(|((_, minor), _)| (major::LOCAL, *minor))
}

/// Takes `/dev/NAME` away. Files that are open stay so; what they can still do is the driver's business.
pub fn withdraw(name: &str) {
    let gone = {
        let mut announced = ANNOUNCED.lock();
        let key = announced.iter().find(|(_, a)| a.name == name).map(|(key, _)| *key);
        key.and_then(|key| announced.remove(&key))
    };
    drop(gone);
    // A program may have removed the name already, or made a directory of this name.
    if root().lookup(name.as_bytes()).is_ok_and(|found| !found.inode.is_directory())
        && root().take_out(name.as_bytes()).is_ok()
    {
        notify::removed(&root().inode, name.as_bytes(), false);
    }
}

/// Sets the root of /dev, which is made at boot.
pub fn set_root(root: Arc<Dentry>) {
    ROOT.set(root);
}

/// Opens the device with a number.
pub fn open(major: u32, minor: u32, kind: u32, flags: u32) -> Result<Box<dyn File>> {
    if major == major::LOCAL {
        let opener = ANNOUNCED.lock().get(&(kind, minor)).map(|a| a.opener.clone()).ok_or(Errno::ENXIO)?;
        return opener.open(flags);
    }
    if kind != kind::CHARACTER {
        return Err(Errno::ENXIO);
    }
    let open = REGISTERED.get(major as usize).and_then(Once::get).ok_or(Errno::ENXIO)?;
    open(major, minor, flags)
}
