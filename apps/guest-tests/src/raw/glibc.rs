// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C library's own `rand()`: this program has glibc in itself, so the numbers that the device must give need not be
//! written down.

use std::sync::{Mutex, MutexGuard, PoisonError};

static IN_USE: Mutex<()> = Mutex::new(());

/// The C library's generator, of which a process has one.
pub(crate) struct Glibc {
    _in_use: MutexGuard<'static, ()>,
}

impl Glibc {
    /// The generator as after `srand(seed)`.
    pub(crate) fn seeded(seed: u32) -> Self {
        let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: srand(3) changes the generator's state, which is used under this lock only.
        unsafe { libc::srand(seed) };
        Self { _in_use: in_use }
    }

    /// `count` numbers after `srand(seed)`.
    pub(crate) fn numbers(seed: u32, count: usize) -> Vec<u32> {
        Self::seeded(seed).take(count).collect()
    }
}

impl Iterator for Glibc {
    type Item = u32;

    /// The next number. There is always one.
    fn next(&mut self) -> Option<u32> {
        // SAFETY: rand(3) changes the generator's state, which is used under our lock only.
        u32::try_from(unsafe { libc::rand() }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_1_gives_the_known_numbers() {
        let known = [1_804_289_383, 846_930_886, 1_681_692_777, 1_714_636_915, 1_957_747_793];
        assert_eq!(Glibc::numbers(1, 5), known);
    }
}
