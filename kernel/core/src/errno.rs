// SPDX-License-Identifier: MIT OR Apache-2.0
//! Error numbers, with Linux's values and meaning, and what the errors of the floors below are for a program.

use exo_drivers::{
    block::{BlockError, Cause},
    random::RandomError,
};
use exo_hal::mm::{paging::NoMemory, user::BadAddress};
use exo_logic::credentials::Denied;
use linux_raw_sys::errno as raw;

/// An error that a system call answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What a system call gives: a value for RAX, or an error.
pub type Result<T = usize> = core::result::Result<T, Errno>;

macro_rules! errors {
    ($($name:ident)*) => {
        impl Errno { $( #[doc = stringify!($name)] pub const $name: Errno = Errno(raw::$name as i32); )* }
    };
}

errors! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST
    EXDEV ENODEV EROFS ECANCELED ENOTDIR EISDIR EINVAL EMFILE ENOTTY EFBIG ENOSPC ESPIPE ETXTBSY EPIPE ERANGE
    ENAMETOOLONG ENOSYS ENOTEMPTY ELOOP ETIMEDOUT EOPNOTSUPP EAFNOSUPPORT EMSGSIZE ENOTSOCK EISCONN EALREADY
    ENODATA ETIME EOVERFLOW ENETUNREACH EDEADLK ENOLCK ELIBBAD
    ECONNREFUSED ENOTCONN ECONNRESET ETOOMANYREFS ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EDOM ENOBUFS
    EADDRINUSE EADDRNOTAVAIL EPROTOTYPE EDESTADDRREQ EINPROGRESS ECONNABORTED ENETDOWN
}

impl Errno {
    /// Not for programs: interrupted before anything was done. Becomes a restart of the call, or EINTR, according to the
    /// signal's action (SA_RESTART).
    pub const RESTART: Errno = Errno(512);
    /// Not for programs: as `RESTART`, and a restart whatever ran.
    pub const RESTART_ALWAYS: Errno = Errno(513);
    /// Not for programs: as `RESTART`, but EINTR whenever a handler ran.
    pub const RESTART_UNLESS_HANDLER: Errno = Errno(514);

    /// Whether a program must not see it.
    pub fn is_restart(self) -> bool {
        self.0 >= Self::RESTART.0
    }
}

impl From<BadAddress> for Errno {
    fn from(_: BadAddress) -> Self {
        Self::EFAULT
    }
}

impl From<NoMemory> for Errno {
    fn from(_: NoMemory) -> Self {
        Self::ENOMEM
    }
}

impl From<Denied> for Errno {
    fn from(_: Denied) -> Self {
        Self::EPERM
    }
}

impl From<BlockError> for Errno {
    fn from(error: BlockError) -> Self {
        match error.cause {
            Cause::OutOfRange => Self::ENOSPC,
            Cause::ReadOnly => Self::EROFS,
            Cause::TimedOut => Self::ETIMEDOUT,
            Cause::Removed | Cause::NotReady => Self::ENODEV,
            Cause::QueueFull => Self::EAGAIN,
            Cause::Cancelled => Self::ECANCELED,
            Cause::Unsupported => Self::EOPNOTSUPP,
            Cause::Misaligned => Self::EINVAL,
            Cause::NoMemory => Self::ENOMEM,
            _ => Self::EIO,
        }
    }
}

impl From<RandomError> for Errno {
    fn from(error: RandomError) -> Self {
        match error {
            RandomError::Gone => Self::ENODEV,
            RandomError::Busy => Self::EBUSY,
            RandomError::Unsupported => Self::EOPNOTSUPP,
            RandomError::NoMemory => Self::ENOMEM,
            _ => Self::EIO,
        }
    }
}
