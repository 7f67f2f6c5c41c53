// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file system does for a directory: [`DirectoryOperations`]. Who calls them, and what is done besides (counts of links, times,
//! the tree of names), is [`crate::dentry`]'s.

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::{boxed::Box, sync::Arc};

use linux_raw_sys::general as abi;

use super::{Inode, InodeContent, kind};
use crate::{
    errno::{Errno, Result},
    pipe::Pipe,
    sched::mutex::{Mutex, MutexGuard},
};

/// How the names in a directory are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// In the tree of dentries and nowhere else: what is not there does not exist.
    InMemory,
    /// By the file system. What it was asked for, found or not, is remembered as long as there is room.
    Cached,
    /// By nobody: they come and go by themselves, and the file system is asked each time.
    Fleeting,
}

/// Takes an entry of a directory: name, type bits, number of the inode, position. False when it takes no more.
pub type Each<'a> = dyn FnMut(&[u8], u32, u64, u64) -> bool + 'a;

/// Something that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// What it is.
    pub what: What<'a>,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// An empty file.
    File,
    /// An empty directory.
    Directory,
    /// A symbolic link, with its target.
    Link(&'a [u8]),
    /// A character device, by number.
    Character(u32, u32),
    /// A block device, by number.
    Block(u32, u32),
    /// A pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

impl What<'_> {
    /// Its type bits.
    pub fn kind(&self) -> u32 {
        match self {
            Self::File => kind::REGULAR,
            Self::Directory => kind::DIRECTORY,
            Self::Link(_) => kind::LINK,
            Self::Character(..) => kind::CHARACTER,
            Self::Block(..) => kind::BLOCK,
            Self::Fifo => kind::FIFO,
            Self::Socket => kind::SOCKET,
        }
    }
}

/// What a rename does with a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rename {
    /// Replaces what has it.
    Replace,
    /// Fails with EEXIST.
    Keep,
    /// Exchanges the two.
    Exchange,
    /// Replaces what has it, and leaves a character device 0:0 under the old name.
    Whiteout,
    /// Fails with EEXIST, else leaves such a device.
    WhiteoutKeep,
}

impl Rename {
    /// Whether it fails if the name is taken.
    pub fn keeps(self) -> bool {
        matches!(self, Self::Keep | Self::WhiteoutKeep)
    }

    /// Whether it leaves a device under the old name.
    pub fn leaves_whiteout(self) -> bool {
        matches!(self, Self::Whiteout | Self::WhiteoutKeep)
    }
}

/// What a rename moves, and where.
#[derive(Clone, Copy)]
pub struct Move<'a> {
    /// The name.
    pub name: &'a [u8],
    /// What has it.
    pub inode: &'a Arc<Inode>,
    /// The directory that it comes into.
    pub to: &'a Arc<Inode>,
    /// Its name there.
    pub new_name: &'a [u8],
    /// What has that name: it is replaced, or changes places.
    pub other: Option<&'a Arc<Inode>>,
    /// Which of the two, and what is left behind.
    pub how: Rename,
}

/// A directory's side of a file system.
///
/// All of them may sleep. What changes a directory is called with the lock of that directory held, and so are `lookup` and `list` where names
/// are [`Cached`](Names::Cached): nothing that is asked of one directory happens at the same time. Names are 1 to 255 bytes, without `/`, and
/// never `.` or `..`; what a name stands for was looked up just before. Counts of links and times of the inodes in memory are set by the caller
/// when an operation has succeeded. What has no answer of its own is refused with EPERM, as on Linux.
#[expect(unused_variables, reason = "what is refused looks at nothing")]
pub trait DirectoryOperations: Send + Sync {
    /// How names are kept; always the same for a directory.
    fn names(&self) -> Names {
        Names::Fleeting
    }

    /// The inode with a name. The same file must be the same inode, as long as somebody has it.
    ///
    /// # Errors
    /// ENOENT if there is none, which is remembered as well; all others are not.
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>>;

    /// Calls `each` for the entries behind position `after`, in the order of their positions, until it says false. The first entry's
    /// position is 1 or more, and an entry keeps its own as long as it is there.
    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()>;

    /// Its size as stat shows it. `entries` is the number of names where they are in memory, else 0.
    fn size(&self, entries: usize) -> u64 {
        0
    }

    /// Makes something under a name that is free.
    fn create(&self, directory: &Arc<Inode>, name: &[u8], new: &New<'_>) -> Result<Arc<Inode>> {
        Err(Errno::EPERM)
    }

