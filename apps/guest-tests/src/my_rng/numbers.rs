// SPDX-License-Identifier: MIT OR Apache-2.0
//! The numbers themselves.

use super::machine::first_device;
use crate::harness::{Options, Stop, Test};
use crate::raw::Glibc;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("seed_1_gives_the_known_numbers", seed_1_gives_the_known_numbers),
        Test::new("every_seed_gives_the_classic_sequence", every_seed_gives_the_classic_sequence),
        Test::new("rand64_is_two_draws_high_half_first", rand64_is_two_draws_high_half_first),
        Test::new("both_widths_draw_from_one_stream", both_widths_draw_from_one_stream),
        Test::new("a_seed_counts_for_every_open_file", a_seed_counts_for_every_open_file),
    ]
}

/// The 64-bit number that the first two of these draws make: the first is the high half.
pub(super) fn wide(draws: &[u32]) -> u64 {
    (u64::from(draws[0]) << 32) | u64::from(draws[1])
}

fn seed_1_gives_the_known_numbers(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    device.seed(1)?;
    for known in [1_804_289_383, 846_930_886, 1_681_692_777, 1_714_636_915, 1_957_747_793] {
        assert_eq!(device.rand32()?, known);
    }
    Ok(())
}

fn every_seed_gives_the_classic_sequence(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    for seed in [0, 1, 2, 42, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        device.seed(seed)?;
        for (index, expected) in Glibc::seeded(seed).take(100).enumerate() {
            assert_eq!(device.rand32()?, expected, "number {index} after seed {seed}");
        }
    }
    // Once through the generator's whole state, which has 34 words.
    device.seed(7)?;
    for (index, expected) in Glibc::seeded(7).take(1000).enumerate() {
        assert_eq!(device.rand32()?, expected, "number {index} after seed 7");
    }
    Ok(())
}

fn rand64_is_two_draws_high_half_first(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    device.seed(1)?;
    for (index, halves) in Glibc::numbers(1, 200).chunks_exact(2).enumerate() {
        let expected = wide(halves);
        let number = device.rand64()?;
        assert_eq!(number, expected, "number {index}: {number:#x}, expected {expected:#x}");
    }
    Ok(())
}

fn both_widths_draw_from_one_stream(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    device.seed(5)?;
    for halves in Glibc::numbers(5, 300).chunks_exact(3) {
        assert_eq!(device.rand32()?, halves[0]);
        assert_eq!(device.rand64()?, wide(&halves[1..]));
    }
    Ok(())
}

fn a_seed_counts_for_every_open_file(_: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    let (one, other) = (device.open()?, device.open()?);
    let expected = Glibc::numbers(9, 4);
    other.rand32()?;
    one.seed(9)?;
    let drawn = [one.rand32()?, other.rand32()?, other.rand32()?, one.rand32()?];
    assert_eq!(drawn[..], expected[..], "two files draw from one stream");
    Ok(())
}
