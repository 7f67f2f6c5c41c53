// SPDX-License-Identifier: MIT OR Apache-2.0
//! Character devices without a device: null, zero, full, random, urandom, kmsg; and what /dev has at first.

use alloc::{boxed::Box, sync::Arc};

use exo_hal::dev::serial;
use exo_vfs::{
    dentry::Dentry,
    file_system::FileSystem,
    mounting::Mountable,
    superblock::{Single, SuperBlock},
};

use super::{
    device::{self, SERIAL_MINOR, major},
    file::{File, Io, Stateless},
    inode::{Inode, InodeContent, kind},
};
use crate::{
    devpts::PTMX_MINOR,
    errno::{Errno, Result},
    io_buf::{IoBuf, IoSource},
    kernel_log,
    mm::Pages,
    random, tmpfs, user,
};

/// Majors of character devices and what they are called in /proc/devices.
pub const MAJORS: [(u32, &str); 5] = [
    (major::MEMORY, "mem"),
    (major::TTY, "ttyS"),
    (major::CONSOLE, "console"),
    (major::PTS, "pts"),
    (major::LOCAL, "exo"),
];

struct Null;

impl File for Null {
    fn read(&self, _io: Io, _to: &mut IoBuf<'_>) -> Result {
        Ok(0)
    }

    fn write(&self, _io: Io, from: &mut IoSource<'_>) -> Result {
        Ok(from.skip_all())
    }

    fn splices(&self, write: bool) -> bool {
        write
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
    fn read(&self, _io: Io, to: &mut IoBuf<'_>) -> Result {
        to.zero(to.left())
    }

    fn write(&self, _io: Io, from: &mut IoSource<'_>) -> Result {
        Ok(from.skip_all())
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
    fn read(&self, _io: Io, to: &mut IoBuf<'_>) -> Result {
        to.zero(to.left())
    }

    fn write(&self, _io: Io, from: &mut IoSource<'_>) -> Result {
        if from.is_empty() { Ok(0) } else { Err(Errno::ENOSPC) }
    }

    fn splices(&self, write: bool) -> bool {
        !write
    }

    fn seek_size(&self) -> Option<u64> {
        Some(0)
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }
}

/// /dev/random and /dev/urandom.
struct Random {
    /// It can be watched: /dev/random, as on Linux, though it never makes anybody wait.
    can_be_polled: bool,
}

/// RNDGETENTCNT of Linux's `linux/random.h`.
const GET_ENTROPY: u32 = 0x8004_5200;
/// How much there is, in bits: as on Linux all that the pool holds, once it is seeded.
pub const ENTROPY_BITS: i32 = 256;

impl File for Random {
    fn can_be_polled(&self) -> bool {
        self.can_be_polled
    }

    /// As on Linux, any place will do.
    fn has_offset(&self) -> bool {
        true
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        match request {
            GET_ENTROPY => user::write(argument, &ENTROPY_BITS).map(|()| 0),
            _ => Err(Errno::EINVAL),
        }
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }

    fn read(&self, _io: Io, to: &mut IoBuf<'_>) -> Result {
        random::fill_all(to)
    }

    fn write(&self, _io: Io, from: &mut IoSource<'_>) -> Result {
        random::stir_all(from)
    }
}

/// The file system of /dev. Drivers enter their devices there.
static DEVTMPFS: Single = Single::new(&Devtmpfs, 3);

pub(crate) struct Devtmpfs;

impl FileSystem for Devtmpfs {
    fn name(&self) -> &'static str {
        "devtmpfs"
    }

    fn magic(&self) -> i64 {
        0x0102_1994
    }

    fn holds_files(&self) -> bool {
        true
    }
}

impl Mountable for Devtmpfs {
    fn mount(&self, data: &[u8]) -> Result<Arc<Dentry>> {
        tmpfs::parse(data)?;
        Ok(device::root())
    }

    fn remount(&self, _instance: &SuperBlock, data: &[u8]) -> Result<()> {
        tmpfs::parse(data).map(drop)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Makes /dev with what is always there.
pub(crate) fn init() -> Result<()> {
    DEVTMPFS.init();
    device::register(major::MEMORY, open);
    let root = Dentry::root(Inode::directory(&DEVTMPFS, 0o755));
    populate(&root)?;
    device::set_root(root);
    Ok(())
}

fn open(_major: u32, minor: u32, _flags: u32) -> Result<Box<dyn File>> {
    Ok(match minor {
        3 => Box::new(Null),
        5 => Box::new(Zero),
        7 => Box::new(Full),
        8 | 9 => Box::new(Random { can_be_polled: minor == 8 }),
        11 => kernel_log::open(),
        _ => return Err(Errno::ENXIO),
    })
}

/// Fills a /dev directory.
fn populate(directory: &Arc<Dentry>) -> Result<()> {
    let add = |name: &str, major, minor, permissions| {
        let node = Inode::new(&DEVTMPFS, kind::CHARACTER | permissions, InodeContent::Device(major, minor));
        directory.add(name.as_bytes(), &node).map(drop)
    };
    add("null", major::MEMORY, 3, 0o666)?;
    add("zero", major::MEMORY, 5, 0o666)?;
    add("full", major::MEMORY, 7, 0o666)?;
    add("random", major::MEMORY, 8, 0o666)?;
    add("urandom", major::MEMORY, 9, 0o666)?;
    add("kmsg", major::MEMORY, 11, 0o644)?;
    add("tty", major::CONSOLE, 0, 0o666)?;
    add("console", major::CONSOLE, 1, 0o600)?;
    add("ptmx", major::CONSOLE, PTMX_MINOR, 0o666)?;
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
            &Inode::new(&DEVTMPFS, kind::LINK | 0o777, InodeContent::Link(target.as_bytes().to_vec())),
        )?;
    }
    directory.add(b"pts", &Inode::directory(&DEVTMPFS, 0o755))?;
    directory.add(b"shm", &Inode::directory(&DEVTMPFS, 0o1777)).map(drop)
}
