// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations, and the transactions that they belong to. An operation is done as a whole or not at all; a transaction, which has many, is
//! durable as a whole or not at all.

use crate::{
    device::BlockDevice,
    error::{Error, Result},
    volume::Ext4,
};

impl<D: BlockDevice> Ext4<D> {
    /// Does `what` as a whole. If it fails, nothing has changed.
    pub(crate) fn operation<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.must_be_writable()?;
        let orphans = self.orphans.clone();
        let result = what(self).and_then(|value| self.make_room().map(|()| value));
        match result {
            Ok(value) => {
                self.buffers.finish_operation();
                Ok(value)
            }
            Err(error) => {
                self.buffers.abandon_operation();
                self.orphans = orphans;
                Err(error)
            }
        }
    }

    /// Lets the transaction end if the operation does not fit into it.
    fn make_room(&mut self) -> Result<()> {
        let Some(log) = &self.log else { return Err(Error::ReadOnly) };
        let (blocks, revoked) = self.buffers.transaction_len();
        if log.needed(blocks, revoked) <= log.most() {
            return Ok(());
        }
        let (blocks, revoked) = self.buffers.operation_len();
        if log.needed(blocks, revoked) > log.most() {
            return Err(Error::NoSpace);
        }
        self.commit()
    }

    /// Makes the transaction durable. If that fails, nothing more is written.
    pub(crate) fn commit(&mut self) -> Result<()> {
        let Some(log) = &mut self.log else { return Err(Error::ReadOnly) };
        let result = log.commit(&mut self.buffers, self.seconds);
        if result.is_err() {
            self.read_only = Some("the journal could not be written");
        }
        result
    }
}
