// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events that wait to be read, and how they are read.

use core::sync::atomic::Ordering;

use alloc::{collections::VecDeque, vec::Vec};

use exo_core::limits::inotify as bounds;
use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    fallible,
    io_buf::IoBuf,
};

/// `struct inotify_event` without the name.
const HEADER: usize = 16;

/// What has happened.
pub(super) struct Event {
    /// The number of the watch that tells it.
    pub(super) watch: i32,
    /// `IN_` bits.
    pub(super) bits: u32,
    /// What the two halves of a move have in common.
    pub(super) cookie: u32,
    /// In a directory, to which name.
    pub(super) name: Vec<u8>,
}

impl Event {
    /// Its name with zeros behind it takes a multiple of a header.
    fn name_size(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEADER) }
    }

    /// Bytes as it is read.
    pub(super) fn size(&self) -> usize {
        HEADER + self.name_size()
    }

    /// Gives it to who reads.
    pub(super) fn give(&self, to: &mut IoBuf<'_>) -> Result<()> {
        to.put_value(&[self.watch as u32, self.bits, self.cookie, self.name_size() as u32])?;
        to.put_all(&self.name)?;
        // One zero at least, if there is a name.
        to.put_all([0; HEADER].get(..self.name_size() - self.name.len()).unwrap_or_default())
    }

    /// Whether it tells nothing that `other` has not told. As on Linux, the cookie is not looked at.
    fn repeats(&self, other: &Self) -> bool {
        self.watch == other.watch
            && self.bits == other.bits
            && self.name == other.name
            && self.bits & abi::IN_IGNORED == 0
    }
}

/// Events in order.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) events: VecDeque<Event>,
    /// Bytes of them, as they are read.
    pub(super) bytes: usize,
    /// An event says already that others were lost.
    has_overflowed: bool,
}

impl Queue {
    /// Adds one, unless the last tells the same.
    pub(super) fn push(&mut self, event: Event) {
        if self.events.back().is_some_and(|last| event.repeats(last)) {
            return;
        }
        let size = event.size();
        let is_full = self.events.len() >= bounds::QUEUED_EVENTS.load(Ordering::Relaxed);
        if is_full || fallible::push_back(&mut self.events, event).is_err() {
            self.overflow();
        } else {
            self.bytes += size;
        }
    }

    /// An event is lost.
    pub(super) fn overflow(&mut self) {
        let event = Event { watch: -1, bits: abi::IN_Q_OVERFLOW, cookie: 0, name: Vec::new() };
        // There was room for an event before the first was lost, or there is nothing that can be said.
        if !self.has_overflowed && self.events.try_reserve(1).is_ok() {
            self.has_overflowed = true;
            self.bytes += event.size();
            self.events.push_back(event);
        }
    }

    /// The first, if it fits; EINVAL if it does not.
    pub(super) fn take(&mut self, room: usize) -> Option<Result<Event>> {
        if self.events.front()?.size() > room {
            return Some(Err(Errno::EINVAL));
        }
        let event = self.events.pop_front()?;
        self.bytes -= event.size();
        if event.watch == -1 {
            self.has_overflowed = false;
        }
        Some(Ok(event))
    }
}
