// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest sees of the registers.

use my_rng_abi::queue::{DEPTH_MAX, STREAM_SEEDABLE};

use super::*;
use crate::budget::Places;
use crate::limiter::Amount;
use crate::metrics::CountersSnapshot;
use crate::stream::PowerOn;

const RAND32: u64 = abi::RAND32 as u64;
const SEED: u64 = abi::SEED as u64;
const RAND64_LOW: u64 = abi::RAND64_LOW as u64;
const RAND64_HIGH: u64 = abi::RAND64_HIGH as u64;
const GENERATOR: u64 = abi::GENERATOR as u64;
const STATUS: u64 = abi::STATUS as u64;
const QUEUE_SELECT: u64 = abi::QUEUE_SELECT as u64;
const QUEUE_CONTROL: u64 = abi::QUEUE_CONTROL as u64;
const QUEUE_DEPTH: u64 = abi::QUEUE_DEPTH as u64;
const DOORBELL: u64 = abi::DOORBELL as u64;
const ONE_SHOT_COUNT: u64 = abi::ONE_SHOT_COUNT as u64;
const ONE_SHOT_COMMAND: u64 = abi::ONE_SHOT_COMMAND as u64;

const CLASSIC: [u32; 5] = [1_804_289_383, 846_930_886, 1_681_692_777, 1_714_636_915, 1_957_747_793];

fn registers_after(power_on: PowerOn) -> Registers {
    let mut registers = Registers::new(Arc::new(Shared::new(power_on)));
    registers.set_bus_master(true);
    registers
}

fn registers() -> Registers {
    registers_after(PowerOn::default())
}

/// A write that must have no effect beyond the registers.
fn write(registers: &mut Registers, offset: u64, value: u32) {
    assert_eq!(registers.write(offset, value), None);
}

fn five(registers: &mut Registers) -> [u32; 5] {
    [(); 5].map(|()| registers.read(RAND32))
}

fn counters(registers: &Registers) -> CountersSnapshot {
    registers.counters().snapshot()
}

#[test]
fn an_unseeded_device_gives_the_classic_numbers() {
    assert_eq!(five(&mut registers()), CLASSIC);
}

#[test]
fn seeding_restarts_the_stream() {
    let mut registers = registers();
    five(&mut registers);
    write(&mut registers, SEED, 2);
    assert_eq!(registers.read(RAND32), 1_505_335_290);
    write(&mut registers, SEED, 1);
    assert_eq!(five(&mut registers), CLASSIC);
    assert_eq!(counters(&registers).seeds, 2);
}

#[test]
fn the_seed_cannot_be_read() {
    let mut registers = registers();
    write(&mut registers, SEED, 0x1234);
    assert_eq!(registers.read(SEED), 0);
    assert_eq!(counters(&registers), CountersSnapshot { seeds: 1, ..CountersSnapshot::default() });
}

#[test]
fn the_first_draw_is_the_high_half_of_a_64_bit_number() {
    let mut registers = registers();
    assert_eq!(registers.read(RAND64_LOW), CLASSIC[1]);
    assert_eq!(registers.read(RAND64_HIGH), CLASSIC[0]);
    assert_eq!(registers.read(RAND32), CLASSIC[2], "two numbers were taken");
}

#[test]
fn the_high_half_stays_until_the_next_64_bit_draw() {
    let mut registers = registers();
    assert_eq!(registers.read(RAND64_HIGH), 0, "nothing was drawn yet");
    registers.read(RAND64_LOW);
    registers.read(RAND32);
    write(&mut registers, SEED, 7);
    assert_eq!(registers.read(RAND64_HIGH), CLASSIC[0]);
    assert_eq!(registers.read(RAND64_HIGH), CLASSIC[0]);
}

#[test]
fn the_device_can_be_identified() {
    let mut registers = registers();
    assert_eq!(registers.read(abi::IDENT as u64).to_le_bytes(), *b"EXOR");
    assert_eq!(registers.read(abi::VERSION as u64), abi::VERSION_VALUE);
    assert_eq!(registers.read(abi::FEATURES as u64), 0xf);
    assert_eq!(registers.read(abi::QUEUE_COUNT as u64), 32);
}

