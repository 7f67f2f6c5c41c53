// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names are moved. Whoever looks finds what was there before, or what is there after.

use alloc::sync::Arc;

use exo_hal::sync::{SpinGuard, SpinLock};

use super::{Dentry, cache, children::Children};
use crate::{
    errno::{Errno, Result},
    inode::{
        NAME_MAX,
        directory::{Move, Names, Rename},
    },
    room,
    sched::mutex::Mutex,
};

/// What the two names of a rename must be, because of a slash behind them.
#[derive(Clone, Copy, Debug, Default)]
pub struct MustBeDirectory {
    /// The old name's.
    pub old: bool,
    /// The new name's.
    pub new: bool,
}

/// Held by a rename between directories, so that what is above what does not change while it looks.
static RENAMES: Mutex = Mutex::new();

/// The locked names of the directories of a rename, which may be one.
struct Both<'a> {
    first: SpinGuard<'a, Children>,
    second: Option<SpinGuard<'a, Children>>,
    /// The target is in `first`, the source in `second`.
    swapped: bool,
}

impl<'a> Both<'a> {
    fn lock(from: &'a SpinLock<Children>, to: &'a SpinLock<Children>, to_first: bool) -> Self {
        if core::ptr::eq(from, to) {
            return Self { first: from.lock(), second: None, swapped: false };
        }
        let (first, second) = if to_first { (to, from) } else { (from, to) };
        Self { first: first.lock(), second: Some(second.lock()), swapped: to_first }
    }

    fn source(&mut self) -> &mut Children {
        if self.swapped { self.second.as_mut().unwrap_or(&mut self.first) } else { &mut self.first }
    }

    fn target(&mut self) -> &mut Children {
        if self.swapped { &mut self.first } else { self.second.as_mut().unwrap_or(&mut self.first) }
    }
}

/// Whether `old`, which has the new name, may make room for `dentry`.
fn check_kinds(dentry: &Dentry, old: Option<&Dentry>, how: Rename, must_be: MustBeDirectory) -> Result<()> {
    let is_directory = dentry.inode.is_directory();
    let other = old.map(|old| old.inode.is_directory());
    match (other, how) {
        (Some(_), _) if how.keeps() => return Err(Errno::EEXIST),
        (None, Rename::Exchange) => return Err(Errno::ENOENT),
        (Some(false), Rename::Exchange) if must_be.new => return Err(Errno::ENOTDIR),
        _ => {}
    }
    if !is_directory && (must_be.old || how != Rename::Exchange && must_be.new) {
        return Err(Errno::ENOTDIR);
    }
    Ok(())
}

/// What was moved, and what it has replaced or changed places with.
pub type Moved = (Arc<Dentry>, Option<Arc<Dentry>>);

