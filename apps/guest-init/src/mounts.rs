// SPDX-License-Identifier: MIT OR Apache-2.0
//! File systems: those that every command expects, and those that the configuration asks for.

use std::ffi::CString;
use std::fs;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::conf::Mount;
use crate::failure::Failure;
use crate::kernel_log;

/// Type, target and options, in the order of mounting: some targets lie in an earlier one.
const EXPECTED: [(&str, &str, &str); 9] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=0755"),
    ("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
    ("debugfs", "/sys/kernel/debug", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
];

/// Mounts what the kernel offers. A kernel that lacks one is not at fault: Exo-Kernel has few of them. That it was not
/// there stands in the kernel's log.
pub(crate) fn file_systems_of_the_kernel() {
    for (kind, target, options) in EXPECTED {
        let options = (!options.is_empty()).then_some(options);
        match try_mount(kind, kind, target, options) {
            // EBUSY: the kernel has mounted it by itself.
            Ok(()) | Err(MountError::Mount(Errno::BUSY)) => {}
            Err(error) => kernel_log::note(&format!("no {kind} at {target}: {error}")),
        }
    }
}

/// Mounts what the configuration asks for: here everything must be as said.
pub(crate) fn mount(wanted: &Mount) -> Result<(), Failure> {
    let Mount { kind, source, target, options } = wanted;
    try_mount(kind, source, target, options.as_deref()).map_err(|error| {
        let hint = match &error {
            MountError::Mount(Errno::NODEV) => format!(" (this kernel has no file system {kind:?})"),
            MountError::Mount(Errno::INVAL) if kind == "virtiofs" => {
                format!(" (has the machine a virtio-fs device with the tag {source:?}?)")
            }
            _ => String::new(),
        };
        Failure::new(format!("cannot mount {kind} {source:?} at {target}: {error}{hint}"))
    })
}

enum MountError {
    Directory(std::io::Error),
    Options,
    Mount(Errno),
}

impl std::fmt::Display for MountError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(error) => write!(f, "cannot make the directory: {error}"),
            Self::Options => f.write_str("the options hold a NUL byte"),
            Self::Mount(errno) => write!(f, "{errno}"),
        }
    }
}

fn try_mount(kind: &str, source: &str, target: &str, options: Option<&str>) -> Result<(), MountError> {
    // `ro` is a flag of mount(2), and every other word belongs to the file system.
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for word in options.unwrap_or_default().split(',').filter(|word| !word.is_empty()) {
        if word == "ro" { flags |= MountFlags::RDONLY } else { data.push(word) }
    }
    let data = CString::new(data.join(",")).map_err(|_| MountError::Options)?;
    let data = (!data.is_empty()).then_some(data.as_c_str());
    fs::create_dir_all(target).map_err(MountError::Directory)?;
    rustix::mount::mount(source, target, kind, flags, data).map_err(MountError::Mount)
}
