// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table's owner: makes and takes away maps, and hands every change to all handles.

#[cfg(any(test, feature = "testing"))]
use std::io;
use std::os::fd::AsFd;
#[cfg(any(test, feature = "testing"))]
use std::os::{fd::OwnedFd, unix::net::UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use log::debug;
use rustix::io::Errno;
use thiserror::Error;

use super::handle::{DmaHandle, Slot};
use super::mapping::{Mapping, is_memory};
use super::remote::Remote;
use super::table::{Map, Table};
use crate::limits::Limits;
#[cfg(any(test, feature = "testing"))]
use crate::reaper::PeerFd;
use crate::request::{DmaMap, UnmapRange};
#[cfg(any(test, feature = "testing"))]
use crate::{sender::Sender, shutdown::Shutdown};

/// The guest memory that one client shares, for as long as it is connected. Clones are the same memory.
#[derive(Debug, Clone)]
pub struct GuestMemory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    remote: Arc<Remote>,
    max_maps: usize,
    max_size: u64,
}

#[derive(Debug)]
struct State {
    table: Arc<Table>,
    slots: Vec<Weak<Slot>>,
}

/// Why a map was not made or not taken away.
#[derive(Debug, Error)]
pub(crate) enum MapError {
    #[error("{start:#x}..={last:#x} overlaps a map that exists")]
    Overlap { start: u64, last: u64 },
    #[error("there are {0} maps already, the most that are allowed")]
    TooMany(usize),
    #[error(
        "{size:#x} bytes, in whole pages of the file, are more than the {room:#x} that maps may still take"
    )]
    TooLarge { size: u64, room: u64 },
    #[error("mapping {size:#x} bytes at offset {offset:#x} of the file failed: {errno}")]
    File { offset: u64, size: u64, errno: Errno },
    #[error("there is no map of exactly {start:#x}..={last:#x}")]
    NoSuchMap { start: u64, last: u64 },
}

impl MapError {
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::Overlap { .. } => Errno::EXIST,
            Self::TooMany(_) | Self::TooLarge { .. } => Errno::NOSPC,
            Self::File { errno, .. } => *errno,
            Self::NoSuchMap { .. } => Errno::NOENT,
        }
    }
}

impl GuestMemory {
    pub(crate) fn new(remote: Arc<Remote>, limits: &Limits) -> Self {
        let state = Mutex::new(State { table: Arc::default(), slots: Vec::new() });
        let max_maps = usize::try_from(limits.max_dma_maps).unwrap_or(usize::MAX);
        Self(Arc::new(Inner { state, remote, max_maps, max_size: limits.max_dma_size }))
    }

    /// Memory that no client shares, for a device's own tests and measurements. [`Self::share`] and [`Self::unshare`] stand
    /// for a client's requests.
    ///
    /// # Errors
    /// The process or the system has no file descriptors left.
    #[cfg(any(test, feature = "testing"))]
    pub fn detached() -> io::Result<Self> {
        let (socket, _) = UnixStream::pair()?;
        let limits = Limits::default();
        let sender = Sender::new(PeerFd::own(socket.into()), limits.reply, Shutdown::new()?);
        Ok(Self::new(Arc::new(Remote::new(Arc::new(sender), limits.reply, Arc::default())), &limits))
    }

    /// Maps `size` bytes of `file` from `offset` on at guest address `address`, for both kinds of access.
    ///
    /// # Errors
    /// As a client's request would fail: `EINVAL` for a file that is too short, `EEXIST` where a map is already.
    #[cfg(any(test, feature = "testing"))]
    pub fn share(&self, address: u64, size: u64, file: OwnedFd, offset: u64) -> Result<(), crate::Errno> {
        if size == 0 || address.checked_add(size.saturating_sub(1)).is_none() {
            return Err(crate::Errno::INVAL);
        }
        let map =
            DmaMap { address, size, readable: true, writable: true, file: Some((PeerFd::own(file), offset)) };
        self.map(map).map_err(|error| crate::Errno::of_system(error.errno()))
    }

    /// Takes a map away. When this returns, no access to it is under way or can begin.
    ///
    /// # Errors
    /// `ENOENT`: there is no map of exactly that range.
    #[cfg(any(test, feature = "testing"))]
    pub fn unshare(&self, address: u64, size: u64) -> Result<(), crate::Errno> {
        self.unmap(UnmapRange::Exact { address, size })
            .map_err(|error| crate::Errno::of_system(error.errno()))
    }

    /// A new way for one thread to reach this memory. Make one for each thread, once, and keep it.
    pub fn handle(&self) -> DmaHandle {
        let mut state = self.state();
        let slot = Arc::new(Slot::new(state.table.clone()));
        state.slots.retain(|slot| slot.strong_count() > 0);
        state.slots.push(Arc::downgrade(&slot));
        DmaHandle::new(slot, self.0.remote.clone())
    }

    /// How many maps there are.
    pub fn map_count(&self) -> usize {
        self.state().table.len()
    }

    pub(crate) fn map(&self, request: DmaMap) -> Result<(), MapError> {
        let DmaMap { address: start, size, readable, writable, file } = request;
        let last = start.saturating_add(size.saturating_sub(1)); // Exact: the request was checked.
        let mut state = self.state();
        if state.table.overlaps(start, last) {
            return Err(MapError::Overlap { start, last });
        }
        if state.table.len() >= self.0.max_maps {
            return Err(MapError::TooMany(state.table.len()));
        }
        let mapping = match file {
            Some((file, offset)) if is_memory(file.as_fd()) => {
                let room = self.0.max_size.saturating_sub(state.table.direct_size());
                let mapping = Mapping::new(file.as_fd(), offset, size, writable, room);
                let mapping = mapping.map_err(|errno| match errno {
                    Errno::NOSPC => MapError::TooLarge { size, room },
                    errno => MapError::File { offset, size, errno },
                })?;
                Some(Arc::new(mapping))
            }
            Some(_) => {
                debug!("the file of the next map is not memory, so it is reached by messages");
                None
            }
            None => None,
        };
        let how = if mapping.is_some() { "directly" } else { "by messages" };
        debug!("guest memory {start:#x}..={last:#x} is reached {how}");
        let table = state.table.with(Map { start, last, readable, writable, mapping });
        state.publish(table);
        Ok(())
    }

    /// Takes maps away. When it returns, no access to them is under way or can begin.
    pub(crate) fn unmap(&self, range: UnmapRange) -> Result<(), MapError> {
        let mut state = self.state();
        let table = match range {
            UnmapRange::All => Table::default(),
            UnmapRange::Exact { address: start, size } => {
                let last = start.saturating_add(size.saturating_sub(1));
                state.table.without(start, last).ok_or(MapError::NoSuchMap { start, last })?
            }
        };
        state.publish(table);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts the new table into every handle, waiting for the access that each may be in.
    fn publish(&mut self, table: Table) {
        let table = Arc::new(table);
        self.slots.retain(|slot| match slot.upgrade() {
            Some(slot) => {
                slot.replace(table.clone());
                true
            }
            None => false,
        });
        self.table = table; // The last holder of what was taken away lets go, which unmaps it.
    }
}
