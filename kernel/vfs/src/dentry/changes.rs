// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names are made and removed. The file system does its part ([`DirectoryOperations`](crate::inode::directory::DirectoryOperations)); the
//! tree, the counts of links and the times are changed here, for all alike.

use alloc::sync::Arc;

use super::Dentry;
use crate::{
    errno::{Errno, Result},
    inode::{
        Inode, NAME_MAX,
        directory::{Directory, Names, New},
    },
    room,
    sched::mutex::MutexGuard,
};

impl Dentry {
    /// ENOENT where names are fleeting: what the file system does not find there cannot be made either, as on Linux.
    pub fn check_takes_names(&self) -> Result<()> {
        if self.names == Some(Names::Fleeting) { Err(Errno::ENOENT) } else { Ok(()) }
    }

    /// Locks this directory, in which something is to be made.
    fn lock_for_new(self: &Arc<Self>, name: &[u8]) -> Result<(&Directory, MutexGuard<'_>)> {
        let directory = self.inode.directory_content()?;
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let held = directory.lock()?;
        if self.is_removed() {
            return Err(Errno::ENOENT);
        }
        if self.lookup_held(name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        self.check_takes_names()?;
        if !room::has_room(0) {
            return Err(Errno::ENOSPC);
        }
        Ok((directory, held))
    }

    /// Enters what has just got a name here. In memory, the kernel may have been faster ([`add`](Self::add)).
    fn enter(self: &Arc<Self>, name: &[u8], inode: Arc<Inode>) -> Result<Arc<Dentry>> {
        let dentry = Self::below(self, name, inode);
        if self.names == Some(Names::InMemory) {
            let mut children = self.children.lock();
            if self.is_removed() {
                return Err(Errno::ENOENT);
            }
            if children.get(name).is_some() {
                return Err(Errno::EEXIST);
            }
            children.put(Names::InMemory, name, Some(dentry.clone()));
            self.count(&children);
        } else {
            self.keep(name, Some(dentry.clone()));
        }
        if dentry.inode.is_directory() {
            self.inode.metadata.lock().links += 1;
        }
        self.inode.touch();
        Ok(dentry)
    }

    /// Makes something under a name that is free.
    ///
    /// # Errors
    /// EEXIST, ENOTDIR, ENAMETOOLONG, ENOENT if this directory was removed, EINTR if the task was killed, and what the file system says.
    pub fn create(self: &Arc<Self>, name: &[u8], new: &New<'_>) -> Result<Arc<Dentry>> {
        let (directory, _held) = self.lock_for_new(name)?;
        let inode = directory.operations.create(&self.inode, name, new)?;
        self.enter(name, inode)
    }

    /// Makes a file that has no name yet, or never.
    ///
    /// # Errors
    /// ENOTDIR, EOPNOTSUPP if there are no such files in this file system, and what it says.
    pub fn create_nameless(self: &Arc<Self>, new: &New<'_>) -> Result<Arc<Dentry>> {
        let inode = self.inode.directory_content()?.operations.create_nameless(&self.inode, new)?;
        inode.change(|metadata| metadata.links = 0);
        let shown = alloc::format!("#{}", inode.number);
        Ok(Self::removed(inode, self, shown.as_bytes()))
    }

    /// Enters `inode`, which the kernel has made, into a directory in memory, under a name that is free. It does not sleep, as drivers call it
    /// from wherever a device has come.
    ///
    /// # Errors
    /// EEXIST, ENOTDIR, ENAMETOOLONG, ENOENT if this directory was removed, ENOSPC, and EPERM for a directory that is not in memory.
    pub fn add(self: &Arc<Self>, name: &[u8], inode: &Arc<Inode>) -> Result<Arc<Dentry>> {
        match self.names {
            Some(Names::InMemory) => {}
            Some(_) => return Err(Errno::EPERM),
            None => return Err(Errno::ENOTDIR),
        }
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if !room::has_room(0) {
            return Err(Errno::ENOSPC);
        }
        self.enter(name, inode.clone())
    }

    /// Takes a name that the kernel has made out of a directory in memory, with all that is below it. Who is in there can stay. It does not sleep.
    ///
    /// # Errors
    /// ENOENT, EBUSY if something is mounted on it, EPERM for a directory that is not in memory.
    pub fn take_out(self: &Arc<Self>, name: &[u8]) -> Result<()> {
        if self.names != Some(Names::InMemory) {
            return Err(Errno::EPERM);
        }
        let dentry = {
            let mut children = self.children.lock();
            let dentry = children.get(name).flatten().ok_or(Errno::ENOENT)?;
            dentry.retire()?;
            children.vacate(Names::InMemory, name);
            self.count(&children);
            dentry
        };
        self.note_gone(&dentry);
        dentry.take_apart();
        Ok(())
    }

    /// Removes all names in memory below a directory that was taken out, however deep.
    fn take_apart(self: Arc<Self>) {
        let mut next = Some(self);
        while let Some(directory) = next {
            next = directory.next_dead.lock().take();
            let mut children = directory.take_children();
            while let Some(dentry) = children.take_first().and_then(|child| child.dentry) {
                dentry.position.lock().removed = true;
                directory.lose(&dentry);
                if dentry.leads_on() {
                    *dentry.next_dead.lock() = next.take();
                    next = Some(dentry);
                }
            }
        }
    }

    /// Gives a file another name, which is free.
    ///
    /// # Errors
    /// As [`create`](Self::create), and ENOENT for a file that has lost its last name.
    pub fn link(self: &Arc<Self>, name: &[u8], inode: &Arc<Inode>) -> Result<Arc<Dentry>> {
        let (directory, _held) = self.lock_for_new(name)?;
        // Counted first: nobody else gives it its first name, or takes its last, meanwhile.
        let mut is_alive = true;
        inode.change(|metadata| {
            is_alive = metadata.links > 0 || metadata.linkable;
            metadata.links += u32::from(is_alive);
        });
        if !is_alive {
            return Err(Errno::ENOENT);
        }
        let done = directory.operations.link(&self.inode, name, inode);
        let made = done.and_then(|()| self.enter(name, inode.clone()));
        inode.change(|metadata| match &made {
            Ok(_) => metadata.linkable = false,
            Err(_) => metadata.links -= 1,
        });
        made
    }

    /// Notes that the name goes: nothing is mounted on it from now on. EBUSY if something is, ENOENT if somebody else is removing it.
    pub(super) fn retire(&self) -> Result<()> {
        let mut position = self.position.lock();
        if position.removed {
            return Err(Errno::ENOENT);
        }
        if self.is_covered() {
            return Err(Errno::EBUSY);
        }
        position.removed = true;
        Ok(())
    }

    /// The name stays after all.
    pub(super) fn reinstate(&self) {
        self.position.lock().removed = false;
    }

    /// Takes the name of `dentry`, which has been retired, out of this directory.
    fn leave(self: &Arc<Self>, name: &[u8], dentry: &Arc<Dentry>) {
        if let Some(names) = self.names {
            let gone = {
                let mut children = self.children.lock();
                let gone = children.vacate(names, name);
                self.count(&children);
                gone
            };
            drop(gone);
        }
        self.note_gone(dentry);
    }

    /// Notes that `dentry` is not in this directory any more.
    fn note_gone(self: &Arc<Self>, dentry: &Arc<Dentry>) {
        if dentry.inode.is_directory() {
            self.inode.metadata.lock().links -= 1;
        }
        self.inode.touch();
        self.lose(dentry);
    }

    /// Notes that a name in this directory was `dentry`'s, which holds the directory from now on: nothing in that leads back.
    pub(super) fn lose(self: &Arc<Self>, dentry: &Dentry) {
        let is_directory = dentry.inode.is_directory();
        dentry.inode.change(|metadata| {
            metadata.links = if is_directory { 0 } else { metadata.links.saturating_sub(1) };
        });
        dentry.position.lock().kept = Some(self.clone());
    }

    /// Removes a name that is not a directory's, if what has it `may` go; what had it.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EISDIR, EBUSY if something is mounted on it, EINTR if the task was killed, and what the file system and `may` say.
    pub fn unlink(
        self: &Arc<Self>,
        name: &[u8],
        may: impl FnOnce(&Arc<Dentry>) -> Result<()>,
    ) -> Result<Arc<Dentry>> {
        let directory = self.inode.directory_content()?;
        let _held = directory.lock()?;
        let dentry = self.lookup_held(name)?.ok_or(Errno::ENOENT)?;
        may(&dentry)?;
        if dentry.inode.is_directory() {
            return Err(Errno::EISDIR);
        }
        dentry.retire()?;
        let done = directory.operations.unlink(&self.inode, name, &dentry.inode);
        done.inspect_err(|_| dentry.reinstate())?;
        self.leave(name, &dentry);
        Ok(dentry)
    }

    /// ENOTEMPTY if this directory, whose sleeping lock is held, is in memory and something is in it.
    pub(super) fn check_empty(&self) -> Result<()> {
        let is_empty = self.names != Some(Names::InMemory) || self.children.lock().count() == 0;
        if is_empty { Ok(()) } else { Err(Errno::ENOTEMPTY) }
    }

    /// Removes an empty directory, if it `may` go; what had the name.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ENOTEMPTY, EBUSY if something is mounted on it, EINTR if the task was killed, and what the file system and `may` say.
    pub fn remove_directory(
        self: &Arc<Self>,
        name: &[u8],
        may: impl FnOnce(&Arc<Dentry>) -> Result<()>,
    ) -> Result<Arc<Dentry>> {
        let directory = self.inode.directory_content()?;
        let _held = directory.lock()?;
        let dentry = self.lookup_held(name)?.ok_or(Errno::ENOENT)?;
        may(&dentry)?;
        let inner = dentry.inode.directory_content()?.lock()?;
        dentry.retire()?;
        let done = directory.operations.remove_directory(&self.inode, name, &dentry.inode);
        let done = done.and_then(|()| dentry.check_empty());
        done.inspect_err(|_| dentry.reinstate())?;
        self.leave(name, &dentry);
        drop(inner);
        Ok(dentry)
    }
}
