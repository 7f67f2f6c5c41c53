// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories: entries are added, removed, renamed and listed.
//!
//! Locking: a directory's entries have a spin lock. Where two are held, the one nearer to the root is taken first: a parent before the
//! directory in it that is removed, and the two of a rename. Renames between directories take [`RENAMES`] too, so that what is
//! above what does not change while they look.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use exo_hal::sync::{SpinGuard, SpinLock};
use exo_logic::name::Name;

use super::{Inode, InodeContent, NAME_MAX, kind};
use crate::{
    errno::{Errno, Result},
    room,
    sched::mutex::Mutex,
};

/// A directory's entries. Each has a number that never changes, by which a reader goes on where it stopped.
#[derive(Default)]
pub struct Entries {
    names: BTreeMap<Name<'static>, (u64, Arc<Inode>)>,
    order: BTreeMap<u64, Name<'static>>,
    last: u64,
    /// The directory was removed: nothing comes into it any more.
    removed: bool,
}

impl Entries {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// Whether the directory was removed.
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// Takes any entry out.
    pub(super) fn take_first(&mut self) -> Option<Arc<Inode>> {
        self.order.clear();
        self.names.pop_first().map(|(_, (_, node))| node)
    }

    /// The map lends itself for as long as the borrowed name lives, which a method of the whole could not say.
    fn find<'a>(
        names: &'a BTreeMap<Name<'a>, (u64, Arc<Inode>)>,
        name: &'a [u8],
    ) -> Option<&'a (u64, Arc<Inode>)> {
        names.get(&Name::new(name))
    }

    fn get(&self, name: &[u8]) -> Option<Arc<Inode>> {
        Self::find(&self.names, name).map(|(_, node)| node.clone())
    }

    fn contains(&self, name: &[u8]) -> bool {
        Self::find(&self.names, name).is_some()
    }

    /// Enters an inode, in the place of another that has the name.
    fn set(&mut self, name: &[u8], node: &Arc<Inode>) {
        let name = Name::new(name).into_owned();
        if let Some((_, old)) = self.names.get_mut(&name) {
            *old = node.clone();
            return;
        }
        self.last += 1;
        self.order.insert(self.last, name.clone());
        self.names.insert(name, (self.last, node.clone()));
    }

    fn remove(&mut self, name: &[u8]) {
        let number = Self::find(&self.names, name).map(|(number, _)| *number);
        if let Some(name) = number.and_then(|number| self.order.remove(&number)) {
            self.names.remove(&name);
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
    fn leaves_whiteout(self) -> bool {
        matches!(self, Self::Whiteout | Self::WhiteoutKeep)
    }
}

/// What the two names of a rename must be, because of a slash behind them.
#[derive(Clone, Copy, Debug, Default)]
pub struct MustBeDirectory {
    /// The old name's.
    pub old: bool,
    /// The new name's.
    pub new: bool,
}

/// Held by a rename between directories.
static RENAMES: Mutex = Mutex::new();

/// The locked entries of the directories of a rename, which may be one.
struct Both<'a> {
    first: SpinGuard<'a, Entries>,
    second: Option<SpinGuard<'a, Entries>>,
    /// The target is in `first`, the source in `second`.
    swapped: bool,
}

impl<'a> Both<'a> {
    fn lock(from: &'a SpinLock<Entries>, to: &'a SpinLock<Entries>, to_first: bool) -> Self {
        if core::ptr::eq(from, to) {
            return Self { first: from.lock(), second: None, swapped: false };
        }
        let (first, second) = if to_first { (to, from) } else { (from, to) };
        Self { first: first.lock(), second: Some(second.lock()), swapped: to_first }
    }

    fn source(&mut self) -> &mut Entries {
        if self.swapped { self.second.as_mut().unwrap_or(&mut self.first) } else { &mut self.first }
    }

    fn target(&mut self) -> &mut Entries {
        if self.swapped { &mut self.first } else { self.second.as_mut().unwrap_or(&mut self.first) }
    }
}

