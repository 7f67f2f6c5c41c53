// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files and links that programs expect and that an initramfs need not carry.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;

/// Where Debian's busybox-static lies, and where its links go.
pub(crate) const BUSYBOX: &str = "/bin/busybox";
const DIRECTORIES: [&str; 7] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/root", "/var/log", "/var/run"];

/// Links that devtmpfs lacks.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Makes what is missing; what the initramfs carries stays as it is.
pub(crate) fn prepare() -> Result<(), Failure> {
    for directory in DIRECTORIES {
        fs::create_dir_all(directory)
            .map_err(|error| Failure::new(format!("cannot make the directory {directory}: {error}")))?;
    }
    for (target, link) in LINKS {
        match symlink(target, link) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::new(format!("cannot make the link {link}: {error}"))),
        }
    }
    if Path::new("/bin/sh").exists() || !Path::new(BUSYBOX).exists() {
        return Ok(());
    }
    let installed = Command::new(BUSYBOX).args(["--install", "-s"]).stdin(Stdio::null()).status();
    match installed {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("{BUSYBOX} --install -s failed ({status})"))),
        Err(error) => Err(Failure::new(format!("cannot run {BUSYBOX}: {error}"))),
    }
}
