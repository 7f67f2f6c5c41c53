// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes from descriptor to descriptor: sendfile, copy_file_range, splice, tee, vmsplice.
//!
//! They go through the kernel's memory in pieces; between two pieces others run, and a signal ends the call with what is done.

use alloc::{sync::Arc, vec::Vec};

use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    fallible,
    fs::{
        OpenFile,
        inode::kind,
        pipe::{Pipe, end},
    },
    task::{current, has_signal, kernel_thread},
    user,
};

/// Bytes of a piece.
const PIECE: usize = 16 << 10;

/// `SPLICE_F_` flags of Linux's `linux/splice.h`: MOVE and GIFT are hints, and so is MORE here.
mod flag {
    pub(super) const NONBLOCK: u32 = 2;
    pub(super) const ALL: u32 = 0xf;
}

fn buffer() -> Result<Vec<u8>> {
    let mut buffer = fallible::list(PIECE)?;
    buffer.resize(PIECE, 0);
    Ok(buffer)
}

/// One side of a copy: a file and where in it.
struct Side<'a> {
    file: &'a OpenFile,
    offset: u64,
    /// Where the program keeps the offset; 0 for the file's own.
    at: usize,
    /// Whether the file has places at all.
    places: bool,
}

impl<'a> Side<'a> {
    /// `no_places` is the error if the program gives an offset for a file without places.
    fn new(file: &'a OpenFile, at: usize, no_places: Errno) -> Result<Self> {
        let places = file.file().has_offset();
        let offset = match at {
            0 => file.position(),
            _ if !places => return Err(no_places),
            at => u64::try_from(user::read::<i64>(at)?).map_err(|_| Errno::EINVAL)?,
        };
        Ok(Self { file, offset, at, places })
    }

    /// Moves the offset by what was done.
    fn finish(&self, done: usize) -> Result<()> {
        let offset = self.offset.saturating_add(done as u64);
        if self.at != 0 {
            return user::write(self.at, &offset);
        }
        if self.places && done > 0 {
            self.file.set_position(offset);
        }
        Ok(())
    }

