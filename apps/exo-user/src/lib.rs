// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exo-Kernel's own system calls with a safe face: messages between processes, and the clock as a number.
//!
//! An [`Endpoint`] is a descriptor. Who has it may send to it and receive from it; a child has it after `fork`, and it
//! is closed when it is dropped. A [`Message`] is three words, which travel in registers: nothing is copied and nothing is
//! buffered. A sender waits for a receiver, a receiver for a sender, and the one that was waited for runs at once.
//!
//! A server and its client, in two threads here as they could be in two processes:
//!
//! ```no_run
//! use exo_user::Endpoint;
//!
//! let endpoint = Endpoint::new()?;
//! std::thread::scope(|scope| -> std::io::Result<()> {
//!     scope.spawn(|| -> std::io::Result<()> {
//!         let mut request = endpoint.receive()?;
//!         while request.words[0] != 0 {
//!             // Answers, and waits for the next request, in one system call.
//!             let sum = request.words[0] + request.words[1];
//!             request = endpoint.answer_and_receive(request.caller, [sum, 0, 0])?;
//!         }
//!         Ok(())
//!     });
//!     assert_eq!(endpoint.call([2, 3, 0])?[0], 5);
//!     endpoint.send([0; 3])
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Linux has none of these calls; there each gives [`Unsupported`](std::io::ErrorKind::Unsupported) (ENOSYS).

pub mod raw;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use exo_abi::number;

/// Words of a message.
pub const WORDS: usize = 3;

/// The words of a message.
pub type Words = [u64; WORDS];

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The words.
    pub words: Words,
    /// Who waits for an answer; nobody does if the message came by [`Endpoint::send`].
    pub caller: Option<Caller>,
}

/// A task that waits in [`Endpoint::call`] for its answer. It can be answered once.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller(u64);

/// Where messages are sent to and received from.
#[derive(Debug)]
pub struct Endpoint {
    descriptor: OwnedFd,
}

impl Endpoint {
    /// A new endpoint.
    ///
    /// # Errors
    /// `Unsupported` on Linux; EMFILE when the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no arguments and touches no memory.
        let descriptor = result(unsafe { raw::call(number::IPC_CREATE, [0; 6]) })?;
        let descriptor =
            RawFd::try_from(descriptor).map_err(|_| io::Error::other("the kernel gave no descriptor"))?;
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    /// Gives `words` to a receiver; waits until one takes them.
    ///
    /// # Errors
    /// EINVAL if the descriptor is no endpoint.
    #[inline]
    pub fn send(&self, words: Words) -> io::Result<()> {
        self.message(number::IPC_SEND, words, 0).map(drop)
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// EINVAL if the descriptor is no endpoint.
    #[inline]
    pub fn receive(&self) -> io::Result<Message> {
        self.message(number::IPC_RECV, [0; WORDS], 0)
    }

    /// Sends `words` and waits for the answer.
    ///
    /// # Errors
    /// EINTR if a signal came after the message was taken: the answer is lost then. EINVAL if the descriptor is no endpoint.
    #[inline]
    pub fn call(&self, words: Words) -> io::Result<Words> {
        self.message(number::IPC_CALL, words, 0).map(|answer| answer.words)
    }

    /// Answers `caller` with `words`, if there is one, then waits for the next message. A caller that no longer waits is
    /// passed over.
    ///
    /// # Errors
    /// EINVAL if the descriptor is no endpoint.
    #[inline]
    pub fn answer_and_receive(&self, caller: Option<Caller>, words: Words) -> io::Result<Message> {
        self.message(number::IPC_REPLY_RECV, words, caller.map_or(0, |caller| caller.0))
    }

    #[inline]
    fn message(&self, number: u64, words: Words, token: u64) -> io::Result<Message> {
        // A descriptor is never negative.
        let descriptor = u64::from(self.descriptor.as_raw_fd().unsigned_abs());
        let (status, words, token) = raw::message(number, descriptor, words, token);
        result(status)?;
        Ok(Message { words, caller: (token != 0).then_some(Caller(token)) })
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Time since the kernel started.
///
/// # Errors
/// `Unsupported` on Linux.
pub fn get_time() -> io::Result<Duration> {
    // SAFETY: the call takes no arguments and touches no memory.
    result(unsafe { raw::call(number::GET_TIME, [0; 6]) }).map(Duration::from_nanos)
}

/// Reads `buffer.len()` bytes from block device `device`, from sector `sector` on.
///
/// # Errors
/// EINVAL if the length is no multiple of 512 bytes or the place is beyond what a device can have; ENODEV if there is no such device;
/// `Unsupported` on Linux.
pub fn block_read(device: u32, sector: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let (at, length) = (buffer.as_mut_ptr().expose_provenance(), buffer.len());
    // SAFETY: the kernel writes `length` bytes at most, all of which are the buffer's.
    let status =
        unsafe { raw::call(number::BLOCK_READ, [device.into(), sector, at as u64, length as u64, 0, 0]) };
    result(status).map(|bytes| bytes as usize)
}

/// Writes `bytes` to block device `device`, from sector `sector` on.
///
/// # Errors
/// As [`block_read`].
pub fn block_write(device: u32, sector: u64, bytes: &[u8]) -> io::Result<usize> {
    let (at, length) = (bytes.as_ptr().expose_provenance(), bytes.len());
    // SAFETY: the kernel only reads the bytes.
    let status =
        unsafe { raw::call(number::BLOCK_WRITE, [device.into(), sector, at as u64, length as u64, 0, 0]) };
    result(status).map(|bytes| bytes as usize)
}

/// The kernel answers with a negative error number, as Linux does.
#[inline]
fn result(status: i64) -> io::Result<u64> {
    /// The largest error number that Linux's convention allows.
    const MAX_ERRNO: i64 = 4095;
    if (-MAX_ERRNO..0).contains(&status) {
        // In range by the line above.
        return Err(io::Error::from_raw_os_error(i32::try_from(-status).unwrap_or(i32::MAX)));
    }
    // The same 64 bits: results above `i64::MAX` are numbers, not errors.
    Ok(u64::from_ne_bytes(status.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_told_from_errors() {
        assert_eq!(result(7).unwrap(), 7);
        assert_eq!(result(-4096).unwrap(), u64::MAX - 4095);
        assert_eq!(result(-38).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    /// The tests run on Linux, which has none of the calls; what they do on Exo-Kernel is tested there.
    #[test]
    fn linux_says_that_it_has_no_such_calls() {
        assert_eq!(Endpoint::new().unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(get_time().unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(block_read(0, 0, &mut [0; 512]).unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(block_write(0, 0, &[0; 512]).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
