// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes: files, directories, links, devices. All live in memory; a node exists as long as a name or an open file refers to it.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::{boot::spin_once::Once, sync::SpinLock, time};

use super::{
    OpenFile,
    locks::{FileLocks, LockSlot},
    pipe::Pipe,
};
use crate::{
    errno::{Errno, Result},
    mm::{Pages, oom},
};

/// `S_IF` bits.
pub mod kind {
    pub const MASK: u32 = 0o170000;
    pub const FIFO: u32 = 0o010000;
    pub const CHARACTER: u32 = 0o020000;
    pub const DIRECTORY: u32 = 0o040000;
    pub const BLOCK: u32 = 0o060000;
    pub const REGULAR: u32 = 0o100000;
    pub const LINK: u32 = 0o120000;
    pub const SOCKET: u32 = 0o140000;
}

/// Longest name, as on Linux.
pub const NAME_MAX: usize = 255;

/// Which file system a node belongs to; the number is its `st_dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    Root = 1,
    Temporary = 2,
    Devices = 3,
    Processes = 4,
    Anonymous = 5,
    System = 6,
}

/// What can be changed about a node.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names.
    pub links: u32,
    /// Last access, nanoseconds since 1970; so are the others.
    pub accessed: u64,
    /// Last change of the content.
    pub modified: u64,
    /// Last change of the node.
    pub changed: u64,
}

/// A directory's entries. Each has a number that never changes, by which a reader goes on where it stopped.
#[derive(Default)]
pub struct Entries {
    names: BTreeMap<Box<[u8]>, (u64, Arc<Node>)>,
    order: BTreeMap<u64, Box<[u8]>>,
    last: u64,
}

/// A directory whose entries are made when they are looked up.
pub trait DynamicDirectory: Send + Sync {
    /// The node with a name.
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>>;
    /// Calls `each` for the entries behind position `after`, in the order of their positions, until it says false. The first entry's
    /// position is 1 or more, and an entry keeps its own as long as it is there.
    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()>;
}

/// Takes an entry of a directory: name, type bits, number of the inode, position. False when it takes no more.
pub type Each<'a> = dyn FnMut(&[u8], u32, u64, u64) -> bool + 'a;

/// Makes the content of a file or link.
pub type Generate = Box<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;

/// Takes what is written to a setting.
pub type Store = Box<dyn Fn(&[u8]) -> Result<()> + Send + Sync>;

/// What a node is.
pub enum Body {
    /// A file.
    File(Arc<Pages>),
    /// A directory.
    Directory(SpinLock<Entries>),
    /// A symbolic link.
    Link(Vec<u8>),
    /// A device, by number.
    Device(u32, u32),
    /// A pipe.
    Fifo(Arc<Pipe>),
    /// A socket's name; nothing can be done with it.
    Socket,
    /// A directory made on demand.
    Dynamic(Box<dyn DynamicDirectory>),
    /// A file whose content is made when it is read from its start.
    Text(Generate),
    /// As `Text`, and what is written to it is taken as a whole, or refused.
    Setting(Generate, Store),
    /// A link whose target is made when it is read.
    DynamicLink(Generate),
    /// A link that leads to what a descriptor stands for, whether that has a name or not.
    DescriptorLink(Arc<OpenFile>),
    /// Something without a name (an endpoint, an event).
    Other,
}

/// A node.
pub struct Node {
    /// Its number.
    pub number: u64,
    /// Its file system.
    pub system: FileSystem,
    /// What it is.
    pub body: Body,
    meta: SpinLock<Meta>,
    /// The directory that a directory is in, and its name there.
    place: SpinLock<(Weak<Node>, Vec<u8>)>,
    /// What is mounted on a directory.
    pub mounted: SpinLock<Option<Arc<Node>>>,
    /// The locks that programs have on it.
    pub locks: LockSlot,
}

static NUMBER: AtomicU64 = AtomicU64::new(1);
static ROOT: Once<Arc<Node>> = Once::new();

/// The root directory.
pub fn root() -> Arc<Node> {
    ROOT.get().unwrap_or_else(|| unreachable!("set at boot")).clone()
}

/// Makes the root directory.
pub fn init() {
    let root = Node::new(FileSystem::Root, kind::DIRECTORY | 0o755, Body::Directory(SpinLock::default()));
    ROOT.set(root);
}

impl Node {
    /// A node without a name. `mode` has the type bits too.
    pub fn new(system: FileSystem, mode: u32, body: Body) -> Arc<Self> {
        Self::numbered(NUMBER.fetch_add(1, Ordering::Relaxed), system, mode, body)
    }

