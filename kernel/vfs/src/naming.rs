// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program does with the names in a directory. Whether it may is looked at, with the directory locked, of what has the name then, whatever
//! had it when the path was walked; and who watches hears of what was done.

use alloc::sync::Arc;

use super::{
    dentry::{Dentry, MustBeDirectory},
    inode::{
        Inode,
        directory::{Rename, What},
    },
    mount::Path,
    notify::{self, Entry},
    permission,
};
use crate::errno::{Errno, Result};

impl Path {
    /// Makes something in this directory under a name that is free. It belongs to the running thread.
    ///
    /// # Errors
    /// As [`Dentry::create`].
    pub fn create(&self, name: &[u8], what: What<'_>, permissions: u32) -> Result<Path> {
        let new = permission::owned(self, what, permissions);
        let made = self.dentry.create(name, &new)?;
        notify::created(self, name, &made.inode);
        Ok(self.with(made))
    }

    /// Gives a file another name in this directory, which is free.
    ///
    /// # Errors
    /// As [`Dentry::link`].
    pub fn link(&self, name: &[u8], file: &Arc<Inode>) -> Result<()> {
        self.dentry.link(name, file)?;
        notify::linked(self, name, file);
        Ok(())
    }

    /// Removes a name in this directory that is not a directory's.
    ///
    /// # Errors
    /// As [`Dentry::unlink`], and EACCES and EPERM.
    pub fn unlink(&self, name: &[u8]) -> Result<()> {
        let gone = self.dentry.unlink(name, |found| permission::check_old_name(self, &found.inode))?;
        notify::unlinked(&gone.inode);
        // What ends with its name is told of first.
        drop(gone);
        notify::removed(self, name, false);
        Ok(())
    }

    /// Removes the name of a file that was just made here, if it still has it: the call that has made it fails.
    ///
    /// # Errors
    /// As [`Dentry::unlink`].
    pub fn take_back(&self, name: &[u8], made: &Path) -> Result<()> {
        let is_it = |found: &Arc<Dentry>| Arc::ptr_eq(found, &made.dentry);
        self.dentry.unlink(name, |found| if is_it(found) { Ok(()) } else { Err(Errno::ENOENT) })?;
        notify::removed(self, name, false);
        Ok(())
    }

    /// Removes a name of an empty directory.
    ///
    /// # Errors
    /// As [`Dentry::remove_directory`], and EACCES and EPERM.
    pub fn remove_directory(&self, name: &[u8]) -> Result<()> {
        let may = |found: &Arc<Dentry>| permission::check_old_name(self, &found.inode);
        drop(self.dentry.remove_directory(name, may)?);
        notify::removed(self, name, true);
        Ok(())
    }

    /// Moves a name to another directory or name of the same mount.
    ///
    /// # Errors
    /// As [`Dentry::rename`], and EACCES and EPERM.
    pub fn rename(
        &self,
        name: &[u8],
        to: &Path,
        new_name: &[u8],
        how: Rename,
        must_be: MustBeDirectory,
    ) -> Result<()> {
        let may = |source: &Arc<Dentry>, target: Option<&Arc<Dentry>>| {
            self.check_rename(to, &source.inode, target.map(|target| &*target.inode), how)
        };
        let moved = self.dentry.rename(name, &to.dentry, new_name, how, must_be, may)?;
        // Both names were the same file's, and stay so.
        let Some((source, target)) = moved else { return Ok(()) };
        let (old, new): (Entry<'_>, Entry<'_>) = ((self, name), (to, new_name));
        match target {
            Some(target) if how == Rename::Exchange => {
                notify::moved(&source.inode, old, new, None);
                notify::moved(&target.inode, new, old, None);
            }
            target => {
                notify::moved(&source.inode, old, new, target.as_ref().map(|target| &*target.inode));
            }
        }
        Ok(())
    }

    /// Whether the names of a rename may be changed. A directory that comes into another one is changed itself: its `..`.
    fn check_rename(&self, to: &Path, source: &Inode, target: Option<&Inode>, how: Rename) -> Result<()> {
        permission::check_old_name(self, source)?;
        match target {
            Some(target) => permission::check_old_name(to, target)?,
            None => permission::check_new_name(to)?,
        }
        if Arc::ptr_eq(&self.dentry, &to.dentry) {
            return Ok(());
        }
        if source.is_directory() {
            permission::check(source, permission::WRITE)?;
        }
        match target {
            Some(target) if how == Rename::Exchange && target.is_directory() => {
                permission::check(target, permission::WRITE)
            }
            _ => Ok(()),
        }
    }
}
