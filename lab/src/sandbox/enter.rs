// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two stages that put a program into a sandbox. Both run in processes of their own, single-threaded.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare as unshare_namespaces};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Gid, Pid, Uid, chdir};

use super::{Layout, mounts};

/// Exit status of a sandbox that could not be made, as of `env` and `timeout` when they cannot start a command.
const CANNOT_START: i32 = 125;

/// Signals that end the sandbox: `exo`'s own way, and what a terminal sends to all that run on it.
const ENDING: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// First stage: new namespaces, then the second stage as the first process in them. Returns the exit status.
pub(crate) fn unshare(layout: &str, folder: &Path, command: &[OsString]) -> anyhow::Result<i32> {
    die_with_parent()?;
    let (user, group) = (Uid::current(), Gid::current());
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if !user.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare_namespaces(flags).map_err(explain)?;
    if !user.is_root() {
        // Only the own user is mapped: files belong to that user outside and to root inside.
        std::fs::write("/proc/self/setgroups", "deny").context("cannot write /proc/self/setgroups")?;
        std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
            .context("cannot write /proc/self/gid_map")?;
        std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))
            .context("cannot write /proc/self/uid_map")?;
    }
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGCHLD].into_iter().chain(ENDING));
    // From here on they wait until they are looked for below.
    signals.thread_block().context("cannot block signals")?;
    let mut first = Command::new(super::OWN_PROGRAM)
        .args(["internal-sandbox-init", layout])
        .arg(folder)
        .arg("--")
        .args(command)
        .spawn()
        .context("cannot start the sandbox's first process")?;
    loop {
        if let Some(status) = first.try_wait().context("cannot wait for the sandbox's first process")? {
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        if ENDING.contains(&signals.wait().context("cannot wait for signals")?) {
            // The kernel kills all of the sandbox with its first process, and reports that process last.
            first.kill().context("cannot end the sandbox")?;
        }
    }
}

/// Second stage: mounts, then the program; waits for it as process 1 must. Returns the exit status.
pub(crate) fn init(layout: &str, folder: &Path, command: &[OsString]) -> anyhow::Result<i32> {
    die_with_parent()?;
    // What the first stage has blocked for itself is not the program's business.
    SigSet::empty().thread_set_mask().context("cannot unblock signals")?;
    let layout: Layout =
        serde_json::from_str(layout).context("cannot read the description of the sandbox")?;
    mounts::make(&layout).context("cannot set up the sandbox's file systems")?;
    chdir(folder).with_context(|| format!("cannot enter {}", folder.display()))?;
    let (program, arguments) = command.split_first().context("no program to run was given")?;
    let mut child = Command::new(program);
    child.args(arguments);
    if layout.tree.is_some() {
        child.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env_remove("LD_LIBRARY_PATH");
        // In the sandbox's own tmpfs: a compiler that is killed leaves its temporary files behind.
        child.env("TMPDIR", "/var/tmp");
    }
    let child = match child.spawn() {
        Ok(child) => Pid::from_raw(i32::try_from(child.id()).context("a process id out of range")?),
        Err(error) => {
            eprintln!("cannot start {}: {error}", program.to_string_lossy());
            return Ok(CANNOT_START);
        }
    };
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => return Ok(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the program"),
        }
    }
}

fn die_with_parent() -> anyhow::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot ask to die with the parent process")
}

fn explain(error: Errno) -> anyhow::Error {
    let advice = match error {
        Errno::EPERM | Errno::ENOSPC | Errno::ENOSYS => {
            "; this host does not allow user namespaces to ordinary users: run as root, or allow them \
             (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, \
             user.max_user_namespaces=10000)"
        }
        _ => "",
    };
    anyhow::anyhow!("cannot make namespaces: {error}{advice}")
}
