// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading and unloading modules by name.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Stop, fail};

/// Where the file of a module is.
pub(crate) fn file_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.ko"))
}

/// Whether the module is loaded.
pub(crate) fn is_loaded(name: &str) -> bool {
    Path::new("/sys/module").join(name).exists()
}

/// Loads `NAME.ko` of this folder, without parameters.
pub(crate) fn load(folder: &Path, name: &str) -> Result<(), Stop> {
    try_load(folder, name, c"")?
        .or_else(|errno| fail(format!("cannot load {}: {errno}", file_of(folder, name).display())))
}

/// Loads `NAME.ko` of this folder; the inner error is the kernel's. One system call: a loader that tries a second one would
/// hide that the first has failed.
pub(crate) fn try_load(folder: &Path, name: &str, parameters: &CStr) -> Result<Result<(), Errno>, Stop> {
    let path = file_of(folder, name);
    let file = File::open(&path).or_else(|error| fail(format!("cannot open {}: {error}", path.display())))?;
    Ok(rustix::system::finit_module(&file, parameters, 0))
}

/// Unloads a module that nobody uses.
pub(crate) fn unload(name: &str) -> Result<(), Stop> {
    try_unload(name).or_else(|errno| fail(format!("cannot unload {name}: {errno}")))
}

/// The same; the error is the kernel's.
pub(crate) fn try_unload(name: &str) -> Result<(), Errno> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    // As rmmod: without waiting until the module is free.
    let no_wait = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    rustix::system::delete_module(&name, no_wait)
}
