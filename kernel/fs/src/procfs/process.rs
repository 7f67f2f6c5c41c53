// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/PID and /proc/PID/task/TID.

use core::sync::atomic::Ordering;

use core::fmt::Write;

use alloc::{boxed::Box, format, sync::Arc, vec::Vec};

use exo_hal::PAGE_SIZE;

use super::{
    DIRECTORY, LINK, TEXT, accounts,
    descriptors::{Descriptors, Information},
    inode::{self, Class},
    memory, mounts, node, stat, status,
    subject::{Reference, Subject, made},
    threads::Threads,
};
use crate::{
    errno::{Errno, Result},
    fallible,
    fs::{
        inode::{
            Inode, InodeContent, MagicLink,
            directory::{Directory, DirectoryOperations, Each},
            kind,
        },
        path::Path,
        text::collect,
    },
    task::{Name, Process, Task, oom},
};

/// The longest command line or environment that is shown: as long as exec takes them.
const STRINGS_MAX: usize = 2 << 20;

enum Content {
    Text(fn(&Subject, &mut dyn Write) -> core::fmt::Result),
    Bytes(fn(&Subject) -> Result<Vec<u8>>),
    Setting(fn(&Subject) -> Result<Vec<u8>>, fn(&Subject, &[u8]) -> Result<()>),
    PlaceLink(Target),
    Directory(fn(Reference) -> Box<dyn DirectoryOperations>),
}

/// Where a link of a process leads.
type Target = fn(&Subject) -> Result<Path>;

/// A link of a process to a place.
struct Link {
    of: Reference,
    target: Target,
}

impl MagicLink for Link {
    fn target(&self) -> Result<Path> {
        (self.target)(&self.of.get()?)
    }

    fn text(&self) -> Result<Vec<u8>> {
        Ok(self.target()?.path())
    }
}

struct Entry {
    name: &'static str,
    content: Content,
    /// Permission bits, if they are others than most have that are of this sort.
    permissions: Option<u32>,
    /// Threads have no such file of their own.
    process_only: bool,
}

const fn entry(name: &'static str, content: Content) -> Entry {
    Entry { name, content, permissions: None, process_only: false }
}

/// A file that nobody but the process's user reads.
const fn private(name: &'static str, content: Content) -> Entry {
    Entry { name, content, permissions: Some(0o400), process_only: false }
}

static ENTRIES: &[Entry] = &[
    private("auxv", Content::Bytes(memory::auxiliary)),
    entry("cmdline", Content::Bytes(|of| strings(of, false))),
    entry("comm", Content::Setting(|of| Ok([of.name().bytes(), b"\n"].concat()), rename)),
    entry("coredump_filter", Content::Setting(memory::dump_filter, memory::set_dump_filter)),
    entry("cwd", Content::PlaceLink(|of| Ok(of.process.fs.directory.lock().clone()))),
    private("environ", Content::Bytes(|of| strings(of, true))),
    entry("exe", Content::PlaceLink(program)),
    entry("fail-nth", Content::Setting(fail_nth, set_fail_nth)),
    Entry {
        name: "fd",
        content: Content::Directory(|of| Box::new(Descriptors(of))),
        permissions: Some(0o500),
        process_only: false,
    },
    entry("fdinfo", Content::Directory(|of| Box::new(Information(of)))),
    private("io", Content::Text(accounts::io)),
    entry("limits", Content::Text(status::limits)),
    entry("maps", Content::Text(memory::maps)),
    entry("mountinfo", Content::Text(mounts::mount_info)),
    entry("mounts", Content::Text(mounts::mounts)),
    private("mountstats", Content::Text(mounts::mount_statistics)),
    entry("oom_adj", Content::Setting(memory::oom_adjust_old, memory::set_oom_adjust_old)),
    entry("oom_score", Content::Text(|of, out| writeln!(out, "{}", oom::score(&of.process)))),
    entry("oom_score_adj", Content::Setting(memory::oom_adjust, memory::set_oom_adjust)),
    private("personality", Content::Text(personality)),
    entry("root", Content::PlaceLink(|of| Ok(of.process.fs.root.lock().clone()))),
    entry("sched", Content::Text(accounts::sched)),
    entry("smaps", Content::Text(memory::smaps)),
    entry("stat", Content::Text(stat::process)),
    entry("statm", Content::Text(memory::statm)),
    entry("status", Content::Text(status::status)),
    Entry {
        name: "task",
        content: Content::Directory(|of| Box::new(Threads(of))),
        permissions: None,
        process_only: true,
    },
    Entry { name: "timers", content: Content::Text(timers), permissions: None, process_only: true },
    // The names of the kernel's functions are nobody's business: as on a Linux that does not know them.
    entry("wchan", Content::Text(|_, out| out.write_char('0'))),
];

/// The number of a process's directory.
pub(super) fn inode_of(pid: u32) -> u64 {
    inode::number(pid, Class::Process, 0)
}

/// The number of a thread's directory.
pub(super) fn inode_of_thread(tid: u32) -> u64 {
    inode::number(tid, Class::Thread, 0)
}

/// The directory of a process.
pub(super) fn directory(process: &Arc<Process>) -> Arc<Inode> {
    let of = Reference::to_process(process);
    made(&of, super::directory(inode_of(process.pid), Box::new(Of(of.clone()))))
}