impl Dentry {
    /// Moves a name to another directory or name of the same file system, if both what has it and what has the new name `may` go. Nothing is moved
    /// if both are the same file's.
    ///
    /// # Errors
    /// Those of rename(2), EINTR if the task was killed while it waited, and what the file system and `may` say.
    pub fn rename(
        self: &Arc<Self>,
        name: &[u8],
        to: &Arc<Dentry>,
        new_name: &[u8],
        how: Rename,
        must_be: MustBeDirectory,
        may: impl FnOnce(&Arc<Dentry>, Option<&Arc<Dentry>>) -> Result<()>,
    ) -> Result<Option<Moved>> {
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
        let (source, target) = (self.inode.directory_content()?, to.inode.directory_content()?);
        let (first, second) = if to_first { (target, source) } else { (source, target) };
        let _first = first.lock()?;
        let _second = if between { Some(second.lock()?) } else { None };

        let dentry = self.lookup_held(name)?.ok_or(Errno::ENOENT)?;
        let old = to.lookup_held(new_name)?;
        if old.is_none() {
            to.check_takes_names()?;
        }
        check_kinds(&dentry, old.as_deref(), how, must_be)?;
        let is = |dentry: &Arc<Dentry>, other: &Option<Arc<Dentry>>| {
            other.as_ref().is_some_and(|other| Arc::ptr_eq(dentry, other))
        };
        if is(&dentry, &into_itself) {
            return Err(Errno::EINVAL);
        }
        if let Some(old) = &old {
            if is(old, &above_source) {
                return Err(if how == Rename::Exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
            }
            if Arc::ptr_eq(&old.inode, &dentry.inode) {
                return Ok(None);
            }
        }
        may(&dentry, old.as_ref())?;
        if let Some(old) = &old {
            if how != Rename::Exchange {
                match (dentry.inode.is_directory(), old.inode.is_directory()) {
                    (true, false) => return Err(Errno::ENOTDIR),
                    (false, true) => return Err(Errno::EISDIR),
                    _ => {}
                }
            }
        }
        if to.is_removed() {
            return Err(Errno::ENOENT);
        }
        if dentry.is_covered() || old.as_ref().is_some_and(|old| old.is_covered()) {
            return Err(Errno::EBUSY);
        }
        // A name that replaces another needs no memory.
        if old.is_none() && !room::has_room(0) {
            return Err(Errno::ENOSPC);
        }
        let entry = Move {
            name,
            inode: &dentry.inode,
            to: &to.inode,
            new_name,
            other: old.as_ref().map(|old| &old.inode),
            how,
        };
        let replaced = old.as_ref().filter(|_| how != Rename::Exchange);
        // Nothing comes into a directory that goes.
        let inner = match replaced {
            Some(replaced) if replaced.inode.is_directory() => {
                Some(replaced.inode.directory_content()?.lock()?)
            }
            _ => None,
        };
        if let Some(replaced) = replaced {
            replaced.retire()?;
        }
        let done = source.operations.rename(&self.inode, &entry).and_then(|left| {
            replaced.map_or(Ok(()), |replaced| replaced.check_empty())?;
            let left_behind = match how {
                Rename::Exchange => old.clone(),
                _ => left.map(|inode| Self::below(self, name, inode)),
            };
            self.move_name(&entry, to, to_first, &dentry, old.as_ref(), left_behind.as_ref())?;
            Ok(left_behind)
        });
        let left_behind = done.inspect_err(|_| {
            if let Some(replaced) = replaced {
                replaced.reinstate();
            }
        })?;

        let count = |dentry: Option<&Arc<Dentry>>| u32::from(dentry.is_some_and(|d| d.inode.is_directory()));
        let (moved, left, lost) = (count(Some(&dentry)), count(left_behind.as_ref()), count(replaced));
        self.inode.metadata.lock().links += left;
        to.inode.metadata.lock().links += moved;
        self.inode.metadata.lock().links -= moved;
        to.inode.metadata.lock().links -= if how == Rename::Exchange { left } else { lost };
        self.inode.touch();
        to.inode.touch();
        dentry.inode.change(|_| ());
        if let Some(left) = left_behind {
            left.inode.change(|_| ());
        }
        if let Some(replaced) = replaced {
            to.lose(replaced);
        }
        drop(inner);
        Ok(Some((dentry, old)))
    }

    /// The tree's part of a rename. In memory, the kernel may have made or removed one of the names meanwhile.
    fn move_name(
        self: &Arc<Self>,
        entry: &Move<'_>,
        to: &Arc<Dentry>,
        to_first: bool,
        dentry: &Arc<Dentry>,
        old: Option<&Arc<Dentry>>,
        left_behind: Option<&Arc<Dentry>>,
    ) -> Result<()> {
        let Move { name, new_name, .. } = *entry;
        // Both are directories, and so have names.
        let names = self.names.unwrap_or(Names::Fleeting);
        let new_names = to.names.unwrap_or(Names::Fleeting);
        let mut both = Both::lock(&self.children, &to.children, to_first);
        if names == Names::InMemory {
            let is_there = both.source().get(name).flatten().is_some_and(|found| Arc::ptr_eq(&found, dentry));
            let other = both.target().get(new_name).flatten();
            if !is_there || other.as_ref().map(Arc::as_ptr) != old.map(Arc::as_ptr) {
                return Err(Errno::ENOENT);
            }
        }
        let (gone_there, number) = both.target().put(new_names, new_name, Some(dentry.clone()));
        let gone = match left_behind {
            Some(left) => both.source().put(names, name, Some(left.clone())),
            None => (both.source().vacate(names, name), None),
        };
        self.count(both.source());
        to.count(both.target());
        let position = core::mem::replace(&mut *dentry.position.lock(), to.position_below(new_name));
        let left_position =
            left_behind.map(|left| core::mem::replace(&mut *left.position.lock(), self.position_below(name)));
        drop(both);
        // What these hold is dropped with nothing locked.
        drop((gone_there, gone.0, position, left_position));
        if let Some(number) = number {
            cache::remember(to, new_name, number);
        }
        if let Some(number) = gone.1 {
            cache::remember(self, name, number);
        }
        Ok(())
    }
}