#[test]
fn unknown_offsets_read_zero_and_are_counted() {
    let mut registers = registers();
    for offset in [0x9c, 0xa0, 0x100, 0x7fc, 0xffc, 0x1000, u64::MAX - 3] {
        assert_eq!(registers.read(offset), 0);
        write(&mut registers, offset, u32::MAX);
    }
    let expected = CountersSnapshot { unknown_reads: 7, unknown_writes: 7, ..CountersSnapshot::default() };
    assert_eq!(counters(&registers), expected);
    assert_eq!(five(&mut registers), CLASSIC, "nothing else happened");
}

#[test]
fn read_only_registers_cannot_be_written() {
    let mut registers = registers();
    let read_only = [
        abi::RAND32,
        abi::RAND64_LOW,
        abi::RAND64_HIGH,
        abi::IDENT,
        abi::VERSION,
        abi::FEATURES,
        abi::QUEUE_COUNT,
        abi::SEED_ABILITIES,
    ];
    for offset in read_only {
        write(&mut registers, offset as u64, u32::MAX);
    }
    assert_eq!(counters(&registers).read_only_writes, read_only.len() as u64);
    assert_eq!(registers.read(abi::IDENT as u64), abi::IDENT_VALUE);
    assert_eq!(registers.read(RAND64_HIGH), 0);
    assert_eq!(five(&mut registers), CLASSIC);
}

#[test]
fn reset_goes_back_to_the_seed_of_the_command_line() {
    let mut registers = registers_after(PowerOn { seed: 42, ..PowerOn::default() });
    assert_eq!(registers.read(RAND32), 71_876_166);
    write(&mut registers, SEED, 1);
    write(&mut registers, GENERATOR, 9);
    write(&mut registers, GENERATOR, 1);
    registers.read(RAND64_LOW);
    registers.reset();
    assert_eq!(registers.read(RAND64_HIGH), 0);
    assert_eq!(registers.read(STATUS), 0);
    assert_eq!(registers.read(RAND32), 71_876_166);
    assert_eq!((counters(&registers).draws32, counters(&registers).draws64), (2, 1), "counters stay");
}

#[test]
fn a_generator_is_chosen_with_the_last_seed() {
    let mut registers = registers();
    write(&mut registers, SEED, 1_234_567);
    for (kind, _, number) in Kind::ALL {
        write(&mut registers, GENERATOR, *number);
        assert_eq!(registers.read(GENERATOR), *number);
        let mut expected = crate::generators::Generator::new(*kind, 1_234_567);
        assert_eq!(five(&mut registers), [(); 5].map(|()| expected.next_u32()));
    }
    write(&mut registers, GENERATOR, abi::GENERATOR_XORSHIFT64_STAR);
    assert_eq!(registers.read(RAND32), 3_540_625_527);
    assert_eq!(registers.read(STATUS), 0);
}

#[test]
fn an_unknown_generator_changes_nothing_but_the_status() {
    let mut registers = registers();
    registers.read(RAND32);
    write(&mut registers, GENERATOR, 4);
    assert_eq!(registers.read(GENERATOR), abi::GENERATOR_GLIBC);
    assert_eq!(registers.read(RAND32), CLASSIC[1]);
    assert_eq!(registers.read(STATUS), abi::STATUS_BAD_GENERATOR);
    write(&mut registers, STATUS, !abi::STATUS_BAD_GENERATOR);
    assert_eq!(registers.read(STATUS), abi::STATUS_BAD_GENERATOR, "only written ones clear");
    write(&mut registers, STATUS, abi::STATUS_BAD_GENERATOR);
    assert_eq!(registers.read(STATUS), 0);
}

/// Sets up the selected queue, and gives what enabling it must ask for.
fn set_up(registers: &mut Registers) -> SetUp {
    let words = [
        (abi::QUEUE_DEPTH, 256),
        (abi::QUEUE_VECTOR, 3),
        (abi::QUEUE_DESCRIPTORS_LOW, 0x1000),
        (abi::QUEUE_DESCRIPTORS_HIGH, 1),
        (abi::QUEUE_STATE_LOW, 0x2000),
        (abi::QUEUE_STATE_HIGH, 2),
    ];
    for (offset, value) in words {
        write(registers, offset as u64, value);
        assert_eq!(registers.read(offset as u64), value);
    }
    SetUp {
        depth: 256,
        descriptors: 0x1_0000_1000,
        state: 0x2_0000_2000,
        stream: Stream::Seedable,
        vector: Vector(Some(3)),
    }
}

