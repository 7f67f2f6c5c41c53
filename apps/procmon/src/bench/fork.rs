// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process that does nothing: the shortest life there is.
#![expect(unsafe_code, reason = "no library forks safely")]

use std::io;

/// Makes a process that exits at once, and waits for it.
///
/// # Errors
/// Those of `fork(2)` and `waitpid(2)`.
pub(super) fn fork_and_exit() -> io::Result<()> {
    // SAFETY: The child calls nothing but _exit(2), which is allowed whatever other threads hold.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: Ends the child without running anything of the parent's.
        unsafe { libc::_exit(0) }
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    loop {
        // SAFETY: Waits for our own child; nowhere to write the status to is allowed.
        if unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } == pid {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