    /// As [`new`](Self::new), with a number that its file system gives.
    pub fn numbered(number: u64, system: FileSystem, mode: u32, body: Body) -> Arc<Self> {
        let now = time::wall_ns();
        let links = if mode & kind::MASK == kind::DIRECTORY { 2 } else { 1 };
        Arc::new(Self {
            number,
            system,
            body,
            meta: SpinLock::new(Meta {
                mode,
                uid: 0,
                gid: 0,
                links,
                accessed: now,
                modified: now,
                changed: now,
            }),
            place: SpinLock::new((Weak::new(), Vec::new())),
            mounted: SpinLock::new(None),
            locks: LockSlot::default(),
        })
    }

    /// An empty directory of file system `system`.
    pub fn directory(system: FileSystem, permissions: u32) -> Arc<Self> {
        Self::new(system, kind::DIRECTORY | permissions, Body::Directory(SpinLock::default()))
    }

    /// What can be changed about it.
    pub fn meta(&self) -> Meta {
        *self.meta.lock()
    }

    /// Changes it.
    pub fn change(&self, with: impl FnOnce(&mut Meta)) {
        let mut meta = self.meta.lock();
        with(&mut meta);
        meta.changed = time::wall_ns();
    }

    /// Whether it has a name, as far as that is known without waiting.
    pub fn is_named(&self) -> bool {
        self.meta.try_lock().is_none_or(|meta| meta.links > 0)
    }

    /// Notes that the content changed.
    pub fn touch(&self) {
        let now = time::wall_ns();
        let mut meta = self.meta.lock();
        meta.modified = now;
        meta.changed = now;
    }

