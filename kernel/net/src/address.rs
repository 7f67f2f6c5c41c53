// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses of sockets as programs hand them over: bytes, of which only a family knows the meaning.

use arrayvec::ArrayVec;

use crate::errno::{Errno, Result};

/// Most bytes of an address (`struct sockaddr_storage`).
pub const LONGEST: usize = 128;
/// Bytes of the family, with which each address begins.
pub const FAMILY: usize = size_of::<u16>();

/// An address: the family in two bytes, and what the family makes of the rest.
#[derive(Clone, Debug, Default)]
pub struct Address(ArrayVec<u8, LONGEST>);

impl Address {
    /// An address of these bytes.
    ///
    /// # Errors
    /// EINVAL if there are too many.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        ArrayVec::try_from(bytes).map(Self).map_err(|_| Errno::EINVAL)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its family, unless it is too short to have one.
    pub fn family(&self) -> Option<u32> {
        self.0.first_chunk().map(|family| u32::from(u16::from_ne_bytes(*family)))
    }
}
