// SPDX-License-Identifier: MIT OR Apache-2.0
//! The nodes, with a safe face.

mod error;
mod events;
mod monitor;
mod rings;

pub use error::Error;
pub use events::Events;
pub use monitor::Monitor;
pub use rings::{RingReader, Rings, Taken};

/// A process's name as text; what is no UTF-8 in it shows as �.
#[must_use]
pub fn name(comm: &[u8; 16]) -> String {
    let length = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(comm.get(..length).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_name_ends_at_its_first_zero() {
        assert_eq!(name(b"sh\0garbage\0\0\0\0\0\0"), "sh");
        assert_eq!(name(&[0; 16]), "");
        assert_eq!(name(b"sixteen bytes..!"), "sixteen bytes..!");
        assert_eq!(name(b"\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "\u{fffd}");
    }
}
