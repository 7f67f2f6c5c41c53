// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparing rounds: after the same seed, every round must bring the same numbers.

use std::fmt;

/// The first place where a round differs from the first one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    round: u32,
    index: usize,
    expected: u32,
    found: u32,
}

/// Compares a round with the first one, which has as many numbers.
pub(crate) fn difference(first: &[u32], round: u32, numbers: &[u32]) -> Option<Difference> {
    let pairs = first.iter().zip(numbers).enumerate();
    let mut different = pairs.filter(|(_, (expected, found))| expected != found);
    different.next().map(|(index, (&expected, &found))| Difference { round, index, expected, found })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round, index, expected, found } = self;
        write!(f, "round {round} differs from round 0: number {index} is {found}, expected {expected}")?;
        write!(f, " (does another program use the device?)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rounds_have_no_difference() {
        assert_eq!(difference(&[1, 2, 3], 1, &[1, 2, 3]), None);
        assert_eq!(difference(&[], 1, &[]), None);
    }

    #[test]
    fn the_first_difference_is_named() {
        let found = difference(&[1, 2, 3], 4, &[1, 7, 8]).unwrap();
        let message = found.to_string();
        assert!(message.starts_with("round 4 differs from round 0: number 1 is 7, expected 2"), "{message}");
    }
}
