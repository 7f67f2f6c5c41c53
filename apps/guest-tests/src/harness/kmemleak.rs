// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asking kmemleak, the kernel's detector of lost memory. It reports nothing by itself.

use std::time::Duration;
use std::{fs, io, thread};

/// There on kernels that have the detector.
pub(super) const FILE: &str = "/sys/kernel/debug/kmemleak";

/// Objects younger than five seconds at the start of a scan are left out (`MSECS_MIN_AGE` in `mm/kmemleak.c`).
const OLD_ENOUGH: Duration = Duration::from_millis(5500);

/// Looks for lost memory among what is older than this call; the number of leaks goes to the kernel's log.
///
/// An object must be unchanged between two scans; the first one only takes its measure, so that need not wait.
///
/// # Errors
/// As of the file: `NotFound` on a kernel without kmemleak, `PermissionDenied` if it has turned itself off.
pub(super) fn scan() -> io::Result<()> {
    fs::write(FILE, "scan")?;
    thread::sleep(OLD_ENOUGH);
    fs::write(FILE, "scan")
}
