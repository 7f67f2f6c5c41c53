// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes: files, directories, links, devices. All live in memory; an inode exists as long as a name or an open file refers to it.
//! What directories do with their entries is in [`directory`].

pub mod directory;

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_core::thread::capable;
use exo_hal::{once::Once, sync::SpinLock, time};
use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;

use self::directory::Entries;
use super::{
    attributes::Attributes,
    file_system::FileSystem,
    locks::{FileLocks, LockSlot},
    mount::Path,
    pipe::Pipe,
    superblock::{self, SuperBlock},
    text::Generate,
};
use crate::{
    errno::{Errno, Result},
    mm::Pages,
};

/// `S_IF` bits.
pub mod kind {
    /// All of them.
    pub const MASK: u32 = 0o170000;
    /// A pipe.
    pub const FIFO: u32 = 0o010000;
    /// A character device.
    pub const CHARACTER: u32 = 0o020000;
    /// A directory.
    pub const DIRECTORY: u32 = 0o040000;
    /// A block device.
    pub const BLOCK: u32 = 0o060000;
    /// A file.
    pub const REGULAR: u32 = 0o100000;
    /// A symbolic link.
    pub const LINK: u32 = 0o120000;
    /// A socket.
    pub const SOCKET: u32 = 0o140000;
}

/// Longest name in bytes, as on Linux.
pub const NAME_MAX: usize = 255;

/// What can be changed about an inode.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names.
    pub links: u32,
    /// It was made without a name (O_TMPFILE) and may be given one.
    pub linkable: bool,
    /// Last access, nanoseconds since 1970; so are the others.
    pub accessed: u64,
    /// Last change of the content.
    pub modified: u64,
    /// Last change of the inode.
    pub changed: u64,
    /// When it was made.
    pub born: u64,
}

/// A directory whose entries are made when they are looked up.
pub trait DynamicDirectory: Send + Sync {
    /// The inode with a name.
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>>;
    /// Calls `each` for the entries behind position `after`, in the order of their positions, until it says false. The first entry's
    /// position is 1 or more, and an entry keeps its own as long as it is there.
    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()>;
}

/// Takes an entry of a directory: name, type bits, number of the inode, position. False when it takes no more.
pub type Each<'a> = dyn FnMut(&[u8], u32, u64, u64) -> bool + 'a;

/// Makes the target of a link.
pub type Target = Box<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;

/// Takes what is written to a setting.
pub type Store = Box<dyn Fn(&[u8]) -> Result<()> + Send + Sync>;

/// A link that leads to a place or an open file, whatever its name is now. It does not keep an open file open: links to links would be
/// a chain of any length.
pub trait MagicLink: Send + Sync {
    /// Where it leads.
    fn target(&self) -> Result<Path>;
    /// What readlink shows.
    fn text(&self) -> Result<Vec<u8>>;
    /// Its size, as stat shows it.
    fn size(&self) -> u64 {
        0
    }
}

/// What an inode is.
pub enum InodeContent {
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
    DynamicLink(Target),
    /// A link that leads to a place, not to a path.
    Magic(Box<dyn MagicLink>),
    /// Something without a name (an endpoint, an event).
    Other,
}

/// Where an inode has its name. A file with several has one of them here.
#[derive(Default)]
pub(super) struct Place {
    /// The directory.
    pub(super) parent: Weak<Inode>,
    /// The directory, if nobody else keeps it: it is made on demand, or the name was removed.
    kept: Option<Arc<Inode>>,
    /// The name.
    pub(super) name: Vec<u8>,
    /// It was there, and is no more.
    pub(super) removed: bool,
}

/// An inode.
pub struct Inode {
    /// Its number.
    pub number: u64,
    /// The type of its file system.
    pub system: &'static dyn FileSystem,
    /// Its file system.
    pub superblock: Arc<SuperBlock>,
    /// What it is.
    pub content: InodeContent,
    pub(super) metadata: SpinLock<Metadata>,
    pub(super) place: SpinLock<Place>,
    /// How many mounts cover it, each in another mount of its file system.
    mounts: AtomicU32,
    /// How many have it open for writing; below 0, how many execute it, so that nobody may.
    writers: AtomicI32,
    /// The locks that programs have on it.
    pub locks: LockSlot,
    /// Its extended attributes.
    pub(super) attributes: Attributes,
    /// The next in a list of inodes to be dropped.
    next_dead: SpinLock<Option<Arc<Inode>>>,
}

