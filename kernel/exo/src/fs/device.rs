// SPDX-License-Identifier: MIT OR Apache-2.0
//! Character devices: null, zero, full, random, urandom, the terminals. Numbers as in Linux's devices.txt.

use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc};

use exo_hal::{dev::serial, sync::SpinLock};
use linux_raw_sys::general as abi;

use super::{
    file::{File, Io},
    inode::{FileSystem, Inode, InodeContent, kind},
    mount_options,
    table::Stateless,
    tty,
};
use crate::{
    errno::{Errno, Result},
    kernel_log,
    mm::Pages,
    random,
    sched::spans,
    user,
};

/// Major numbers.
mod major {
    pub(super) const MEMORY: u32 = 1;
    pub(super) const TTY: u32 = 4;
    pub(super) const CONSOLE: u32 = 5;
    /// The first of those for local use.
    pub(super) const LOCAL: u32 = 240;
}

/// Majors of character devices and what they are called in /proc/devices.
pub const MAJORS: [(u32, &str); 4] =
    [(major::MEMORY, "mem"), (major::TTY, "ttyS"), (major::CONSOLE, "console"), (major::LOCAL, "exo")];

/// The major number of what drivers announce.
pub const LOCAL_MAJOR: u32 = major::LOCAL;

/// First minor of the serial terminals.
const SERIAL_MINOR: u32 = 64;

struct Null;

impl File for Null {
    fn read_bytes(&self, _io: Io, _to: &mut [u8]) -> Result {
        Ok(0)
    }

    fn write_bytes(&self, _io: Io, from: &[u8]) -> Result {
        Ok(from.len())
    }

    fn read(&self, _io: Io, _to: usize, _length: usize) -> Result {
        Ok(0)
    }

    fn write(&self, _io: Io, _from: usize, length: usize) -> Result {
        Ok(length)
    }

    fn seek_size(&self) -> Option<u64> {
        Some(0)
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }

    fn has_offset(&self) -> bool {
        true
    }

    fn stateless(&self) -> Option<Stateless> {
        Some(Stateless::Null)
    }
}

struct Zero;

impl File for Zero {
    fn read_bytes(&self, _io: Io, to: &mut [u8]) -> Result {
        to.fill(0);
        Ok(to.len())
    }

    fn write_bytes(&self, _io: Io, from: &[u8]) -> Result {
        Ok(from.len())
    }

    fn read(&self, _io: Io, to: usize, length: usize) -> Result {
        user::zero(to, length)
    }

    fn write(&self, _io: Io, _from: usize, length: usize) -> Result {
        Ok(length)
    }

    fn seek_size(&self) -> Option<u64> {
        Some(0)
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }

    fn pages(&self) -> Result<Option<Arc<Pages>>> {
        Ok(None)
    }

    fn stateless(&self) -> Option<Stateless> {
        Some(Stateless::Zero)
    }
}

/// As zero, but takes nothing.
struct Full;

impl File for Full {
    fn read_bytes(&self, _io: Io, to: &mut [u8]) -> Result {
        to.fill(0);
        Ok(to.len())
    }

    fn read(&self, _io: Io, to: usize, length: usize) -> Result {
        user::zero(to, length)
    }

    fn write(&self, _io: Io, _from: usize, length: usize) -> Result {
        if length == 0 { Ok(0) } else { Err(Errno::ENOSPC) }
    }

    fn seek_size(&self) -> Option<u64> {
        Some(0)
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }
}

struct Random;

/// RNDGETENTCNT of Linux's `linux/random.h`.
const GET_ENTROPY: u32 = 0x8004_5200;
/// How much there is, in bits: as on Linux all that the pool holds, once it is seeded.
pub const ENTROPY_BITS: i32 = 256;

impl File for Random {
    fn ioctl(&self, request: u32, argument: usize) -> Result {
        match request {
            GET_ENTROPY => user::write(argument, &ENTROPY_BITS).map(|()| 0),
            _ => Err(Errno::EINVAL),
        }
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }

    fn read_bytes(&self, _io: Io, to: &mut [u8]) -> Result {
        random::fill(to);
        Ok(to.len())
    }

    fn write_bytes(&self, _io: Io, from: &[u8]) -> Result {
        random::stir(from);
        Ok(from.len())
    }

    fn read(&self, _io: Io, to: usize, length: usize) -> Result {
        random::fill_user(to, length)
    }

    fn write(&self, _io: Io, from: usize, length: usize) -> Result {
        let mut bytes = [0; 256];
        let mut done = 0;
        while done < length {
            let count = bytes.len().min(length - done);
            let part = bytes.get_mut(..count).unwrap_or_default();
            user::copy_in(part, from.wrapping_add(done))?;
            random::stir(part);
            done += count;
            if spans::point() {
                break;
            }
        }
        Ok(done)
    }
}

/// Opens a driver's device.
pub trait Opener: Send + Sync {
    /// A file for a program that opens it with the `O_` bits `flags`.
    fn open(&self, flags: u32) -> Result<Box<dyn File>>;
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
    let node = Inode::new(FileSystem::Devices, kind | permissions, InodeContent::Device(major::LOCAL, minor));
    mount_options::devices().add(name.as_bytes(), &node)
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
    // A program may have removed the name already.
    let _ = mount_options::devices().unlink(name.as_bytes());
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
    Ok(match (major, minor) {
        (major::MEMORY, 3) => Box::new(Null),
        (major::MEMORY, 5) => Box::new(Zero),
        (major::MEMORY, 7) => Box::new(Full),
        (major::MEMORY, 8 | 9) => Box::new(Random),
        (major::MEMORY, 11) => kernel_log::open(),
        (major::CONSOLE, 0) => tty::open_current(flags)?,
        // As on Linux, the console does not become anybody's controlling terminal by being opened.
        (major::CONSOLE, 1) => tty::open(0, flags | abi::O_NOCTTY)?,
        (major::TTY, minor) if minor >= SERIAL_MINOR => tty::open((minor - SERIAL_MINOR) as usize, flags)?,
        _ => return Err(Errno::ENXIO),
    })
}

/// Fills a /dev directory.
pub fn populate(directory: &Arc<Inode>) -> Result<()> {
    let add = |name: &str, major, minor, permissions| {
        let node = Inode::new(
            FileSystem::Devices,
            kind::CHARACTER | permissions,
            InodeContent::Device(major, minor),
        );
        directory.add(name.as_bytes(), &node)
    };
    add("null", major::MEMORY, 3, 0o666)?;
    add("zero", major::MEMORY, 5, 0o666)?;
    add("full", major::MEMORY, 7, 0o666)?;
    add("random", major::MEMORY, 8, 0o666)?;
    add("urandom", major::MEMORY, 9, 0o666)?;
    add("kmsg", major::MEMORY, 11, 0o644)?;
    add("tty", major::CONSOLE, 0, 0o666)?;
    add("console", major::CONSOLE, 1, 0o600)?;
    for (index, port) in (0..).zip(&serial::PORTS) {
        if port.is_present() {
            add(
                ["ttyS0", "ttyS1", "ttyS2", "ttyS3"][index as usize],
                major::TTY,
                SERIAL_MINOR + index,
                0o660,
            )?;
        }
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        directory.add(
            name.as_bytes(),
            &Inode::new(
                FileSystem::Devices,
                kind::LINK | 0o777,
                InodeContent::Link(target.as_bytes().to_vec()),
            ),
        )?;
    }
    directory.add(b"shm", &Inode::directory(FileSystem::Devices, 0o1777))
}
