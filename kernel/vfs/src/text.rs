// SPDX-License-Identifier: MIT OR Apache-2.0
//! Texts that are made when they are read, as those in /proc: however long one is, it is kept in pieces, its memory is bounded, and that
//! there is none is an error like any other.

use core::fmt;

use alloc::{boxed::Box, vec, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame};

use crate::errno::{Errno, Result};

/// The longest text: what `smaps` needs for as many areas as a program may have.
const LONGEST: usize = 32 << 20;
/// Bytes of a piece, but for the last one: so few that even the longest text is let go at once, which whoever closes a file has to do.
const PIECE: usize = 128 << 10;
/// Bytes that are copied to a program between two preemption points.
const PART: usize = 16 << 10;

/// Makes the content of a file.
pub type Generate = Box<dyn Fn() -> Result<Text> + Send + Sync>;

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
    pub(super) fn from(&self, offset: u64) -> impl Iterator<Item = &[u8]> {
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
