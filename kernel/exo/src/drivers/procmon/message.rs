// SPDX-License-Identifier: MIT OR Apache-2.0
//! The message: what was written last. It is published whole: a reader takes a counted reference to it and copies from that, while
//! writers may already have put another in its place.

use alloc::{sync::Arc, vec::Vec};

use exo_hal::sync::SpinLock;

use super::{
    ioctl,
    operations::{Operation, count},
    settings,
};
use crate::{
    errno::{Errno, Result},
    fallible,
    fs::file::{File, Io},
    io_buf::{IoBuf, IoSource},
};

static TEXT: SpinLock<Option<Arc<Vec<u8>>>> = SpinLock::new(None);

fn text() -> Option<Arc<Vec<u8>>> {
    TEXT.lock().clone()
}

/// The message's length in bytes.
pub(super) fn length() -> usize {
    text().map_or(0, |text| text.len())
}

/// An open `/dev/procmon`.
pub(super) struct MessageFile;

impl File for MessageFile {
    /// The message from the file's offset on.
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        count(Operation::Read);
        let Some(text) = text() else { return Ok(0) };
        let rest = usize::try_from(io.offset).ok().and_then(|start| text.get(start..)).unwrap_or_default();
        to.put(rest)
    }

    /// Makes what is written the message, if it is not longer than `buffer_size` bytes.
    fn write(&self, _io: Io, from: &mut IoSource<'_>) -> Result {
        count(Operation::Write);
        let length = from.left();
        if length > settings::buffer_size() {
            return Err(Errno::EMSGSIZE);
        }
        let mut new = fallible::list(length)?;
        new.resize(length, 0);
        from.take_all(&mut new)?;
        let old = TEXT.lock().replace(Arc::new(new));
        drop(old);
        Ok(length)
    }

    fn seek_size(&self) -> Option<u64> {
        Some(length() as u64)
    }

    fn writes_anywhere(&self) -> bool {
        true
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        count(Operation::Ioctl);
        ioctl::answer(request, argument)
    }
}
