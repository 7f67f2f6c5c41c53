// SPDX-License-Identifier: MIT OR Apache-2.0
//! Longer seeds, streams of a seed, and seeking.

use std::fs;
use std::path::PathBuf;

use my_rng_abi::ioctl::{SEED_WIDE, SEEK, WIDE_SEED_WORDS};
use my_rng_client::{Device, Seed};
use rustix::io::Errno;

use super::machine::{PciDevice, first_device};
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};
use crate::raw::{Access, Glibc, Memory, PAGE, Place, ioctl};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("what_a_generator_does_not_take_disturbs_nothing", refused),
        Test::new("wrong_longer_seeds_give_einval", wrong),
        Test::new("long_seeds_and_positions_give_the_known_numbers", known_numbers),
    ]
}

const SEED_64: u64 = 0x0123_4567_89ab_cdef;

fn key() -> [u8; 32] {
    std::array::from_fn(|place| place as u8)
}

fn expect(device: &Device, expected: &[u32], what: &str) -> Result<(), Stop> {
    for (index, number) in expected.iter().enumerate() {
        assert_eq!(device.rand32()?, *number, "number {index} {what}");
    }
    Ok(())
}

/// The errno of a call that must fail.
fn errno<T>(result: Result<T, my_rng_client::Error>) -> Option<Errno> {
    result.err().map(|error| Errno::from_raw_os_error(error.errno()))
}

fn refused(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    let numbers = Glibc::numbers(5, 300);
    // A seed of 32 bits is the classic one, however it comes.
    device.seed_wide(&Seed::Bits32(5), None)?;
    expect(&device, &numbers[..100], "of the classic sequence")?;
    for (seed, stream) in [(Seed::Bits64(1), None), (Seed::Bits256(key()), None), (Seed::Bits32(1), Some(1))]
    {
        assert_eq!(errno(device.seed_wide(&seed, stream)), Some(Errno::OPNOTSUPP), "{seed:?} {stream:?}");
    }
    assert_eq!(errno(device.seek(0)), Some(Errno::OPNOTSUPP));
    expect(&device, &numbers[100..], "after what glibc's generator does not take")
}

fn wrong(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    let memory = Memory::new(Access::Full)?;
    device.seed(5)?;
    let offset = |word: usize| word * size_of::<u32>();
    for (bits, flags) in [(0, 0), (33, 0), (128, 0), (u32::MAX, 0), (32, 2), (32, u32::MAX)] {
        memory.write_u32(offset(WIDE_SEED_WORDS - 2), bits);
        memory.write_u32(offset(WIDE_SEED_WORDS - 1), flags);
        let result = ioctl(&device, SEED_WIDE, Place::In(&memory, 0));
        assert_eq!(result, Err(Errno::INVAL), "{bits} bits, flags {flags:#x}");
    }
    for place in [Place::Null, Place::Kernel, Place::In(&memory, PAGE - 4)] {
        for command in [SEED_WIDE, SEEK] {
            assert_eq!(ioctl(&device, command, place), Err(Errno::FAULT), "{command:#x} {place:x?}");
        }
    }
    expect(&device, &Glibc::numbers(5, 10), "after wrong seeds")
}

/// Chooses the generator.
fn choose(device: &PciDevice, name: &str) -> Result<(), Stop> {
    let path: PathBuf = device.path().join("my_rng").join(device.node_name()?).join("generator");
    fs::write(path, name).or_else(|error| fail(format!("cannot choose {name}: {error}")))
}

/// The numbers are of a program in Python that has nothing in common with the device.
fn known_numbers(_: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    if is_exo_kernel() {
        return skip("this kernel's devices have no attribute generator");
    }
    let file = device.open()?;
    let result = [
        ("pcg64", Seed::Bits64(SEED_64), None, 0, [2_809_034_599_u32, 3_215_087_541, 903_340_992]),
        ("pcg64", Seed::Bits64(SEED_64), Some(7), 5, [3_160_063_086, 37_012_582, 1_783_286_338]),
        ("pcg64", Seed::Bits256(key()), None, 0, [303_284_566, 2_383_317_629, 3_910_099_483]),
        ("chacha20", Seed::Bits256(key()), None, 0, [2_100_034_873, 1_780_073_945, 1_996_733_837]),
        ("chacha20", Seed::Bits256(key()), Some(9), 1_000_003, [3_839_071_782, 206_791_398, 1_187_086_462]),
    ]
    .iter()
    .try_for_each(|(generator, seed, stream, position, numbers)| {
        choose(&device, generator)?;
        assert_eq!(device.text("seeds")?, "32 64 256 stream seek", "of {generator}");
        file.seed_wide(seed, *stream)?;
        // What was fetched of another position must not come.
        file.rand64()?;
        file.seek(*position)?;
        expect(&file, numbers, &format!("of {generator} with {seed:?}, {stream:?}, {position}"))
    });
    choose(&device, "glibc")?;
    assert_eq!(device.text("seeds")?, "32");
    result
}
