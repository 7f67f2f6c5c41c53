// SPDX-License-Identifier: MIT OR Apache-2.0
//! From paths to inodes.

use alloc::{borrow::Cow, sync::Arc, vec::Vec};

use linux_raw_sys::general as abi;

pub use super::mount::Path;
use super::{
    context::current,
    inode::{Inode, InodeContent, NAME_MAX},
    permission::{self, Caller},
};
use crate::errno::{Errno, Result};

/// Symbolic links followed in one path, as on Linux.
const MAX_LINKS: usize = 40;

/// What to do with a symbolic link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Go where it points.
    Yes,
    /// Stay at the link, unless a slash follows.
    No,
    /// Stay at the name: it is to be made, removed or renamed. What is mounted on it is not looked at, nor whether a slash
    /// behind it is right.
    Name,
}

/// The `RESOLVE_` bits of openat2; 0 for all other calls.
pub type Resolve = u32;

/// Where a path ends: a directory, and a name in it which need not exist.
pub struct Last<'p> {
    /// The directory.
    pub directory: Path,
    /// The name; empty for the directory itself. A part of the path that was walked, unless a link led here.
    pub name: Cow<'p, [u8]>,
    /// What has the name.
    pub found: Option<Path>,
    /// The path ended with a slash: only a directory will do.
    pub must_be_directory: bool,
}

/// A walk along a path.
struct Walk {
    at: Path,
    root: Path,
    follow: Follow,
    resolve: Resolve,
    caller: Caller,
}

/// Walks to the last component. The walk allocates only for symbolic links.
pub fn walk<'p>(start: Option<&Path>, path: &'p [u8], follow: Follow) -> Result<Last<'p>> {
    walk_within(start, path, follow, 0)
}

/// As [`walk`], with the bounds that openat2 knows.
pub fn walk_within<'p>(
    start: Option<&Path>,
    path: &'p [u8],
    follow: Follow,
    resolve: Resolve,
) -> Result<Last<'p>> {
    walk_as(Caller::current(), start, path, follow, resolve)
}

/// As [`walk_within`], for `caller`, who must be allowed to search the directories on the way.
pub fn walk_as<'p>(
    caller: Caller,
    start: Option<&Path>,
    path: &'p [u8],
    follow: Follow,
    resolve: Resolve,
) -> Result<Last<'p>> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let is_absolute = path.first() == Some(&b'/');
    let bounded = resolve & (abi::RESOLVE_BENEATH | abi::RESOLVE_IN_ROOT) != 0;
    let (at, root) = if bounded {
        if is_absolute && resolve & abi::RESOLVE_BENEATH != 0 {
            return Err(Errno::EXDEV);
        }
        let at = start.cloned().unwrap_or_else(|| current().directory());
        (at.clone(), at)
    } else {
        let root = current().root();
        let at = match start {
            _ if is_absolute => root.clone(),
            Some(start) => start.clone(),
            None => current().directory(),
        };
        (at, root)
    };
    let mut walk = Walk { at, root, follow, resolve, caller };
    // What was mounted on the root after the process chose it does not hide it, but `/` leads to what is on top.
    if !bounded {
        walk.at = walk.at.topmost();
    }
    let mut link = match walk.go(path)? {
        Step::End(last) => return Ok(last),
        Step::Link(path) => path,
    };
    for _ in 1..=MAX_LINKS {
        if link.first() == Some(&b'/') {
            walk.jump_to_root()?;
        }
        let next = match walk.go(&link)? {
            Step::End(last) => return Ok(Last { name: Cow::Owned(last.name.into_owned()), ..last }),
            Step::Link(path) => path,
        };
        link = next;
    }
    Err(Errno::ELOOP)
}

enum Step<'p> {
    End(Last<'p>),
    /// A symbolic link in the directory reached: its target, with the rest of the path behind it.
    Link(Vec<u8>),
}

impl Walk {
    fn wants(&self, resolve: Resolve) -> bool {
        self.resolve & resolve != 0
    }

