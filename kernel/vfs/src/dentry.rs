// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dentries: the tree of names. A dentry is a name in a directory and the inode that has it; a file with several names has one for each.
//! Who found a file holds its dentry, and so knows by which name.
//!
//! A dentry holds those below it, and is held by the mounts of its file system. It knows the one above it without holding that, but for two
//! kinds, which nothing above holds either: those whose name was removed, and those in directories whose names are [fleeting](Names::Fleeting).
//! So there are no circles.
//!
//! Locking. Names below a dentry are under a spin lock, which is all that a look-up takes that finds something. What changes a directory, and what
//! asks its file system, holds the sleeping lock of the directory's inode as well ([`Directory`](crate::inode::directory::Directory)): renames
//! between directories hold `RENAMES` before that, then both directories, the one nearer to the root first, then a directory that
//! goes. Two spin locks of names are taken in the same order. A dentry's place is innermost.
//! The kernel itself makes and removes names in memory with the spin lock alone, as devices come and go where nobody can wait; so who changes
//! those looks once more when it has that.

pub mod cache;
mod changes;
mod children;
mod renames;

use core::sync::atomic::{AtomicU32, Ordering};

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::{mm::paging::NoMemory, sync::SpinLock};

use self::children::Children;
pub use self::renames::{Moved, MustBeDirectory};
use crate::{
    errno::{Errno, Result},
    fallible,
    inode::{Inode, InodeContent, directory::Names},
    user,
};

/// Where a dentry is.
#[derive(Default)]
struct Position {
    parent: Weak<Dentry>,
    /// The same, if the dentry holds it.
    kept: Option<Arc<Dentry>>,
    name: Vec<u8>,
    /// It was there, and is no more.
    removed: bool,
}

impl Position {
    fn parent(&self) -> Option<Arc<Dentry>> {
        self.kept.clone().or_else(|| self.parent.upgrade())
    }
}

/// A name, and what has it.
pub struct Dentry {
    /// What has it.
    pub inode: Arc<Inode>,
    /// How the names below it are kept; none if it is no directory.
    names: Option<Names>,
    position: SpinLock<Position>,
    /// How many mounts cover it, each in another mount of its file system.
    mounts: AtomicU32,
    children: SpinLock<Children>,
    /// The next in a list of dentries to be dropped.
    next_dead: SpinLock<Option<Arc<Dentry>>>,
}

impl Dentry {
    fn new(inode: Arc<Inode>, position: Position) -> Self {
        let names = match &inode.content {
            InodeContent::Directory(directory) => Some(directory.operations.names()),
            _ => None,
        };
        Self {
            inode,
            names,
            position: SpinLock::new(position),
            mounts: AtomicU32::new(0),
            // A rename holds two, and so does who looks whether one is used.
            children: SpinLock::nested(Children::default()),
            next_dead: SpinLock::new(None),
        }
    }

    /// The root of a file system.
    pub fn root(inode: Arc<Inode>) -> Arc<Self> {
        Arc::new(Self::new(inode, Position::default()))
    }

