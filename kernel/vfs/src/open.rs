// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what is at a place, and the files of a file system in memory.

use alloc::{boxed::Box, sync::Arc};

use exo_hal::PAGE_SIZE;
use linux_raw_sys::general as abi;

use super::{
    device,
    file::{File, Io},
    inode::{Inode, InodeContent},
    mount::Path,
    open_file::OpenFile,
    pipe::end,
    size_limit,
    text_file::Generated,
    writing::Writing,
};
use crate::{
    errno::{Errno, Result},
    fallible,
    io_buf::{IoBuf, IoSource},
    mm::Pages,
};

/// A file in memory.
struct Regular {
    node: Arc<Inode>,
    pages: Arc<Pages>,
}

impl Regular {
    /// Writes to `offset`, or to the end.
    fn write_to(&self, offset: Option<u64>, from: &mut IoSource<'_>) -> Result<(u64, usize)> {
        let length = from.left();
        let written = self.pages.write(offset, from, |offset| size_limit::clip(offset, length))?;
        if written.1 > 0 {
            self.node.touch();
        }
        Ok(written)
    }
}

impl File for Regular {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        self.pages.read(io.offset, to)
    }

    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        self.write_to(Some(io.offset), from).map(|(_, count)| count)
    }

    fn append(&self, _io: Io, from: &mut IoSource<'_>) -> Result<(u64, usize)> {
        self.write_to(None, from)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn sparse_pages(&self) -> Option<&Pages> {
        Some(&self.pages)
    }

    fn seek_size(&self) -> Option<u64> {
        Some(self.pages.size())
    }

    fn pages(&self) -> Result<Option<Arc<Pages>>> {
        Ok(Some(self.pages.clone()))
    }

    /// Of a file without a name, what only its descriptors keep.
    fn kernel_memory(&self) -> usize {
        if self.node.is_named() { 0 } else { self.pages.resident() * PAGE_SIZE }
    }
}

/// A directory; whether it is one that keeps files.
struct Directory(bool);

impl File for Directory {
    fn read(&self, _io: Io, _to: &mut IoBuf<'_>) -> Result {
        Err(Errno::EISDIR)
    }

    fn splices(&self, _write: bool) -> bool {
        false
    }

    fn sync(&self) -> Result<()> {
        if self.0 { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn seek_size(&self) -> Option<u64> {
        Some(0)
    }
}

/// What is opened for its place only (O_PATH).
struct PathOnly;

impl File for PathOnly {
    fn read(&self, _io: Io, _to: &mut IoBuf<'_>) -> Result {
        Err(Errno::EBADF)
    }
}

/// Opens a file without a name that was just made. As on Linux, who has made it may both write and start it.
///
/// # Errors
/// ENOMEM.
pub fn open_nameless(path: &Path, pages: &Arc<Pages>, flags: u32) -> Result<Arc<OpenFile>> {
    let file = fallible::boxed(Regular { node: Arc::clone(path), pages: pages.clone() })?;
    Ok(OpenFile::at(file, path.clone(), flags, None)?)
}

/// Opens what is at a place.
pub fn open_path(path: &Path, flags: u32) -> Result<Arc<OpenFile>> {
    let node: &Arc<Inode> = path;
    let writes = flags & abi::O_ACCMODE != abi::O_RDONLY && flags & abi::O_PATH == 0;
    let writing = match &node.content {
        InodeContent::File(_) if writes => Some(Writing::new(path)?),
        _ if writes && node.is_stored() => path.check_writable().map(|()| None)?,
        _ => None,
    };
    let file: Box<dyn File> = match &node.content {
        _ if flags & abi::O_PATH != 0 => fallible::boxed(PathOnly)?,
        InodeContent::File(pages) => fallible::boxed(Regular { node: node.clone(), pages: pages.clone() })?,
        InodeContent::Directory(_) => fallible::boxed(Directory(path.system.holds_files()))?,
        InodeContent::Link(_) | InodeContent::DynamicLink(_) | InodeContent::Magic(_) => {
            return Err(Errno::ELOOP);
        }
        InodeContent::Text(_) | InodeContent::Setting(..) => fallible::boxed(Generated::new(node.clone()))?,
        InodeContent::Fifo(pipe) => return end::open_named(pipe, path, flags),
        InodeContent::Device(..) if path.mount.has(abi::MS_NODEV) => return Err(Errno::EACCES),
        InodeContent::Device(major, minor) => device::open(*major, *minor, node.kind(), flags)?,
        InodeContent::Socket | InodeContent::Other => return Err(Errno::ENXIO),
    };
    Ok(OpenFile::at(file, path.clone(), flags & !abi::O_NOCTTY, writing)?)
}
