// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file that programs know a ring by.

use alloc::sync::Arc;

use super::ring::Ring;
use crate::{
    errno::{Errno, Result},
    fs::{
        OpenFile,
        file::{File, MapRequest},
        poll::Events,
    },
    mm::VmObject,
    sched::wait::WaitQueue,
};

/// The ring's file. Closing it ends what is on its way.
pub(super) struct RingFile(Arc<Ring>);

impl RingFile {
    /// A ring's file, for an open file to hold.
    pub(super) fn new(ring: Arc<Ring>) -> Self {
        Self(ring)
    }
}

impl Drop for RingFile {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl File for RingFile {
    fn events(&self) -> Events {
        let mut events = Events::empty();
        events.set(Events::IN, self.0.ready() > 0);
        events.set(Events::OUT, self.0.waiting() < self.0.layout.submissions);
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.completed)
    }

    fn map(&self, request: MapRequest) -> Result<Option<Arc<dyn VmObject>>> {
        Ok(Some(self.0.part(request.offset, request.length)?))
    }

    /// The offset names a part of the ring; each has pages of its own.
    fn mapped_from(&self, _offset: u64) -> u64 {
        0
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("[io_uring]")
    }

    fn holds_files(&self) -> bool {
        true
    }

    /// The rings, and the pages of registered buffers that the program no longer has mapped.
    fn kernel_memory(&self) -> usize {
        let layout = &self.0.layout;
        let buffers = self.0.resources.lock().unmapped_bytes();
        layout.ring_bytes() + layout.entries_bytes() + buffers
    }
}

/// The ring behind an open file.
pub(super) fn of(file: &OpenFile) -> Result<Arc<Ring>> {
    file.file().downcast::<RingFile>().map(|file| file.0.clone()).ok_or(Errno::EOPNOTSUPP)
}

/// Whether there is one.
pub(super) fn is_ring(file: &OpenFile) -> bool {
    file.file().downcast::<RingFile>().is_some()
}