    fn check_mount(&self, next: &Path) -> Result<()> {
        if self.wants(abi::RESOLVE_NO_XDEV) && !Arc::ptr_eq(&self.at.mount, &next.mount) {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }

    /// A symbolic link that begins with a slash.
    fn jump_to_root(&mut self) -> Result<()> {
        if self.wants(abi::RESOLVE_BENEATH) {
            return Err(Errno::EXDEV);
        }
        let root = self.root.clone().topmost();
        self.check_mount(&root)?;
        self.at = root;
        Ok(())
    }

    fn up(&self) -> Result<Path> {
        let mut at = self.at.clone();
        loop {
            if at.is(&self.root) {
                return if self.wants(abi::RESOLVE_BENEATH) { Err(Errno::EXDEV) } else { Ok(at) };
            }
            if !at.is_mount_root() {
                break;
            }
            match at.mount.mountpoint() {
                Some(mountpoint) => at = mountpoint,
                None => return Ok(at),
            }
        }
        let parent = at.dentry.parent().ok_or(Errno::ENOENT)?;
        let next = at.with(parent).topmost();
        self.check_mount(&next)?;
        Ok(next)
    }

    /// Where a link leads that is not a path, if the inode is such a link.
    fn magic(&self, node: &Inode) -> Option<Result<Path>> {
        let found = match &node.content {
            InodeContent::Magic(link) => link.target(),
            _ => return None,
        };
        if self.wants(abi::RESOLVE_NO_MAGICLINKS | abi::RESOLVE_NO_SYMLINKS) {
            return Some(Err(Errno::ELOOP));
        }
        if self.wants(abi::RESOLVE_BENEATH | abi::RESOLVE_IN_ROOT) {
            return Some(Err(Errno::EXDEV));
        }
        Some(found.and_then(|path| self.check_mount(&path).map(|()| path)))
    }

    fn text_of(&self, found: &Inode, after: &[u8]) -> Result<Vec<u8>> {
        if self.wants(abi::RESOLVE_NO_SYMLINKS) || self.at.mount.has(abi::MS_NOSYMFOLLOW) {
            return Err(Errno::ELOOP);
        }
        let mut target = found.read_link()?;
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        target.extend(after);
        if target.len() > crate::user::PATH_MAX * 2 {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(target)
    }

    fn end<'p>(&self, name: &'p [u8], found: Option<Path>, must_be_directory: bool) -> Step<'p> {
        Step::End(Last { directory: self.at.clone(), name: Cow::Borrowed(name), found, must_be_directory })
    }

    fn go<'p>(&mut self, path: &'p [u8]) -> Result<Step<'p>> {
        let mut rest = path;
        loop {
            while let Some(stripped) = rest.strip_prefix(b"/") {
                rest = stripped;
            }
            let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            let (name, after) = rest.split_at_checked(end).unwrap_or_default();
            let is_last = after.iter().all(|&b| b == b'/');
            let must_be_directory = is_last && !after.is_empty();
            if name.is_empty() {
                return Ok(self.end(name, Some(self.at.clone()), true));
            }
            if !self.at.is_directory() {
                return Err(Errno::ENOTDIR);
            }
            self.caller.check_search(&self.at)?;
            if name.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            let special = match name {
                b"." => Some(self.at.clone()),
                b".." => Some(self.up()?),
                _ => None,
            };
            if let Some(next) = special {
                if is_last {
                    // These names cannot be made, removed or renamed; the name tells the caller.
                    return Ok(self.end(name, Some(next), true));
                }
                self.at = next;
                rest = after;
                continue;
            }
            let dentry = match self.at.dentry.lookup(name) {
                Ok(dentry) => dentry,
                Err(Errno::ENOENT) if is_last => return Ok(self.end(name, None, must_be_directory)),
                Err(error) => return Err(error),
            };
            if is_last && self.follow == Follow::Name {
                return Ok(self.end(name, Some(self.at.with(dentry)), must_be_directory));
            }
            let follows = !is_last || self.follow == Follow::Yes || must_be_directory;
            if let (true, Some(leads_to)) = (follows, self.magic(&dentry.inode)) {
                let found = leads_to?;
                if is_last {
                    if must_be_directory && !found.is_directory() {
                        return Err(Errno::ENOTDIR);
                    }
                    return Ok(self.end(name, Some(found), must_be_directory));
                }
                self.at = found;
                rest = after;
                continue;
            }
            if follows && matches!(dentry.inode.content, InodeContent::Link(_) | InodeContent::DynamicLink(_))
            {
                return Ok(Step::Link(self.text_of(&dentry.inode, after)?));
            }
            if is_last || dentry.is_covered() {
                let found = self.at.with(dentry).topmost();
                self.check_mount(&found)?;
                if is_last {
                    if must_be_directory && !found.is_directory() {
                        return Err(Errno::ENOTDIR);
                    }
                    return Ok(self.end(name, Some(found), must_be_directory));
                }
                self.at = found;
            } else {
                self.at.dentry = dentry;
            }
            rest = after;
        }
    }
}

/// What a path names.
pub fn resolve(start: Option<&Path>, path: &[u8], follow: Follow) -> Result<Path> {
    walk(start, path, follow)?.found.ok_or(Errno::ENOENT)
}

/// The directory and name for something that is to be made.
pub fn resolve_new<'p>(
    start: Option<&Path>,
    path: &'p [u8],
    directory: bool,
) -> Result<(Path, Cow<'p, [u8]>)> {
    let last = walk(start, path, Follow::Name)?;
    if last.found.is_some() {
        return Err(Errno::EEXIST);
    }
    if last.must_be_directory && !directory {
        return Err(Errno::ENOENT);
    }
    last.directory.dentry.check_takes_names()?;
    last.directory.check_writable()?;
    permission::check_new_name(&last.directory)?;
    Ok((last.directory, last.name))
}