/// The directory of a thread, by its own number.
pub(super) fn directory_of_thread(thread: &Arc<Task>) -> Arc<Inode> {
    thread_directory(Reference::to_process(&thread.process).to_thread(thread), thread.tid())
}

/// The directory of a thread.
pub(super) fn thread_directory(of: Reference, tid: u32) -> Arc<Inode> {
    made(&of, super::directory(inode_of_thread(tid), Box::new(Of(of.clone()))))
}

/// The directory.
struct Of(Reference);

impl Of {
    fn entries(&self) -> impl Iterator<Item = (usize, &'static Entry)> {
        let is_thread = self.0.is_thread();
        (1..).zip(ENTRIES).filter(move |(_, entry)| !(is_thread && entry.process_only))
    }
}

impl DirectoryOperations for Of {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        let subject = self.0.get().map_err(|_| Errno::ENOENT)?;
        let (index, entry) =
            self.entries().find(|(_, entry)| entry.name.as_bytes() == name).ok_or(Errno::ENOENT)?;
        let node = node(self.0.inode(index), entry.mode(), entry.content.content(self.0.clone()));
        subject.own(&node);
        Ok(node)
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()> {
        self.0.get().map_err(|_| Errno::ENOENT)?;
        for (index, entry) in self.entries().filter(|(index, _)| *index as u64 > after) {
            let kind = entry.mode() & kind::MASK;
            if !each(entry.name.as_bytes(), kind, self.0.inode(index), index as u64) {
                break;
            }
        }
        Ok(())
    }
}

impl Entry {
    /// Type and permission bits.
    fn mode(&self) -> u32 {
        let mode = self.content.mode();
        self.permissions.map_or(mode, |permissions| mode & kind::MASK | permissions)
    }
}

impl Content {
    fn mode(&self) -> u32 {
        match self {
            Self::Text(_) | Self::Bytes(_) => TEXT,
            Self::Setting(..) => kind::REGULAR | 0o644,
            Self::PlaceLink(_) => LINK,
            Self::Directory(_) => DIRECTORY,
        }
    }

    fn content(&'static self, of: Reference) -> InodeContent {
        match self {
            Self::Text(write) => InodeContent::Text(Box::new(move || {
                let subject = of.get()?;
                collect(|out| write(&subject, out))
            })),
            Self::Bytes(make) => InodeContent::Text(Box::new(move || Ok(make(&of.get()?)?.into()))),
            Self::Setting(show, store) => {
                let shown = of.clone();
                super::setting(
                    Box::new(move || Ok(show(&shown.get()?)?.into())),
                    Box::new(move |value| store(&of.get()?, value)),
                )
            }
            Self::PlaceLink(target) => InodeContent::Magic(Box::new(Link { of, target: *target })),
            Self::Directory(make) => InodeContent::Directory(Directory::new(make(of))),
        }
    }
}

fn personality(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let thread = of.thread.as_ref();
    writeln!(out, "{:08x}", thread.map_or(0, |thread| thread.personality.load(Ordering::Relaxed)))
}

/// The timers of timer_create, the newest first.
fn timers(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let mut last = u32::MAX;
    while let Some(timer) = of.process.posix_timers.before(last) {
        timer.describe(out)?;
        last = timer.id;
    }
    Ok(())
}

fn program(of: &Subject) -> Result<Path> {
    // Kernel threads have none, and a process that has ended has none any more.
    let executable = of.process.executable.lock().clone();
    Ok(executable.ok_or(Errno::ENOENT)?.path().clone())
}

/// How many allocations that may fail the thread has still to make before one does; 0 if none is to, or one has.
fn fail_nth(of: &Subject) -> Result<Vec<u8>> {
    let thread = of.thread.as_ref().ok_or(Errno::ESRCH)?;
    Ok(format!("{}\n", thread.fail_nth.load(Ordering::Relaxed)).into_bytes())
}

fn set_fail_nth(of: &Subject, text: &[u8]) -> Result<()> {
    let nth = core::str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.parse().ok());
    fallible::fail_nth(of.thread.as_ref().ok_or(Errno::ESRCH)?, nth.ok_or(Errno::EINVAL)?);
    Ok(())
}

fn rename(of: &Subject, name: &[u8]) -> Result<()> {
    of.thread.as_ref().ok_or(Errno::ESRCH)?.rename(Name::new(name));
    Ok(())
}

/// The arguments or the environment, as they stand in the process's memory now.
fn strings(of: &Subject, environment: bool) -> Result<Vec<u8>> {
    let places = *of.process.strings.lock();
    let (start, end) =
        if environment { (places.environment, places.end) } else { (places.arguments, places.environment) };
    let length = end.saturating_sub(start).min(STRINGS_MAX);
    let mut out = fallible::list(length)?;
    out.resize(length, 0);
    let memory = of.process.memory.lock().clone();
    let mut done = 0;
    // A page at a time: no lock is held for long.
    while let Some(part) = out.get_mut(done..(done + PAGE_SIZE).min(length)).filter(|part| !part.is_empty()) {
        let count = memory.read(start + done, part);
        done += count;
        if count == 0 {
            break;
        }
    }
    out.truncate(done);
    Ok(out)
}
