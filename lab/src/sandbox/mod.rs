// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running programs inside the tool tree: in mount and process namespaces of their own, so that nothing stays mounted
//! and no process outlives the run, as root and, where the host allows user namespaces, as an ordinary user.
//!
//! The new root is a small tmpfs. The tool tree gives it `/usr` and `/etc`, read-only; the host gives it everything
//! that a person's files may be in, at the same paths. A path is therefore the same inside and outside.
//!
//! ```text
//! exo ── exo internal-sandbox (unshares) ── exo internal-sandbox-init (pid 1: mounts, waits) ── the program
//! ```
//! Each of them dies with the one before it (`PR_SET_PDEATHSIG`), and the kernel kills all of a process namespace
//! when its first process ends; so SIGKILL to `exo` itself leaves nothing either. A SIGTERM to the one that `exo` has started
//! ends them all too, and that one last: who has waited for it knows that nobody is left who might still write a file.

mod enter;
mod mounts;

pub(crate) use enter::{init, unshare};

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What a sandbox looks like. It travels to the sandbox's own processes as JSON in an argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// The tool tree; `None` keeps the host's own root and only isolates mounts and processes.
    pub(crate) tree: Option<PathBuf>,
    /// Whether the tree's package database is writable (to download packages).
    pub(crate) writable_var: bool,
    /// Folders that must be there under their own path, wherever they are.
    pub(crate) folders: Vec<PathBuf>,
    /// The certificate bundle to trust, if the host has one of its own.
    pub(crate) certificates: Option<PathBuf>,
}

impl Layout {
    /// A command that runs `program` in this sandbox, in the folder `folder`.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>, folder: &Path) -> anyhow::Result<Command> {
        let layout = serde_json::to_string(self).context("cannot describe the sandbox")?;
        let mut command = Command::new(OWN_PROGRAM);
        command.args([ENTRY, &layout]).arg(folder).arg("--").arg(program);
        Ok(command)
    }
}

/// This program, even if a build has replaced its file since it was started.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

/// This program's own command that enters a sandbox.
const ENTRY: &str = "internal-sandbox";

/// Whether the command is one of [`Layout::command`].
pub(crate) fn is_entered_by(command: &Command) -> bool {
    command.get_args().next().is_some_and(|word| word == ENTRY)
}

/// The bundle of certificates that this host trusts, if it says so by environment or has one in the usual place.
pub(crate) fn host_certificates() -> Option<PathBuf> {
    let named = ["SSL_CERT_FILE", "CURL_CA_BUNDLE"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    let usual =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"].iter().map(PathBuf::from);
    named.chain(usual).find(|path| path.is_file())
}
