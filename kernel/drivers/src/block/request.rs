// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests to a block device: a request is handed over whole, with its buffer, and comes back whole as a completion.

use core::fmt;

use alloc::{string::String, sync::Arc};

use arrayvec::ArrayString;
use exo_platform::Buffer;

/// The name of a device in messages and errors, such as `nvme0n1`.
pub type DeviceName = ArrayString<16>;

/// `text` as a [`DeviceName`], cut where it is too long.
pub fn device_name(text: fmt::Arguments<'_>) -> DeviceName {
    let mut name = DeviceName::new();
    // What does not fit is left out; a name is for people.
    let _ = fmt::Write::write_fmt(&mut Truncated(&mut name), text);
    name
}

struct Truncated<'a>(&'a mut DeviceName);

impl fmt::Write for Truncated<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.0.try_push(c).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// What a device says of itself, such as its model: a blank for what is not printable ASCII, and none at the ends.
pub fn device_text(bytes: impl IntoIterator<Item = u8>) -> String {
    let printable = |byte: u8| if (b' '..=b'~').contains(&byte) { char::from(byte) } else { ' ' };
    let text: String = bytes.into_iter().map(printable).collect();
    String::from(text.trim())
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// From the device into the buffer.
    Read,
    /// From the buffer to the device.
    Write,
    /// Everything written before is on the medium when this completes. No buffer.
    Flush,
    /// The sectors' content is not needed any more. No buffer.
    Discard,
}

/// A request. Whoever makes it gives it away; it comes back in a [`Completion`], or in [`Refused`].
pub struct Request {
    /// What is to be done.
    pub operation: Operation,
    /// The first sector, in units of the device's sector size. 0 for a flush.
    pub sector: u64,
    /// The data: `sectors` sectors; none for a flush or discard.
    pub buffer: Option<Buffer>,
    /// How many sectors. 0 for a flush.
    pub sectors: u32,
    /// Who is told of the end.
    pub sink: Arc<dyn Sink>,
    /// Handed back as it is.
    pub token: u64,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} of {} sectors at {} (token {})",
            self.operation, self.sectors, self.sector, self.token
        )
    }
}

/// The end of a request.
#[derive(Debug)]
pub struct Completion {
    /// As in the request.
    pub token: u64,
    /// As in the request.
    pub operation: Operation,
    /// The request's buffer. After an error its content is undefined.
    pub buffer: Option<Buffer>,
    /// Bytes moved (0 for a flush or discard), or what went wrong.
    pub result: Result<usize, BlockError>,
}

/// Who is told of completions.
pub trait Sink: Send + Sync {
    /// Called once for every request that was accepted, on any CPU: from a poll, an interrupt or a timer, never from
    /// [`submit`](super::Requests::submit). It has to be short, and must not call the device.
    fn complete(&self, completion: Completion);
}

/// A request that was not accepted. It comes back, and its sink is not told.
#[derive(Debug)]
pub struct Refused {
    /// The request.
    pub request: Request,
    /// Why: [`Cause::QueueFull`] may go well later, the rest will not.
    pub why: BlockError,
}

/// Names an accepted request, for [`cancel`](super::Requests::cancel). The slot in the low 16 bits; what is above tells the slot's
/// uses apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u32);

/// What went wrong, where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockError {
    /// The device.
    pub device: DeviceName,
    /// The request's first sector; none if it was about no sector.
    pub sector: Option<u64>,
    /// What went wrong.
    pub cause: Cause,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Sectors beyond the device's end.
    OutOfRange,
    /// The device cannot be written.
    ReadOnly,
    /// The device says that it failed; its own status.
    Medium(u32),
    /// The device did not answer in time.
    TimedOut,
    /// The device is not there any more.
    Removed,
    /// No slot is free; may be tried again after a completion.
    QueueFull,
    /// Cancelled by its sender, or by a reset that recovered the device.
    Cancelled,
    /// The device cannot do this.
    Unsupported,
    /// The buffer's size does not fit the sectors, or its parts are where the device cannot reach them.
    Misaligned,
    /// Memory ran out.
    NoMemory,
    /// The device broke its own rules: a completion that was never asked for, a tag out of range, registers that make no sense.
    Protocol,
    /// The driver has not been started, or has been stopped.
    NotReady,
}

impl Cause {
    /// What requests are refused with after a device has ended with this cause: to those that come later it is gone, whatever the
    /// reason.
    pub(crate) fn for_later(self) -> Self {
        if self == Self::NotReady { self } else { Self::Removed }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange => f.write_str("beyond the end of the device"),
            Self::ReadOnly => f.write_str("the device is read-only"),
            Self::Medium(status) => write!(f, "the device reports a failure (status {status:#x})"),
            Self::TimedOut => f.write_str("the device did not answer in time"),
            Self::Removed => f.write_str("the device was removed"),
            Self::QueueFull => f.write_str("the queue is full"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Unsupported => f.write_str("the device cannot do this"),
            Self::Misaligned => f.write_str("the buffer does not fit the sectors"),
            Self::NoMemory => f.write_str("no memory"),
            Self::Protocol => f.write_str("the device broke its protocol"),
            Self::NotReady => f.write_str("the driver is not running"),
        }
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sector {
            Some(sector) => write!(f, "{}: sector {sector}: {}", self.device, self.cause),
            None => write!(f, "{}: {}", self.device, self.cause),
        }
    }
}

impl core::error::Error for BlockError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_device_sector_and_cause() {
        let device = device_name(format_args!("nvme{}n{}", 0, 1));
        let error = BlockError { device, sector: Some(77), cause: Cause::Medium(0x281) };
        assert_eq!(error.to_string(), "nvme0n1: sector 77: the device reports a failure (status 0x281)");
        let error = BlockError { device, sector: None, cause: Cause::Removed };
        assert_eq!(error.to_string(), "nvme0n1: the device was removed");
    }

    #[test]
    fn what_a_device_says_is_printable() {
        assert_eq!(device_text(*b"  A\nmodel\x1b[2J\xff\0 "), "A model [2J");
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(&*device_name(format_args!("{}", "a".repeat(20))), "a".repeat(16));
    }
}
