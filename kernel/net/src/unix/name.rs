// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of Unix sockets (`struct sockaddr_un`): a path, or bytes of any kind behind a zero, which are abstract.

use alloc::vec::Vec;

use linux_raw_sys::net::AF_UNIX;

use crate::{
    address::{Address, FAMILY},
    errno::{Errno, Result},
    fallible,
};

/// Most bytes of a name (`sun_path`).
const LONGEST: usize = 108;

/// A name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// A path, without the zero at its end.
    Path(Vec<u8>),
    /// What comes behind the zero at the beginning.
    Abstract(Vec<u8>),
}

/// Whether an address has no name, so that bind is to find one.
pub(super) fn is_nameless(address: &Address) -> bool {
    address.bytes().len() == FAMILY && address.family() == Some(AF_UNIX)
}

/// The address of who has no name.
pub(super) fn nameless() -> Address {
    written(&[], &[])
}

/// The address with these parts of a name.
fn written(first: &[u8], last: &[u8]) -> Address {
    let mut bytes = [0; FAMILY + 1 + LONGEST];
    let parts = (AF_UNIX as u16).to_ne_bytes().into_iter().chain(first.iter().chain(last).copied());
    let mut length = 0;
    for (to, from) in bytes.iter_mut().zip(parts) {
        *to = from;
        length += 1;
    }
    Address::new(bytes.get(..length).unwrap_or_default()).unwrap_or_default()
}

impl Name {
    /// The name in an address.
    ///
    /// # Errors
    /// EINVAL for an address without a name, with one that is too long, or of another family; ENOMEM.
    pub(super) fn of(address: &Address) -> Result<Self> {
        let name = address.bytes().get(FAMILY..).unwrap_or_default();
        if address.family() != Some(AF_UNIX) || name.is_empty() || name.len() > LONGEST {
            return Err(Errno::EINVAL);
        }
        let (bytes, is_path) = match name.split_first() {
            Some((0, rest)) => (rest, false),
            _ => (name.split(|byte| *byte == 0).next().unwrap_or_default(), true),
        };
        let mut own = fallible::list(bytes.len())?;
        own.extend_from_slice(bytes);
        Ok(if is_path { Self::Path(own) } else { Self::Abstract(own) })
    }

    /// As an address.
    pub(super) fn address(&self) -> Address {
        match self {
            Self::Path(path) => written(path, &[0]),
            Self::Abstract(name) => written(&[0], name),
        }
    }
}
