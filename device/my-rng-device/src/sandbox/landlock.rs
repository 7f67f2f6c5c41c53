// SPDX-License-Identifier: MIT OR Apache-2.0
//! Landlock: no files, no TCP, no signals to other processes.
//!
//! The crate asks for what the newest kernels know and leaves out what this one does not; file systems are in every
//! version. What stays allowed is the removal of files in the sockets' directories, for the clean end.

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
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for socket in sockets {
        let parent =
            socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        rules = rules.add_rule(PathBeneath::new(PathFd::new(parent)?, AccessFs::RemoveFile))?;
    }
    match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Ok(None),
        RulesetStatus::PartiallyEnforced => Ok(Some("as far as this kernel has it".to_owned())),
        RulesetStatus::NotEnforced => Err(LandlockError::Missing),
    }
}
