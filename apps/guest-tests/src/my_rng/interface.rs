// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ioctl interface: what it refuses, and 32-bit programs.

use std::process::{Command, Stdio};

use my_rng_abi::ioctl::{RAND, RAND64, SEED};
use my_rng_client::Device;
use rustix::io::Errno;

use super::machine::first_device;
use super::numbers::wide;
use crate::harness::arguments::PROBE;
use crate::harness::{Options, Stop, Test, skip};
use crate::raw::{Access, Glibc, Memory, PAGE, Place, Probe, ioctl, ioctl32};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_bad_pointer_gives_efault", a_bad_pointer_gives_efault),
        Test::new(
            "a_number_half_outside_of_memory_gives_efault",
            a_number_half_outside_of_memory_gives_efault,
        ),
        Test::new("a_bad_pointer_costs_nobody_a_number", a_bad_pointer_costs_nobody_a_number),
        Test::new("a_pointer_need_not_be_aligned", a_pointer_need_not_be_aligned),
        Test::new("an_unknown_command_gives_enotty", an_unknown_command_gives_enotty),
        Test::new("a_32_bit_program_gets_the_same_numbers", a_32_bit_program_gets_the_same_numbers),
        Test::new("a_32_bit_program_gets_the_same_errors", a_32_bit_program_gets_the_same_errors),
    ]
}

const COMMANDS: [(&str, u32); 3] = [("RAND", RAND), ("SEED", SEED), ("RAND64", RAND64)];

/// Commands that are not this interface's: another number, direction, size or type.
const UNKNOWN: [u32; 12] = [
    0,
    u32::MAX,
    0x8004_7100, // number 0
    0x8004_7103, // number 3
    0x8008_7101, // RAND with 64 bits
    0x8002_7101, // RAND with 16 bits
    0x8004_7102, // RAND64 with 32 bits
    0x0000_7101, // RAND without an argument
    0xc004_7101, // RAND and SEED at once
    0x4008_7101, // SEED with 64 bits
    0x4008_7102, // RAND64 the other way round
    0x8004_5101, // type 'Q'
];

fn a_bad_pointer_gives_efault(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    let closed = Memory::new(Access::None)?;
    let places =
        [Place::Null, Place::Kernel, Place::NonCanonical, Place::In(&closed, 0), Place::In(&closed, PAGE)];
    for (name, command) in COMMANDS {
        for place in places {
            assert_eq!(ioctl(&device, command, place), Err(Errno::FAULT), "{name} with {place:x?}");
        }
    }
    let read_only = Memory::new(Access::ReadOnly)?;
    assert_eq!(
        ioctl(&device, RAND, Place::In(&read_only, 0)),
        Err(Errno::FAULT),
        "RAND into a read-only page"
    );
    assert_eq!(
        ioctl(&device, RAND64, Place::In(&read_only, 0)),
        Err(Errno::FAULT),
        "RAND64 into a read-only page"
    );
    assert_eq!(ioctl(&device, SEED, Place::In(&read_only, 0)), Ok(0), "SEED only reads");
    Ok(())
}

fn a_number_half_outside_of_memory_gives_efault(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    let memory = Memory::new(Access::Full)?;
    for (name, command, size) in [("RAND", RAND, 4), ("SEED", SEED, 4), ("RAND64", RAND64, 8)] {
        assert_eq!(ioctl(&device, command, Place::In(&memory, PAGE - size)), Ok(0), "{name}, just inside");
        for outside in 1..size {
            let place = Place::In(&memory, PAGE - size + outside);
            assert_eq!(ioctl(&device, command, place), Err(Errno::FAULT), "{name}, {outside} bytes outside");
        }
    }
    Ok(())
}

fn a_bad_pointer_costs_nobody_a_number(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    let read_only = Memory::new(Access::ReadOnly)?;
    device.seed(11)?;
    for (index, expected) in Glibc::seeded(11).take(10).enumerate() {
        for (name, command) in COMMANDS {
            assert_eq!(ioctl(&device, command, Place::Null), Err(Errno::FAULT), "{name}");
        }
        assert_eq!(ioctl(&device, RAND64, Place::In(&read_only, 0)), Err(Errno::FAULT));
        assert_eq!(device.rand32()?, expected, "number {index}");
    }
    Ok(())
}

fn a_pointer_need_not_be_aligned(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    let memory = Memory::new(Access::Full)?;
    device.seed(1)?;
    assert_eq!(ioctl(&device, RAND64, Place::In(&memory, 3)), Ok(0));
    // Its lowest byte is byte 3 of the page, its highest byte 10.
    let number: u64 = 0x6b8b_4567_327b_23c6;
    assert_eq!(memory.read_u64(0), Some(number << 24));
    assert_eq!(memory.read_u64(8), Some(number >> 40));
    Ok(())
}

fn an_unknown_command_gives_enotty(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    let memory = Memory::new(Access::Full)?;
    device.seed(3)?;
    for command in UNKNOWN {
        for place in [Place::In(&memory, 0), Place::Null] {
            assert_eq!(ioctl(&device, command, place), Err(Errno::NOTTY), "{command:#010x} with {place:x?}");
        }
    }
    assert_eq!(memory.read_u64(0), Some(0), "an unknown command has written something");
    let expected = Glibc::numbers(3, 1);
    assert_eq!(device.rand32()?, expected[0], "an unknown command has drawn or seeded");
    Ok(())
}

fn a_32_bit_program_gets_the_same_numbers(_: &Options) -> Result<(), Stop> {
    needs_32_bit_programs()?;
    let device = first_device()?.open()?;
    let memory = Memory::new(Access::Full)?;
    let place = Place::In(&memory, 64);
    for seed in [1, 77] {
        memory.write_u32(64, seed);
        assert_eq!(ioctl32(&device, SEED, place), Ok(0));
        let expected = Glibc::numbers(seed, 3);
        assert_eq!(ioctl32(&device, RAND, place), Ok(0));
        assert_eq!(memory.read_u32(64), Some(expected[0]), "RAND after seed {seed}");
        assert_eq!(ioctl32(&device, RAND64, place), Ok(0));
        assert_eq!(memory.read_u64(64), Some(wide(&expected[1..])), "RAND64 after seed {seed}");
    }
    Ok(())
}

fn a_32_bit_program_gets_the_same_errors(_: &Options) -> Result<(), Stop> {
    needs_32_bit_programs()?;
    let device: Device = first_device()?.open()?;
    let memory = Memory::new(Access::Full)?;
    for (name, command) in COMMANDS {
        for place in [Place::Null, Place::In(&memory, PAGE)] {
            assert_eq!(ioctl32(&device, command, place), Err(Errno::FAULT), "{name} with {place:x?}");
        }
    }
    for command in UNKNOWN {
        let result = ioctl32(&device, command, Place::In(&memory, 0));
        assert_eq!(result, Err(Errno::NOTTY), "{command:#010x}");
    }
    Ok(())
}

fn needs_32_bit_programs() -> Result<(), Stop> {
    let mut probe = Command::new(std::env::current_exe()?);
    probe.arg(format!("--{PROBE}")).arg(Probe::Int80.name()).stdout(Stdio::null()).stderr(Stdio::null());
    if probe.status()?.success() { Ok(()) } else { skip("this kernel runs no 32-bit programs") }
}