const ENABLE: u32 = abi::QUEUE_ENABLE | (STREAM_SEEDABLE << abi::QUEUE_STREAM_SHIFT);

#[test]
fn a_queue_is_set_up_started_and_stopped() {
    let mut registers = registers();
    write(&mut registers, QUEUE_SELECT, 31);
    let expected = set_up(&mut registers);
    assert_eq!(registers.write(QUEUE_CONTROL, ENABLE), Some(Effect::Start(31, expected)));
    assert_eq!(registers.read(QUEUE_CONTROL), ENABLE);
    write(&mut registers, QUEUE_CONTROL, ENABLE);
    assert_eq!(registers.write(DOORBELL, 31), Some(Effect::Doorbell(31)));

    assert_eq!(registers.write(QUEUE_CONTROL, 0), Some(Effect::Stop(31)));
    assert_eq!(registers.read(QUEUE_CONTROL) & abi::QUEUE_ENABLE, 1, "the worker has not let go");
    write(&mut registers, QUEUE_CONTROL, 0);
    registers.shared.queue(31).unwrap().set_state(RunState::Off);
    assert_eq!(registers.read(QUEUE_CONTROL) & abi::QUEUE_ENABLE, 0);
    assert_eq!(registers.read(STATUS), 0);
    assert_eq!(registers.write(QUEUE_CONTROL, ENABLE), Some(Effect::Start(31, expected)), "and again");
    assert_eq!((counters(&registers).queue_starts, counters(&registers).queue_stops), (2, 1));
}

#[test]
fn a_running_queue_cannot_be_changed() {
    let mut registers = registers();
    set_up(&mut registers);
    assert!(registers.write(QUEUE_CONTROL, ENABLE).is_some());
    for state in [RunState::Running, RunState::Stopping] {
        registers.shared.queue(0).unwrap().set_state(state);
        write(&mut registers, QUEUE_DEPTH, 8);
        assert_eq!(registers.read(QUEUE_DEPTH), 256);
        assert_eq!(registers.read(STATUS), abi::STATUS_BAD_QUEUE);
        write(&mut registers, STATUS, u32::MAX);
    }
    write(&mut registers, QUEUE_CONTROL, ENABLE);
    assert_eq!(registers.read(STATUS), abi::STATUS_BAD_QUEUE, "a queue that stops cannot start yet");
    write(&mut registers, DOORBELL, 0);
    assert_eq!(counters(&registers).queue_mistakes, 4);
}

#[test]
fn a_bad_set_up_leaves_the_queue_disabled() {
    let mut registers = registers();
    for depth in [0, 3, DEPTH_MAX * 2] {
        set_up(&mut registers);
        write(&mut registers, QUEUE_DEPTH, depth);
        write(&mut registers, QUEUE_CONTROL, ENABLE);
        assert_eq!(registers.read(STATUS), abi::STATUS_BAD_QUEUE);
        assert_eq!(registers.read(QUEUE_CONTROL) & abi::QUEUE_ENABLE, 0);
        write(&mut registers, STATUS, u32::MAX);
    }
    set_up(&mut registers);
    registers.set_bus_master(false);
    write(&mut registers, QUEUE_CONTROL, ENABLE);
    assert_eq!(registers.read(STATUS), abi::STATUS_BAD_QUEUE, "the device may not reach memory");
}

#[test]
fn a_queue_that_does_not_exist_reads_zero() {
    let mut registers = registers();
    for select in [32, u32::MAX] {
        write(&mut registers, QUEUE_SELECT, select);
        assert_eq!(registers.read(QUEUE_SELECT), select);
        for offset in (QUEUE_CONTROL..DOORBELL).step_by(4) {
            write(&mut registers, offset, u32::MAX);
            assert_eq!(registers.read(offset), 0, "offset {offset:#x}");
            assert_eq!(registers.read(STATUS), abi::STATUS_BAD_QUEUE);
            write(&mut registers, STATUS, u32::MAX);
        }
        write(&mut registers, DOORBELL, select);
        assert_eq!(registers.read(STATUS), abi::STATUS_BAD_QUEUE);
        write(&mut registers, STATUS, u32::MAX);
    }
}

const GO: u32 = abi::ONE_SHOT_START | abi::ONE_SHOT_TO_GUEST | abi::ONE_SHOT_INTERRUPT;

