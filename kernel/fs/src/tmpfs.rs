// SPDX-License-Identifier: MIT OR Apache-2.0
//! tmpfs and ramfs: files in memory. The one has limits, and shows them; the other has none.
//!
//! All that happens to its files is done by the inodes themselves ([`exo_vfs::inode`]), which keep names in directories and bytes in pages;
//! what is told here is what an instance is.

use core::sync::atomic::Ordering;

use alloc::{format, string::String, sync::Arc, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame};
use exo_vfs::{
    dentry::Dentry,
    file_system::FileSystem,
    inode::{Inode, kind},
    mounting::Mountable,
    superblock::SuperBlock,
};

use crate::errno::{Errno, Result};

/// Files in memory, with limits: by default half of memory, and as many inodes as that has pages.
pub struct Tmpfs;

impl FileSystem for Tmpfs {
    fn name(&self) -> &'static str {
        "tmpfs"
    }

    fn magic(&self) -> i64 {
        0x0102_1994
    }

    fn holds_files(&self) -> bool {
        true
    }
}

impl Mountable for Tmpfs {
    fn mount(&self, data: &[u8]) -> Result<Arc<Dentry>> {
        let options = parse(data)?;
        let instance = SuperBlock::new(&Self)?;
        instance.quota.set_limit(options.pages.unwrap_or_else(half_of_memory))?;
        instance.inode_limit.store(options.inodes.unwrap_or_else(half_of_memory), Ordering::Relaxed);
        Ok(root(instance, &options))
    }

    fn remount(&self, instance: &SuperBlock, data: &[u8]) -> Result<()> {
        let options = parse(data)?;
        let has_no_limit = instance.quota.limit() == 0;
        if !has_no_limit && (options.pages == Some(0) || options.inodes == Some(0)) {
            // No limit from now on: refused as on Linux, where what was counted until now would be missing.
            return Err(Errno::EINVAL);
        }
        if has_no_limit {
            return Ok(());
        }
        if options.inodes.is_some_and(|limit| limit < instance.inodes.load(Ordering::Relaxed)) {
            return Err(Errno::EINVAL);
        }
        if let Some(pages) = options.pages {
            instance.quota.set_limit(pages)?;
        }
        if let Some(inodes) = options.inodes {
            instance.inode_limit.store(inodes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn options(&self, instance: &SuperBlock, root: &Inode) -> Vec<u8> {
        let mut out = String::new();
        let (pages, half) = (instance.quota.limit(), half_of_memory());
        if pages > 0 && pages != half {
            out += &format!(",size={}k", pages * (PAGE_SIZE / 1024));
        }
        let inodes = instance.inode_limit.load(Ordering::Relaxed);
        if inodes > 0 && inodes != half {
            out += &format!(",nr_inodes={inodes}");
        }
        let metadata = root.metadata();
        if metadata.mode & 0o7777 != 0o1777 {
            out += &format!(",mode={:03o}", metadata.mode & 0o7777);
        }
        if metadata.uid != 0 {
            out += &format!(",uid={}", metadata.uid);
        }
        if metadata.gid != 0 {
            out += &format!(",gid={}", metadata.gid);
        }
        out.into_bytes()
    }
}

/// Files in memory, without limits and attributes.
pub struct Ramfs;

impl FileSystem for Ramfs {
    fn name(&self) -> &'static str {
        "ramfs"
    }

    fn magic(&self) -> i64 {
        0x8584_58f6
    }

    fn holds_files(&self) -> bool {
        true
    }

    fn holds_attributes(&self) -> bool {
        false
    }
}

impl Mountable for Ramfs {
    fn mount(&self, data: &[u8]) -> Result<Arc<Dentry>> {
        let mode = mode_of(data)?.or(Some(0o755));
        Ok(root(SuperBlock::new(&Self)?, &Options { mode, ..Options::default() }))
    }

    fn remount(&self, _instance: &SuperBlock, data: &[u8]) -> Result<()> {
        mode_of(data).map(drop)
    }

    fn options(&self, _instance: &SuperBlock, root: &Inode) -> Vec<u8> {
        match root.metadata().mode & 0o7777 {
            0o755 => Vec::new(),
            mode => format!(",mode={mode:o}").into_bytes(),
        }
    }
}

/// The option that a ramfs has; as on Linux, it heeds no other.
fn mode_of(data: &[u8]) -> Result<Option<u32>> {
    let options = data.split(|byte| *byte == b',').filter(|option| option.starts_with(b"mode="));
    options
        .map(|option| parse(option).map(|parsed| parsed.mode))
        .try_fold(None, |last, mode| Ok(mode?.or(last)))
}

/// In pages.
fn half_of_memory() -> usize {
    frame::totals().0 / 2
}

/// An instance's root directory.
fn root(instance: SuperBlock, options: &Options) -> Arc<Dentry> {
    let root = Inode::directory(Arc::new(instance), 0);
    root.change(|metadata| {
        metadata.mode = kind::DIRECTORY | options.mode.unwrap_or(0o1777);
        metadata.uid = options.uid.unwrap_or(0);
        metadata.gid = options.gid.unwrap_or(0);
    });
    Dentry::root(root)
}

/// Options of a tmpfs. What is not given stays.
#[derive(Default)]
pub(crate) struct Options {
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

pub(crate) fn parse(data: &[u8]) -> Result<Options> {
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
