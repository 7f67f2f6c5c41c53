// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for processes and ending what is left: the duties of the first process.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

use crate::failure::Failure;

/// Waits until `child` has ended, takes in every orphan that ends meanwhile, and returns the status for the host.
pub(crate) fn wait_for(child: u32) -> Result<u8, Failure> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if u32::try_from(pid.as_raw_pid()) == Ok(child) => {
                return Ok(host_status(status));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::new(format!("cannot wait for process {child}: {errno}"))),
        }
    }
}

/// Kills what the command has left behind, so that its ends of the pipes close.
///
/// Without `/proc` (a young kernel) there is nothing to be found, and nothing is done.
pub(crate) fn kill_the_rest() {
    // A process that forks while the directory is read can slip through one round, hence a few.
    for _ in 0..5 {
        let mut found = false;
        for pid in user_processes() {
            // ESRCH: it has ended by itself.
            found |= kill_process(pid, Signal::KILL).is_ok();
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if !found {
            return;
        }
    }
}

fn user_processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        // Kernel threads and zombies have no command line.
        let has_a_program = fs::read(entry.path().join("cmdline")).is_ok_and(|line| !line.is_empty());
        Pid::from_raw(number).filter(|&pid| pid != Pid::INIT && has_a_program)
    })
}

/// The exit status, or 128 + S for a death by signal S, as shells have it.
fn host_status(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => signal.saturating_add(128),
        (None, None) => i32::from(crate::STATUS_NOT_PREPARED),
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}