impl Inode {
    fn entries(&self) -> Result<&SpinLock<Entries>> {
        match &self.content {
            InodeContent::Directory(entries) => Ok(entries),
            InodeContent::Dynamic(_) => Err(Errno::EPERM),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The inode with a name in this directory; what is mounted on it is not looked at.
    pub fn lookup(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Inode>> {
        match &self.content {
            InodeContent::Directory(entries) => entries.lock().get(name).ok_or(Errno::ENOENT),
            InodeContent::Dynamic(directory) => {
                let node = directory.lookup(name)?;
                if node.parent().is_none() {
                    node.put_into_made(self, name);
                }
                Ok(node)
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Enters `node`, which is new, under a name that is free.
    pub fn add(self: &Arc<Self>, name: &[u8], node: &Arc<Inode>) -> Result<()> {
        self.enter(name, node, true)
    }

    /// Enters `node` under another name that is free; its path stays what it was.
    pub fn link(self: &Arc<Self>, name: &[u8], node: &Arc<Inode>) -> Result<()> {
        self.enter(name, node, false)
    }

    fn enter(self: &Arc<Self>, name: &[u8], node: &Arc<Inode>, is_place: bool) -> Result<()> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if !room::has_room(0) {
            return Err(Errno::ENOSPC);
        }
        {
            let mut entries = self.entries()?.lock();
            if entries.removed {
                return Err(Errno::ENOENT);
            }
            if entries.contains(name) {
                return Err(Errno::EEXIST);
            }
            if is_place {
                node.put_into(self, name);
            }
            entries.set(name, node);
        }
        if node.is_directory() {
            self.metadata.lock().links += 1;
        }
        self.touch();
        Ok(())
    }

    /// Notes that the name `name` in this directory is no more `node`'s.
    fn forget_place(&self, node: &Inode, name: &[u8]) {
        let mut place = node.place.lock();
        if place.name == name && core::ptr::eq(place.parent.as_ptr(), self) {
            place.removed = true;
        }
    }

    /// Notes that a name in this directory was `node`'s. The last one's directory is kept, for the path of what has no name any more;
    /// nothing in it leads back, so it goes with the inode.
    fn lose(self: &Arc<Self>, node: &Inode) {
        let is_directory = node.is_directory();
        let mut left = 0;
        node.change(|metadata| {
            metadata.links = if is_directory { 0 } else { metadata.links.saturating_sub(1) };
            left = metadata.links;
        });
        if left == 0 {
            node.keep_parent(self);
        }
    }

    /// Removes a name that is not a directory's.
    pub fn unlink(self: &Arc<Self>, name: &[u8]) -> Result<()> {
        let node = {
            let mut entries = self.entries()?.lock();
            let node = entries.get(name).ok_or(Errno::ENOENT)?;
            if node.is_directory() {
                return Err(Errno::EISDIR);
            }
            if node.is_covered() {
                return Err(Errno::EBUSY);
            }
            entries.remove(name);
            self.forget_place(&node, name);
            node
        };
        self.touch();
        self.lose(&node);
        Ok(())
    }

    /// Marks an empty directory as removed.
    fn close_directory(&self) -> Result<()> {
        if self.is_covered() {
            return Err(Errno::EBUSY);
        }
        let mut entries = match &self.content {
            InodeContent::Directory(entries) => entries.lock(),
            InodeContent::Dynamic(_) => return Err(Errno::EBUSY),
            _ => return Err(Errno::ENOTDIR),
        };
        // With the entries locked: nobody mounts or adds anything now.
        if self.is_covered() {
            return Err(Errno::EBUSY);
        }
        if entries.count() > 0 {
            return Err(Errno::ENOTEMPTY);
        }
        entries.removed = true;
        Ok(())
    }

    /// Removes an empty directory.
    pub fn remove_directory(self: &Arc<Self>, name: &[u8]) -> Result<()> {
        let node = {
            let mut entries = self.entries()?.lock();
            let node = entries.get(name).ok_or(Errno::ENOENT)?;
            node.close_directory()?;
            entries.remove(name);
            self.forget_place(&node, name);
            node
        };
        self.metadata.lock().links -= 1;
        self.touch();
        self.lose(&node);
        Ok(())
    }

    /// The entry of `above` on the way down to `self`; none if `self` is not in it, however deep.
    fn way_down_from(self: &Arc<Self>, above: &Arc<Inode>) -> Option<Arc<Inode>> {
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
    pub fn is_within(self: &Arc<Self>, other: &Arc<Inode>) -> bool {
        Arc::ptr_eq(self, other) || self.way_down_from(other).is_some()
    }

    /// Moves an entry to another directory or name. Whoever looks finds what was there before, or what is there after.
    pub fn rename(
        self: &Arc<Self>,
        name: &[u8],
        to: &Arc<Inode>,
        new_name: &[u8],
        how: Rename,
        must_be: MustBeDirectory,
    ) -> Result<()> {
        if name.len() > NAME_MAX || new_name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let between = !Arc::ptr_eq(self, to);
        let _order = if between { Some(RENAMES.lock()?) } else { None };
        // An entry that would be moved into itself, and one that would be replaced by what is in it.
        let (into_itself, above_source) =
            if between { (to.way_down_from(self), self.way_down_from(to)) } else { (None, None) };
        let to_first = above_source.is_some()
            || into_itself.is_none() && (Arc::as_ptr(to) as usize) < Arc::as_ptr(self) as usize;
        let is = |node: &Arc<Inode>, other: &Option<Arc<Inode>>| {
            other.as_ref().is_some_and(|other| Arc::ptr_eq(node, other))
        };
        let mut both = Both::lock(self.entries()?, to.entries()?, to_first);
        let node = both.source().get(name).ok_or(Errno::ENOENT)?;
        let old = both.target().get(new_name);
        match (&old, how) {
            (Some(_), _) if how.keeps() => return Err(Errno::EEXIST),
            (None, Rename::Exchange) => return Err(Errno::ENOENT),
            _ => {}
        }
        if let (Some(old), Rename::Exchange) = (&old, how) {
            if must_be.new && !old.is_directory() {
                return Err(Errno::ENOTDIR);
            }
        }
        if !node.is_directory() && (must_be.old || how != Rename::Exchange && must_be.new) {
            return Err(Errno::ENOTDIR);
        }
        if is(&node, &into_itself) {
            return Err(Errno::EINVAL);
        }
        if let Some(old) = &old {
            if is(old, &above_source) {
                return Err(if how == Rename::Exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
            }
            if Arc::ptr_eq(old, &node) {
                return Ok(());
            }
            if how != Rename::Exchange {
                match (node.is_directory(), old.is_directory()) {
                    (true, false) => return Err(Errno::ENOTDIR),
                    (false, true) => return Err(Errno::EISDIR),
                    _ => {}
                }
            }
        }
        if both.target().removed {
            return Err(Errno::ENOENT);
        }
        if node.is_covered() || old.as_ref().is_some_and(|old| old.is_covered()) {
            return Err(Errno::EBUSY);
        }
        // A name that replaces another needs no memory.
        if old.is_none() && !room::has_room(0) {
            return Err(Errno::ENOSPC);
        }
        let left_behind = match how {
            _ if how.leaves_whiteout() && !self.superblock.has_room_for_inode() => {
                return Err(Errno::ENOSPC);
            }
            _ if how.leaves_whiteout() => {
                Some(Inode::new(self.superblock.clone(), kind::CHARACTER, InodeContent::Device(0, 0)))
            }
            Rename::Exchange => old.clone(),
            _ => None,
        };
        let replaced = old.filter(|_| how != Rename::Exchange);
        if let Some(replaced) = &replaced {
            if replaced.is_directory() {
                replaced.close_directory()?;
            }
            to.forget_place(replaced, new_name);
        }
        both.target().set(new_name, &node);
        match &left_behind {
            Some(left) => {
                both.source().set(name, left);
                left.put_into(self, name);
            }
            None => both.source().remove(name),
        }
        node.put_into(to, new_name);
        drop(both);

        let count = |node: &Option<Arc<Inode>>| u32::from(node.as_ref().is_some_and(|n| n.is_directory()));
        let (moved, left, lost) = (u32::from(node.is_directory()), count(&left_behind), count(&replaced));
        self.metadata.lock().links += left;
        to.metadata.lock().links += moved;
        self.metadata.lock().links -= moved;
        to.metadata.lock().links -= if how == Rename::Exchange { left } else { lost };
        self.touch();
        to.touch();
        node.change(|_| ());
        if let Some(left) = left_behind {
            left.change(|_| ());
        }
        if let Some(replaced) = replaced {
            to.lose(&replaced);
        }
        Ok(())
    }

    /// Calls `each(name, type, inode number, entry number)` for the entries after number `after`, until it says false.
    pub fn list(&self, after: u64, mut each: impl FnMut(&[u8], u32, u64, u64) -> bool) -> Result<()> {
        match &self.content {
            InodeContent::Directory(entries) => {
                let entries = entries.lock();
                let mut bytes = Vec::with_capacity(NAME_MAX);
                for (number, name) in entries.order.range(after + 1..) {
                    if let Some((_, node)) = entries.names.get(name) {
                        name.copy_to(&mut bytes);
                        if !each(&bytes, node.kind(), node.number, *number) {
                            break;
                        }
                    }
                }
            }
            InodeContent::Dynamic(directory) => directory.list(after, &mut each)?,
            _ => return Err(Errno::ENOTDIR),
        }
        Ok(())
    }
}
