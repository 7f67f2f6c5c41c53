// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of mounts as /proc shows it.

use core::{fmt::Write, sync::atomic::Ordering};

use alloc::{string::String, sync::Arc, vec::Vec};

use linux_raw_sys::general as abi;

use exo_vfs::mounting;

use super::mount::{self, Mount, Path};

/// A mount as the running program sees it.
pub struct Visible {
    /// The mount.
    pub mount: Arc<Mount>,
    /// Its mount point, from the program's root directory.
    pub target: Vec<u8>,
}

/// The mounts that can be seen from `root`, in the order in which they were made.
pub fn visible(root: &Path) -> Vec<Visible> {
    let see = |mount: Arc<Mount>| {
        let (target, is_below) = Path::root_of(mount.clone()).names_below(root).ok()?;
        is_below.then_some(Visible { mount, target })
    };
    mount::list().into_iter().filter_map(see).collect()
}

/// Writes a name with what would break the line as octal numbers.
pub fn write_escaped(name: &[u8], out: &mut dyn Write) -> core::fmt::Result {
    for byte in name {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => write!(out, "\\{byte:03o}")?,
            _ if byte.is_ascii() => out.write_char(char::from(*byte))?,
            _ => write!(out, "\\{byte:03o}")?,
        }
    }
    Ok(())
}

impl Visible {
    /// The number of the mount that it is in; its own for the root.
    pub fn parent(&self) -> u64 {
        self.mount.mountpoint().map_or(self.mount.id, |at| at.mount.id)
    }

    /// The type of its file system.
    pub fn kind(&self) -> &'static str {
        self.mount.superblock.system.name()
    }

    /// Its own options, without `rw` or `ro`, each with a comma before it.
    pub fn options(&self) -> String {
        let mut out = String::new();
        for (flag, name) in [
            (abi::MS_NOSUID, ",nosuid"),
            (abi::MS_NODEV, ",nodev"),
            (abi::MS_NOEXEC, ",noexec"),
            (abi::MS_NOATIME, ",noatime"),
            (abi::MS_NODIRATIME, ",nodiratime"),
            (abi::MS_RELATIME, ",relatime"),
            (abi::MS_NOSYMFOLLOW, ",nosymfollow"),
        ] {
            if self.mount.has(flag) {
                out.push_str(name);
            }
        }
        out
    }

    /// The options of its superblock, without `rw` or `ro`, each with a comma before it.
    pub fn superblock_options(&self) -> String {
        // A directory that is shown elsewhere too is not the file system's root.
        let shown = mounting::options(&self.mount.superblock, &self.mount.top.inode);
        String::from_utf8_lossy(&shown).into_owned()
    }
}

/// Writes a mount's line of /proc/PID/mountinfo.
pub fn write_info_line(visible: &Visible, out: &mut dyn Write) -> core::fmt::Result {
    let mount = &visible.mount;
    write!(out, "{} {} 0:{} ", mount.id, visible.parent(), mount.superblock.device)?;
    write_escaped(&mount.root.names_in_file_system(), out)?;
    out.write_char(' ')?;
    write_escaped(&visible.target, out)?;
    let own = if mount.has(abi::MS_RDONLY) { "ro" } else { "rw" };
    let unbindable = if mount.has(abi::MS_UNBINDABLE) { " unbindable" } else { "" };
    write!(out, " {own}{}{unbindable} - {} ", visible.options(), visible.kind())?;
    write_escaped(&mount.source, out)?;
    let all = if mount.superblock.read_only.load(Ordering::Relaxed) { "ro" } else { "rw" };
    writeln!(out, " {all}{}", visible.superblock_options())
}

/// Writes a mount's line of /proc/PID/mountstats.
pub fn write_statistics_line(visible: &Visible, out: &mut dyn Write) -> core::fmt::Result {
    out.write_str("device ")?;
    write_escaped(&visible.mount.source, out)?;
    out.write_str(" mounted on ")?;
    write_escaped(&visible.target, out)?;
    writeln!(out, " with fstype {}", visible.kind())
}

/// Writes a mount's line of /proc/mounts.
pub fn write_mounts_line(visible: &Visible, out: &mut dyn Write) -> core::fmt::Result {
    write_escaped(&visible.mount.source, out)?;
    out.write_char(' ')?;
    write_escaped(&visible.target, out)?;
    let access = if visible.mount.is_read_only() { "ro" } else { "rw" };
    let (own, shared) = (visible.options(), visible.superblock_options());
    writeln!(out, " {} {access}{own}{shared} 0 0", visible.kind())
}
