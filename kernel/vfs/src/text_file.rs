// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open files whose content is a text that is made when it is read, and settings, which also take one.

use alloc::{sync::Arc, vec};

use exo_hal::{PAGE_SIZE, sync::SpinLock};

use super::{
    file::{File, Io},
    inode::{Inode, InodeContent},
    text::Text,
};
use crate::{
    errno::{Errno, Result},
    io_buf::{IoBuf, IoSource},
    sched::spans,
};

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
}

impl File for Generated {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        let text = self.text(io.offset)?;
        let done = to.count(|to| {
            for part in text.from(io.offset) {
                if to.put(part)? < part.len() || to.is_empty() || spans::point() {
                    break;
                }
            }
            Ok(())
        })?;
        self.last.lock().end = io.offset.saturating_add(done as u64);
        Ok(done)
    }

    fn write(&self, _io: Io, from: &mut IoSource<'_>) -> Result {
        let InodeContent::Setting(_, store) = &self.node.content else { return Err(Errno::EACCES) };
        // As on Linux: a page at most.
        let mut value = vec![0; from.left().min(PAGE_SIZE)];
        from.take_all(&mut value)?;
        store(&value)?;
        Ok(value.len())
    }

    fn seek_size(&self) -> Option<u64> {
        Some(0)
    }

    fn has_end(&self) -> bool {
        self.node.system.has_ends()
    }
}