    /// Makes a file without a name (O_TMPFILE).
    fn create_nameless(&self, directory: &Arc<Inode>, new: &New<'_>) -> Result<Arc<Inode>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives a file another name, which is free.
    fn link(&self, directory: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Removes a name of what is no directory.
    fn unlink(&self, directory: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Removes a directory, whose lock is held too; ENOTEMPTY if something is in it. Where names are in memory, the caller looks for that
    /// afterwards, and nothing must have been done then; so it is with `rename`.
    fn remove_directory(&self, directory: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Moves a name, maybe to another directory of the file system, and gives what it has left under the old name. ENOTEMPTY if it would replace
    /// a directory that something is in. What would make a circle, or replaces a directory with another thing, is refused before.
    fn rename(&self, directory: &Arc<Inode>, entry: &Move<'_>) -> Result<Option<Arc<Inode>>> {
        Err(Errno::EPERM)
    }
}

/// The directory as an inode has it.
pub struct Directory {
    /// What its file system does.
    pub operations: Box<dyn DirectoryOperations>,
    /// Held while something in it changes.
    lock: Mutex,
    /// How many names there are, if they are in memory.
    entries: AtomicUsize,
}

impl Directory {
    /// One that `operations` know.
    pub fn new(operations: Box<dyn DirectoryOperations>) -> Self {
        Self { operations, lock: Mutex::new(), entries: AtomicUsize::new(0) }
    }

    /// Waits until nothing else in it changes; EINTR if the task is killed meanwhile.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_>> {
        self.lock.lock()
    }

    /// Notes how many names there are.
    pub(crate) fn set_entries(&self, entries: usize) {
        self.entries.store(entries, Ordering::Relaxed);
    }

    /// Its size as stat shows it.
    pub fn size(&self) -> u64 {
        self.operations.size(self.entries.load(Ordering::Relaxed))
    }
}

/// Directories of file systems in memory: dentries keep the names, and inodes the rest.
pub struct InMemory;

impl DirectoryOperations for InMemory {
    fn names(&self) -> Names {
        Names::InMemory
    }

    fn lookup(&self, _name: &[u8]) -> Result<Arc<Inode>> {
        Err(Errno::ENOENT)
    }

    fn list(&self, _after: u64, _each: &mut Each<'_>) -> Result<()> {
        Ok(())
    }

    fn size(&self, entries: usize) -> u64 {
        entries as u64 * 20 + 40
    }

    fn create(&self, directory: &Arc<Inode>, _name: &[u8], new: &New<'_>) -> Result<Arc<Inode>> {
        let superblock = directory.superblock.clone();
        if !superblock.has_room_for_inode() {
            return Err(Errno::ENOSPC);
        }
        let permissions = new.mode & !kind::MASK;
        let made = |content| Inode::new(superblock.clone(), new.mode, content);
        let inode = match new.what {
            What::File => Inode::file(superblock, permissions),
            What::Directory => Inode::directory(superblock, permissions),
            What::Link(target) => made(InodeContent::Link(target.to_vec())),
            What::Character(major, minor) | What::Block(major, minor) => {
                made(InodeContent::Device(major, minor))
            }
            What::Fifo => made(InodeContent::Fifo(Pipe::new()?)),
            What::Socket => made(InodeContent::Socket),
        };
        if (new.uid, new.gid) != (0, 0) {
            inode.change(|metadata| (metadata.uid, metadata.gid) = (new.uid, new.gid));
        }
        Ok(inode)
    }

    fn create_nameless(&self, directory: &Arc<Inode>, new: &New<'_>) -> Result<Arc<Inode>> {
        self.create(directory, b"", new)
    }

    fn link(&self, _directory: &Arc<Inode>, _name: &[u8], _inode: &Arc<Inode>) -> Result<()> {
        Ok(())
    }

    fn unlink(&self, _directory: &Arc<Inode>, _name: &[u8], _inode: &Arc<Inode>) -> Result<()> {
        Ok(())
    }

    fn remove_directory(&self, _directory: &Arc<Inode>, _name: &[u8], _inode: &Arc<Inode>) -> Result<()> {
        Ok(())
    }

    fn rename(&self, directory: &Arc<Inode>, entry: &Move<'_>) -> Result<Option<Arc<Inode>>> {
        if !entry.how.leaves_whiteout() {
            return Ok(None);
        }
        let what = What::Character(0, 0);
        let whiteout = New { what, mode: abi::S_IFCHR, uid: 0, gid: 0 };
        self.create(directory, entry.name, &whiteout).map(Some)
    }
}
