// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory: which ranges the client shares, and how a device's threads reach them while maps come and go.
//!
//! [`GuestMemory`] is the table, changed by the server alone. Each thread that transfers data makes itself a
//! [`DmaHandle`]. A handle owns a copy of the table behind a lock that is its own; a map or unmap puts a new table into
//! every handle, one after the other, and so waits for each access under way and for none that comes later. When the
//! unmap is answered, nobody can reach the old memory any more, and in the steady state no thread touches a lock or a
//! cache line that another one writes.

mod copy;
mod handle;
mod mapping;
mod memory;
mod remote;
mod sigbus;
mod table;
mod unmap;

use thiserror::Error;

use crate::errno::Errno;

pub use handle::DmaHandle;
pub use mapping::GuestSlice;
pub use memory::GuestMemory;

pub(crate) use memory::MapError;
pub(crate) use remote::Remote;

/// What a device does with guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaAccess {
    /// The device reads what the guest wrote.
    Read,
    /// The device writes what the guest will read.
    Write,
}

/// Why an access to guest memory failed. After an error of the first five kinds nothing was transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DmaError {
    /// Part of the range is not mapped.
    #[error("guest memory at {address:#x} is not mapped")]
    NotMapped {
        /// The first address that is not.
        address: u64,
    },
    /// Part of the range is mapped, but not for this access.
    #[error("guest memory at {address:#x} is not mapped for this kind of access")]
    Forbidden {
        /// The first such address.
        address: u64,
    },
    /// The range runs past the end of the 64-bit address space, or past the end of a [`GuestSlice`].
    #[error("the range ends outside the memory that it names")]
    OutOfRange,
    /// A [`GuestSlice`] was asked for memory that no descriptor came with, or that spans two maps.
    #[error("the range is not directly reachable in one piece")]
    NotDirect,
    /// An atomic access whose address is not a multiple of its size.
    #[error("the address is not aligned to the size of the access")]
    Misaligned,
    /// The client cut the file short under the mapping. The map is dead until it is unmapped and mapped anew.
    #[error("the file behind guest memory at {address:#x} is gone")]
    Gone {
        /// Start of the range.
        address: u64,
    },
    /// The connection ended.
    #[error("the client has left")]
    Disconnected,
    /// The client did not answer a DMA message in time.
    #[error("the client did not answer a DMA message in time")]
    Timeout,
    /// The client answered a DMA message with an error, or with something that is no answer to it.
    #[error("the client refused a DMA message: {0}")]
    Refused(Errno),
    /// The server's own thread cannot wait for an answer that only it can receive.
    #[error("memory without a descriptor cannot be reached from within a Device's methods")]
    WouldDeadlock,
}
