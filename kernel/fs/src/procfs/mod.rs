// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc: what the kernel tells of itself and of processes, made when it is read.
//!
//! A folder here is a table of names ([`Entry`]); a new file is a line in one of them and a function that writes it.

mod accounts;
mod descriptors;
mod exo;
mod inode;
mod machine;
mod memory;
mod mounts;
mod net;
mod process;
mod stat;
mod status;
mod subject;
mod sys;
mod threads;

use core::ops::ControlFlow;

use alloc::{boxed::Box, format, sync::Arc, vec::Vec};

use exo_hal::once::Once;
use exo_vfs::{dentry::Dentry, file_system::FileSystem, mounting::Mountable, superblock::Single};

use self::inode::Class;
use super::{
    inode::{
        Inode, InodeContent, Store,
        directory::{Directory, DirectoryOperations, Each},
        kind,
    },
    text::{Generate, Writer, written},
};
use crate::{
    errno::{Errno, Result},
    task::{current, table},
};

/// Nanoseconds of a clock tick in /proc/stat and PID/stat (USER_HZ).
const TICK_NS: u64 = 10_000_000;
const LINK: u32 = kind::LINK | 0o777;
const TEXT: u32 = kind::REGULAR | 0o444;
const DIRECTORY: u32 = kind::DIRECTORY | 0o555;
/// Positions of processes in the root directory begin here, after its files.
const FIRST_PROCESS: u64 = 256;

/// A name of a directory whose content does not depend on a process.
struct Entry {
    name: &'static str,
    content: Content,
}

enum Content {
    Text(Writer),
    /// Permission bits, the text, and what takes a new one.
    Setting(u32, Writer, fn(&[u8]) -> Result<()>),
    /// Takes what is written to it, and has nothing to read.
    Trigger(fn(&[u8]) -> Result<()>),
    Link(fn() -> Result<Vec<u8>>),
    Directory(fn() -> Box<dyn DirectoryOperations>),
}

const fn text(name: &'static str, write: Writer) -> Entry {
    Entry { name, content: Content::Text(write) }
}

/// The root's names, besides those of processes.
static ENTRIES: &[Entry] = &[
    text("cmdline", machine::command_line),
    text("cpuinfo", machine::cpuinfo),
    text("devices", machine::devices),
    Entry { name: "exo", content: Content::Setting(0o644, exo::counters, exo::reset) },
    text("filesystems", machine::filesystems),
    text("loadavg", machine::loadavg),
    text("locks", crate::fs::locks::write_list),
    text("meminfo", machine::meminfo),
    text("misc", |_| Ok(())),
    text("modules", |_| Ok(())),
    Entry { name: "mounts", content: Content::Link(|| Ok(b"self/mounts".to_vec())) },
    Entry { name: "net", content: Content::Directory(|| Box::new(net::Net)) },
    Entry { name: "self", content: Content::Link(|| Ok(format!("{}", current().pid).into_bytes())) },
    text("partitions", machine::partitions),
    text("stat", stat::machine),
    text("swaps", |out| out.write_str("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")),
    Entry { name: "sys", content: Content::Directory(|| Box::new(sys::ROOT)) },
    Entry { name: "sysrq-trigger", content: Content::Trigger(machine::sysrq) },
    Entry {
        name: "thread-self",
        content: Content::Link(|| Ok(format!("{}/task/{}", current().pid, current().tid()).into_bytes())),
    },
    text("uptime", machine::uptime),
    text("version", machine::version),
    text("vmstat", machine::vmstat),
];

/// The directory itself.
struct Root;

static PROC: Single = Single::new(&Proc, 4);
static ROOT: Once<Arc<Dentry>> = Once::new();

/// The type of /proc.
pub(crate) struct Proc;

impl FileSystem for Proc {
    fn name(&self) -> &'static str {
        "proc"
    }

    fn magic(&self) -> i64 {
        0x9fa0
    }

    fn has_ends(&self) -> bool {
        false
    }
}

