// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that are on their way in messages. They count against their sender, and those that may hold files themselves are in a table, by
//! which the collector finds circles of them.

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_core::{
    credentials::User,
    limits::index,
    thread::{capable, running, soft_limit},
};
use exo_hal::sync::SpinLock;
use exo_logic::credentials::capability;
use exo_vfs::OpenFile;

use crate::{
    errno::{Errno, Result},
    fallible,
    file::socket_of,
    holder::{Holder, Key},
};

/// Most files of a message, as on Linux (`SCM_MAX_FD`).
pub const MOST_FILES: usize = 253;
/// Most files on their way at the same time, of all programs, the superuser's included: they are in nobody's table of descriptors.
const MOST_IN_FLIGHT: usize = 16384;

static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

/// A file on its way that may hold files, and what the collector has found out about it.
pub(super) struct Entry {
    pub(super) file: Weak<OpenFile>,
    /// How many messages have it, or are about to.
    pub(super) count: usize,
    /// Nothing but messages has it, as the last pass has found it.
    pub(super) is_candidate: bool,
    /// Of its messages, those that are not in a candidate.
    pub(super) outside: usize,
    /// A program can get it.
    pub(super) is_reachable: bool,
    /// The next in the list of those to look through.
    pub(super) next: Option<Key>,
}

/// All such files.
pub(super) struct Table {
    pub(super) entries: BTreeMap<Key, Entry>,
    /// A candidate has got out of a message since the pass began.
    pub(super) is_disturbed: bool,
}

pub(super) static TABLE: SpinLock<Table> =
    SpinLock::new(Table { entries: BTreeMap::new(), is_disturbed: false });

/// What a file that is on its way holds.
pub(super) fn holder_of(file: &OpenFile) -> Option<Arc<dyn Holder>> {
    socket_of(file)?.holder()
}

/// Whether a file may travel: what holds files and is no socket, a ring, would not be found by the collector.
pub fn may_be_sent(file: &OpenFile) -> bool {
    !file.file().holds_files() || socket_of(file).is_some()
}

/// Files on their way, in one message.
pub(super) struct InFlight {
    files: Vec<Arc<OpenFile>>,
    /// Against whom they count.
    user: Arc<User>,
}

/// Those of `files` that may hold files.
fn holders(files: &[Arc<OpenFile>]) -> impl Iterator<Item = &Arc<OpenFile>> {
    files.iter().filter(|file| file.file().holds_files())
}

impl InFlight {
    /// Sends files on their way; none if there are none.
    ///
    /// # Errors
    /// ETOOMANYREFS if the sender, or everybody together, has too many on the way; ENOMEM.
    pub(super) fn new(files: Vec<Arc<OpenFile>>) -> Result<Option<Box<Self>>> {
        if files.is_empty() {
            return Ok(None);
        }
        let user = running().credentials.get().user.clone();
        // As on Linux, who is at the limit may not send another message.
        let is_limited = user.in_flight.load(Ordering::Relaxed) as u64 > soft_limit(index::NOFILE);
        if is_limited && !capable(capability::SYS_RESOURCE) && !capable(capability::SYS_ADMIN) {
            return Err(Errno::ETOOMANYREFS);
        }
        let count = files.len();
        let mut in_flight = fallible::boxed(Self { files: Vec::new(), user })?;
        if IN_FLIGHT.fetch_add(count, Ordering::AcqRel) + count > MOST_IN_FLIGHT {
            IN_FLIGHT.fetch_sub(count, Ordering::AcqRel);
            return Err(Errno::ETOOMANYREFS);
        }
        in_flight.user.in_flight.fetch_add(count, Ordering::Relaxed);
        in_flight.files = files;
        let mut table = TABLE.lock();
        for file in holders(&in_flight.files) {
            let entry = table.entries.entry(file.id()).or_insert_with(|| Entry {
                file: Arc::downgrade(file),
                count: 0,
                is_candidate: false,
                outside: 0,
                is_reachable: false,
                next: None,
            });
            entry.count += 1;
        }
        drop(table);
        Ok(Some(in_flight))
    }

    /// The files.
    pub(super) fn files(&self) -> &[Arc<OpenFile>] {
        &self.files
    }

    /// They arrive.
    pub(super) fn take(mut self) -> Vec<Arc<OpenFile>> {
        self.arrive()
    }

    /// Counts them no more, before anybody else has them.
    fn arrive(&mut self) -> Vec<Arc<OpenFile>> {
        let count = self.files.len();
        IN_FLIGHT.fetch_sub(count, Ordering::AcqRel);
        self.user.in_flight.fetch_sub(count, Ordering::Relaxed);
        if holders(&self.files).next().is_some() {
            let table = &mut *TABLE.lock();
            for file in holders(&self.files) {
                let Some(entry) = table.entries.get_mut(&file.id()) else { continue };
                entry.count = entry.count.saturating_sub(1);
                table.is_disturbed |= entry.is_candidate;
                if entry.count == 0 {
                    table.entries.remove(&file.id());
                }
            }
        }
        core::mem::take(&mut self.files)
    }

    /// They arrive, and stay as well. `into` has room for them: the message's state is locked.
    pub(super) fn copy(&self, into: &mut Vec<Arc<OpenFile>>) {
        let table = &mut *TABLE.lock();
        for file in holders(&self.files) {
            table.is_disturbed |= table.entries.get(&file.id()).is_some_and(|entry| entry.is_candidate);
        }
        into.extend(self.files.iter().take(into.capacity() - into.len()).cloned());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let files = self.arrive();
        drop(files);
    }
}
