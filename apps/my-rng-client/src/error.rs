// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong with a device, in words that say what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::mapped::RingError;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    path: PathBuf,
    operation: Operation,
    errno: Errno,
}

/// The call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `open(2)`.
    Open,
    /// ioctl `SEED`.
    Seed,
    /// ioctl `SEED_WIDE`.
    SeedWide,
    /// ioctl `SEEK`.
    Seek,
    /// ioctl `RAND`.
    Rand32,
    /// ioctl `RAND64`.
    Rand64,
    /// ioctl `MAP_INFO`.
    MapInfo,
    /// `mmap(2)`.
    Map,
    /// ioctl `WAKE`.
    Wake,
    /// `poll(2)`.
    Poll,
    /// Taking bytes out of a mapped queue, which is no call at all.
    Take,
}

impl Error {
    pub(crate) fn new(path: &Path, operation: Operation, errno: Errno) -> Self {
        Self { path: path.to_owned(), operation, errno }
    }

    pub(crate) fn of_ring(path: &Path, error: RingError) -> Self {
        let errno = match error {
            RingError::Gone => Errno::NODEV,
            RingError::Stopped(_) | RingError::Corrupt => Errno::IO,
        };
        Self::new(path, Operation::Take, errno)
    }

    /// The error number of the failed call, as `errno(3)`.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.errno.raw_os_error()
    }

    /// The call that failed.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Seed => "ioctl SEED",
            Self::SeedWide => "ioctl SEED_WIDE",
            Self::Seek => "ioctl SEEK",
            Self::Rand32 => "ioctl RAND",
            Self::Rand64 => "ioctl RAND64",
            Self::MapInfo => "ioctl MAP_INFO",
            Self::Map => "mmap",
            Self::Wake => "ioctl WAKE",
            Self::Poll => "poll",
            Self::Take => "mapped queue",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, errno, .. } = self;
        let path = self.path.display();
        match *errno {
            Errno::NOENT => {
                write!(
                    f,
                    "no {path}: is the module my_rng loaded, and has the machine such a device (lspci -d 1234:cafe)?"
                )
            }
            Errno::ACCESS | Errno::PERM => {
                write!(
                    f,
                    "no permission to open {path}: run as root, or change the node's mode with a udev rule"
                )
            }
            Errno::NODEV | Errno::NXIO => {
                write!(
                    f,
                    "{path}: the device is gone: was it unplugged or unbound, or has its process ended ({operation})?"
                )
            }
            Errno::BUSY if *operation == Operation::MapInfo => {
                write!(
                    f,
                    "{path}: all queues for mmap are in use: load the module with mapped_queues=N for more"
                )
            }
            Errno::OPNOTSUPP if matches!(operation, Operation::SeedWide | Operation::Seek) => {
                write!(
                    f,
                    "{path}: the device or its generator takes no such seed, stream or position ({operation})"
                )
            }
            Errno::NOTTY if matches!(operation, Operation::SeedWide | Operation::Seek) => {
                write!(
                    f,
                    "{path}: its driver knows no longer seeds, or it is not a my_rng device ({operation}: ENOTTY)"
                )
            }
            Errno::OPNOTSUPP => {
                write!(f, "{path}: the device has no queues, or the module does not use them ({operation})")
            }
            Errno::NOTTY => write!(f, "{path} is not a my_rng device ({operation}: ENOTTY)"),
            errno => write!(f, "{path}: {operation}: {errno}"),
        }
    }
}

impl std::error::Error for Error {}
