// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/PID/fd and /proc/PID/fdinfo.

use core::fmt::Write;

use alloc::{
    boxed::Box,
    format,
    sync::{Arc, Weak},
    vec::Vec,
};

use linux_raw_sys::general as abi;

use super::{
    TEXT, node, number,
    subject::{Reference, made},
};
use crate::{
    errno::{Errno, Result},
    fs::{
        OpenFile,
        inode::{
            Inode, InodeContent, MagicLink,
            directory::{DirectoryOperations, Each},
            kind,
        },
        mount::Path,
        text::collect,
    },
};

/// Links to what a process's descriptors stand for.
pub(super) struct Descriptors(pub(super) Reference);

/// What is known of each descriptor.
pub(super) struct Information(pub(super) Reference);

fn file(of: &Reference, name: &[u8]) -> Result<(i32, Arc<OpenFile>)> {
    let subject = of.get().map_err(|_| Errno::ENOENT)?;
    let fd = number(name).and_then(|n| i32::try_from(n).ok()).ok_or(Errno::ENOENT)?;
    let file = subject.files().and_then(|files| files.get(fd).ok()).ok_or(Errno::ENOENT)?;
    Ok((fd, file))
}

fn list(of: &Reference, information: bool, after: u64, each: &mut Each<'_>) -> Result<()> {
    let subject = of.get().map_err(|_| Errno::ENOENT)?;
    let kind = if information { kind::REGULAR } else { kind::LINK };
    // Positions are one more than the descriptor.
    let mut next = usize::try_from(after).unwrap_or(usize::MAX);
    let Some(files) = subject.files() else { return Ok(()) };
    while let Some(fd) = files.first_from(next) {
        next = fd + 1;
        let number = of.descriptor_inode(fd, information);
        if !each(format!("{fd}").as_bytes(), kind, number, next as u64) {
            break;
        }
    }
    Ok(())
}

/// A link to an open file.
struct Link(Weak<OpenFile>);

impl Link {
    fn file(&self) -> Result<Arc<OpenFile>> {
        self.0.upgrade().ok_or(Errno::ENOENT)
    }
}

impl MagicLink for Link {
    fn target(&self) -> Result<Path> {
        Ok(self.file()?.path())
    }

    fn text(&self) -> Result<Vec<u8>> {
        Ok(self.file()?.description())
    }

    /// As on Linux.
    fn size(&self) -> u64 {
        64
    }
}

impl DirectoryOperations for Descriptors {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        let (fd, file) = file(&self.0, name)?;
        // Its permissions tell what the file was opened for.
        let access = if file.can_read() { 0o500 } else { 0 } | if file.can_write() { 0o300 } else { 0 };
        let number = self.0.descriptor_inode(fd.unsigned_abs() as usize, false);
        Ok(made(
            &self.0,
            node(number, kind::LINK | access, InodeContent::Magic(Box::new(Link(Arc::downgrade(&file))))),
        ))
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()> {
        list(&self.0, false, after, each)
    }
}

impl DirectoryOperations for Information {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        let (fd, _) = file(&self.0, name)?;
        let of = self.0.clone();
        let number = of.descriptor_inode(fd.unsigned_abs() as usize, true);
        let show = Box::new(move || {
            let files = of.get()?.files().ok_or(Errno::ENOENT)?;
            let file = files.get(fd).map_err(|_| Errno::ENOENT)?;
            let on_exec = files.close_on_exec_flag(fd).unwrap_or(false);
            collect(|out| {
                describe(&file, on_exec, out)?;
                file.node().locks.get().map_or(Ok(()), |locks| locks.write_of(files.number(), file.id(), out))
            })
        });
        Ok(made(&self.0, node(number, TEXT, InodeContent::Text(show))))
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()> {
        list(&self.0, true, after, each)
    }
}

fn describe(file: &OpenFile, close_on_exec: bool, out: &mut dyn Write) -> core::fmt::Result {
    // O_LARGEFILE is always on for what was opened by name.
    let opened =
        !matches!(file.node().content, InodeContent::Fifo(_) | InodeContent::Socket | InodeContent::Other);
    let large = if opened { 0o100_000 } else { 0 };
    let on_exec = if close_on_exec { abi::O_CLOEXEC } else { 0 };
    let flags = file.flags() & !abi::O_CLOEXEC | large | on_exec;
    writeln!(out, "pos:\t{}\nflags:\t0{flags:o}", file.position())?;
    writeln!(out, "mnt_id:\t{}\nino:\t{}", file.mount.id, file.node().number)?;
    file.file().describe(out)
}
