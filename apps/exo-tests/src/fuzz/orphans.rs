// SPDX-License-Identifier: MIT OR Apache-2.0
//! What attackers leave behind: processes that they made and that left their group, so that the end of the group is not theirs. They
//! become this process's children when their parents end, and end then.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::{Attacker, LAST_PATIENCE};
use crate::{Outcome, failed};

/// Has orphans below this process become its children.
pub(super) fn adopt() -> Outcome {
    // SAFETY: sets a flag of this process's.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().into()),
    }
}

/// The children of this process.
fn children() -> io::Result<Vec<libc::pid_t>> {
    let own = std::process::id();
    let parent_of = |pid: libc::pid_t| {
        // The name before the state may have any character.
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let text = String::from_utf8_lossy(&text);
        text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let numbers = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<libc::pid_t>().ok());
    Ok(numbers.filter(|pid| parent_of(*pid) == Some(own)).collect())
}

/// Ends those that are there now and waits for them; how many there were.
fn end_present(running: &[Attacker]) -> io::Result<usize> {
    let orphans: Vec<_> = children()?
        .into_iter()
        .filter(|pid| running.iter().all(|attacker| attacker.child.id() != *pid))
        .collect();
    for orphan in &orphans {
        // SAFETY: kills children of this process, which were not waited for.
        unsafe { libc::kill(*orphan, libc::SIGKILL) };
    }
    let deadline = Instant::now() + LAST_PATIENCE;
    for orphan in &orphans {
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(*orphan, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) } == 0 {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("orphan {orphan} was killed and does not end")));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(orphans.len())
}

/// Ends all orphans, and those that become ones by that.
pub(super) fn end(running: &[Attacker]) -> Outcome {
    for _ in 0..1000 {
        if end_present(running)? == 0 {
            return Ok(());
        }
    }
    Err(failed("orphans make others faster than they end"))
}
