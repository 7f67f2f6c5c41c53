// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file systems of a sandbox.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::Layout;

const NOTHING: Option<&str> = None;

/// Top-level names that come from the tool tree or are made here; all others come from the host.
const NOT_FROM_THE_HOST: [&str; 15] = [
    "usr",
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "etc",
    "var",
    "boot",
    "proc",
    "sys",
    "dev",
    "lost+found",
    "initrd.img",
];

/// Makes the file systems and enters them. Without a tool tree, only `/proc` is made anew.
pub(super) fn make(layout: &Layout) -> anyhow::Result<()> {
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
        .context("cannot make mounts private")?;
    let Some(tree) = &layout.tree else {
        return proc_at(Path::new("/proc"));
    };
    // Any folder will do to hang the new root on; it becomes invisible to nobody but this namespace.
    let root = tree.join("mnt");
    mount(Some("exo"), &root, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .context("cannot mount a tmpfs")?;

    bind_read_only(&tree.join("usr"), &root.join("usr"))?;
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).with_context(|| format!("cannot link /{name}"))?;
    }
    bind(&tree.join("etc"), &root.join("etc"))?;
    if layout.writable_var {
        bind(&tree.join("var"), &root.join("var"))?;
    } else {
        fs::create_dir_all(root.join("var/tmp")).context("cannot create /var/tmp")?;
    }
    for (from, to) in [
        (layout.certificates.clone(), "etc/ssl/certs/ca-certificates.crt"),
        (Some(PathBuf::from("/etc/resolv.conf")), "etc/resolv.conf"),
    ] {
        if let Some(from) = from.filter(|path| path.is_file()) {
            bind_file(&from, &root.join(to))?;
        }
    }

    bind(Path::new("/dev"), &root.join("dev"))?;
    bind(Path::new("/sys"), &root.join("sys"))?;
    fs::create_dir_all(root.join("proc")).context("cannot create /proc")?;
    proc_at(&root.join("proc"))?;
    for entry in fs::read_dir("/").context("cannot list /")? {
        let entry = entry.context("cannot list /")?;
        let name = entry.file_name();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !NOT_FROM_THE_HOST.iter().any(|other| name == *other) {
            bind(&entry.path(), &root.join(&name))?;
        }
    }
    for folder in &layout.folders {
        let inside = root.join(folder.strip_prefix("/").unwrap_or(folder));
        if !same_file(folder, &inside) {
            bind(folder, &inside)?;
        }
    }

    chdir(&root).context("cannot enter the new root")?;
    match pivot_root(".", ".") {
        Ok(()) => umount2(".", MntFlags::MNT_DETACH).context("cannot leave the old root"),
        // The initial ramfs cannot be pivoted away from.
        Err(Errno::EINVAL) => nix::unistd::chroot(".").context("cannot change to the new root"),
        Err(error) => Err(error).context("cannot change to the new root"),
    }
}

fn bind(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    mount(Some(from), to, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
        .with_context(|| format!("cannot bind {}", from.display()))
}

fn bind_read_only(from: &Path, to: &Path) -> anyhow::Result<()> {
    bind(from, to)?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    match mount(NOTHING, to, NOTHING, flags, NOTHING) {
        // In a user namespace, flags that the host locked (nosuid, nodev) must be repeated.
        Err(Errno::EPERM) => {
            mount(NOTHING, to, NOTHING, flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV, NOTHING)
        }
        other => other,
    }
    .with_context(|| format!("cannot make {} read-only", to.display()))
}

fn bind_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !to.exists() {
        bail!("{} is missing in the tool tree", to.display());
    }
    mount(Some(from), to, NOTHING, MsFlags::MS_BIND, NOTHING)
        .with_context(|| format!("cannot bind {}", from.display()))
}

/// A `/proc` of this process namespace; in a container that hides parts of its own, the host's.
fn proc_at(to: &Path) -> anyhow::Result<()> {
    match mount(Some("proc"), to, Some("proc"), MsFlags::empty(), NOTHING) {
        Ok(()) => Ok(()),
        Err(Errno::EPERM) => bind(Path::new("/proc"), to),
        Err(error) => Err(error).context("cannot mount /proc"),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}
