// SPDX-License-Identifier: MIT OR Apache-2.0
//! Texts that are made when they are read: their memory is bounded, and that there is none is an error like any other.

use core::fmt;

use alloc::{boxed::Box, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame};

use crate::{
    errno::{Errno, Result},
    fs::node::Generate,
};

/// The longest text: what `maps` needs for as many areas as a program may have.
const LONGEST: usize = 16 << 20;

/// What writes a text.
pub type Writer = fn(&mut dyn fmt::Write) -> fmt::Result;

/// A text that grows as long as there is memory.
#[derive(Default)]
struct Text(Vec<u8>);

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let length = self.0.len() + part.len();
        if length > self.0.capacity() {
            let more = length.next_power_of_two().max(PAGE_SIZE) - self.0.len();
            let frames = if more > PAGE_SIZE { more / PAGE_SIZE } else { 0 };
            if length > LONGEST || frames > 0 && !frame::available(frames) {
                return Err(fmt::Error);
            }
            self.0.try_reserve(more).map_err(|_| fmt::Error)?;
        }
        self.0.extend_from_slice(part.as_bytes());
        Ok(())
    }
}

/// What `write` writes; ENOMEM if there is no room for it.
pub fn collect(write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result) -> Result<Vec<u8>> {
    let mut text = Text::default();
    write(&mut text).map_err(|_| Errno::ENOMEM)?;
    Ok(text.0)
}

/// The content of a file that `write` writes.
pub fn written(write: Writer) -> Generate {
    Box::new(move || collect(write))
}
