// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel and the machine are called (uname).

use alloc::vec::Vec;

use exo_hal::sync::SpinLock;
use exo_logic::credentials::capability;

use crate::{
    errno::{Errno, Result},
    fallible,
    thread::capable,
};

/// The release. Programs (the C library among them) compare it with Linux versions: it says which Linux the calls are modelled on.
pub const RELEASE: &str = "6.12.0-exo";
/// The version: which kernel it is.
pub const VERSION: &str = "Exo-Kernel";
/// Longest name that can be given, in bytes (`__NEW_UTS_LEN`).
pub const NAME_MAX: usize = 64;
/// What nobody has named is called.
const NO_NAME: &[u8] = b"(none)";

/// The machine's name.
pub static HOST: Name = Name::new();
/// The name of the domain that it belongs to (NIS).
pub static DOMAIN: Name = Name::new();

/// A name that can be given.
pub struct Name(SpinLock<Vec<u8>>);

impl Name {
    const fn new() -> Self {
        Self(SpinLock::new(Vec::new()))
    }

    /// The name, or what stands for none; ENOMEM if there is no memory for a copy.
    pub fn get(&self) -> Result<Vec<u8>> {
        let mut copy = fallible::list(NAME_MAX)?;
        let name = self.0.lock();
        copy.extend_from_slice(if name.is_empty() { NO_NAME } else { &name });
        Ok(copy)
    }

    /// Gives another one, for the running thread.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN, EINVAL for more than [`NAME_MAX`] bytes, ENOMEM.
    pub fn set(&self, name: &[u8]) -> Result<()> {
        if !capable(capability::SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        if name.len() > NAME_MAX {
            return Err(Errno::EINVAL);
        }
        let mut new = fallible::list(name.len())?;
        new.extend_from_slice(name);
        let old = core::mem::replace(&mut *self.0.lock(), new);
        drop(old);
        Ok(())
    }
}
