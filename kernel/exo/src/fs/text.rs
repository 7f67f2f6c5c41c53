// SPDX-License-Identifier: MIT OR Apache-2.0
//! Texts that are made when they are read, as those in /proc: however long one is, it is kept in pieces, its memory is bounded, and that
//! there is none is an error like any other.

use core::fmt;

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame, sync::SpinLock};

use super::{
    file::{File, Io},
    inode::{FileSystem, Generate, Inode, InodeContent},
};
use crate::{
    errno::{Errno, Result},
    sched::spans,
    user,
};

/// The longest text: what `smaps` needs for as many areas as a program may have.
const LONGEST: usize = 32 << 20;
/// Bytes of a piece, but for the last one: so few that even the longest text is let go at once, which whoever closes a file has to do.
const PIECE: usize = 128 << 10;
/// Bytes that are copied to a program between two preemption points.
const PART: usize = 16 << 10;

/// What writes a text.
pub type Writer = fn(&mut dyn fmt::Write) -> fmt::Result;

/// A text that grows as long as there is memory.
#[derive(Default)]
pub struct Text {
    pieces: Vec<Vec<u8>>,
    length: usize,
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self { length: bytes.len(), pieces: vec![bytes] }
    }
}

impl Text {
    /// The piece to go on with, with room for one byte at least and `wanted` at most.
    fn last(&mut self, wanted: usize) -> Option<&mut Vec<u8>> {
        if self.pieces.last().is_none_or(|last| last.len() >= PIECE) {
            self.pieces.try_reserve(1).ok()?;
            self.pieces.push(Vec::new());
        }
        let last = self.pieces.last_mut()?;
        let length = last.len().saturating_add(wanted).min(PIECE);
        if length > last.capacity() {
            let size = length.next_power_of_two();
            if size > PAGE_SIZE && !frame::available(size / PAGE_SIZE) {
                return None;
            }
            last.try_reserve_exact(size - last.len()).ok()?;
        }
        Some(last)
    }

    /// What there is from `offset` on, in parts of up to [`PART`] bytes.
    fn from(&self, offset: u64) -> impl Iterator<Item = &[u8]> {
        let mut skip = usize::try_from(offset).unwrap_or(usize::MAX);
        self.pieces.iter().flat_map(move |piece| {
            let now = skip.min(piece.len());
            skip -= now;
            piece.get(now..).unwrap_or_default().chunks(PART)
        })
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let mut rest = part.as_bytes();
        if self.length + rest.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.length += rest.len();
        while !rest.is_empty() {
            let last = self.last(rest.len()).ok_or(fmt::Error)?;
            let (now, later) = rest.split_at_checked(rest.len().min(PIECE - last.len())).ok_or(fmt::Error)?;
            last.extend_from_slice(now);
            rest = later;
        }
        Ok(())
    }
}

/// What `write` writes; ENOMEM if there is no room for it.
pub fn collect(write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result) -> Result<Text> {
    let mut text = Text::default();
    write(&mut text).map_err(|_| Errno::ENOMEM)?;
    Ok(text)
}

/// The content of a file that `write` writes.
pub fn written(write: Writer) -> Generate {
    Box::new(move || collect(write))
}

/// A file whose text is made when it is read from its start, not when it is opened: whoever opened it may have become another program
/// since. A read that goes on where the last one ended goes on in the same text; one anywhere else makes a new one, as Linux's
/// `seq_file` does.
pub(super) struct Generated {
    node: Arc<Inode>,
    last: SpinLock<Read>,
}

/// What was read last.
#[derive(Default)]
struct Read {
    text: Arc<Text>,
    end: u64,
}

impl Generated {
    /// One whose inode is [`InodeContent::Text`] or [`InodeContent::Setting`].
    pub(super) fn new(node: Arc<Inode>) -> Self {
        Self { node, last: SpinLock::default() }
    }

    fn text(&self, offset: u64) -> Result<Arc<Text>> {
        let last = self.last.lock();
        match &self.node.content {
            InodeContent::Text(generate) | InodeContent::Setting(generate, _)
                if offset == 0 || offset != last.end =>
            {
                // Making it may take other locks, and letting the old one go takes long.
                drop(last);
                let fresh = Arc::new(generate()?);
                let old = core::mem::replace(&mut self.last.lock().text, fresh.clone());
                drop(old);
                Ok(fresh)
            }
            _ => Ok(last.text.clone()),
        }
    }

    /// Hands the text from `offset` on to `take`, with where it belongs, up to `length` bytes: how many it took.
    fn read_by(
        &self,
        offset: u64,
        length: usize,
        mut take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result {
        let text = self.text(offset)?;
        let mut done = 0;
        for part in text.from(offset) {
            let part = part.get(..part.len().min(length - done)).unwrap_or_default();
            match take(done, part) {
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
                Ok(()) => done += part.len(),
            }
            if done == length || spans::point() {
                break;
            }
        }
        self.last.lock().end = offset.saturating_add(done as u64);
        Ok(done)
    }
}

impl File for Generated {
    fn read(&self, io: Io, to: usize, length: usize) -> Result {
        self.read_by(io.offset, length, |at, part| Ok(user::copy_out(to.wrapping_add(at), part)?))
    }

    fn read_bytes(&self, io: Io, to: &mut [u8]) -> Result {
        self.read_by(io.offset, to.len(), |at, part| {
            let place = to.get_mut(at..at + part.len()).ok_or(Errno::EFAULT)?;
            place.copy_from_slice(part);
            Ok(())
        })
    }

    fn write(&self, _io: Io, from: usize, length: usize) -> Result {
        let InodeContent::Setting(_, store) = &self.node.content else { return Err(Errno::EACCES) };
        // As on Linux: a page at most.
        let mut value = vec![0; length.min(PAGE_SIZE)];
        user::copy_in(&mut value, from)?;
        store(&value)?;
        Ok(value.len())
    }

    fn seek_size(&self) -> Option<u64> {
        Some(0)
    }

    fn has_end(&self) -> bool {
        self.node.system != FileSystem::Processes
    }
}
