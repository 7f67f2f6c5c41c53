// SPDX-License-Identifier: MIT OR Apache-2.0
//! Seals: promises that a file without a name (memfd) stays as it is, kept whoever asks for a change.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use linux_raw_sys::general::{F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE};

use exo_core::errno::{Errno, Result};

/// The seals of a file's content. They change, and are looked at before a change, while nobody else changes the content.
#[derive(Default)]
pub struct Seals {
    bits: AtomicU32,
    allowed: AtomicBool,
}

impl Seals {
    /// The `F_SEAL_` bits.
    pub fn bits(&self) -> u32 {
        let fixed = if self.allowed.load(Ordering::Acquire) { 0 } else { F_SEAL_SEAL };
        self.bits.load(Ordering::SeqCst) | fixed
    }

    /// From now on seals can be added, which they cannot be before.
    pub fn allow(&self) {
        self.allowed.store(true, Ordering::Release);
    }

    /// Adds seals. Nothing is checked.
    pub fn add(&self, bits: u32) {
        self.bits.fetch_or(bits, Ordering::SeqCst);
    }

    /// Takes seals back that were added too early.
    pub fn take_back(&self, bits: u32) {
        self.bits.fetch_and(!bits, Ordering::SeqCst);
    }

    /// Whether the content may not be written, and no new mapping may do so.
    pub fn forbid_writing(&self) -> bool {
        self.bits.load(Ordering::SeqCst) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0
    }

    /// EPERM if the content may not be written.
    pub fn check_write(&self) -> Result<()> {
        if self.forbid_writing() { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// EPERM if the size may not change from `old` to `new`.
    pub fn check_size(&self, old: u64, new: u64) -> Result<()> {
        let bits = self.bits.load(Ordering::SeqCst);
        let forbids = new < old && bits & F_SEAL_SHRINK != 0 || new > old && bits & F_SEAL_GROW != 0;
        if forbids { Err(Errno::EPERM) } else { Ok(()) }
    }
}
