// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/sys: what can be asked about the kernel's bounds, and the few that can be changed.

use core::{
    fmt::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

use alloc::{boxed::Box, string::String, sync::Arc};

use exo_core::names::{DOMAIN, HOST, NAME_MAX, Name, RELEASE, VERSION};
use exo_hal::{mm::frame, once::Once};
use exo_net::inet;

use super::{
    Content, Each, Entry, directory,
    inode::{self, Class},
    text,
};
use crate::{
    errno::{Errno, Result},
    fs::inode::{Inode, directory::DirectoryOperations, kind},
    memory_devices, mm, random,
    task::{
        limits::{self, inotify},
        table,
    },
};

/// A directory, by what all its paths begin with.
pub(super) struct Settings(&'static str);

/// The directory itself.
pub(super) const ROOT: Settings = Settings("");

const fn setting(name: &'static str, show: super::Writer, store: fn(&[u8]) -> Result<()>) -> Entry {
    Entry { name, content: Content::Setting(0o644, show, store) }
}

/// All settings, by path; those of a directory stand together.
static ENTRIES: &[Entry] = &[
    text("fs/file-max", |out| writeln!(out, "{}", i64::MAX)),
    setting(
        "fs/inotify/max_queued_events",
        |out| show_bound(&inotify::QUEUED_EVENTS, out),
        |value| store_bound(&inotify::QUEUED_EVENTS, value),
    ),
    setting(
        "fs/inotify/max_user_instances",
        |out| show_bound(&inotify::USER_INSTANCES, out),
        |value| store_bound(&inotify::USER_INSTANCES, value),
    ),
    setting(
        "fs/inotify/max_user_watches",
        |out| show_bound(&inotify::USER_WATCHES, out),
        |value| store_bound(&inotify::USER_WATCHES, value),
    ),
    text("fs/nr_open", |out| writeln!(out, "{}", limits::MOST_FILES)),
    text("fs/overflowgid", |out| out.write_str("65534\n")),
    text("fs/overflowuid", |out| out.write_str("65534\n")),
    text("fs/pipe-max-size", |out| writeln!(out, "{}", crate::fs::pipe::MOST_CAPACITY)),
    text("fs/suid_dumpable", |out| out.write_str("0\n")),
    text("kernel/cap_last_cap", |out| out.write_str("40\n")),
    text("kernel/core_pattern", |out| out.write_str("core\n")),
    text("kernel/core_uses_pid", |out| out.write_str("0\n")),
    text("kernel/dmesg_restrict", |out| out.write_str("0\n")),
    setting("kernel/domainname", |out| show_name(&DOMAIN, out), |value| store_name(&DOMAIN, value)),
    setting("kernel/hostname", |out| show_name(&HOST, out), |value| store_name(&HOST, value)),
    text("kernel/kptr_restrict", |out| out.write_str("2\n")),
    text("kernel/ngroups_max", |out| out.write_str("65536\n")),
    text("kernel/osrelease", |out| writeln!(out, "{}", RELEASE)),
    text("kernel/ostype", |out| out.write_str("Linux\n")),
    text("kernel/overflowgid", |out| out.write_str("65534\n")),
    text("kernel/overflowuid", |out| out.write_str("65534\n")),
    text("kernel/pid_max", |out| writeln!(out, "{}", table::PID_MAX)),
    text("kernel/random/boot_id", |out| {
        if BOOT_ID.get().is_none() {
            BOOT_ID.set(new_uuid());
        }
        writeln!(out, "{}", BOOT_ID.get().map_or("", |id| id))
    }),
    text("kernel/random/entropy_avail", |out| writeln!(out, "{}", memory_devices::ENTROPY_BITS)),
    text("kernel/random/poolsize", |out| out.write_str("256\n")),
    text("kernel/random/uuid", |out| writeln!(out, "{}", new_uuid())),
    // Mappings and programs that can be moved, but not the heap apart from its program.
    text("kernel/randomize_va_space", |out| out.write_str("1\n")),
    text("kernel/sched_child_runs_first", |out| out.write_str("0\n")),
    text("kernel/tainted", |out| out.write_str("0\n")),
    text("kernel/threads-max", |out| writeln!(out, "{}", frame::totals().0 / 8)),
    text("kernel/version", |out| writeln!(out, "{}", VERSION)),
    setting("net/ipv4/ping_group_range", inet::show_ping_groups, inet::store_ping_groups),
    text("vm/legacy_va_layout", |out| out.write_str("0\n")),
    text("vm/max_map_count", |out| writeln!(out, "{}", mm::MAX_AREAS)),
    text("vm/mmap_min_addr", |out| writeln!(out, "{}", mm::LOWEST)),
    text("vm/nr_hugepages", |out| out.write_str("0\n")),
    // A mapping is never refused because others could need as much.
    text("vm/overcommit_memory", |out| out.write_str("1\n")),
];

fn show_name(of: &Name, out: &mut dyn Write) -> core::fmt::Result {
    let name = of.get().map_err(|_| core::fmt::Error)?;
    writeln!(out, "{}", String::from_utf8_lossy(&name))
}

/// The first line is the name, cut off where it is too long.
fn store_name(of: &Name, value: &[u8]) -> Result<()> {
    let name = value.split(|b| matches!(b, b'\n' | 0)).next().unwrap_or_default();
    of.set(name.get(..name.len().min(NAME_MAX)).unwrap_or_default())
}

fn show_bound(of: &AtomicUsize, out: &mut dyn Write) -> core::fmt::Result {
    writeln!(out, "{}", of.load(Ordering::Relaxed))
}

/// A whole number that is not negative and has 31 bits, as all such bounds are.
fn store_bound(of: &AtomicUsize, value: &[u8]) -> Result<()> {
    let text = core::str::from_utf8(value).map_err(|_| Errno::EINVAL)?;
    let number: u32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
    if number > i32::MAX as u32 {
        return Err(Errno::EINVAL);
    }
    of.store(number as usize, Ordering::Relaxed);
    Ok(())
}

static BOOT_ID: Once<String> = Once::new();

/// A random UUID (version 4, RFC 9562).
fn new_uuid() -> String {
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut out = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(out, "{dash}{byte:02x}");
    }
    out
}

/// A name in a directory: the first path that has it, and whether it goes on behind it.
struct Found {
    index: usize,
    name: &'static str,
    is_directory: bool,
}

impl Settings {
    /// The names in the directory, each once.
    fn names(&self) -> impl Iterator<Item = Found> {
        let prefix = self.0;
        let mut last = "";
        ENTRIES.iter().enumerate().filter_map(move |(index, entry)| {
            let rest = entry.name.strip_prefix(prefix)?;
            let (name, is_directory) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            (core::mem::replace(&mut last, name) != name).then_some(Found { index, name, is_directory })
        })
    }

    fn inode(&self, found: &Found) -> u64 {
        // A directory has the number of its first file, apart from it by its depth.
        let depth = self.0.matches('/').count() + 1;
        let depth = if found.is_directory { depth } else { 0 };
        inode::number(0, Class::Setting, (depth << 16) | (found.index + 1))
    }
}

impl DirectoryOperations for Settings {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        let found = self.names().find(|found| found.name.as_bytes() == name).ok_or(Errno::ENOENT)?;
        let entry = ENTRIES.get(found.index).ok_or(Errno::ENOENT)?;
        if !found.is_directory {
            return Ok(entry.node(self.inode(&found)));
        }
        let prefix = entry.name.get(..self.0.len() + found.name.len() + 1).ok_or(Errno::ENOENT)?;
        Ok(directory(self.inode(&found), Box::new(Settings(prefix))))
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()> {
        for found in self.names().filter(|found| found.index as u64 + 1 > after) {
            let kind = if found.is_directory { kind::DIRECTORY } else { kind::REGULAR };
            if !each(found.name.as_bytes(), kind, self.inode(&found), found.index as u64 + 1) {
                break;
            }
        }
        Ok(())
    }
}
