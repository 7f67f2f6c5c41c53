// SPDX-License-Identifier: MIT OR Apache-2.0
//! The check before the measurement: figures of a device that gives wrong numbers are worth nothing.

use std::fmt;

use my_rng_client::Device;

/// The seed of the check.
const SEED: u32 = 1;

/// What glibc's `rand()` returns after `srand(1)`.
const KNOWN: [u32; 6] =
    [1_804_289_383, 846_930_886, 1_681_692_777, 1_714_636_915, 1_957_747_793, 424_238_335];

/// A number that is not what it must be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    what: String,
    found: u64,
    expected: u64,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, found, expected } = self;
        write!(
            f,
            "wrong number: {what} is {found}, expected {expected} (does another program use the device?)"
        )
    }
}

impl std::error::Error for Wrong {}

/// Draws the known numbers, 32 bits at a time, then again 64 bits at a time.
pub(crate) fn check(device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    device.seed(SEED)?;
    for (index, &expected) in KNOWN.iter().enumerate() {
        let what = format!("32-bit number {index} after seed {SEED}");
        compare(what, device.rand32()?.into(), expected.into())?;
    }
    device.seed(SEED)?;
    for (index, expected) in wide(&KNOWN).enumerate() {
        compare(format!("64-bit number {index} after seed {SEED}"), device.rand64()?, expected)?;
    }
    Ok(())
}

/// The 64-bit numbers that 32-bit draws make: the first draw is the high half.
fn wide(draws: &[u32]) -> impl Iterator<Item = u64> {
    draws.chunks_exact(2).filter_map(|pair| match pair {
        &[high, low] => Some((u64::from(high) << 32) | u64::from(low)),
        _ => None,
    })
}

fn compare(what: String, found: u64, expected: u64) -> Result<(), Wrong> {
    if found == expected { Ok(()) } else { Err(Wrong { what, found, expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_draw_is_the_high_half() {
        let expected = [0x6b8b_4567_327b_23c6, 0x643c_9869_6633_4873, 0x74b0_dc51_1949_5cff];
        assert!(wide(&KNOWN).eq(expected));
    }

    #[test]
    fn a_wrong_number_is_named() {
        assert_eq!(compare("x".into(), 1, 1), Ok(()));
        let message = compare("32-bit number 0 after seed 1".into(), 5, 7).unwrap_err().to_string();
        assert!(
            message.starts_with("wrong number: 32-bit number 0 after seed 1 is 5, expected 7"),
            "{message}"
        );
    }
}
