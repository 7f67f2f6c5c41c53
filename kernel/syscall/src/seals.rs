// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files without a name, and fcntl's commands for their seals.

use alloc::sync::Arc;

use exo_vfs::superblock::ANONYMOUS;
use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    fs::{
        OpenFile,
        dentry::Dentry,
        inode::{Inode, InodeContent, kind},
        mount,
        open::open_nameless,
        path::Path,
        permission,
    },
    mm::{Pages, VmObject},
    task::current,
    user,
};

const ALL: u32 = abi::F_SEAL_SEAL
    | abi::F_SEAL_SHRINK
    | abi::F_SEAL_GROW
    | abi::F_SEAL_WRITE
    | abi::F_SEAL_FUTURE_WRITE
    | abi::F_SEAL_EXEC;
/// What a seal of the permission to execute promises, too, for a file that can be executed.
const WITH_EXEC: u32 = abi::F_SEAL_SHRINK | abi::F_SEAL_GROW | abi::F_SEAL_WRITE | abi::F_SEAL_FUTURE_WRITE;

/// A file without a name.
pub(super) fn memfd_create(name: usize, flags: u32) -> Result {
    /// Longest name on Linux, with its end.
    const LONGEST: usize = 250;
    const FLAGS: u32 = abi::MFD_CLOEXEC | abi::MFD_ALLOW_SEALING | abi::MFD_NOEXEC_SEAL | abi::MFD_EXEC;
    if flags & !FLAGS != 0 || flags & abi::MFD_EXEC != 0 && flags & abi::MFD_NOEXEC_SEAL != 0 {
        return Err(Errno::EINVAL);
    }
    let name = user::read_string(name, LONGEST, Errno::EINVAL)?;
    let pages = Pages::new(0);
    let mut mode = 0o777;
    if flags & (abi::MFD_ALLOW_SEALING | abi::MFD_NOEXEC_SEAL) != 0 {
        pages.seals.allow();
    }
    if flags & abi::MFD_NOEXEC_SEAL != 0 {
        mode = 0o666;
        pages.seals.add(abi::F_SEAL_EXEC);
    }
    let pages = Arc::new(pages);
    let node = Inode::new(&ANONYMOUS, kind::REGULAR | mode, InodeContent::File(pages.clone()));
    permission::set_first_owner(&node);
    // It never has a name.
    node.change(|metadata| metadata.links = 0);
    let mut shown = b"memfd:".to_vec();
    shown.extend(name);
    let path = Path { mount: mount::anonymous(), dentry: Dentry::shown_as(node, shown)? };
    let opened = open_nameless(&path, &pages, abi::O_RDWR | super::open::LARGE_FILE)?;
    current().files.add(opened, flags & abi::MFD_CLOEXEC != 0, 0)
}

fn pages(file: &OpenFile) -> Result<&Arc<Pages>> {
    match &file.node().content {
        InodeContent::File(pages) => Ok(pages),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn get(file: &OpenFile) -> Result {
    pages(file).map(|pages| pages.seals.bits() as usize)
}

pub(super) fn add(file: &OpenFile, bits: u32) -> Result {
    let pages = pages(file)?;
    if !file.can_write() {
        return Err(Errno::EPERM);
    }
    if bits & !ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let executable = bits & abi::F_SEAL_EXEC != 0 && file.node().is_executable();
    let old = pages.seals.bits();
    pages.seal(if executable { bits | WITH_EXEC } else { bits }, || is_mapped_for_writing(pages, old))?;
    Ok(0)
}

/// Whether a program can write to a shared mapping of it. As on Linux a mapping that is read only counts, unless it was made under a seal.
fn is_mapped_for_writing(pages: &Pages, seals: u32) -> bool {
    let mut found = false;
    pages.mappings().each(|area| {
        let could_write =
            seals & abi::F_SEAL_FUTURE_WRITE == 0 || area.flags.contains(exo_logic::areas::Flags::WRITE);
        found |= could_write && area.flags.contains(exo_logic::areas::Flags::SHARED);
    });
    found
}
