// SPDX-License-Identifier: MIT OR Apache-2.0
//! From paths to nodes.

use alloc::{sync::Arc, vec::Vec};

use super::node::{Body, NAME_MAX, Node};
use crate::{
    errno::{Errno, Result},
    task::current,
};

/// Symbolic links followed in one path, as on Linux.
const MAX_LINKS: usize = 40;

/// What to do with a symbolic link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Go where it points.
    Yes,
    /// Stay at the link.
    No,
}

/// Where a path ends: a directory, and a name in it which need not exist.
pub struct Last {
    /// The directory.
    pub directory: Arc<Node>,
    /// The name; empty for the directory itself.
    pub name: Vec<u8>,
    /// What has the name.
    pub node: Option<Arc<Node>>,
    /// The path ended with a slash: only a directory will do.
    pub must_be_directory: bool,
}

fn through_mounts(mut node: Arc<Node>) -> Arc<Node> {
    loop {
        let mounted = node.mounted.lock().clone();
        match mounted {
            Some(top) => node = top,
            None => return node,
        }
    }
}

fn start_of(start: Option<&Arc<Node>>, path: &[u8]) -> (Arc<Node>, Arc<Node>) {
    let task = current();
    let root = task.process.fs.root.lock().clone();
    let at = match start {
        _ if path.first() == Some(&b'/') => root.clone(),
        Some(start) => start.clone(),
        None => task.process.fs.directory.lock().clone(),
    };
    (through_mounts(at), root)
}

/// Walks to the last component. The walk allocates only for symbolic links and for the last name.
pub fn walk(start: Option<&Arc<Node>>, path: &[u8], follow: Follow) -> Result<Last> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let (mut at, root) = start_of(start, path);
    let mut link = match walk_to_link(&mut at, &root, path, follow)? {
        Step::End(last) => return Ok(last),
        Step::Link(path) => path,
    };
    for _ in 1..MAX_LINKS {
        if link.first() == Some(&b'/') {
            at = through_mounts(root.clone());
        }
        match walk_to_link(&mut at, &root, &link, follow)? {
            Step::End(last) => return Ok(last),
            Step::Link(path) => link = path,
        }
    }
    Err(Errno::ELOOP)
}

enum Step {
    End(Last),
    /// A symbolic link in directory `at`: its target, with the rest of the path behind it.
    Link(Vec<u8>),
}

fn walk_to_link(at: &mut Arc<Node>, root: &Arc<Node>, path: &[u8], follow: Follow) -> Result<Step> {
    let mut rest = path;
    loop {
        while let Some(stripped) = rest.strip_prefix(b"/") {
            rest = stripped;
        }
        let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end).unwrap_or_default();
        let is_last = after.iter().all(|&b| b == b'/');
        let must_be_directory = is_last && !after.is_empty();
        let end_at = |directory: &Arc<Node>, name: &[u8], node: Option<Arc<Node>>, must_be_directory| {
            Ok(Step::End(Last { directory: directory.clone(), name: name.to_vec(), node, must_be_directory }))
        };
        if name.is_empty() {
            return end_at(at, name, Some(at.clone()), true);
        }
        if !at.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let special = match name {
            b"." => Some(at.clone()),
            b".." if Arc::ptr_eq(at, root) => Some(at.clone()),
            b".." => Some(through_mounts(at.parent().unwrap_or_else(|| root.clone()))),
            _ => None,
        };
        if let Some(next) = special {
            if is_last {
                // These names cannot be made, removed or renamed; the name tells the caller.
                return end_at(at, name, Some(next), true);
            }
            *at = next;
            rest = after;
            continue;
        }
        let found = match at.lookup(name) {
            Ok(node) => match &node.body {
                Body::DescriptorLink(file) if !is_last || follow == Follow::Yes || must_be_directory => {
                    file.node.clone()
                }
                _ => through_mounts(node),
            },
            Err(Errno::ENOENT) if is_last => return end_at(at, name, None, must_be_directory),
            Err(error) => return Err(error),
        };
        let is_link = matches!(found.body, Body::Link(_) | Body::DynamicLink(_));
        if is_link && (!is_last || follow == Follow::Yes || must_be_directory) {
            let mut target = found.read_link()?;
            if target.is_empty() {
                return Err(Errno::ENOENT);
            }
            target.extend(after);
            if target.len() > crate::user::PATH_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            return Ok(Step::Link(target));
        }
        if is_last {
            if must_be_directory && !found.is_directory() {
                return Err(Errno::ENOTDIR);
            }
            return end_at(at, name, Some(found), must_be_directory);
        }
        *at = found;
        rest = after;
    }
}

/// The node that a path names.
pub fn resolve(start: Option<&Arc<Node>>, path: &[u8], follow: Follow) -> Result<Arc<Node>> {
    walk(start, path, follow)?.node.ok_or(Errno::ENOENT)
}

/// The directory and name for something that is to be made.
pub fn resolve_new(start: Option<&Arc<Node>>, path: &[u8], directory: bool) -> Result<(Arc<Node>, Vec<u8>)> {
    let last = walk(start, path, Follow::No)?;
    if last.node.is_some() {
        return Err(Errno::EEXIST);
    }
    if last.must_be_directory && !directory {
        return Err(Errno::ENOENT);
    }
    Ok((last.directory, last.name))
}
