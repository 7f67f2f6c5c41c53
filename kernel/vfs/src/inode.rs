// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes: files, directories, links, devices. An inode exists as long as a name in memory or an open file refers to it. Names are
//! [dentries](crate::dentry), of which an inode knows nothing; what file systems do for directories is in [`directory`].

pub mod directory;
mod magic;

use core::sync::atomic::{AtomicI32, Ordering};

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use exo_core::thread::capable;
use exo_hal::{sync::SpinLock, time};
use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;

use self::directory::{Directory, DirectoryOperations, InMemory};
pub use self::magic::MagicLink;
use super::{
    attributes::Attributes,
    file_system::FileSystem,
    locks::{FileLocks, LockSlot},
    pipe::Pipe,
    superblock::SuperBlock,
    text::Generate,
    watchers,
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

/// Makes the target of a link.
pub type Target = Box<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;

/// Takes what is written to a setting.
pub type Store = Box<dyn Fn(&[u8]) -> Result<()> + Send + Sync>;

/// What an inode is.
pub enum InodeContent {
    /// A file.
    File(Arc<Pages>),
    /// A directory.
    Directory(Directory),
    /// A symbolic link.
    Link(Vec<u8>),
    /// A device, by number.
    Device(u32, u32),
    /// A pipe.
    Fifo(Arc<Pipe>),
    /// A socket's name; nothing can be done with it.
    Socket,
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

impl InodeContent {
    /// A directory that `operations` know.
    pub fn directory(operations: impl DirectoryOperations + 'static) -> Self {
        Self::Directory(Directory::new(Box::new(operations)))
    }
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
    /// How many have it open for writing; below 0, how many execute it, so that nobody may.
    writers: AtomicI32,
    /// The locks that programs have on it.
    pub locks: LockSlot,
    /// Its extended attributes.
    pub(super) attributes: Attributes,
    /// Who wants to hear what happens to it.
    pub(super) watchers: watchers::Count,
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
            writers: AtomicI32::new(0),
            locks: LockSlot::default(),
            attributes: Attributes::default(),
            watchers: watchers::Count::default(),
        })
    }

    /// An empty directory of file system `system`, which is in memory.
    pub fn directory(system: impl Into<Arc<SuperBlock>>, permissions: u32) -> Arc<Self> {
        Self::new(system, kind::DIRECTORY | permissions, InodeContent::directory(InMemory))
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
        matches!(self.content, InodeContent::Directory(_))
    }

    /// The directory that it is, or ENOTDIR.
    pub fn directory_content(&self) -> Result<&Directory> {
        match &self.content {
            InodeContent::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
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
            InodeContent::Directory(directory) => directory.size(),
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

    /// What those who watch it hear when it goes.
    #[cold]
    fn last_words(&self) -> u32 {
        match self.metadata().links {
            0 => abi::IN_DELETE_SELF,
            // It is named still, but its file system keeps it no more.
            _ if self.system.holds_files() => abi::IN_UNMOUNT,
            _ => 0,
        }
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        if !self.watchers.is_none() {
            watchers::end(&self.watchers, self.last_words());
        }
        self.superblock.inodes.fetch_sub(1, Ordering::Relaxed);
        self.attributes.end(&self.superblock.quota);
    }
}
