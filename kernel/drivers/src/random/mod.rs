// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random devices: where random bytes come from that nobody can predict.

use core::fmt;

use alloc::sync::Arc;
use core::any::Any;

use exo_platform::SharedPage;

/// Why a random device gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RandomError {
    /// The device does not answer any more.
    Gone,
    /// The device has made a mistake, or says that we have, and its queue has stopped.
    Failed,
    /// All queues that could be given away are in use.
    Busy,
    /// The device has nothing of this kind.
    Unsupported,
    /// Memory ran out.
    NoMemory,
}

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the device does not answer",
            Self::Failed => "the device's queue has failed",
            Self::Busy => "all queues are in use",
            Self::Unsupported => "the device has nothing of this kind",
            Self::NoMemory => "no memory",
        })
    }
}

impl core::error::Error for RandomError {}

impl From<exo_platform::NoMemory> for RandomError {
    fn from(_: exo_platform::NoMemory) -> Self {
        Self::NoMemory
    }
}

/// Who waits for a device.
pub trait Listener: Send + Sync {
    /// Something may have happened: look. Called by interrupts, so it must be short.
    fn happened(&self);
}

/// Something that will be there later; [`RandomDevice::is_reached`] says when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    pub(crate) queue: u32,
    pub(crate) count: u32,
}

/// What came out of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Bytes that were taken.
    pub bytes: usize,
    /// Whether the taker left some, which are lost: nobody gets them again.
    pub refused: bool,
}

/// Takes bytes: from `offset` in the page, so many. It says how many it took; if that is fewer, it gets no more.
pub type Sink<'a> = dyn FnMut(&SharedPage, usize, usize) -> usize + 'a;

/// A source of random bytes that nobody else gets.
pub trait RandomDevice: Send + Sync {
    /// The name of its driver.
    fn name(&self) -> &str;

    /// Who is told when what somebody waits for may be there. One; the last counts.
    fn listen(&self, listener: Arc<dyn Listener>);

    /// Takes up to `limit` bytes that are there and hands them to `sink` in parts.
    ///
    /// # Errors
    /// [`RandomError::Failed`] when no queue works any more.
    fn draw(&self, limit: usize, sink: &mut Sink<'_>) -> Result<Drawn, RandomError>;

    /// Asks to be told when `bytes` more are there, or fewer if that is too many to wait for. None if some are there already.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    fn await_bytes(&self, bytes: usize) -> Result<Option<Awaited>, RandomError>;

    /// Whether there is nothing to wait for any more.
    fn is_reached(&self, awaited: Awaited) -> bool;

    /// Whether the device still answers. Asks it, which costs an access to a register.
    ///
    /// # Errors
    /// [`RandomError::Gone`].
    fn look(&self) -> Result<(), RandomError>;

    /// The device as its own type, for what only that kind can do.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}
