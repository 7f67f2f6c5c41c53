// SPDX-License-Identifier: GPL-2.0

//! Reading, writing and seeking for nodes that have a size.
//!
//! Position and count come from the program, so neither is added to the other before it was
//! compared with the size.

use kernel::{
    bindings,
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

/// Copies `contents` from `position` on to the program, and moves `position` past what was copied.
/// Returns the number of bytes, 0 at the end.
///
/// # Errors
///
/// [`EFAULT`] when the program's memory takes no byte (the kernel's own
/// [`IovIterDest::simple_read_from_buffer`] calls that the end of the file), [`EINVAL`] for a
/// negative position.
pub fn read(iov: &mut IovIterDest<'_>, position: &mut i64, contents: &[u8]) -> Result<usize> {
    let rest = contents.get(usize::try_from(*position)?..);
    read_rest(iov, position, rest.unwrap_or_default())
}

/// Copies `rest` to the program, which is what the node holds from `position` on, and moves
/// `position` past what was copied. Returns the number of bytes, 0 at the end.
///
/// For a driver that has only that part at hand; the others call [`read`].
///
/// # Errors
///
/// [`EFAULT`] when the program's memory takes no byte.
pub fn read_rest(iov: &mut IovIterDest<'_>, position: &mut i64, rest: &[u8]) -> Result<usize> {
    if rest.is_empty() || iov.is_empty() {
        return Ok(0);
    }

    let copied = iov.copy_to_iter(rest);
    if copied == 0 {
        return Err(EFAULT);
    }
    advance(position, copied)?;
    Ok(copied)
}

/// Copies from the program to `contents` from `position` on, and moves `position` past what was
/// copied. Returns the number of bytes.
///
/// # Errors
///
/// [`ENOSPC`] at or past the end, [`EFAULT`] when the program's memory gives no byte, [`EINVAL`]
/// for a negative position.
pub fn write(
    iov: &mut IovIterSource<'_>,
    position: &mut i64,
    contents: &mut [u8],
) -> Result<usize> {
    if iov.is_empty() {
        return Ok(0);
    }
    let room = contents
        .get_mut(usize::try_from(*position)?..)
        .filter(|room| !room.is_empty())
        .ok_or(ENOSPC)?;

    let copied = iov.copy_from_iter(room);
    if copied == 0 {
        return Err(EFAULT);
    }
    advance(position, copied)?;
    Ok(copied)
}

/// Moves the file's position as `lseek(2)` asks, in a node of `size` bytes. Returns the new
/// position.
///
/// # Errors
///
/// [`EINVAL`] for a position before the start or past the end, and for an unknown `whence`.
pub fn seek(file: &File, offset: i64, whence: c_int, size: i64) -> Result<i64> {
    // SAFETY: `file` is open. The C side checks the rest.
    let position = unsafe { bindings::fixed_size_llseek(file.as_ptr(), offset, whence, size) };

    if position < 0 {
        // CAST: A negative position is an `errno`, which fits.
        return Err(Error::from_errno(position as c_int));
    }
    Ok(position)
}

/// Moves the file's position as `lseek(2)` asks, in a node whose contents end at `end` now but need
/// not tomorrow: as with a regular file, the position may be past the end. Returns the new
/// position.
///
/// # Errors
///
/// [`EINVAL`] for a position before the start, and for an unknown `whence`.
pub fn seek_past_end(file: &File, offset: i64, whence: c_int, end: i64) -> Result<i64> {
    // SAFETY: `file` is open. The C side checks the rest.
    let position =
        unsafe { bindings::generic_file_llseek_size(file.as_ptr(), offset, whence, i64::MAX, end) };

    if position < 0 {
        // CAST: A negative position is an `errno`, which fits.
        return Err(Error::from_errno(position as c_int));
    }
    Ok(position)
}

/// Moves `position` past `count` bytes of a slice that it is inside of.
fn advance(position: &mut i64, count: usize) -> Result {
    *position = position
        .checked_add(i64::try_from(count)?)
        .ok_or(EOVERFLOW)?;
    Ok(())
}