    fn check_end(&self, length: usize) -> Result<()> {
        if self.offset.checked_add(length as u64).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

fn readable(fd: i32) -> Result<Arc<OpenFile>> {
    current().files.get(fd).and_then(|file| if file.can_read() { Ok(file) } else { Err(Errno::EBADF) })
}

fn writable(fd: i32) -> Result<Arc<OpenFile>> {
    current().files.get(fd).and_then(|file| if file.can_write() { Ok(file) } else { Err(Errno::EBADF) })
}

/// Whether the call is to go on with its next piece.
fn goes_on() -> bool {
    kernel_thread::pause();
    !has_signal()
}

/// Does `step(done, bytes)` in pieces until one is not done in full: the bytes done, or the error of the first.
fn in_pieces(length: usize, mut step: impl FnMut(usize, usize) -> Result) -> Result {
    let mut done = 0;
    while done < length {
        let piece = PIECE.min(length - done);
        match step(done, piece) {
            Ok(count) => {
                done += count;
                if count < piece || !goes_on() {
                    break;
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Copies between files that are not pipes; the input has places, so what was not written is simply not counted.
fn copy(from: &Side<'_>, to: &Side<'_>, length: usize, no_wait: bool) -> Result {
    let mut buffer = buffer()?;
    in_pieces(length, |done, piece| {
        let part = buffer.get_mut(..piece).unwrap_or_default();
        let count = from.file.read_bytes(from.offset + done as u64, part, no_wait)?;
        to.file.write_bytes(to.offset + done as u64, part.get(..count).unwrap_or_default(), no_wait)
    })
}

/// Fills a pipe from a file, as far as there is room.
fn file_to_pipe(from: &Side<'_>, to: &Pipe, length: usize, no_wait: bool) -> Result {
    let room = to.wait_for_room(no_wait)?;
    let mut buffer = buffer()?;
    in_pieces(length.min(room), |done, piece| {
        let part = buffer.get_mut(..piece).unwrap_or_default();
        // Without places, more may never come: what is there has to do.
        let no_wait = no_wait || done > 0;
        let count = from.file.read_bytes(from.offset + done as u64, part, no_wait)?;
        to.put(part.get(..count).unwrap_or_default())?;
        Ok(count)
    })
}

/// Empties a pipe into a file.
fn pipe_to_file(from: &Pipe, to: &Side<'_>, length: usize, no_wait: bool) -> Result {
    if from.wait_for_bytes(no_wait)? == 0 {
        return Ok(0);
    }
    let mut buffer = buffer()?;
    in_pieces(length, |done, piece| {
        let part = buffer.get_mut(..piece).unwrap_or_default();
        let count = from.take(part);
        let part = part.get(..count).unwrap_or_default();
        let written = to.file.write_bytes(to.offset + done as u64, part, no_wait);
        if let Some(rest) = part.get(*written.as_ref().unwrap_or(&0)..).filter(|rest| !rest.is_empty()) {
            from.put_back(rest)?;
        }
        written
    })
}

pub(super) fn sendfile(out: i32, input: i32, offset: usize, count: usize) -> Result {
    let from = readable(input)?;
    let from = Side::new(&from, offset, Errno::ESPIPE)?;
    let length = count.min(user::MAX_IO);
    from.check_end(length)?;
    let file = writable(out)?;
    if !from.places {
        return Err(Errno::EINVAL);
    }
    let done = match end::of(&file) {
        Some(pipe) => file_to_pipe(&from, pipe, length, file.flags() & abi::O_NONBLOCK != 0)?,
        None => {
            if file.flags() & abi::O_APPEND != 0 {
                return Err(Errno::EINVAL);
            }
            let to = Side::new(&file, 0, Errno::EINVAL)?;
            let done = copy(&from, &to, length, false)?;
            to.finish(done)?;
            done
        }
    };
    from.finish(done)?;
    Ok(done)
}

pub(super) fn copy_file_range(
    input: i32,
    from_at: usize,
    out: i32,
    to_at: usize,
    length: usize,
    flags: u32,
) -> Result {
    let files = current().files.arc();
    let (input, out) = (files.get(input)?, files.get(out)?);
    let from = Side::new(&input, from_at, Errno::EINVAL)?;
    let to = Side::new(&out, to_at, Errno::EINVAL)?;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    if input.node.is_directory() || out.node.is_directory() {
        return Err(Errno::EISDIR);
    }
    if input.node.kind() != kind::REGULAR || out.node.kind() != kind::REGULAR {
        return Err(Errno::EINVAL);
    }
    if !input.can_read() || !out.can_write() || out.flags() & abi::O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    if input.node.system.name() != out.node.system.name() {
        return Err(Errno::EXDEV);
    }
    let wraps = |offset: u64| offset.checked_add(length as u64).is_none();
    if wraps(from.offset) || wraps(to.offset) {
        return Err(Errno::EOVERFLOW);
    }
    let left = input.node.size().saturating_sub(from.offset);
    let length = length.min(user::MAX_IO).min(usize::try_from(left).unwrap_or(usize::MAX));
    let overlaps = to.offset.saturating_add(length as u64) > from.offset
        && to.offset < from.offset.saturating_add(length as u64);
    if Arc::ptr_eq(&input.node, &out.node) && overlaps {
        return Err(Errno::EINVAL);
    }
    let done = copy(&from, &to, length, false)?;
    from.finish(done)?;
    to.finish(done)?;
    Ok(done)
}

pub(super) fn splice(
    input: i32,
    from_at: usize,
    out: i32,
    to_at: usize,
    length: usize,
    flags: u32,
) -> Result {
    let length = length.min(user::MAX_IO);
    if length == 0 {
        return Ok(0);
    }
    if flags & !flag::ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let (input, out) = (readable(input)?, writable(out)?);
    let is_nonblocking = |file: &OpenFile| file.flags() & abi::O_NONBLOCK != 0;
    let no_wait = flags & flag::NONBLOCK != 0;
    match (end::of(&input), end::of(&out)) {
        (Some(_), _) if from_at != 0 => Err(Errno::ESPIPE),
        (_, Some(_)) if to_at != 0 => Err(Errno::ESPIPE),
        (Some(from), Some(to)) if Arc::ptr_eq(from, to) => Err(Errno::EINVAL),
        (Some(from), Some(to)) => {
            from.move_to(to, length, false, no_wait || is_nonblocking(&input) || is_nonblocking(&out))
        }
        (Some(from), None) => {
            let to = Side::new(&out, to_at, Errno::EINVAL)?;
            if out.flags() & abi::O_APPEND != 0 {
                return Err(Errno::EINVAL);
            }
            to.check_end(length)?;
            let done = pipe_to_file(from, &to, length, no_wait || is_nonblocking(&input))?;
            to.finish(done)?;
            Ok(done)
        }
        (None, Some(to)) => {
            let from = Side::new(&input, from_at, Errno::EINVAL)?;
            from.check_end(length)?;
            let done = file_to_pipe(&from, to, length, no_wait || is_nonblocking(&out))?;
            from.finish(done)?;
            Ok(done)
        }
        (None, None) => Err(Errno::EINVAL),
    }
}

pub(super) fn tee(input: i32, out: i32, length: usize, flags: u32) -> Result {
    if flags & !flag::ALL != 0 {
        return Err(Errno::EINVAL);
    }
    if length == 0 {
        return Ok(0);
    }
    let (input, out) = (readable(input)?, writable(out)?);
    let no_wait = flags & flag::NONBLOCK != 0 || (input.flags() | out.flags()) & abi::O_NONBLOCK != 0;
    match (end::of(&input), end::of(&out)) {
        (Some(from), Some(to)) if !Arc::ptr_eq(from, to) => from.move_to(to, length, true, no_wait),
        _ => Err(Errno::EINVAL),
    }
}

/// To a pipe's write end the memory is copied; pages are not given away, whatever the flags offer.
pub(super) fn vmsplice(fd: i32, vector: usize, count: usize, flags: u32) -> Result {
    if flags & !flag::ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let file = current().files.get(fd)?;
    if !file.can_read() && !file.can_write() {
        return Err(Errno::EBADF);
    }
    let pipe = end::of(&file).ok_or(Errno::EBADF)?;
    let parts = user::read_vector(vector, count)?;
    let no_wait = flags & flag::NONBLOCK != 0;
    let mut buffer = buffer()?;
    let (writes, mut waited) = (file.can_write(), false);
    user::each_part(&parts, |base, length, _| {
        in_pieces(length, |done, piece| {
            let at = base.wrapping_add(done);
            // It waits for the first byte alone.
            let no_wait = no_wait || waited;
            waited = true;
            if writes {
                let piece = piece.min(pipe.wait_for_room(no_wait)?);
                let part = buffer.get_mut(..piece).unwrap_or_default();
                user::copy_in(part, at)?;
                pipe.put(part)?;
                return Ok(piece);
            }
            pipe.wait_for_bytes(no_wait)?;
            let count = pipe.take(buffer.get_mut(..piece).unwrap_or_default());
            let part = buffer.get(..count).unwrap_or_default();
            if let Err(error) = user::copy_out(at, part) {
                pipe.put_back(part)?;
                return Err(error.into());
            }
            Ok(count)
        })
    })
}
