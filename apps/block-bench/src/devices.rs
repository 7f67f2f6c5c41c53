// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices: found by a label, since each kernel numbers them in its own way.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::Failure;

/// What a label begins with; the name follows, and a line's end.
const LABEL: &str = "exo block-bench ";
/// What is left alone at the start of a device.
pub(crate) const RESERVED: u64 = 64 * 1024;
/// How a device must begin in /dev to be looked at for a label: what Linux calls SATA, NVMe and virtio disks, and what
/// Exo-Kernel calls disks.
const PREFIXES: [&str; 4] = ["sd", "nvme", "vd", "disk"];
/// Smallest device that the rows fit on.
const SMALLEST: u64 = 8 << 20;

/// A device that is open.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) file: File,
    /// Its size in bytes.
    pub(crate) size: u64,
}

/// Opens a device past any cache.
pub(crate) fn open(path: &Path) -> Result<Device, Failure> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    let mut file = options.open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    let size = file.seek(SeekFrom::End(0))?;
    if size < SMALLEST {
        let path = path.display();
        return Err(format!("{path} has {size} bytes; at least {SMALLEST} are needed").into());
    }
    Ok(Device { file, size })
}

/// Finds and opens the device whose label has this name.
pub(crate) fn labelled(name: &str) -> Result<Device, Failure> {
    let mut seen = Vec::new();
    for entry in fs::read_dir("/dev")? {
        let path: PathBuf = entry?.path();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        if PREFIXES.iter().any(|prefix| file_name.starts_with(prefix)) {
            if has_label(&path, name) {
                return open(&path);
            }
            seen.push(file_name.into_owned());
        }
    }
    seen.sort();
    Err(format!("no device has the label {:?}; looked at {}", format!("{LABEL}{name}"), seen.join(" "))
        .into())
}

/// What cannot be read, such as a controller's own node, has no label.
fn has_label(path: &Path, name: &str) -> bool {
    let mut sector = [0; 512];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut sector));
    read.is_ok() && sector.starts_with(format!("{LABEL}{name}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_the_whole_first_line() {
        let path = std::env::temp_dir().join(format!("block-bench-{}", std::process::id()));
        let mut content = b"exo block-bench nvme\n".to_vec();
        content.resize(512, 0);
        fs::write(&path, &content).unwrap();
        assert!(has_label(&path, "nvme") && !has_label(&path, "nvm") && !has_label(&path, "ahci"));
        fs::write(&path, b"exo block-bench nvme\n").unwrap();
        assert!(!has_label(&path, "nvme"), "less than a sector");
        fs::remove_file(&path).unwrap();
        assert!(!has_label(&path, "nvme"));
    }
}
