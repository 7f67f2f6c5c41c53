// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages that the host itself needs: installed when that is possible, else named with the command that installs them.

use std::path::Path;
use std::process::Command;

use anyhow::bail;
use nix::unistd::Uid;

use crate::process;
use crate::ui::Step;

/// True if the program is on the search path.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(Into::into));
    places.into_iter().any(|folder| folder.join(program).is_file())
}

/// The command that installs a package here.
pub(crate) fn missing_package_advice(package: &str) -> String {
    missing_package_advice_to(Uid::effective().is_root(), package)
}

/// The same for somebody who is root or is not.
pub(crate) fn missing_package_advice_to(root: bool, package: &str) -> String {
    let sudo = if root { "" } else { "sudo " };
    if Path::new("/etc/debian_version").exists() {
        format!("{sudo}apt-get install {package}")
    } else {
        format!("install {package} with this system's package manager")
    }
}

/// A program that makes the tool tree, and Debian's package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    /// What is looked for on the search path.
    pub(crate) program: &'static str,
    /// What brings it.
    pub(crate) package: &'static str,
}

/// Makes the tree.
pub(crate) const MMDEBSTRAP: Tool = Tool { program: "mmdebstrap", package: "mmdebstrap" };
/// Gives an ordinary user's namespace more than one user id, which a tree with files of several users needs.
pub(crate) const NEWUIDMAP: Tool = Tool { program: "newuidmap", package: "uidmap" };

/// The tools that making the tree takes for this user.
pub(crate) fn tools() -> &'static [Tool] {
    if Uid::effective().is_root() { &[MMDEBSTRAP] } else { &[MMDEBSTRAP, NEWUIDMAP] }
}

/// What hinders this user from making the tree although all tools are there, and the command that mends it.
pub(crate) fn missing_user_ids() -> Option<(String, String)> {
    let (uid, user) = (Uid::effective(), nix::unistd::User::from_uid(Uid::effective()).ok().flatten());
    if uid.is_root() {
        return None;
    }
    let name = user.map_or_else(|| uid.to_string(), |user| user.name);
    let lacking = ["/etc/subuid", "/etc/subgid"].into_iter().find(|file| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        !has_ids(&text, &name, uid.as_raw())
    })?;
    Some((
        format!("{lacking} gives {name} no ids of other users, which making the tool tree needs"),
        format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"),
    ))
}

/// Whether a file of subordinate ids (subuid(5)) has a range for the user.
fn has_ids(text: &str, name: &str, uid: u32) -> bool {
    text.lines().any(|line| {
        let mut fields = line.split(':');
        let owner = fields.next().unwrap_or_default();
        let count = fields.nth(1).and_then(|count| count.trim().parse::<u64>().ok());
        (owner == name || owner.parse() == Ok(uid)) && count.is_some_and(|count| count > 0)
    })
}

/// Makes sure that each is there.
pub(super) fn ensure_installed(tools: &[Tool]) -> anyhow::Result<()> {
    let missing: Vec<&str> =
        tools.iter().filter(|tool| !on_path(tool.program)).map(|tool| tool.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !(Uid::effective().is_root() && on_path("apt-get")) {
        bail!("this host lacks {names}; install it with:\n  {}", missing_package_advice(&names));
    }
    let step = Step::new(&format!("Installing {names}"), None);
    let install = |step: &Step| {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive");
        process::run(&mut command, step)
    };
    // A new machine may have no package lists yet, or old ones.
    if install(&step).is_err() {
        process::run(Command::new("apt-get").arg("update"), &step)?;
        install(&step)?;
    }
    step.done();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::has_ids;

    #[test]
    fn ranges_belong_to_a_name_or_a_number() {
        let text = "other:100000:65536\nalice:165536:65536\n1001:231072:65536\nempty:1:0\nbad:1\n";
        assert!(has_ids(text, "alice", 1000) && has_ids(text, "bob", 1001));
        assert!(!has_ids(text, "carol", 1002) && !has_ids(text, "empty", 5) && !has_ids(text, "bad", 6));
        assert!(!has_ids("", "alice", 1000));
    }
}
