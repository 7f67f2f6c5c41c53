// SPDX-License-Identifier: MIT OR Apache-2.0
//! How accesses of any width and alignment become register accesses.
//!
//! | access | what it does |
//! | --- | --- |
//! | 4 bytes, aligned | one register access: the norm |
//! | 8 bytes, aligned | two register accesses, the lower offset first: at 0x08 the whole of one 64-bit number |
//! | 1 or 2 bytes, aligned, reads | that part of the register; of RAND32 and RAND64_LOW, whose reads draw: 0, and nothing is drawn |
//! | 1 or 2 bytes, aligned, writes | nothing: half a seed is none |
//! | anything else | reads 0, writes nothing |
//!
//! So no access ever draws twice, or gives parts of two numbers as one. What is not sensible is counted.

use crate::registers::{Effect, Register, Registers};

/// Bytes of a register.
const REGISTER: u64 = 4;

/// An access that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// One register.
    Whole,
    /// Two registers.
    Double,
    /// One or two bytes of a register, that many bytes from its start.
    Part { register: u64, from: usize },
}

impl Access {
    fn new(offset: u64, length: usize) -> Option<Self> {
        let register = offset - offset % REGISTER;
        match length {
            4 if offset % 4 == 0 => Some(Self::Whole),
            8 if offset % 8 == 0 => Some(Self::Double),
            1 => Some(Self::Part { register, from: usize::try_from(offset % REGISTER).ok()? }),
            2 if offset % 2 == 0 => {
                Some(Self::Part { register, from: usize::try_from(offset % REGISTER).ok()? })
            }
            _ => None,
        }
    }
}

/// Fills `data` from the registers at `offset`.
pub fn read(registers: &mut Registers, offset: u64, data: &mut [u8]) {
    data.fill(0);
    match Access::new(offset, data.len()) {
        Some(Access::Whole | Access::Double) => {
            // An aligned offset leaves room for the second register.
            for (word, register) in data.chunks_exact_mut(4).zip([offset, offset.wrapping_add(REGISTER)]) {
                word.copy_from_slice(&registers.read(register).to_le_bytes());
            }
        }
        Some(Access::Part { register, .. })
            if Register::at(register).is_some_and(Register::read_has_effects) =>
        {
            registers.counters().partial_accesses.add_one();
        }
        Some(Access::Part { register, from }) => {
            let word = registers.read(register).to_le_bytes();
            data.iter_mut().zip(word.iter().skip(from)).for_each(|(to, byte)| *to = *byte);
        }
        None => registers.counters().misaligned_accesses.add_one(),
    }
}

