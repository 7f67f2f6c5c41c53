// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entropy stream: ChaCha20, keyed from the host's `getrandom`, never reproducible.
//!
//! Fast key erasure: each run of the cipher first makes the key of the next one (block 0), then data (blocks from 1 on),
//! so that the key that made some data is gone before the data is handed over, and who reads this process's memory learns
//! nothing of earlier numbers. After at most [`REKEY_AFTER`] bytes the host is asked for a new key, so that who read the
//! key learns little of later ones either.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::chacha::{self, Key};

/// Most bytes between two keys from the host.
pub const REKEY_AFTER: u64 = 1 << 20;

/// An entropy stream. Each worker has its own.
pub struct EntropyStream {
    key: Key,
    /// Bytes that may still come before the host must be asked.
    left: u64,
    rekeys: u64,
    generation: u64,
}

impl EntropyStream {
    /// A stream that takes its key when it is first used.
    pub fn new() -> Self {
        Self { key: Key::default(), left: 0, rekeys: 0, generation: 0 }
    }

    /// Fills `bytes`. The length is at most some 100 KiB: one run of the cipher.
    ///
    /// # Errors
    /// The host gives no key. `bytes` are unchanged.
    pub fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        if length > self.left {
            self.rekey()?;
        }
        self.left = self.left.saturating_sub(length);
        let mut next = Key::default();
        chacha::keystream(&self.key, 0, &mut next);
        chacha::keystream(&self.key, 1, bytes);
        self.key = next;
        erase(&mut next);
        Ok(())
    }

    /// Has the next bytes come from a new key of the host.
    pub fn forget_key(&mut self) {
        self.left = 0;
    }

    /// Forgets the key if it is of another generation: the host may have been cloned since.
    pub fn enter_generation(&mut self, generation: u64) {
        if self.generation != generation {
            self.generation = generation;
            self.forget_key();
        }
    }

    /// How many keys the host has given.
    pub fn rekeys(&self) -> u64 {
        self.rekeys
    }

    fn rekey(&mut self) -> io::Result<()> {
        let mut filled = 0;
        // One call gives all that is asked for, once the host's generator is up. Until then (EAGAIN) nobody waits in here: a
        // worker must hear what it is told.
        while let Some(rest) = self.key.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match getrandom(rest, GetRandomFlags::NONBLOCK) {
                Ok(count) => filled = filled.saturating_add(count),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.left = REKEY_AFTER;
        self.rekeys = self.rekeys.wrapping_add(1);
        Ok(())
    }
}

impl Default for EntropyStream {
    fn default() -> Self {
        Self::new()
    }
}

/// The key does not belong into a log.
impl std::fmt::Debug for EntropyStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EntropyStream").field("rekeys", &self.rekeys).finish_non_exhaustive()
    }
}

/// Overwrites what nobody may find later, and keeps the compiler from leaving that out.
pub fn erase(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_sixteen_bytes_come_twice() {
        let mut seen = HashSet::new();
        let (mut one, mut other) = (EntropyStream::new(), EntropyStream::new());
        for length in [1 << 16, 1, 63, 64, 65, 4096, 1 << 16] {
            for stream in [&mut one, &mut other] {
                let mut bytes = vec![0; length];
                stream.fill(&mut bytes).unwrap();
                for chunk in bytes.chunks_exact(16) {
                    assert!(seen.insert(chunk.to_vec()), "the same bytes twice");
                }
            }
        }
    }

    #[test]
    fn the_host_is_asked_again_after_a_mebibyte() {
        let mut stream = EntropyStream::new();
        let mut bytes = vec![0; 1 << 16];
        for round in 0..64 {
            stream.fill(&mut bytes).unwrap();
            assert_eq!(stream.rekeys(), 1 + round / 16);
        }
        stream.forget_key();
        stream.fill(&mut bytes).unwrap();
        assert_eq!(stream.rekeys(), 5);
        for (generation, rekeys) in [(0, 5), (1, 6), (1, 6), (2, 7)] {
            stream.enter_generation(generation);
            stream.fill(&mut bytes).unwrap();
            assert_eq!(stream.rekeys(), rekeys, "generation {generation}");
        }
    }

    #[test]
    fn the_key_changes_with_every_run_and_is_not_given_out() {
        let mut stream = EntropyStream::new();
        let mut bytes = vec![0; 4096];
        stream.fill(&mut bytes).unwrap();
        let before = stream.key;
        stream.fill(&mut bytes).unwrap();
        assert_ne!(stream.key, before);
        for key in [before, stream.key] {
            assert!(!bytes.windows(32).any(|window| window == key));
        }
    }
}
