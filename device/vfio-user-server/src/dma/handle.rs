// SPDX-License-Identifier: MIT OR Apache-2.0
//! One thread's way to guest memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::mapping::GuestSlice;
use super::remote::Remote;
use super::table::Table;
use super::{DmaAccess, DmaError};

/// A thread's own copy of the table. The lock is taken by that thread, and by a change of the table, which is rare.
#[derive(Debug)]
pub(super) struct Slot {
    table: Mutex<Arc<Table>>,
    /// Set while a change waits for `table`. The lock alone is not fair: a thread that is at it all the time would take it
    /// again and again before the change, and so before the client's answer.
    changing: AtomicBool,
    /// Held by a change from before `changing` is set until after it is cleared.
    change: Mutex<()>,
}

impl Slot {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self { table: Mutex::new(table), changing: AtomicBool::new(false), change: Mutex::new(()) }
    }

    /// Waits for the access under way, and at most for one more, and replaces the table for those that follow.
    pub(super) fn replace(&self, table: Arc<Table>) {
        let _change = lock(&self.change);
        self.changing.store(true, Ordering::SeqCst);
        *lock(&self.table) = table;
        self.changing.store(false, Ordering::SeqCst);
    }

    fn table(&self) -> MutexGuard<'_, Arc<Table>> {
        if self.changing.load(Ordering::SeqCst) {
            drop(lock(&self.change));
        }
        lock(&self.table)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread's way to the guest memory of one client ([`GuestMemory::handle`](super::GuestMemory::handle)).
///
/// An unmap waits for the access that a handle is in, and the client waits for the unmap: move large amounts in pieces
/// of some 100 KiB. When the client has left, every access fails.
#[derive(Debug)]
pub struct DmaHandle {
    slot: Arc<Slot>,
    remote: Arc<Remote>,
}

impl DmaHandle {
    pub(super) fn new(slot: Arc<Slot>, remote: Arc<Remote>) -> Self {
        Self { slot, remote }
    }

    /// Copies `to.len()` bytes at guest address `address` into `to`, directly where the client sent a descriptor, else
    /// by messages to it.
    ///
    /// # Errors
    /// See [`DmaError`]. What is in `to` after an error is unspecified.
    pub fn read(&mut self, address: u64, to: &mut [u8]) -> Result<(), DmaError> {
        self.copy_out(address, to).inspect_err(|error| self.remote.count_fault(error))
    }

    fn copy_out(&mut self, address: u64, to: &mut [u8]) -> Result<(), DmaError> {
        let remote = {
            let table = self.slot.table();
            let mut remote = Vec::new();
            for piece in table.pieces(address, to.len(), DmaAccess::Read)? {
                let place = to.get_mut(piece.buffer.clone()).ok_or(DmaError::OutOfRange)?;
                let Some(mapping) = &piece.map.mapping else {
                    remote.push((piece.address, piece.buffer));
                    continue;
                };
                let length = place.len();
                mapping
                    .access(piece.offset(), length, DmaAccess::Read, |slice| slice.read(0, place))
                    .ok_or(DmaError::Gone { address: piece.address })??;
            }
            remote
        };
        // Without the lock: the answer can only come after the server is done with a change that waits for it.
        for (address, range) in remote {
            self.remote.read(address, to.get_mut(range).ok_or(DmaError::OutOfRange)?)?;
        }
        Ok(())
    }

    /// Copies `from` to guest address `address`, directly where the client sent a descriptor, else by messages to it.
    ///
    /// # Errors
    /// See [`DmaError`].
    pub fn write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        self.copy_in(address, from).inspect_err(|error| self.remote.count_fault(error))
    }

    fn copy_in(&mut self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        let remote = {
            let table = self.slot.table();
            let mut remote = Vec::new();
            for piece in table.pieces(address, from.len(), DmaAccess::Write)? {
                let part = from.get(piece.buffer.clone()).ok_or(DmaError::OutOfRange)?;
                let Some(mapping) = &piece.map.mapping else {
                    remote.push((piece.address, piece.buffer));
                    continue;
                };
                mapping
                    .access(piece.offset(), part.len(), DmaAccess::Write, |slice| slice.write(0, part))
                    .ok_or(DmaError::Gone { address: piece.address })??;
            }
            remote
        };
        for (address, range) in remote {
            self.remote.write(address, from.get(range).ok_or(DmaError::OutOfRange)?)?;
        }
        Ok(())
    }

    /// Runs `work` on the guest memory itself, without a copy: for rings and flags, and for data that is made in place.
    /// The range must lie in one map that came with a descriptor. Keep `work` short, and do not wait in it.
    ///
    /// # Errors
    /// See [`DmaError`]; [`DmaError::NotDirect`] where [`Self::read`] and [`Self::write`] would have to send messages. If
    /// the client cut its file short during `work`, the error is [`DmaError::Gone`], although `work` ran.
    pub fn with_slice<R>(
        &mut self,
        address: u64,
        length: usize,
        access: DmaAccess,
        work: impl FnOnce(&GuestSlice<'_>) -> R,
    ) -> Result<R, DmaError> {
        self.borrow(address, length, access, work).inspect_err(|error| self.remote.count_fault(error))
    }

    fn borrow<R>(
        &mut self,
        address: u64,
        length: usize,
        access: DmaAccess,
        work: impl FnOnce(&GuestSlice<'_>) -> R,
    ) -> Result<R, DmaError> {
        let table = self.slot.table();
        let mut pieces = table.pieces(address, length, access)?;
        let piece = pieces.next().filter(|piece| piece.buffer.len() == length).ok_or(DmaError::NotDirect)?;
        let mapping = piece.map.mapping.as_ref().ok_or(DmaError::NotDirect)?;
        mapping.access(piece.offset(), length, access, work).ok_or(DmaError::Gone { address })
    }

    /// Whether all of the range can be reached for that access now; a moment later that may have changed.
    ///
    /// # Errors
    /// See [`DmaError`].
    pub fn check(&mut self, address: u64, length: usize, access: DmaAccess) -> Result<(), DmaError> {
        let found = self.slot.table().pieces(address, length, access).map(drop);
        found.inspect_err(|error| self.remote.count_fault(error))
    }
}
