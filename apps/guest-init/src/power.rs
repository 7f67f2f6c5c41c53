// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of the machine.

use rustix::system::{RebootCommand, reboot};

/// Powers the machine off, by whichever way the kernel knows.
pub(crate) fn off() -> ! {
    rustix::fs::sync();
    for (name, command) in [
        ("power off", RebootCommand::PowerOff),
        ("restart", RebootCommand::Restart),
        ("halt", RebootCommand::Halt),
    ] {
        // A successful call does not return, except on a machine that lacks the means.
        if let Err(errno) = reboot(command) {
            eprintln!("guest-init: cannot {name}: {errno}");
        }
    }
    // The kernel's last resort: it panics when its first process ends, and `panic=-1` makes that a restart.
    std::process::exit(crate::STATUS_NOT_PREPARED.into())
}
