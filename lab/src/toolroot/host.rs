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
    let sudo = if Uid::effective().is_root() { "" } else { "sudo " };
    if Path::new("/etc/debian_version").exists() {
        format!("{sudo}apt-get install {package}")
    } else {
        format!("install {package} with this system's package manager")
    }
}

/// Makes sure that each program, which has the name of its package, is there.
pub(super) fn ensure_installed(programs: &[&str]) -> anyhow::Result<()> {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !on_path(program)).collect();
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
