// SPDX-License-Identifier: MIT OR Apache-2.0
//! What file systems there are to be mounted, and their options.

use core::sync::atomic::Ordering;

use alloc::{sync::Arc, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame, once::Once};
use linux_raw_sys::general as abi;

use super::{
    device,
    inode::{FileSystem, Inode, kind},
    memory_devices,
    mount::{self, Mount, Path},
    procfs,
    superblock::SuperBlock,
    sysfs,
};
use crate::errno::{Errno, Result};

static PROCESSES: Once<Arc<Inode>> = Once::new();

/// Fills the file systems that exist once.
pub fn init() -> Result<()> {
    memory_devices::init()?;
    PROCESSES.set(procfs::root());
    Ok(())
}

fn processes() -> Arc<Inode> {
    PROCESSES.get().unwrap_or_else(|| unreachable!("set at boot")).clone()
}

/// Mounts a file system of type `kind` on a directory of the root.
pub fn mount_at_boot(kind: &[u8], directory: Arc<Inode>) -> Result<()> {
    let at = mount::root().with(directory);
    mount_new(kind, at, kind, abi::MS_RELATIME, &[])
}

/// Options of a tmpfs. What is not given stays.
#[derive(Default)]
struct Options {
    pages: Option<usize>,
    inodes: Option<usize>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// A number with `k`, `m` or `g` behind it, or a part of memory with `%`.
fn size(value: &str) -> Option<u64> {
    if let Some(percent) = value.strip_suffix('%') {
        let percent: u64 = percent.parse().ok()?;
        return (frame::totals().0 as u64 * PAGE_SIZE as u64).checked_mul(percent).map(|bytes| bytes / 100);
    }
    let shift = match value.chars().last()?.to_ascii_lowercase() {
        'k' => 10,
        'm' => 20,
        'g' => 30,
        't' => 40,
        _ => 0,
    };
    let digits = if shift > 0 { value.get(..value.len() - 1)? } else { value };
    let (digits, radix) = digits.strip_prefix("0x").map_or((digits, 10), |hex| (hex, 16));
    u64::from_str_radix(digits, radix).ok()?.checked_mul(1 << shift)
}

fn parse(data: &[u8]) -> Result<Options> {
    let mut options = Options::default();
    let text = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let number = || value.parse::<u32>().map_err(|_| Errno::EINVAL);
        let count = || size(value).and_then(|n| usize::try_from(n).ok()).ok_or(Errno::EINVAL);
        match name {
            "size" => options.pages = Some(count()?.div_ceil(PAGE_SIZE)),
            "nr_blocks" => options.pages = Some(count()?),
            "nr_inodes" => options.inodes = Some(count()?),
            "mode" => {
                let mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?;
                options.mode = Some(mode & 0o7777);
            }
            "uid" => options.uid = Some(number()?),
            "gid" => options.gid = Some(number()?),
            // As it is.
            "inode64" => {}
            "huge" if value == "never" => {}
            _ => return Err(Errno::EINVAL),
        }
    }
    Ok(options)
}

/// A tmpfs: by default half of memory, and as many inodes as it has pages.
fn temporary(data: &[u8], is_limited: bool) -> Result<Arc<Inode>> {
    let options = parse(data)?;
    let superblock = SuperBlock::new(FileSystem::Temporary)?;
    if is_limited {
        let half = frame::totals().0 / 2;
        superblock.quota.set_limit(options.pages.unwrap_or(half))?;
        superblock.inode_limit.store(options.inodes.unwrap_or(half), Ordering::Relaxed);
    }
    let root = Inode::directory(Arc::new(superblock), 0);
    root.change(|metadata| {
        metadata.mode = kind::DIRECTORY | options.mode.unwrap_or(0o1777);
        metadata.uid = options.uid.unwrap_or(0);
        metadata.gid = options.gid.unwrap_or(0);
    });
    Ok(root)
}

/// Mounts a file system of type `kind`; `data` are its own options.
pub fn mount_new(source: &[u8], at: Path, kind: &[u8], flags: u32, data: &[u8]) -> Result<()> {
    let root = match kind {
        b"tmpfs" => temporary(data, true)?,
        b"ramfs" => temporary(data, false)?,
        b"devtmpfs" => {
            parse(data)?;
            device::root()
        }
        b"proc" | b"sysfs" if !data.is_empty() => return Err(Errno::EINVAL),
        b"proc" => processes(),
        b"sysfs" => sysfs::root(),
        _ => return Err(Errno::ENODEV),
    };
    let at = at.topmost();
    if at.is_mount_root() && Arc::ptr_eq(&at.node, &root) {
        // Here already.
        return Err(Errno::EBUSY);
    }
    let is_new = root.system == FileSystem::Temporary;
    let mount = Mount::new(root, source.to_vec(), flags & !abi::MS_RDONLY);
    if flags & abi::MS_RDONLY != 0 {
        // Of a file system that others see too, only this mount becomes read-only.
        if is_new { mount.set_read_only(true)? } else { mount.set_flags(flags)? }
    }
    mount::attach(&mount, at)
}

/// Changes a mounted file system and its mount (MS_REMOUNT).
pub fn remount(mount: &Mount, flags: u32, data: &[u8]) -> Result<()> {
    let superblock = &mount.superblock;
    let is_limited = superblock.system == FileSystem::Temporary && superblock.quota.limit() > 0;
    let options = match superblock.system {
        FileSystem::Processes | FileSystem::System if !data.is_empty() => return Err(Errno::EINVAL),
        _ => parse(data)?,
    };
    if is_limited {
        if options.pages == Some(0) || options.inodes == Some(0) {
            // No limit from now on: refused as on Linux, where what was counted until now would be missing.
            return Err(Errno::EINVAL);
        }
        if options.inodes.is_some_and(|limit| limit < superblock.inodes.load(Ordering::Relaxed)) {
            return Err(Errno::EINVAL);
        }
    }
    mount.set_read_only(flags & abi::MS_RDONLY != 0)?;
    if is_limited {
        if let Some(pages) = options.pages {
            superblock.quota.set_limit(pages)?;
        }
        if let Some(inodes) = options.inodes {
            superblock.inode_limit.store(inodes, Ordering::Relaxed);
        }
    }
    mount.set_flags(flags & !abi::MS_RDONLY)
}

/// The options of a superblock as /proc/mounts shows them, each with a comma before it.
pub fn shown(superblock: &SuperBlock, root: &Inode) -> Vec<u8> {
    let mut out = Vec::new();
    if superblock.system != FileSystem::Temporary {
        return out;
    }
    let mut add = |text: alloc::string::String| out.extend(text.as_bytes());
    let (pages, half) = (superblock.quota.limit(), frame::totals().0 / 2);
    if pages > 0 && pages != half {
        add(alloc::format!(",size={}k", pages * (PAGE_SIZE / 1024)));
    }
    let inodes = superblock.inode_limit.load(Ordering::Relaxed);
    if inodes > 0 && inodes != half {
        add(alloc::format!(",nr_inodes={inodes}"));
    }
    let metadata = root.metadata();
    if metadata.mode & 0o7777 != 0o1777 {
        add(alloc::format!(",mode={:03o}", metadata.mode & 0o7777));
    }
    if metadata.uid != 0 {
        add(alloc::format!(",uid={}", metadata.uid));
    }
    if metadata.gid != 0 {
        add(alloc::format!(",gid={}", metadata.gid));
    }
    out
}