#[test]
fn a_transfer_starts_and_its_registers_stand_still() {
    let mut registers = registers();
    write(&mut registers, abi::ONE_SHOT_VECTOR as u64, 32);
    write(&mut registers, abi::ONE_SHOT_SOURCE as u64, 1);
    write(&mut registers, abi::ONE_SHOT_DESTINATION as u64, 0x1234);
    write(&mut registers, ONE_SHOT_COUNT, 100);
    let expected =
        OneShot { stream: Stream::Seedable, address: 0x1234, length: 100, vector: Vector(Some(32)) };
    assert_eq!(registers.write(ONE_SHOT_COMMAND, GO), Some(Effect::OneShot(expected)));
    assert_eq!(registers.read(ONE_SHOT_COMMAND), GO);
    write(&mut registers, ONE_SHOT_COUNT, 7);
    assert_eq!(registers.read(ONE_SHOT_COUNT), 100);
    assert_eq!(registers.read(STATUS), 0);
    write(&mut registers, ONE_SHOT_COMMAND, GO);
    assert_eq!(registers.read(STATUS), abi::STATUS_ONE_SHOT_ERROR, "one at a time");
    registers.shared.one_shot.set(abi::ONE_SHOT_ERROR);
    assert_eq!(registers.read(ONE_SHOT_COMMAND), (GO & !abi::ONE_SHOT_START) | abi::ONE_SHOT_ERROR);
    assert_eq!(registers.write(ONE_SHOT_COMMAND, GO), Some(Effect::OneShot(expected)));
    assert_eq!(registers.read(ONE_SHOT_COMMAND), GO, "the start clears the error");
}

#[test]
fn a_refused_transfer_is_answered_at_once() {
    let mut registers = registers();
    write(&mut registers, abi::ONE_SHOT_VECTOR as u64, 5);
    write(&mut registers, ONE_SHOT_COUNT, abi::ONE_SHOT_MAX as u32 + 1);
    assert_eq!(registers.write(ONE_SHOT_COMMAND, GO), Some(Effect::Interrupt(Vector(Some(5)))));
    assert_eq!(registers.read(ONE_SHOT_COMMAND), (GO & !abi::ONE_SHOT_START) | abi::ONE_SHOT_ERROR);
    assert_eq!(registers.read(STATUS), abi::STATUS_ONE_SHOT_ERROR);
    write(&mut registers, ONE_SHOT_COMMAND, abi::ONE_SHOT_START);
    assert_eq!(counters(&registers).one_shot_errors, 2, "from the guest to the device nothing goes");
}

#[test]
fn draws_count_against_the_limits() {
    let mut registers = registers();
    let rate = crate::limiter::Rate { per_second: 1, burst: 12 };
    registers.shared.limiter.set(crate::limiter::Limits { bytes: Some(rate), operations: None });
    registers.read(RAND32);
    registers.read(RAND64_LOW);
    let take = |operations, bytes| {
        registers.shared.limiter.take(&mut Places::default(), Amount { operations, bytes })
    };
    assert_eq!(take(0, 0), Ok(()));
    assert!(take(0, 1).is_err(), "the draws have taken all");
    assert_eq!(registers.read(RAND32), CLASSIC[3], "and still pass");
}

/// Writes a seed's words, a stream number and a command.
fn seed(registers: &mut Registers, words: &[u32], stream: u64, command: u32) {
    for (place, word) in words.iter().enumerate() {
        assert_eq!(registers.write(abi::SEED_WORDS as u64 + 4 * place as u64, *word), None);
    }
    registers.write(abi::STREAM_NUMBER as u64, stream as u32);
    registers.write(abi::STREAM_NUMBER as u64 + 4, (stream >> 32) as u32);
    registers.write(abi::SEED_COMMAND as u64, command);
}

