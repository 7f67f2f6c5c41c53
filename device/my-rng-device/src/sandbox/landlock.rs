// SPDX-License-Identifier: MIT OR Apache-2.0
//! Landlock: no files, no TCP, no signals to other processes.
//!
//! The crate asks for what the newest kernels know and leaves out what this one does not; file systems are in every
//! version. What stays allowed is the removal of files in the sockets' directories, for the clean end; there is no rule for a
//! single name.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};
use thiserror::Error;

/// The newest version whose rights are asked for.
const NEWEST: ABI = ABI::V6;

/// Why there is no Landlock.
#[derive(Debug, Error)]
pub enum LandlockError {
    /// Not in this kernel, switched off at boot, or forbidden by a container's own seccomp filter.
    #[error("this kernel or container does not have it")]
    Missing,
    /// A directory that a socket was made in.
    #[error("a socket's directory: {0}")]
    Directory(#[from] landlock::PathFdError),
    /// The kernel refuses.
    #[error("{0}")]
    Ruleset(#[from] landlock::RulesetError),
}

/// Confines this thread and those that it will start. `sockets` can still be removed. A remark: what is missing.
///
/// # Errors
/// There is no Landlock.
pub fn restrict<'p>(sockets: impl Iterator<Item = &'p Path>) -> Result<Option<String>, LandlockError> {
    let sockets: Vec<_> = sockets.collect();
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for socket in &sockets {
        let parent = PathFd::new(directory(socket))?;
        rules = rules.add_rule(PathBeneath::new(parent, AccessFs::RemoveFile))?;
    }
    let others = others(&sockets);
    let partial = match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => Some("as far as this kernel has it".to_owned()),
        RulesetStatus::NotEnforced => return Err(LandlockError::Missing),
    };
    let remarks: Vec<_> = partial.into_iter().chain(others).collect();
    Ok((!remarks.is_empty()).then(|| remarks.join("; ")))
}

/// Confines this thread to reading files in the directory of `path`, and in that of what it is a link to.
///
/// # Errors
/// There is no Landlock.
pub fn restrict_to_reading(path: &Path) -> Result<Option<String>, LandlockError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in [Some(path.to_owned()), path.canonicalize().ok()].into_iter().flatten() {
        let parent = PathFd::new(directory(&path))?;
        rules = rules.add_rule(PathBeneath::new(parent, AccessFs::ReadFile))?;
    }
    match rules.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err(LandlockError::Missing),
        _ => Ok(None),
    }
}

fn directory(socket: &Path) -> &Path {
    socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Landlock knows no single name in a directory: what else lies beside the sockets can be removed as well.
fn others(sockets: &[&Path]) -> Option<String> {
    let of = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let is_other = |path: &Path| {
            path.is_file()
                || !path.is_dir() && !sockets.iter().any(|socket| socket.file_name() == path.file_name())
        };
        entries.filter(|entry| is_other(&entry.path())).count()
    };
    let mut directories: Vec<_> = sockets.iter().map(|socket| directory(socket)).collect();
    directories.sort_unstable();
    directories.dedup();
    let count: usize = directories.into_iter().map(of).sum();
    (count > 0).then(|| format!("except for the removal of {count} files beside the sockets"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn files_beside_the_sockets_are_noted() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(others(&[&socket]), None);
        std::fs::write(directory.path().join("precious"), "x").unwrap();
        std::fs::create_dir(directory.path().join("folder")).unwrap();
        let remark = others(&[&socket, &socket]).unwrap();
        assert!(remark.contains("removal of 1 files"), "{remark}");
    }
}
