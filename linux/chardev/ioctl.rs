// SPDX-License-Identifier: GPL-2.0

//! `ioctl(2)` commands with the type of their argument.
//!
//! The number of a command holds the size of its argument and the direction in which it is copied;
//! [`Dispatch`] copies accordingly, so that number and code cannot disagree.
//!
//! ```ignore
//! use chardev::ioctl::{Command, Dispatch, Read, Write};
//!
//! const GET_LIMIT: Command<Read<u32>> = Command::ior(b'~', 1);
//! const SET_LIMIT: Command<Write<u32>> = Command::iow(b'~', 2);
//!
//! fn ioctl(limit: &mut u32, command: u32, argument: usize) -> Result<isize> {
//!     Dispatch::new(command, argument)
//!         .read(GET_LIMIT, || Ok(*limit))
//!         .write(SET_LIMIT, |new| {
//!             *limit = new;
//!             Ok(())
//!         })
//!         .finish()
//! }
//! ```
//!
//! C header: [`include/uapi/asm-generic/ioctl.h`](srctree/include/uapi/asm-generic/ioctl.h)

use super::user;
use core::marker::PhantomData;
use kernel::{
    ioctl::{
        _IO,
        _IOR,
        _IOW,
        _IOWR, //
    },
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::UserPtr, //
};

/// A command without an argument.
pub struct Plain;
/// A command by which the program reads a `T`.
pub struct Read<T>(PhantomData<T>);
/// A command by which the program writes a `T`.
pub struct Write<T>(PhantomData<T>);
/// A command by which the program writes a `T` and reads the answer in its place.
pub struct ReadWrite<T>(PhantomData<T>);

/// The number of a command.
pub struct Command<Kind> {
    number: u32,
    _kind: PhantomData<fn(Kind)>,
}

impl<Kind> Command<Kind> {
    const fn new(number: u32) -> Self {
        Self {
            number,
            _kind: PhantomData,
        }
    }

    /// Returns the number that programs pass.
    pub const fn number(&self) -> u32 {
        self.number
    }
}

impl Command<Plain> {
    /// Command `number` of the driver that owns the letter `kind`.
    pub const fn io(kind: u8, number: u8) -> Self {
        // CAST: Lossless, here and below; `From` is not const.
        Self::new(_IO(kind as u32, number as u32))
    }
}

impl<T> Command<Read<T>> {
    /// As [`Command::io`].
    pub const fn ior(kind: u8, number: u8) -> Self {
        Self::new(_IOR::<T>(kind as u32, number as u32))
    }
}

impl<T> Command<Write<T>> {
    /// As [`Command::io`].
    pub const fn iow(kind: u8, number: u8) -> Self {
        Self::new(_IOW::<T>(kind as u32, number as u32))
    }
}

impl<T> Command<ReadWrite<T>> {
    /// As [`Command::io`].
    pub const fn iowr(kind: u8, number: u8) -> Self {
        Self::new(_IOWR::<T>(kind as u32, number as u32))
    }
}

/// One call of `ioctl(2)`, offered to one command after the other.
pub struct Dispatch {
    number: u32,
    argument: UserPtr,
    result: Option<Result>,
}

impl Dispatch {
    /// A call with what the program has passed.
    pub fn new(command: u32, argument: usize) -> Self {
        Self {
            number: command,
            argument: UserPtr::from_addr(argument),
            result: None,
        }
    }

    /// Calls `f` if this is `command`.
    pub fn plain(self, command: Command<Plain>, f: impl FnOnce() -> Result) -> Self {
        self.run(command.number, |_| f())
    }

    /// Copies what `f` returns to the program if this is `command`.
    pub fn read<T: AsBytes>(
        self,
        command: Command<Read<T>>,
        f: impl FnOnce() -> Result<T>,
    ) -> Self {
        self.run(command.number, |argument| user::put(argument, &f()?))
    }

    /// Calls `f` with the program's value if this is `command`.
    pub fn write<T: FromBytes>(
        self,
        command: Command<Write<T>>,
        f: impl FnOnce(T) -> Result,
    ) -> Self {
        self.run(command.number, |argument| f(user::get(argument)?))
    }

    /// Replaces the program's value by what `f` makes of it if this is `command`.
    pub fn read_write<T: AsBytes + FromBytes>(
        self,
        command: Command<ReadWrite<T>>,
        f: impl FnOnce(T) -> Result<T>,
    ) -> Self {
        self.run(command.number, |argument| {
            user::put(argument, &f(user::get(argument)?)?)
        })
    }

    fn run(mut self, number: u32, f: impl FnOnce(UserPtr) -> Result) -> Self {
        if self.result.is_none() && self.number == number {
            self.result = Some(f(self.argument));
        }
        self
    }

    /// Returns what `ioctl(2)` returns.
    ///
    /// # Errors
    ///
    /// [`ENOTTY`] if it was none of the commands, [`EFAULT`], or the command's error.
    pub fn finish(self) -> Result<isize> {
        self.result.unwrap_or(Err(ENOTTY)).map(|()| 0)
    }
}
