// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who wants to hear what happens to files and in directories. The calls that do something say so here; as long as nobody watches anything,
//! that costs a look at one number.
//!
//! The bits are inotify's. What happens to a file is told to who watches it, and before that, with its name, to who watches its directory.

use core::sync::atomic::{AtomicU32, Ordering};

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use linux_raw_sys::general as abi;

pub use super::watchers::{Happening, Watcher};
use super::{
    dentry::Dentry,
    inode::Inode,
    watchers::{self, is_any_watched, tell},
};
use crate::errno::Result;

static COOKIE: AtomicU32 = AtomicU32::new(0);

/// Lets `watcher` hear of what happens to an inode, until it says that it watches no more, or [`unwatch`].
///
/// # Errors
/// ENOSPC if too many watch it, ENOMEM.
pub fn watch(node: &Inode, watcher: Arc<dyn Watcher>) -> Result<()> {
    watchers::add(&node.watchers, watcher)
}

/// `watcher` wants to hear nothing of an inode any more.
pub fn unwatch(node: &Weak<Inode>, watcher: *const dyn Watcher) {
    // One that is gone has told all its watchers.
    if let Some(node) = node.upgrade() {
        watchers::remove(&node.watchers, watcher);
    }
}

fn directory_bit(node: &Inode) -> u32 {
    if node.is_directory() { abi::IN_ISDIR } else { 0 }
}

/// Of an inode itself.
fn of_inode(node: &Inode, bits: u32) {
    tell(&node.watchers, &Happening { bits, cookie: 0, name: None, is_unlinked: false });
}

/// Of what has a name, also for the directory that it is in.
#[cold]
fn of_named(dentry: &Dentry, bits: u32) {
    let bits = bits | directory_bit(&dentry.inode);
    if let Some(parent) = dentry.parent().filter(|parent| !parent.inode.watchers.is_none()) {
        let mut name = Vec::new();
        dentry.push_name_reversed(&mut name);
        // The slash before it.
        name.pop();
        name.reverse();
        let is_unlinked = dentry.is_removed();
        tell(&parent.inode.watchers, &Happening { bits, cookie: 0, name: Some(&name), is_unlinked });
    }
    of_inode(&dentry.inode, bits);
}

/// Of an entry of a directory.
#[cold]
fn of_entry(directory: &Inode, name: &[u8], bits: u32, cookie: u32) {
    tell(&directory.watchers, &Happening { bits, cookie, name: Some(name), is_unlinked: false });
}

/// A file was opened.
#[inline]
pub fn opened(dentry: &Dentry) {
    if is_any_watched() {
        of_named(dentry, abi::IN_OPEN);
    }
}

/// Something was read from it.
#[inline]
pub fn accessed(dentry: &Dentry) {
    if is_any_watched() {
        of_named(dentry, abi::IN_ACCESS);
    }
}

/// Something was written to it.
#[inline]
pub fn modified(dentry: &Dentry) {
    if is_any_watched() {
        of_named(dentry, abi::IN_MODIFY);
    }
}

/// Nobody has it open any more by a descriptor that could write, or that could not.
#[inline]
pub(super) fn closed(dentry: &Dentry, could_write: bool) {
    if is_any_watched() {
        of_named(dentry, if could_write { abi::IN_CLOSE_WRITE } else { abi::IN_CLOSE_NOWRITE });
    }
}

/// Something about an inode was changed: IN_ATTRIB, IN_MODIFY or IN_ACCESS.
#[inline]
pub fn changed(dentry: &Dentry, bits: u32) {
    if is_any_watched() {
        of_named(dentry, bits);
    }
}

/// An inode has got its first name.
#[inline]
pub fn created(directory: &Inode, name: &[u8], node: &Inode) {
    if is_any_watched() {
        of_entry(directory, name, abi::IN_CREATE | directory_bit(node), 0);
    }
}

/// It has got another name.
#[inline]
pub fn linked(directory: &Inode, name: &[u8], node: &Inode) {
    if is_any_watched() {
        of_inode(node, abi::IN_ATTRIB);
        of_entry(directory, name, abi::IN_CREATE, 0);
    }
}

/// A file has lost a name. To be said before [`removed`]: between the two it may have ended.
#[inline]
pub fn unlinked(node: &Inode) {
    if is_any_watched() {
        of_inode(node, abi::IN_ATTRIB);
    }
}

/// A name was removed.
#[inline]
pub fn removed(directory: &Inode, name: &[u8], is_directory: bool) {
    if is_any_watched() {
        of_entry(directory, name, abi::IN_DELETE | if is_directory { abi::IN_ISDIR } else { 0 }, 0);
    }
}

/// A directory and a name in it.
pub type Entry<'a> = (&'a Inode, &'a [u8]);

/// An inode was moved, and another lost the name that it has now.
#[inline]
pub fn moved(node: &Inode, from: Entry<'_>, to: Entry<'_>, replaced: Option<&Inode>) {
    if is_any_watched() {
        let cookie = COOKIE.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let bit = directory_bit(node);
        of_entry(from.0, from.1, abi::IN_MOVED_FROM | bit, cookie);
        of_entry(to.0, to.1, abi::IN_MOVED_TO | bit, cookie);
        if let Some(replaced) = replaced {
            of_inode(replaced, abi::IN_ATTRIB | directory_bit(replaced));
        }
        of_inode(node, abi::IN_MOVE_SELF);
    }
}