static ROOT: Once<Arc<Inode>> = Once::new();

/// The root directory of the root file system.
pub fn root() -> Arc<Inode> {
    ROOT.get().unwrap_or_else(|| unreachable!("set at boot")).clone()
}

/// Makes the root directory.
pub fn init() {
    superblock::ROOT.init();
    superblock::ANONYMOUS.init();
    let root = Inode::directory(&superblock::ROOT, 0o755);
    ROOT.set(root.clone());
    super::mount::init(root);
}

impl Inode {
    /// An inode without a name. `mode` has the type bits too.
    pub fn new(system: impl Into<Arc<SuperBlock>>, mode: u32, content: InodeContent) -> Arc<Self> {
        let superblock = system.into();
        Self::numbered(superblock.next_inode(), superblock, mode, content)
    }

    /// As [`new`](Self::new), with a number that its file system gives.
    pub fn numbered(
        number: u64,
        system: impl Into<Arc<SuperBlock>>,
        mode: u32,
        content: InodeContent,
    ) -> Arc<Self> {
        let superblock = system.into();
        let now = time::wall_ns();
        let links = if mode & kind::MASK == kind::DIRECTORY { 2 } else { 1 };
        superblock.inodes.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            number,
            system: superblock.system,
            superblock,
            content,
            metadata: SpinLock::new(Metadata {
                mode,
                uid: 0,
                gid: 0,
                links,
                linkable: false,
                accessed: now,
                modified: now,
                changed: now,
                born: now,
            }),
            place: SpinLock::default(),
            mounts: AtomicU32::new(0),
            writers: AtomicI32::new(0),
            locks: LockSlot::default(),
            attributes: Attributes::default(),
            next_dead: SpinLock::new(None),
        })
    }

    /// An empty directory of file system `system`.
    pub fn directory(system: impl Into<Arc<SuperBlock>>, permissions: u32) -> Arc<Self> {
        // A rename holds two, the one nearer to the root first.
        let entries = SpinLock::nested(Entries::default());
        Self::new(system, kind::DIRECTORY | permissions, InodeContent::Directory(entries))
    }

    /// An empty file of file system `system`, whose pages count there.
    pub fn file(system: impl Into<Arc<SuperBlock>>, permissions: u32) -> Arc<Self> {
        let superblock = system.into();
        let content = InodeContent::File(Arc::new(Pages::charged_to(superblock.quota.clone())));
        Self::new(superblock, kind::REGULAR | permissions, content)
    }

    /// What can be changed about it.
    pub fn metadata(&self) -> Metadata {
        *self.metadata.lock()
    }

    /// Changes it.
    pub fn change(&self, with: impl FnOnce(&mut Metadata)) {
        let mut metadata = self.metadata.lock();
        with(&mut metadata);
        metadata.changed = time::wall_ns();
    }

    /// Whether it has a name, as far as that is known without waiting.
    pub fn is_named(&self) -> bool {
        self.metadata.try_lock().is_none_or(|metadata| metadata.links > 0)
    }

    /// Notes that the content changed.
    pub fn touch(&self) {
        let now = time::wall_ns();
        let mut metadata = self.metadata.lock();
        metadata.modified = now;
        metadata.changed = now;
        if metadata.mode & (abi::S_ISUID | abi::S_ISGID) != 0 && metadata.mode & kind::MASK == kind::REGULAR {
            drop(metadata);
            self.stop_acting_as_another();
        }
    }

    /// A program whose content somebody else than the superuser has changed does not run as another user or group any more.
    #[cold]
    fn stop_acting_as_another(&self) {
        if capable(capability::FSETID) {
            return;
        }
        let mut metadata = self.metadata.lock();
        metadata.mode &= !abi::S_ISUID;
        if metadata.mode & abi::S_IXGRP != 0 {
            metadata.mode &= !abi::S_ISGID;
        }
    }

    /// Notes that the content was read, as MS_RELATIME says: once after each change, and once a day.
    pub fn note_access(&self, always: bool) {
        const DAY_NS: u64 = 24 * 3600 * 1_000_000_000;
        let mut metadata = self.metadata.lock();
        if always || metadata.accessed <= metadata.modified.max(metadata.changed) {
            metadata.accessed = time::wall_ns();
        } else {
            let now = time::wall_ns();
            if now.saturating_sub(metadata.accessed) >= DAY_NS {
                metadata.accessed = now;
            }
        }
    }

    /// The type bits.
    pub fn kind(&self) -> u32 {
        self.metadata.lock().mode & kind::MASK
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.content, InodeContent::Directory(_) | InodeContent::Dynamic(_))
    }

    /// The locks that programs have on it, to add one. ENOLCK if there is no memory.
    pub fn file_locks(&self) -> Result<Arc<FileLocks>> {
        self.locks.get_or_make((self.superblock.device, self.number))
    }

    /// Whether anybody may execute it.
    pub fn is_executable(&self) -> bool {
        self.metadata.lock().mode & 0o111 != 0
    }

    /// Whether writing to it changes its file system: not so for devices and pipes.
    pub fn is_stored(&self) -> bool {
        !matches!(self.content, InodeContent::Device(..) | InodeContent::Fifo(_) | InodeContent::Socket)
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        match &self.content {
            InodeContent::File(pages) => pages.size(),
            InodeContent::Link(target) => target.len() as u64,
            InodeContent::Magic(link) => link.size(),
            InodeContent::Directory(entries) => entries.lock().count() as u64 * 20 + 40,
            _ => 0,
        }
    }

    /// Target of a symbolic link.
    pub fn read_link(&self) -> Result<Vec<u8>> {
        match &self.content {
            InodeContent::Link(target) => Ok(target.clone()),
            InodeContent::DynamicLink(generate) => generate(),
            InodeContent::Magic(link) => link.text(),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The directory that it is in.
    pub fn parent(&self) -> Option<Arc<Inode>> {
        let place = self.place.lock();
        place.kept.clone().or_else(|| place.parent.upgrade())
    }

    /// Notes that this directory is in `parent` under a name.
    pub fn put_into(&self, parent: &Arc<Inode>, name: &[u8]) {
        *self.place.lock() =
            Place { parent: Arc::downgrade(parent), name: name.to_vec(), ..Place::default() };
    }

    /// Notes that this file has no name, and what its path shows instead.
    pub fn put_into_removed(&self, parent: &Arc<Inode>, name: &[u8]) {
        self.put_into(parent, name);
        self.place.lock().removed = true;
    }

    /// As [`put_into`](Self::put_into), and keeps `parent`, which is made on demand too.
    pub(super) fn put_into_made(&self, parent: &Arc<Inode>, name: &[u8]) {
        let old = core::mem::replace(
            &mut *self.place.lock(),
            Place { kept: Some(parent.clone()), name: name.to_vec(), ..Place::default() },
        );
        drop(old);
    }

    /// Keeps the directory that it was in, if that is the place that it remembers.
    pub(super) fn keep_parent(&self, parent: &Arc<Inode>) {
        let mut place = self.place.lock();
        if place.removed && place.parent.as_ptr() == Arc::as_ptr(parent) {
            place.kept = Some(parent.clone());
        }
    }

    /// Remembers under which name a file was found, for its path. Directories know their place.
    pub fn remember_file_place(&self, directory: &Arc<Inode>, name: &[u8]) {
        // Links of /proc lead to files that are somewhere else, and so does what is mounted on a file.
        let is_in = matches!(directory.content, InodeContent::Directory(_))
            && Arc::ptr_eq(&directory.superblock, &self.superblock);
        if self.is_directory() || !is_in {
            return;
        }
        let mut place = self.place.lock();
        if place.name != name || place.parent.as_ptr() != Arc::as_ptr(directory) || place.removed {
            let old = core::mem::replace(
                &mut *place,
                Place { parent: Arc::downgrade(directory), name: name.to_vec(), ..Place::default() },
            );
            drop(place);
            drop(old);
        }
    }

    /// Whether its name was removed.
    pub fn is_removed(&self) -> bool {
        self.place.lock().removed
    }

    /// Appends its name and the slash before it, the last byte first; the directory that it is in.
    pub(super) fn push_name_reversed(&self, out: &mut Vec<u8>) -> Option<Arc<Inode>> {
        let place = self.place.lock();
        let parent = place.kept.clone().or_else(|| place.parent.upgrade())?;
        out.extend(place.name.iter().rev());
        out.push(b'/');
        Some(parent)
    }

    /// Its names from the root of its file system down; what is longer than a path may be is cut.
    pub fn names_in_file_system(self: &Arc<Self>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = self.clone();
        while let Some(parent) = at.push_name_reversed(&mut out).filter(|_| out.len() < crate::user::PATH_MAX)
        {
            at = parent;
        }
        if out.is_empty() {
            out.push(b'/');
        }
        out.reverse();
        if self.is_removed() {
            out.extend(b"//deleted");
        }
        out
    }

    /// Whether something is mounted on it, in whatever mount of its file system.
    #[inline]
    pub fn is_covered(&self) -> bool {
        self.mounts.load(Ordering::Acquire) > 0
    }

    /// Notes that something is mounted on it; ENOENT if its name was removed, and none will be until it is uncovered.
    pub(super) fn cover(&self) -> Result<()> {
        match &self.content {
            InodeContent::Directory(entries) => {
                let entries = entries.lock();
                if entries.is_removed() {
                    return Err(Errno::ENOENT);
                }
                self.mounts.fetch_add(1, Ordering::AcqRel);
            }
            // Nobody would find it again.
            _ if !self.system.keeps_inodes() && self.parent().is_some() => {
                return Err(Errno::EINVAL);
            }
            _ => {
                self.mounts.fetch_add(1, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    /// Notes that one thing less is mounted on it.
    pub(super) fn uncover(&self) {
        self.mounts.fetch_sub(1, Ordering::AcqRel);
    }

    fn count_writers(&self, change: impl Fn(i32) -> Option<i32>) -> Result<()> {
        let done = self.writers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
        done.map(|_| ()).map_err(|_| Errno::ETXTBSY)
    }

    /// Counts somebody who has it open for writing.
    pub(super) fn start_writing(&self) -> Result<()> {
        self.count_writers(|writers| writers.checked_add(1).filter(|_| writers >= 0))
    }

    /// One less.
    pub(super) fn end_writing(&self) {
        self.writers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts somebody who executes it.
    pub(super) fn deny_writing(&self) -> Result<()> {
        self.count_writers(|writers| writers.checked_sub(1).filter(|_| writers <= 0))
    }

    /// One less.
    pub(super) fn allow_writing(&self) {
        self.writers.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether dropping it would drop other inodes.
    fn leads_on(&self) -> bool {
        matches!(&self.content, InodeContent::Directory(entries) if entries.lock().count() > 0)
    }
}

impl Drop for Inode {
    /// Trees of any depth are taken apart in a loop, and without memory: a directory that dies waits in a list for its turn.
    fn drop(&mut self) {
        self.superblock.inodes.fetch_sub(1, Ordering::Relaxed);
        self.attributes.end(&self.superblock.quota);
        let mut above = self.place.get_mut().kept.take();
        while let Some(mut node) = above.take().and_then(Arc::into_inner) {
            above = node.place.get_mut().kept.take();
        }
        let InodeContent::Directory(entries) = &mut self.content else { return };
        let mut entries = core::mem::take(entries.get_mut());
        let mut dead: Option<Arc<Inode>> = None;
        loop {
            while let Some(node) = entries.take_first() {
                // Nobody else can find it any more.
                if Arc::strong_count(&node) == 1 && node.leads_on() {
                    let next = dead.take();
                    *node.next_dead.lock() = next;
                    dead = Some(node);
                }
            }
            let Some(node) = dead.take() else { break };
            dead = node.next_dead.lock().take();
            if let InodeContent::Directory(inner) = &node.content {
                entries = core::mem::take(&mut *inner.lock());
            }
        }
    }
}