#[test]
fn longer_seeds_streams_and_positions_are_taken_from_their_registers() {
    use crate::generators::{Generator, Kind, Seed};
    let words: [u32; 8] = std::array::from_fn(|place| 0x0101_0101 * (place as u32 + 1));
    let bytes: [u8; 32] = std::array::from_fn(|place| place as u8 / 4 + 1);
    let long = 0x0202_0202_0101_0101;
    let stream = 0x1_0000_0002;
    let mut registers = registers_after(PowerOn::default());
    for (kind, command, seed_is, number) in [
        (Kind::Pcg64, abi::SEED_BITS_64, Seed::Bits64(long), None),
        (Kind::Pcg64, abi::SEED_BITS_32 | abi::SEED_WITH_STREAM, Seed::Bits32(words[0]), Some(stream)),
        (Kind::ChaCha20, abi::SEED_BITS_256, Seed::Bits256(bytes), None),
        (Kind::ChaCha20, abi::SEED_BITS_256 | abi::SEED_WITH_STREAM, Seed::Bits256(bytes), Some(stream)),
        (Kind::Xorshift64Star, abi::SEED_BITS_64, Seed::Bits64(long), None),
        (Kind::Glibc, abi::SEED_BITS_32, Seed::Bits32(words[0]), None),
    ] {
        registers.write(abi::GENERATOR as u64, kind.number());
        assert_eq!(registers.read(abi::SEED_ABILITIES as u64), kind.abilities());
        seed(&mut registers, &words, stream, command);
        assert_eq!(registers.read(abi::SEED_COMMAND as u64), 0);
        let mut expected = Generator::seeded(kind, seed_is, number).unwrap();
        for _ in 0..10 {
            assert_eq!(registers.read(abi::RAND32 as u64), expected.next_u32(), "{kind} {command:#x}");
        }
        if kind.abilities() & abi::SEED_TAKES_SEEK != 0 {
            seed(&mut registers, &[77, 1], stream, abi::SEED_SEEK);
            assert!(expected.seek((1 << 32) + 77));
            assert_eq!(registers.read(abi::RAND32 as u64), expected.next_u32());
        }
    }
    assert_eq!(registers.read(abi::STATUS as u64), 0);
    assert_eq!(registers.read(abi::SEED_WORDS as u64 + 28), words[7], "they read what was written");
}

#[test]
fn what_a_generator_does_not_take_changes_nothing_and_is_told() {
    for (number, command) in [
        (abi::GENERATOR_GLIBC, abi::SEED_BITS_64),
        (abi::GENERATOR_GLIBC, abi::SEED_BITS_256),
        (abi::GENERATOR_GLIBC, abi::SEED_BITS_32 | abi::SEED_WITH_STREAM),
        (abi::GENERATOR_GLIBC, abi::SEED_SEEK),
        (abi::GENERATOR_XORSHIFT64_STAR, abi::SEED_BITS_256),
        (abi::GENERATOR_PCG64, abi::SEED_BITS_256 | abi::SEED_WITH_STREAM),
        (abi::GENERATOR_CHACHA20, 0),
        (abi::GENERATOR_CHACHA20, 65),
        (abi::GENERATOR_CHACHA20, abi::SEED_SEEK | abi::SEED_BITS_64),
        (abi::GENERATOR_CHACHA20, u32::MAX),
    ] {
        let (mut registers, mut other) =
            (registers_after(PowerOn::default()), registers_after(PowerOn::default()));
        for registers in [&mut registers, &mut other] {
            registers.write(abi::GENERATOR as u64, number);
        }
        seed(&mut registers, &[5, 6], 7, command);
        assert_eq!(registers.read(abi::SEED_COMMAND as u64), abi::SEED_REFUSED, "{number} {command:#x}");
        assert_eq!(registers.read(abi::STATUS as u64), abi::STATUS_BAD_SEED);
        assert_eq!(registers.read(abi::RAND32 as u64), other.read(abi::RAND32 as u64));
        seed(&mut registers, &[9], 0, abi::SEED_BITS_32);
        other.write(abi::SEED as u64, 9);
        assert_eq!(registers.read(abi::SEED_COMMAND as u64), 0, "the next one is judged by itself");
        assert_eq!(registers.read(abi::RAND32 as u64), other.read(abi::RAND32 as u64));
    }
}

#[test]
fn another_generator_goes_on_with_the_last_seed_of_32_bits() {
    let (mut registers, mut other) =
        (registers_after(PowerOn::default()), registers_after(PowerOn::default()));
    registers.write(abi::SEED as u64, 42);
    other.write(abi::SEED as u64, 42);
    registers.write(abi::GENERATOR as u64, abi::GENERATOR_CHACHA20);
    seed(&mut registers, &[1, 2, 3, 4, 5, 6, 7, 8], 9, abi::SEED_BITS_256);
    for registers in [&mut registers, &mut other] {
        registers.write(abi::GENERATOR as u64, abi::GENERATOR_PCG64);
    }
    assert_eq!(registers.read(abi::RAND32 as u64), other.read(abi::RAND32 as u64));
}