impl Mountable for Proc {
    fn mount(&self, data: &[u8]) -> Result<Arc<Dentry>> {
        if !data.is_empty() {
            return Err(Errno::EINVAL);
        }
        Ok(ROOT.get().unwrap_or_else(|| unreachable!("made at boot")).clone())
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Makes the root.
pub(crate) fn init() {
    PROC.init();
    ROOT.set(Dentry::root(node(inode::ROOT, DIRECTORY, InodeContent::directory(Root))));
}

fn node(number: u64, mode: u32, content: InodeContent) -> Arc<Inode> {
    Inode::numbered(number, &PROC, mode, content)
}

fn directory(number: u64, directory: Box<dyn DirectoryOperations>) -> Arc<Inode> {
    node(number, DIRECTORY, InodeContent::Directory(Directory::new(directory)))
}

impl Entry {
    fn mode(&self) -> u32 {
        match &self.content {
            Content::Text(_) => TEXT,
            Content::Setting(permissions, ..) => kind::REGULAR | permissions,
            Content::Trigger(_) => kind::REGULAR | 0o200,
            Content::Link(_) => LINK,
            Content::Directory(_) => DIRECTORY,
        }
    }

    fn node(&self, number: u64) -> Arc<Inode> {
        let content = match &self.content {
            Content::Text(write) => InodeContent::Text(written(*write)),
            Content::Setting(_, show, store) => setting(written(*show), Box::new(*store)),
            Content::Trigger(store) => setting(Box::new(|| Err(Errno::EIO)), Box::new(*store)),
            Content::Link(target) => InodeContent::DynamicLink(Box::new(*target)),
            Content::Directory(make) => InodeContent::Directory(Directory::new(make())),
        };
        node(number, self.mode(), content)
    }
}

fn setting(show: Generate, store: Store) -> InodeContent {
    InodeContent::Setting(show, store)
}

/// The entry with a name, and its number.
fn find_entry(entries: &'static [Entry], class: Class, name: &[u8]) -> Option<Arc<Inode>> {
    let (index, entry) = entries.iter().enumerate().find(|(_, e)| e.name.as_bytes() == name)?;
    Some(entry.node(inode::number(0, class, index + 2)))
}

/// Lists entries behind position `after`; breaks off when `each` does.
fn list_entries(entries: &[Entry], class: Class, after: u64, each: &mut Each<'_>) -> ControlFlow<()> {
    for (index, entry) in entries.iter().enumerate().skip(usize::try_from(after).unwrap_or(usize::MAX)) {
        let number = inode::number(0, class, index + 2);
        if !each(entry.name.as_bytes(), entry.mode() & kind::MASK, number, index as u64 + 1) {
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}

/// A number as a name has it: digits alone, without zeros in front.
fn number(name: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(name).ok()?;
    if !text.bytes().all(|b| b.is_ascii_digit()) || text.len() > 1 && text.starts_with('0') {
        return None;
    }
    text.parse().ok()
}

impl DirectoryOperations for Root {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        if let Some(node) = find_entry(ENTRIES, Class::Machine, name) {
            return Ok(node);
        }
        let number = number(name).ok_or(Errno::ENOENT)?;
        if let Some(process) = table::process(number) {
            return Ok(process::directory(&process));
        }
        // A thread's number leads to it, though it is not listed.
        let thread = table::task(number).filter(|task| task.pid != 0).ok_or(Errno::ENOENT)?;
        Ok(process::directory_of_thread(&thread))
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()> {
        if list_entries(ENTRIES, Class::Machine, after, each).is_break() {
            return Ok(());
        }
        let mut next = u32::try_from(after.saturating_sub(FIRST_PROCESS)).unwrap_or(u32::MAX);
        while let Some(process) = next.checked_add(1).and_then(table::process_from) {
            next = process.pid;
            let name = format!("{next}");
            let position = FIRST_PROCESS + u64::from(next);
            if !each(name.as_bytes(), kind::DIRECTORY, process::inode_of(next), position) {
                break;
            }
        }
        Ok(())
    }
}
