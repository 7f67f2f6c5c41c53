// SPDX-License-Identifier: GPL-2.0

//! A ring of bytes, and KUnit suites for it: one for what it does, and one for what it refuses.

use kernel::prelude::*;

/// The last `N` bytes that were pushed.
struct Last<const N: usize> {
    bytes: [u8; N],
    /// How many were pushed in all.
    pushed: usize,
}

impl<const N: usize> Last<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            pushed: 0,
        }
    }

    /// Takes a byte, and forgets the oldest one if there is no room.
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.pushed % N.max(1)) {
            *place = byte;
            self.pushed += 1;
        }
    }

    /// The byte that was pushed `back` bytes before the last one.
    ///
    /// # Errors
    /// ENOENT if it was never pushed, ERANGE if it is forgotten.
    fn get(&self, back: usize) -> Result<u8> {
        let index = self.pushed.checked_sub(back + 1).ok_or(ENOENT)?;
        if back >= N {
            return Err(ERANGE);
        }
        self.bytes.get(index % N).copied().ok_or(ENOENT)
    }
}

struct Example;

impl kernel::Module for Example {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let mut last = Last::<4>::new();
        b"kernel".iter().for_each(|byte| last.push(*byte));
        pr_info!("the last byte is {}\n", char::from(last.get(0)?));
        Ok(Self)
    }
}

module! {
    type: Example,
    name: "kunit_example",
    authors: ["The Exo authors"],
    description: "A module with KUnit suites",
    license: "GPL",
}

#[kunit_tests(last_keeps)]
mod keeps {
    use super::*;

    #[test]
    fn the_last_bytes_in_order() -> Result {
        let mut last = Last::<3>::new();
        b"abcd".iter().for_each(|byte| last.push(*byte));
        assert_eq!(last.get(0)?, b'd');
        assert_eq!(last.get(2)?, b'b');
        Ok(())
    }
}

#[kunit_tests(last_refuses)]
mod refuses {
    use super::*;

    #[test]
    fn what_was_never_pushed() {
        assert_eq!(Last::<3>::new().get(0), Err(ENOENT));
    }

    #[test]
    fn what_is_forgotten() {
        let mut last = Last::<3>::new();
        b"abcd".iter().for_each(|byte| last.push(*byte));
        assert_eq!(last.get(3), Err(ERANGE));
    }

    #[test]
    fn everything_without_room() {
        let mut last = Last::<0>::new();
        last.push(1);
        assert!(last.get(0).is_err());
    }
}
