// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/my_rngN` for programs: open, seed, draw ([`Device`]), and random bytes without a copy or a system call
//! ([`MappedRing`]). The ioctl numbers come from `my-rng-abi`; the only unsafe code of the programs that draw numbers is
//! here.
//!
//! ```no_run
//! let device = my_rng_client::Device::open(my_rng_client::FIRST_DEVICE)?;
//! device.seed(1)?;
//! assert_eq!(device.rand32()?, 1_804_289_383);
//! # Ok::<(), my_rng_client::Error>(())
//! ```

mod error;
mod mapped;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use my_rng_abi::ioctl::{RAND, RAND64, SEED, SEED_WIDE, SEEK, WIDE_SEED_STREAM, WideSeed};
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Getter, Setter, ioctl};

pub use error::{Error, Operation};
pub use mapped::MappedRing;

/// The node that always means the first device.
pub const FIRST_DEVICE: &str = "/dev/my_rng_driver";

/// A seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// Every generator takes it.
    Bits32(u32),
    /// A longer state, or what one is made of.
    Bits64(u64),
    /// A key, in the order of its bytes; or a state with its stream.
    Bits256([u8; 32]),
}

/// An open `my_rng` device. Every call is one `ioctl(2)`, and any number of threads may draw at once.
#[derive(Debug)]
pub struct Device {
    file: OwnedFd,
    path: PathBuf,
}

impl Device {
    /// Opens the node at `path`.
    ///
    /// # Errors
    /// As of `open(2)`; the message says what is likely to be missing.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Ok(Self { file, path: path.to_owned() }),
            Err(errno) => Err(Error::new(path, Operation::Open, errno)),
        }
    }

    /// Restarts the seedable stream with `seed`, for everybody who draws from this device.
    ///
    /// # Errors
    /// `ENODEV` when the device is gone, `ENOTTY` when this is another kind of device.
    pub fn seed(&self, seed: u32) -> Result<(), Error> {
        // SAFETY: SEED is `_IOW('q', 1, __u32)`: the driver reads a u32 through the pointer and keeps nothing.
        unsafe { ioctl(&self.file, Setter::<SEED, u32>::new(seed)) }
            .map_err(|errno| self.error(Operation::Seed, errno))
    }

    /// Restarts the seedable stream with a seed of any length, in the stream of that number or the one that the seed has
    /// without.
    ///
    /// # Errors
    /// As [`Device::seed`]; `EOPNOTSUPP` when the device or its generator takes no such thing, and nothing has changed.
    pub fn seed_wide(&self, seed: &Seed, stream: Option<u64>) -> Result<(), Error> {
        let (words, bits) = match *seed {
            Seed::Bits32(seed) => ([seed, 0, 0, 0, 0, 0, 0, 0], 32),
            // The lower half is meant, and the upper.
            Seed::Bits64(seed) => ([seed as u32, (seed >> 32) as u32, 0, 0, 0, 0, 0, 0], 64),
            Seed::Bits256(bytes) => {
                let mut words = [0; 8];
                for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
                    *word = bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                }
                (words, 256)
            }
        };
        let flags = if stream.is_some() { WIDE_SEED_STREAM } else { 0 };
        let request = WideSeed { seed: words, stream: stream.unwrap_or_default(), bits, flags };
        // SAFETY: SEED_WIDE is `_IOW('q', 5, struct my_rng_wide_seed)`: the driver reads one and keeps nothing.
        unsafe { ioctl(&self.file, Setter::<SEED_WIDE, WideSeed>::new(request)) }
            .map_err(|errno| self.error(Operation::SeedWide, errno))
    }

    /// Goes on with the number of 32 bits that has that position in the seedable stream; the first one's is 0.
    ///
    /// # Errors
    /// As [`Device::seed_wide`].
    pub fn seek(&self, position: u64) -> Result<(), Error> {
        // SAFETY: SEEK is `_IOW('q', 6, __u64)`: the driver reads a u64 through the pointer and keeps nothing.
        unsafe { ioctl(&self.file, Setter::<SEEK, u64>::new(position)) }
            .map_err(|errno| self.error(Operation::Seek, errno))
    }

    /// Draws 32 bits of the seedable stream.
    ///
    /// # Errors
    /// As [`Device::seed`].
    pub fn rand32(&self) -> Result<u32, Error> {
        // SAFETY: RAND is `_IOR('q', 1, __u32)`: on success the driver has written a u32, of which all values are valid.
        unsafe { ioctl(&self.file, Getter::<RAND, u32>::new()) }
            .map_err(|errno| self.error(Operation::Rand32, errno))
    }

    /// Draws 64 bits of the seedable stream; the first 32-bit draw is the high half.
    ///
    /// # Errors
    /// As [`Device::seed`].
    pub fn rand64(&self) -> Result<u64, Error> {
        // SAFETY: RAND64 is `_IOR('q', 2, __u64)`: on success the driver has written a u64, of which all values are valid.
        unsafe { ioctl(&self.file, Getter::<RAND64, u64>::new()) }
            .map_err(|errno| self.error(Operation::Rand64, errno))
    }

    /// The node that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, operation: Operation, errno: rustix::io::Errno) -> Error {
        Error::new(&self.path, operation, errno)
    }
}

/// Bytes of the entropy stream, by `read(2)`: as many as asked for, unless a signal comes.
impl io::Read for &Device {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.file, to)?)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_device_has_the_name_of_the_interface() {
        assert_eq!(FIRST_DEVICE, format!("/dev/{}", my_rng_abi::ioctl::FIRST_DEVICE_NAME));
    }

    #[test]
    fn a_missing_node_asks_for_the_module() {
        let error = Device::open("/dev/my_rng_that_is_not_there").unwrap_err();
        assert_eq!(error.errno(), rustix::io::Errno::NOENT.raw_os_error());
        let message = error.to_string();
        assert!(message.contains("no /dev/my_rng_that_is_not_there"), "{message}");
        assert!(message.contains("is the module my_rng loaded"), "{message}");
    }

    #[test]
    fn another_kind_of_device_is_named() {
        let error = Device::open("/dev/null").unwrap().seed(1).unwrap_err();
        assert_eq!(error.to_string(), "/dev/null is not a my_rng device (ioctl SEED: ENOTTY)");
        let error = Device::open("/dev/null").unwrap().seed_wide(&Seed::Bits64(1), None).unwrap_err();
        let expected = "/dev/null: its driver knows no longer seeds, or it is not a my_rng device (ioctl SEED_WIDE: ENOTTY)";
        assert_eq!(error.to_string(), expected);
    }
}