/// Writes `data` to the registers at `offset`, and hands what that asks for to `act`.
pub fn write(registers: &mut Registers, offset: u64, data: &[u8], mut act: impl FnMut(Effect)) {
    match Access::new(offset, data.len()) {
        Some(Access::Whole | Access::Double) => {
            for (word, register) in data.chunks_exact(4).zip([offset, offset.wrapping_add(REGISTER)]) {
                let value = word.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
                if let Some(effect) = registers.write(register, value) {
                    act(effect);
                }
            }
        }
        Some(Access::Part { .. }) => registers.counters().partial_accesses.add_one(),
        None => registers.counters().misaligned_accesses.add_one(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::CountersSnapshot;
    use crate::shared::Shared;
    use crate::stream::PowerOn;
    use my_rng_abi::registers as abi;
    use std::sync::Arc;

    const CLASSIC: [u32; 5] = [1_804_289_383, 846_930_886, 1_681_692_777, 1_714_636_915, 1_957_747_793];

    fn registers() -> Registers {
        Registers::new(Arc::new(Shared::new(PowerOn::default())))
    }

    fn counters(registers: &Registers) -> CountersSnapshot {
        registers.counters().snapshot()
    }

    fn write(registers: &mut Registers, offset: u64, data: &[u8]) {
        super::write(registers, offset, data, |effect| panic!("unexpected {effect:?}"));
    }

    fn get<const N: usize>(registers: &mut Registers, offset: u64) -> [u8; N] {
        let mut data = [0xaa; N];
        read(registers, offset, &mut data);
        data
    }

    #[test]
    fn four_aligned_bytes_are_a_register_in_little_endian() {
        let mut registers = registers();
        assert_eq!(u32::from_le_bytes(get(&mut registers, 0)), CLASSIC[0]);
        write(&mut registers, 4, &[2, 0, 0, 0]);
        assert_eq!(u32::from_le_bytes(get(&mut registers, 0)), 1_505_335_290);
    }

    #[test]
    fn eight_bytes_at_rand64_are_one_whole_number() {
        let mut registers = registers();
        let number = u64::from_le_bytes(get(&mut registers, abi::RAND64_LOW as u64));
        assert_eq!(number, (u64::from(CLASSIC[0]) << 32) | u64::from(CLASSIC[1]));
        assert_eq!(counters(&registers).draws64, 1);
        assert_eq!(u32::from_le_bytes(get(&mut registers, 0)), CLASSIC[2]);
    }

    #[test]
    fn eight_bytes_at_rand32_draw_once() {
        let mut registers = registers();
        assert_eq!(u64::from_le_bytes(get(&mut registers, 0)), u64::from(CLASSIC[0]));
        assert_eq!(counters(&registers).draws32, 1);
    }

    #[test]
    fn eight_bytes_written_at_rand32_seed() {
        let mut registers = registers();
        write(&mut registers, 0, &[0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0]);
        assert_eq!(u32::from_le_bytes(get(&mut registers, 0)), 1_505_335_290);
        assert_eq!((counters(&registers).seeds, counters(&registers).read_only_writes), (1, 1));
    }

    #[test]
    fn parts_of_registers_without_effects_can_be_read() {
        let mut registers = registers();
        read(&mut registers, abi::RAND64_LOW as u64, &mut [0; 8]);
        let high = CLASSIC[0].to_le_bytes();
        for (place, byte) in high.into_iter().enumerate() {
            assert_eq!(get(&mut registers, (abi::RAND64_HIGH + place) as u64), [byte]);
        }
        assert_eq!(get(&mut registers, abi::RAND64_HIGH as u64 + 2), [high[2], high[3]]);
        assert_eq!(get(&mut registers, abi::IDENT as u64), *b"EX");
        assert_eq!(get(&mut registers, abi::IDENT as u64 + 3), *b"R");
        assert_eq!(counters(&registers).partial_accesses, 0);
    }

    #[test]
    fn parts_of_a_number_are_never_drawn() {
        let mut registers = registers();
        for offset in [0, 1, 2, 3, 8, 9, 10, 11] {
            assert_eq!(get(&mut registers, offset), [0]);
        }
        for offset in [0, 2, 8, 10] {
            assert_eq!(get(&mut registers, offset), [0, 0]);
        }
        assert_eq!(
            counters(&registers),
            CountersSnapshot { partial_accesses: 12, ..CountersSnapshot::default() }
        );
        assert_eq!(u32::from_le_bytes(get(&mut registers, 0)), CLASSIC[0]);
    }

    #[test]
    fn eight_bytes_of_an_address_are_both_halves() {
        let mut registers = registers();
        write(&mut registers, abi::ONE_SHOT_DESTINATION as u64, &0x1234_5678_9abc_def0_u64.to_le_bytes());
        let read = u64::from_le_bytes(get(&mut registers, abi::ONE_SHOT_DESTINATION as u64));
        assert_eq!(read, 0x1234_5678_9abc_def0);
    }

    #[test]
    fn half_a_seed_is_ignored() {
        let mut registers = registers();
        for (offset, data) in [(4, &[2][..]), (4, &[2, 0]), (6, &[0, 0]), (7, &[0])] {
            write(&mut registers, offset, data);
        }
        assert_eq!(
            counters(&registers),
            CountersSnapshot { partial_accesses: 4, ..CountersSnapshot::default() }
        );
        assert_eq!(u32::from_le_bytes(get(&mut registers, 0)), CLASSIC[0]);
    }

    #[test]
    fn misaligned_and_odd_accesses_do_nothing() {
        let mut registers = registers();
        let odd = [(1, 2), (2, 4), (4, 8), (0, 3), (0, 0), (0, 16), (0, 4096), (9, 7), (u64::MAX, 2)];
        for (offset, length) in odd {
            let mut data = vec![0xaa; length];
            read(&mut registers, offset, &mut data);
            assert!(data.iter().all(|&byte| byte == 0), "{length} bytes at {offset:#x}");
            write(&mut registers, offset, &vec![0xff; length]);
        }
        assert_eq!(
            counters(&registers),
            CountersSnapshot { misaligned_accesses: 18, ..CountersSnapshot::default() }
        );
        assert_eq!(u32::from_le_bytes(get(&mut registers, 0)), CLASSIC[0]);
    }

    #[test]
    fn the_last_register_of_the_region_is_like_any_other() {
        let mut registers = registers();
        assert_eq!(get(&mut registers, 0xff8), [0; 8]);
        assert_eq!(get(&mut registers, u64::MAX - 7), [0; 8]);
        assert_eq!(counters(&registers).unknown_reads, 4);
    }
}
