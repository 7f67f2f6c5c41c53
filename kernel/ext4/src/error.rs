// SPDX-License-Identifier: MIT OR Apache-2.0
//! What may go wrong.

/// A result of this crate.
pub type Result<T> = core::result::Result<T, Error>;

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The device failed (EIO).
    Device,
    /// The image contradicts itself or the format; the text says where (EUCLEAN).
    Corrupt(&'static str),
    /// The image is sound, but needs something that there is not here; the text names it (EOPNOTSUPP).
    Unsupported(&'static str),
    /// The file system, or this file of it, is not written to (EROFS).
    ReadOnly,
    /// Memory was refused (ENOMEM).
    NoMemory,
    /// There is no such name, inode or attribute (ENOENT; ENODATA for attributes).
    NotFound,
    /// The name is taken (EEXIST).
    Exists,
    /// It would have to be a directory (ENOTDIR).
    NotADirectory,
    /// It must not be a directory (EISDIR).
    IsADirectory,
    /// The directory has entries (ENOTEMPTY).
    NotEmpty,
    /// A name is empty, too long, or has characters that no name has (ENAMETOOLONG, EINVAL).
    BadName,
    /// No block or inode is free (ENOSPC).
    NoSpace,
    /// One more link or entry would exceed what the format holds (EMLINK).
    TooManyLinks,
    /// The file would be larger than the format allows (EFBIG).
    TooLarge,
    /// What was asked for makes no sense for this inode (EINVAL).
    Invalid,
}
