// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux's error numbers, as a device gives them to its client.

use std::fmt;
use std::io;
use std::num::NonZero;

use thiserror::Error;

/// The largest error number that Linux has room for.
const MAX: u16 = 4095;

/// An error number of Linux, from 1 to 4095.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub struct Errno(NonZero<u16>);

macro_rules! known {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:expr,)+) => {
        impl Errno {
            $($(#[doc = $doc])+ pub const $name: Self = Self::known($number);)+
        }
    };
}

known! {
    /// Operation not permitted.
    PERM = libc::EPERM,
    /// No such file or directory.
    NOENT = libc::ENOENT,
    /// Input/output error.
    IO = libc::EIO,
    /// Try again.
    AGAIN = libc::EAGAIN,
    /// Out of memory.
    NOMEM = libc::ENOMEM,
    /// Permission denied.
    ACCESS = libc::EACCES,
    /// Bad address.
    FAULT = libc::EFAULT,
    /// Device or resource busy.
    BUSY = libc::EBUSY,
    /// File exists.
    EXIST = libc::EEXIST,
    /// No such device.
    NODEV = libc::ENODEV,
    /// Invalid argument.
    INVAL = libc::EINVAL,
    /// No space left on device.
    NOSPC = libc::ENOSPC,
    /// Protocol error.
    PROTO = libc::EPROTO,
    /// Function not implemented.
    NOSYS = libc::ENOSYS,
    /// Operation not supported.
    OPNOTSUPP = libc::EOPNOTSUPP,
}

impl Errno {
    /// The number, if it is one.
    pub const fn from_raw(number: u16) -> Option<Self> {
        match NonZero::new(number) {
            Some(number) if number.get() <= MAX => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    pub const fn raw(self) -> u16 {
        self.0.get()
    }

    const fn known(number: i32) -> Self {
        match Self::from_raw(number as u16) {
            Some(errno) => errno,
            None => panic!("a number of the C library is one"),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from(*self).fmt(formatter)
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.raw().into())
    }
}

// These are no `From`: rustix is this crate's own business.
impl Errno {
    /// What the operating system says; `EIO` for what it cannot say.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn of_system(errno: rustix::io::Errno) -> Self {
        let number = u16::try_from(errno.raw_os_error()).ok();
        number.and_then(Self::from_raw).unwrap_or(Self::IO)
    }

    /// The same as the operating system's.
    pub(crate) fn to_system(self) -> rustix::io::Errno {
        rustix::io::Errno::from_raw_os_error(self.raw().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_linuxs_and_read_as_such() {
        assert_eq!((Errno::INVAL.raw(), Errno::from_raw(22)), (22, Some(Errno::INVAL)));
        assert_eq!((Errno::from_raw(0), Errno::from_raw(4096)), (None, None));
        assert!(Errno::NOSPC.to_string().starts_with("No space left on device"));
        assert_eq!(Errno::of_system(rustix::io::Errno::FAULT), Errno::FAULT);
    }
}
