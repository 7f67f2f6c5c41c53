// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits in a socket: messages, and the files that travel with them.

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use exo_vfs::OpenFile;

use super::Sender;
use crate::{
    errno::{Errno, Result},
    fallible,
};

/// Most files of a message, as on Linux.
pub const MOST_FILES: usize = 253;
/// Most files on their way at the same time, of all programs: nobody's limit of descriptors counts them.
const MOST_IN_FLIGHT: usize = 4096;

static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

/// Whether a file may travel: what may hold files itself, may not, as two that hold each other would stay for ever.
pub fn may_be_sent(file: &OpenFile) -> bool {
    !file.file().holds_files()
}

/// Files on their way.
#[derive(Default)]
pub(super) struct InFlight(Vec<Arc<OpenFile>>);

impl InFlight {
    pub(super) fn new(files: Vec<Arc<OpenFile>>) -> Result<Self> {
        let before = IN_FLIGHT.fetch_add(files.len(), Ordering::AcqRel);
        let in_flight = Self(files);
        if before + in_flight.0.len() > MOST_IN_FLIGHT { Err(Errno::ETOOMANYREFS) } else { Ok(in_flight) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// They arrive.
    pub(super) fn take(&mut self) -> Vec<Arc<OpenFile>> {
        IN_FLIGHT.fetch_sub(self.0.len(), Ordering::AcqRel);
        core::mem::take(&mut self.0)
    }

    /// They go on with something else.
    pub(super) fn move_out(&mut self) -> Self {
        Self(core::mem::take(&mut self.0))
    }

    /// They arrive, and stay as well.
    pub(super) fn copy(&self) -> Result<Vec<Arc<OpenFile>>> {
        let mut files = fallible::list(self.0.len())?;
        files.extend(self.0.iter().cloned());
        Ok(files)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.take();
    }
}

/// A message.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// Bytes before this one have been read.
    pub(super) start: usize,
    /// Who sent it.
    pub(super) sender: Sender,
    pub(super) files: InFlight,
}

impl Message {
    /// What has not been read.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// What one side has yet to read, and what it is told.
#[derive(Default)]
pub(super) struct Inbox {
    /// The rest of a message, before the others.
    first: Option<Message>,
    messages: VecDeque<Message>,
    /// Bytes of the messages, and of those that are being made or read.
    pub(super) reserved: usize,
    /// Bytes of the message that is being read.
    taken: usize,
    /// Somebody has taken a message and may put it back.
    pub(super) is_read: bool,
    /// The socket is closed.
    pub(super) is_gone: bool,
    /// The other side has been told so (datagrams).
    pub(super) refused: bool,
    /// Directions that have ended.
    pub(super) shutdown: u8,
    /// To be reported once.
    pub(super) error: Option<Errno>,
}

impl Inbox {
    pub(super) fn count(&self) -> usize {
        self.messages.len() + usize::from(self.first.is_some())
    }

    pub(super) fn readable(&self, all: bool) -> usize {
        let lengths = self.first.iter().chain(&self.messages).map(|message| message.rest().len());
        if all { lengths.sum() } else { lengths.take(1).sum() }
    }

    /// Bytes of the kernel's memory.
    pub(super) fn memory(&self) -> usize {
        self.reserved + self.messages.capacity() * size_of::<Message>()
    }

    /// Takes the first message; nobody else can until [`put_back`](Self::put_back) or [`done`](Self::done).
    pub(super) fn take(&mut self) -> Option<Message> {
        let message = self.first.take().or_else(|| self.messages.pop_front())?;
        self.taken = message.rest().len();
        self.is_read = true;
        Some(message)
    }

    /// The message that was taken comes back, perhaps shorter.
    pub(super) fn put_back(&mut self, message: Message) {
        let read = self.taken.saturating_sub(message.rest().len());
        self.reserved = self.reserved.saturating_sub(read);
        self.first = Some(message);
        self.is_read = false;
    }

    /// The message that was taken has been read.
    pub(super) fn done(&mut self) {
        self.reserved = self.reserved.saturating_sub(self.taken);
        self.is_read = false;
    }

    /// Adds a message, for which `count` bytes were reserved.
    pub(super) fn add(&mut self, message: Message, count: usize) -> Result<()> {
        if self.messages.try_reserve(1).is_err() {
            self.reserved = self.reserved.saturating_sub(count);
            return Err(Errno::ENOMEM);
        }
        self.messages.push_back(message);
        Ok(())
    }

    /// All messages; to be dropped without the lock.
    pub(super) fn take_all(&mut self) -> VecDeque<Message> {
        self.reserved = 0;
        let mut all = core::mem::take(&mut self.messages);
        if let Some(first) = self.first.take() {
            all.push_front(first);
        }
        all
    }
}
