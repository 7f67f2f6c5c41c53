// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes from descriptor to descriptor: sendfile, copy_file_range, splice, tee, vmsplice.
//!
//! Pages that a file keeps, and what lies in a pipe, are copied straight to where they go. What else a file gives goes through frames of the
//! kernel's. It is done in pieces; between two pieces others run, and a signal ends the call with what is done.

use alloc::{sync::Arc, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame::Frame};
use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    fallible,
    fs::{
        OpenFile,
        inode::kind,
        io::Call,
        pipe::{Pipe, end},
    },
    io_buf::{Frames, IoBuf, IoSource},
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

/// Frames that pieces go through whose source lends no pages; made when they are needed.
#[derive(Default)]
struct Buffer(Vec<Frame>);

impl Buffer {
    fn frames(&mut self) -> Result<Frames<'_>> {
        if self.0.is_empty() {
            self.0 = fallible::list(PIECE / PAGE_SIZE)?;
            for _ in 0..PIECE / PAGE_SIZE {
                // What a file leaves of it as it was is not shown, but zeros are safer.
                self.0.push(Frame::allocate_zeroed().ok_or(Errno::ENOMEM)?);
            }
        }
        Ok(Frames::Held(&self.0))
    }
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

    /// How the file is read or written behind `done` bytes.
    fn call(&self, done: usize, no_wait: bool) -> Call {
        let call = self.file.call(self.places.then(|| self.offset.saturating_add(done as u64)));
        Call { append: false, no_wait: call.no_wait || no_wait, ..call }
    }

    /// Gives `take` up to `most` bytes behind the first `done`: in the file's own pages, or read into the buffer. What it takes.
    fn give(
        &self,
        done: usize,
        most: usize,
        no_wait: bool,
        buffer: &mut Buffer,
        take: impl FnOnce(&mut IoSource<'_>) -> Result,
    ) -> Result {
        let call = self.call(done, no_wait);
        if let Some(lent) = call.offset.and_then(|offset| self.file.lend(offset, most)) {
            return take(&mut lent.source());
        }
        let frames = buffer.frames()?;
        let count = self.file.read_as(call, &mut IoBuf::frames(frames, 0, most))?;
        take(&mut IoSource::frames(frames, 0, count))
    }

    /// EINVAL if its file does not do such things.
    fn check(&self, write: bool) -> Result<()> {
        if self.file.file().splices(write) { Ok(()) } else { Err(Errno::EINVAL) }
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
fn copy(from: &Side<'_>, to: &Side<'_>, length: usize) -> Result {
    from.check(false)?;
    to.check(true)?;
    let mut buffer = Buffer::default();
    in_pieces(length, |done, piece| {
        from.give(done, piece, false, &mut buffer, |bytes| to.file.write_as(to.call(done, false), bytes))
    })
}

/// Fills a pipe from a file, as far as there is room.
fn file_to_pipe(from: &Side<'_>, to: &Pipe, length: usize, no_wait: bool) -> Result {
    from.check(false)?;
    let room = to.wait_for_room(no_wait)?;
    let mut buffer = Buffer::default();
    in_pieces(length.min(room), |done, piece| {
        // Without places, more may never come: what is there has to do.
        from.give(done, piece, no_wait || done > 0, &mut buffer, |bytes| to.put(bytes))
    })
}

/// Empties a pipe into a file.
fn pipe_to_file(from: &Pipe, to: &Side<'_>, length: usize, no_wait: bool) -> Result {
    to.check(true)?;
    from.drain(length, no_wait, |done, bytes| to.file.write_as(to.call(done, no_wait), bytes))
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
            let done = copy(&from, &to, length)?;
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
    if input.node().is_directory() || out.node().is_directory() {
        return Err(Errno::EISDIR);
    }
    if input.node().kind() != kind::REGULAR || out.node().kind() != kind::REGULAR {
        return Err(Errno::EINVAL);
    }
    if !input.can_read() || !out.can_write() || out.flags() & abi::O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    if input.node().system.name() != out.node().system.name() {
        return Err(Errno::EXDEV);
    }
    let wraps = |offset: u64| offset.checked_add(length as u64).is_none();
    if wraps(from.offset) || wraps(to.offset) {
        return Err(Errno::EOVERFLOW);
    }
    let left = input.node().size().saturating_sub(from.offset);
    let length = length.min(user::MAX_IO).min(usize::try_from(left).unwrap_or(usize::MAX));
    let overlaps = to.offset.saturating_add(length as u64) > from.offset
        && to.offset < from.offset.saturating_add(length as u64);
    if Arc::ptr_eq(input.node(), out.node()) && overlaps {
        return Err(Errno::EINVAL);
    }
    let done = copy(&from, &to, length)?;
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
    if file.can_write() {
        pipe.fill_from(&mut IoSource::vector(&parts), no_wait)
    } else {
        pipe.read_now(&mut IoBuf::vector(&parts), no_wait)
    }
}
