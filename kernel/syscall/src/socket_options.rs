// SPDX-License-Identifier: MIT OR Apache-2.0
//! getsockopt and setsockopt: values are copied here, and what they mean is said in the network.

use super::sockets::with;
use crate::{
    errno::{Errno, Result},
    net::{options, socket::LONGEST_VALUE},
    user,
};

pub(super) fn get(fd: i32, level: u32, option: u32, to: usize, size: usize) -> Result {
    with(fd, |socket| {
        let room = usize::try_from(user::read::<i32>(size)?).map_err(|_| Errno::EINVAL)?;
        let value = options::get(socket, level, option)?;
        let count = room.min(value.len());
        user::copy_out(to, value.get(..count).unwrap_or_default())?;
        user::write(size, &(count as u32)).map(|()| 0)
    })
}

pub(super) fn set(fd: i32, level: u32, option: u32, at: usize, size: i32) -> Result {
    with(fd, |socket| {
        let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
        let mut bytes = [0; LONGEST_VALUE];
        // No option has a longer value: the rest means nothing.
        let bytes = bytes.get_mut(..size.min(LONGEST_VALUE)).unwrap_or_default();
        user::copy_in(bytes, at)?;
        options::set(socket, level, option, bytes).map(|()| 0)
    })
}
