// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong in a session: with one request, which is then answered with an errno, or with the client as such.

use rustix::io::Errno;
use thiserror::Error;

use crate::counters::{Counter, Counters, Reason};
use crate::device::{REGION_COUNT, Region};
use crate::dma::MapError;
use crate::irq::{IRQ_INDEXES, IrqError};
use crate::receiver::{StreamError, Unusable};
use crate::request::RequestError;
use crate::version::VersionError;

/// Why a client is dropped.
#[derive(Debug, Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("it sent command {0} before the version")]
    NoVersion(u16),
    #[error("no version was agreed: {0}")]
    Version(#[from] VersionError),
    #[error("it did not take an answer: {0}")]
    Send(Errno),
    #[error("the descriptors that it or others sent cannot be closed in time")]
    NoRoom,
}

impl SessionError {
    /// Where clients that are dropped for this reason are counted, beside all that are dropped.
    pub(crate) fn counter<'c>(&self, counters: &'c Counters) -> &'c Counter {
        match self {
            Self::Stream(_) => &counters.clients_unframed,
            Self::NoVersion(_) | Self::Version(_) => &counters.clients_without_version,
            Self::Send(_) => &counters.clients_not_reading,
            Self::NoRoom => &counters.clients_unclosed,
        }
    }
}

/// Why a request failed; the client gets the errno, the log the text.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error("flags that mean nothing")]
    Flags,
    #[error("the version was agreed already")]
    SecondVersion,
    #[error("no version was agreed")]
    NoVersion,
    #[error("this version cannot be agreed on")]
    Version(Errno),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Irq(#[from] IrqError),
    #[error("region {0} does not exist, expected 0 to {last}", last = REGION_COUNT - 1)]
    NoRegion(u32),
    #[error("interrupt index {0} does not exist, expected 0 to {last}", last = IRQ_INDEXES - 1)]
    NoIrq(u32),
    #[error("the device has no error reporting")]
    NoErrorReporting,
    #[error("{count} bytes at {offset:#x} are not all in {region:?}, which has {size:#x}")]
    OutsideRegion { region: Region, offset: u64, count: u64, size: u64 },
    #[error("{0:?} does not allow that access")]
    Forbidden(Region),
    #[error("{count} bytes are too many for one access, expected at most {max}")]
    TooMuchData { count: u32, max: u32 },
    #[error("the device refused: {0}")]
    Device(crate::errno::Errno),
}

impl Failure {
    /// What the client gets. Never 0.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::Request(error) => error.errno(),
            Self::Map(error) => error.errno(),
            Self::Irq(error) => error.errno(),
            Self::Unusable(Unusable::TooLarge { .. }) => Errno::MSGSIZE,
            Self::Forbidden(_) => Errno::PERM,
            Self::Version(errno) => *errno,
            Self::Device(errno) => errno.to_system(),
            _ => Errno::INVAL,
        }
    }

    /// What it is counted as. [`Reason::Unsupported`]: the client merely asked for something that this server or device does
    /// not have.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::NoErrorReporting
            | Self::Request(RequestError::Unsupported(_) | RequestError::UnknownCommand(_)) => {
                Reason::Unsupported
            }
            Self::Request(_)
            | Self::Unusable(_)
            | Self::Flags
            | Self::SecondVersion
            | Self::NoVersion
            | Self::Version(_) => Reason::Malformed,
            Self::NoRegion(_)
            | Self::NoIrq(_)
            | Self::OutsideRegion { .. }
            | Self::Forbidden(_)
            | Self::TooMuchData { .. } => Reason::OutOfRange,
            Self::Map(_) => Reason::Memory,
            Self::Irq(_) => Reason::Interrupts,
            Self::Device(_) => Reason::Device,
        }
    }
}