    /// What is in no directory and never was, such as a pipe.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn nameless(inode: Arc<Inode>) -> core::result::Result<Arc<Self>, NoMemory> {
        fallible::arc_with(|| Self::new(inode, Position::default()))
    }

    /// The same with a name that its path shows, as if it had been removed.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn shown_as(inode: Arc<Inode>, name: Vec<u8>) -> core::result::Result<Arc<Self>, NoMemory> {
        fallible::arc_with(|| Self::new(inode, Position { name, removed: true, ..Position::default() }))
    }

    /// A file that was made in a directory without a name, and what its path shows instead.
    pub fn removed(inode: Arc<Inode>, parent: &Arc<Self>, name: &[u8]) -> Arc<Self> {
        let position = Position {
            kept: Some(parent.clone()),
            name: name.to_vec(),
            removed: true,
            ..Position::default()
        };
        Arc::new(Self::new(inode, position))
    }

    /// One in a directory.
    fn below(parent: &Arc<Self>, name: &[u8], inode: Arc<Inode>) -> Arc<Self> {
        Arc::new(Self::new(inode, parent.position_below(name)))
    }

    fn position_below(self: &Arc<Self>, name: &[u8]) -> Position {
        let name = name.to_vec();
        if self.names == Some(Names::Fleeting) {
            return Position { kept: Some(self.clone()), name, ..Position::default() };
        }
        Position { parent: Arc::downgrade(self), name, ..Position::default() }
    }

    /// What has a name in this directory; what is mounted on it is not looked at.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EINTR if the task was killed while it waited, and what the file system says.
    #[inline]
    pub fn lookup(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        if let Some(known) = self.children.lock().get(name) {
            return known.ok_or(Errno::ENOENT);
        }
        self.lookup_unknown(name)
    }

    /// The same for a name that is not known.
    #[cold]
    fn lookup_unknown(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        let directory = self.inode.directory_content()?;
        let found = match self.names {
            Some(Names::InMemory) | None => None,
            Some(Names::Fleeting) => self.ask(name)?,
            Some(Names::Cached) => {
                let _held = directory.lock()?;
                self.lookup_held(name)?
            }
        };
        found.ok_or(Errno::ENOENT)
    }

    /// What has a name in this directory, whose sleeping lock is held.
    fn lookup_held(self: &Arc<Self>, name: &[u8]) -> Result<Option<Arc<Dentry>>> {
        if let Some(known) = self.children.lock().get(name) {
            return Ok(known);
        }
        match self.names {
            Some(Names::InMemory) => Ok(None),
            Some(Names::Fleeting) => self.ask(name),
            // In a directory that was removed is nothing.
            Some(Names::Cached) if self.is_removed() => Ok(None),
            Some(Names::Cached) => {
                let found = self.ask(name)?;
                self.keep(name, found.clone());
                Ok(found)
            }
            None => Err(Errno::ENOTDIR),
        }
    }

    /// Asks the file system for a name.
    fn ask(self: &Arc<Self>, name: &[u8]) -> Result<Option<Arc<Dentry>>> {
        match self.inode.directory_content()?.operations.lookup(name) {
            Ok(inode) => Ok(Some(Self::below(self, name, inode))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes what has a name, in the place of what was known.
    fn keep(self: &Arc<Self>, name: &[u8], dentry: Option<Arc<Dentry>>) {
        let Some(names) = self.names else { return };
        let (old, number) = {
            let mut children = self.children.lock();
            let changed = children.put(names, name, dentry);
            self.count(&children);
            changed
        };
        drop(old);
        if let Some(number) = number {
            cache::remember(self, name, number);
        }
    }

    /// Tells the inode how many names there are, if they are in memory.
    fn count(&self, children: &Children) {
        if let (Some(Names::InMemory), InodeContent::Directory(directory)) = (self.names, &self.inode.content)
        {
            directory.set_entries(children.count());
        }
    }

    /// Calls `each(name, type, inode number, position)` for the entries behind position `after`, until it says false.
    ///
    /// # Errors
    /// ENOTDIR, EINTR if the task was killed while it waited, and what the file system says.
    pub fn list(&self, after: u64, mut each: impl FnMut(&[u8], u32, u64, u64) -> bool) -> Result<()> {
        let directory = self.inode.directory_content()?;
        match self.names {
            Some(Names::InMemory) => self.children.lock().list(after, &mut each),
            Some(Names::Cached) => {
                let _held = directory.lock()?;
                directory.operations.list(after, &mut each)?;
            }
            _ => directory.operations.list(after, &mut each)?,
        }
        Ok(())
    }

    /// The directory that it is in.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.position.lock().parent()
    }

    /// The uppermost directory above it, or itself.
    pub fn uppermost(self: &Arc<Self>) -> Arc<Dentry> {
        let mut at = self.clone();
        while let Some(parent) = at.parent() {
            at = parent;
        }
        at
    }

    /// The one directly below `above` on the way down to `self`; none if `self` is not in it, however deep.
    fn way_down_from(self: &Arc<Self>, above: &Arc<Dentry>) -> Option<Arc<Dentry>> {
        let mut at = self.clone();
        loop {
            let parent = at.parent()?;
            if Arc::ptr_eq(&parent, above) {
                return Some(at);
            }
            at = parent;
        }
    }

    /// Whether `self` is `other` or in it, however deep.
    pub fn is_within(self: &Arc<Self>, other: &Arc<Dentry>) -> bool {
        Arc::ptr_eq(self, other) || self.way_down_from(other).is_some()
    }

    /// Whether its name was removed.
    pub fn is_removed(&self) -> bool {
        self.position.lock().removed
    }

    /// Appends its name and the slash before it, the last byte first; the directory that it is in.
    pub(super) fn push_name_reversed(&self, out: &mut Vec<u8>) -> Option<Arc<Dentry>> {
        let position = self.position.lock();
        if !position.name.is_empty() {
            out.extend(position.name.iter().rev());
            out.push(b'/');
        }
        position.parent()
    }

    /// Its names from the root of its file system down; what is longer than a path may be is cut.
    pub fn names_in_file_system(self: &Arc<Self>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = self.clone();
        while let Some(parent) = at.push_name_reversed(&mut out).filter(|_| out.len() < user::PATH_MAX) {
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

    /// Notes that something is mounted on it; ENOENT if its name was removed, and it will not be until it is uncovered. EINVAL if nobody
    /// would find it again.
    pub(super) fn cover(&self) -> Result<()> {
        let position = self.position.lock();
        if position.removed {
            return Err(Errno::ENOENT);
        }
        if position.kept.is_some() {
            return Err(Errno::EINVAL);
        }
        self.mounts.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Notes that one thing less is mounted on it.
    pub(super) fn uncover(&self) {
        self.mounts.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether dropping it would drop other dentries.
    fn leads_on(&self) -> bool {
        self.children.lock().count() > 0
    }

    /// Takes what is known below it.
    fn take_children(&self) -> Children {
        core::mem::take(&mut *self.children.lock())
    }
}

impl Drop for Dentry {
    /// Trees of any depth are taken apart in a loop, and without memory: a directory that dies waits in a list for its turn.
    fn drop(&mut self) {
        let mut above = self.position.get_mut().kept.take();
        while let Some(mut dentry) = above.take().and_then(Arc::into_inner) {
            above = dentry.position.get_mut().kept.take();
        }
        let mut is_cached = self.names == Some(Names::Cached);
        let mut children = core::mem::take(self.children.get_mut());
        let mut dead: Option<Arc<Dentry>> = None;
        loop {
            while let Some(child) = children.take_first() {
                if is_cached {
                    cache::forget(child.number);
                }
                // Nobody else can find it any more.
                if let Some(dentry) = child.dentry.filter(|d| Arc::strong_count(d) == 1 && d.leads_on()) {
                    let next = dead.take();
                    *dentry.next_dead.lock() = next;
                    dead = Some(dentry);
                }
            }
            let Some(dentry) = dead.take() else { break };
            dead = dentry.next_dead.lock().take();
            is_cached = dentry.names == Some(Names::Cached);
            children = dentry.take_children();
        }
    }
}
