// SPDX-License-Identifier: GPL-2.0

//! Copying single values between a driver and a program.

use kernel::{
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// Copies a value from the program.
///
/// # Errors
///
/// [`EFAULT`].
pub fn get<T: FromBytes>(from: UserPtr) -> Result<T> {
    UserSlice::new(from, size_of::<T>()).reader().read()
}

/// Copies a value to the program.
///
/// # Errors
///
/// [`EFAULT`].
pub fn put<T: AsBytes>(to: UserPtr, value: &T) -> Result {
    UserSlice::new(to, size_of::<T>()).writer().write(value)
}
