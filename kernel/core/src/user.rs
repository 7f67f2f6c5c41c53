// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values, strings and lists in the running program's memory. Every address is checked where it is used; a bad one gives
//! EFAULT.

use alloc::vec::Vec;

use exo_hal::{PAGE_SIZE, mm::user};
use exo_logic::strings;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::{Errno, Result},
    fallible,
    sched::spans,
};

pub use exo_hal::mm::user::{compare_exchange_u32, copy_in, copy_out, load_u32, now};

/// Longest path, with its end, as on Linux.
pub const PATH_MAX: usize = 4096;
/// Most elements of an I/O vector, as on Linux.
const IOV_MAX: usize = 1024;
/// Most bytes that one read or write moves, as on Linux.
pub const MAX_IO: usize = 0x7fff_f000;

/// Reads a value at `address`.
#[inline]
pub fn read<T: FromBytes + IntoBytes>(address: usize) -> Result<T> {
    let mut value = T::new_zeroed();
    user::copy_in(value.as_mut_bytes(), address)?;
    Ok(value)
}

/// Writes a value at `address`.
#[inline]
pub fn write<T: IntoBytes + Immutable>(address: usize, value: &T) -> Result<()> {
    Ok(user::copy_out(address, value.as_bytes())?)
}

/// Touches each page of a range, so that it is there then and can be read by [`now`]'s functions, unless it is taken away again.
///
/// # Errors
/// EFAULT at a page that the program cannot read itself, EINTR if the task is killed meanwhile.
pub fn make_present(address: usize, length: usize) -> Result<()> {
    each_page(address, length, |at| Ok(load_u32(at).map(drop)?))
}

/// The same as a write does, but that the bytes stay as they are.
///
/// # Errors
/// EFAULT at a page that the program cannot write to itself, EINTR if the task is killed meanwhile.
pub fn make_writable(address: usize, length: usize) -> Result<()> {
    each_page(address, length, |at| {
        let word = load_u32(at)?;
        Ok(compare_exchange_u32(at, word, word).map(drop)?)
    })
}

/// Calls `touch` with the address of a word in each page of a range.
fn each_page(address: usize, length: usize, touch: impl Fn(usize) -> Result<()>) -> Result<()> {
    let end = address.checked_add(length).ok_or(Errno::EFAULT)?;
    let mut at = address & !3;
    while at < end {
        touch(at)?;
        at = (at | (PAGE_SIZE - 1)).checked_add(1).ok_or(Errno::EFAULT)?;
        if spans::point() {
            return Err(Errno::EINTR);
        }
    }
    Ok(())
}

/// Writes a value unless `address` is 0.
pub fn write_optional<T: IntoBytes + Immutable>(address: usize, value: &T) -> Result<()> {
    if address == 0 { Ok(()) } else { write(address, value) }
}

/// Reads a string that ends with a zero byte, which is left out; `too_long` if there is none in `limit` bytes.
pub fn read_string(address: usize, limit: usize, too_long: Errno) -> Result<Vec<u8>> {
    let mut out = fallible::list(64)?;
    let mut at = address;
    let mut chunk = [0u8; 64];
    while out.len() < limit {
        // Never beyond the page that is known to be needed: the next one may not exist.
        let size = chunk.len().min(PAGE_SIZE - at % PAGE_SIZE);
        let part = chunk.get_mut(..size).unwrap_or_default();
        user::copy_in(part, at)?;
        let end = strings::find_zero(part);
        let text = part.get(..end.unwrap_or(size)).unwrap_or_default();
        fallible::reserve(&mut out, text.len())?;
        out.extend_from_slice(text);
        if end.is_some() {
            return if out.len() < limit { Ok(out) } else { Err(too_long) };
        }
        at = at.checked_add(size).ok_or(Errno::EFAULT)?;
    }
    Err(too_long)
}

/// Reads a path.
pub fn read_path(address: usize) -> Result<Vec<u8>> {
    read_string(address, PATH_MAX, Errno::ENAMETOOLONG)
}

/// A buffer of the program.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct IoVec {
    /// Its address.
    pub base: usize,
    /// Its size in bytes.
    pub length: usize,
}

/// Reads an I/O vector. The sum of the sizes is cut to [`MAX_IO`]; ENOMEM if the kernel cannot keep it.
pub fn read_vector(address: usize, count: usize) -> Result<Vec<IoVec>> {
    if count > IOV_MAX {
        return Err(Errno::EINVAL);
    }
    let mut out = fallible::list(count)?;
    out.resize(count, IoVec::default());
    user::copy_in(out.as_mut_bytes(), address)?;
    let mut room = MAX_IO;
    for entry in &mut out {
        if entry.length > isize::MAX as usize {
            return Err(Errno::EINVAL);
        }
        entry.length = entry.length.min(room);
        room -= entry.length;
    }
    Ok(out)
}

/// `struct timespec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct TimeSpec {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999 999 999.
    pub nanoseconds: i64,
}

const NS: u64 = 1_000_000_000;

impl TimeSpec {
    /// From nanoseconds.
    pub fn from_ns(ns: u64) -> Self {
        Self { seconds: (ns / NS) as i64, nanoseconds: (ns % NS) as i64 }
    }

    /// In nanoseconds; EINVAL for what is no time, and the largest number for what is too long.
    pub fn to_ns(self) -> Result<u64> {
        if self.seconds < 0 || !(0..NS as i64).contains(&self.nanoseconds) {
            return Err(Errno::EINVAL);
        }
        Ok((self.seconds as u64).saturating_mul(NS).saturating_add(self.nanoseconds as u64))
    }
}

/// `struct timeval`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct TimeVal {
    /// Seconds.
    pub seconds: i64,
    /// Microseconds, 0 to 999 999.
    pub microseconds: i64,
}

impl TimeVal {
    /// From nanoseconds.
    pub fn from_ns(ns: u64) -> Self {
        Self { seconds: (ns / NS) as i64, microseconds: (ns % NS / 1000) as i64 }
    }

    /// In nanoseconds; EINVAL for what is no time.
    pub fn to_ns(self) -> Result<u64> {
        TimeSpec { seconds: self.seconds, nanoseconds: self.microseconds.saturating_mul(1000) }.to_ns()
    }
}