    /// The type bits.
    pub fn kind(&self) -> u32 {
        self.meta.lock().mode & kind::MASK
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_) | Body::Dynamic(_))
    }

    /// The locks that programs have on it, to add one. ENOLCK if there is no memory.
    pub fn file_locks(&self) -> Result<Arc<FileLocks>> {
        self.locks.get_or_make((self.system as u32, self.number))
    }

    /// Whether anybody may execute it.
    pub fn is_executable(&self) -> bool {
        self.meta.lock().mode & 0o111 != 0
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        match &self.body {
            Body::File(pages) => pages.size(),
            Body::Link(target) => target.len() as u64,
            // As on Linux.
            Body::DescriptorLink(_) => 64,
            Body::Directory(entries) => entries.lock().names.len() as u64 * 20 + 40,
            _ => 0,
        }
    }

    /// Target of a symbolic link.
    pub fn read_link(&self) -> Result<Vec<u8>> {
        match &self.body {
            Body::Link(target) => Ok(target.clone()),
            Body::DynamicLink(generate) => generate(),
            Body::DescriptorLink(file) => Ok(file.node.description()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn entries(&self) -> Result<&SpinLock<Entries>> {
        match &self.body {
            Body::Directory(entries) => Ok(entries),
            Body::Dynamic(_) => Err(Errno::EPERM),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The node with a name in this directory; what is mounted on it is not looked at.
    pub fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        match &self.body {
            Body::Directory(entries) => {
                entries.lock().names.get(name).map(|(_, node)| node.clone()).ok_or(Errno::ENOENT)
            }
            Body::Dynamic(directory) => directory.lookup(name),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Enters `node` under a name that is free.
    pub fn add(self: &Arc<Self>, name: &[u8], node: &Arc<Node>) -> Result<()> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if !oom::has_room(0) {
            return Err(Errno::ENOSPC);
        }
        {
            let mut entries = self.entries()?.lock();
            if self.meta.lock().links == 0 {
                // Removed while somebody still had it open.
                return Err(Errno::ENOENT);
            }
            if entries.names.contains_key(name) {
                return Err(Errno::EEXIST);
            }
            entries.last += 1;
            let number = entries.last;
            entries.order.insert(number, name.into());
            entries.names.insert(name.into(), (number, node.clone()));
        }
        if node.is_directory() {
            *node.place.lock() = (Arc::downgrade(self), name.to_vec());
            self.meta.lock().links += 1;
        }
        self.touch();
        Ok(())
    }

    fn take(&self, name: &[u8], check: impl FnOnce(&Arc<Node>) -> Result<()>) -> Result<Arc<Node>> {
        let node = {
            let mut entries = self.entries()?.lock();
            let (number, node) = entries.names.get(name).cloned().ok_or(Errno::ENOENT)?;
            check(&node)?;
            entries.names.remove(name);
            entries.order.remove(&number);
            node
        };
        if node.is_directory() {
            self.meta.lock().links -= 1;
        }
        self.touch();
        Ok(node)
    }

    /// Removes a name that is not a directory's.
    pub fn unlink(&self, name: &[u8]) -> Result<()> {
        let node = self.take(name, |node| if node.is_directory() { Err(Errno::EISDIR) } else { Ok(()) })?;
        node.change(|meta| meta.links = meta.links.saturating_sub(1));
        Ok(())
    }

    /// Whether it is a directory without entries.
    fn check_empty_directory(&self) -> Result<()> {
        if self.mounted.lock().is_some() {
            return Err(Errno::EBUSY);
        }
        match &self.body {
            Body::Directory(entries) if entries.lock().names.is_empty() => Ok(()),
            Body::Directory(_) => Err(Errno::ENOTEMPTY),
            Body::Dynamic(_) => Err(Errno::EBUSY),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, name: &[u8]) -> Result<()> {
        let node = self.take(name, |node| node.check_empty_directory())?;
        node.change(|meta| meta.links = 0);
        Ok(())
    }

    /// Whether `self` is `other` or in it, however deep.
    fn is_within(self: &Arc<Self>, other: &Arc<Node>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, other) {
                return true;
            }
            match at.parent() {
                Some(parent) if !Arc::ptr_eq(&parent, &at) => at = parent,
                _ => return false,
            }
        }
    }

    /// Moves an entry to another directory or name, replacing what is there (unless `keep`).
    pub fn rename(self: &Arc<Self>, name: &[u8], to: &Arc<Node>, new_name: &[u8], keep: bool) -> Result<()> {
        let node = self.lookup(name)?;
        if new_name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if node.is_directory() && to.is_within(&node) {
            return Err(Errno::EINVAL);
        }
        if let Ok(old) = to.lookup(new_name) {
            if keep {
                return Err(Errno::EEXIST);
            }
            if Arc::ptr_eq(&old, &node) {
                return Ok(());
            }
            match (node.is_directory(), old.is_directory()) {
                (true, true) => to.remove_directory(new_name)?,
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (false, false) => to.unlink(new_name)?,
            }
        }
        to.add(new_name, &node)?;
        // The new name is there; the old one goes, whatever it names by now.
        let _ = self.take(name, |_| Ok(()));
        node.change(|_| ());
        Ok(())
    }

    /// The directory that this directory is in.
    pub fn parent(&self) -> Option<Arc<Node>> {
        self.place.lock().0.upgrade()
    }

    /// Notes that this directory is in `parent`, which is made on demand, under a name.
    pub fn put_into(&self, parent: &Arc<Node>, name: &[u8]) {
        *self.place.lock() = (Arc::downgrade(parent), name.to_vec());
    }

    /// Puts a file system's root where the directory `at` is.
    pub fn place_at(self: &Arc<Self>, at: &Arc<Node>) {
        *self.place.lock() = at.place.lock().clone();
    }

    /// The path of a directory from the root; of another node its last known name, if it had one.
    pub fn path(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let (mut parent, mut name) = self.place.lock().clone();
        while let Some(directory) = parent.upgrade() {
            names.push(name);
            (parent, name) = directory.place.lock().clone();
        }
        let mut out = Vec::new();
        for name in names.iter().rev() {
            out.push(b'/');
            out.extend(name);
        }
        if out.is_empty() {
            out.push(b'/');
        }
        out
    }

    /// What /proc/PID/fd shows: the path, or what kind of thing it is.
    pub fn description(&self) -> Vec<u8> {
        let kind = match &self.body {
            Body::Fifo(_) => "pipe",
            Body::Socket if self.system == FileSystem::Anonymous => "socket",
            Body::Other => "anon_inode",
            _ => return self.path(),
        };
        alloc::format!("{kind}:[{}]", self.number).into_bytes()
    }

    /// Remembers under which name a file was found, for [`path`](Self::path). Directories know their place.
    pub fn remember_file_place(&self, directory: &Arc<Node>, name: &[u8]) {
        if matches!(self.body, Body::File(_) | Body::Device(..)) {
            let mut place = self.place.lock();
            if place.1 != name || place.0.as_ptr() != Arc::as_ptr(directory) {
                *place = (Arc::downgrade(directory), name.to_vec());
            }
        }
    }

    /// Calls `each(name, type, node number, entry number)` for the entries after number `after`, until it says false.
    pub fn list(&self, after: u64, mut each: impl FnMut(&[u8], u32, u64, u64) -> bool) -> Result<()> {
        match &self.body {
            Body::Directory(entries) => {
                let entries = entries.lock();
                for (number, name) in entries.order.range(after + 1..) {
                    if let Some((_, node)) = entries.names.get(name) {
                        if !each(name, node.kind(), node.number, *number) {
                            break;
                        }
                    }
                }
            }
            Body::Dynamic(directory) => directory.list(after, &mut each)?,
            _ => return Err(Errno::ENOTDIR),
        }
        Ok(())
    }
}
