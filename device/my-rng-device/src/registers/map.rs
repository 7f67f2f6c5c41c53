// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which register is at which offset.

use my_rng_abi::registers as abi;

/// Half of a 64-bit register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Bits 31–0.
    Low,
    /// Bits 63–32.
    High,
}

impl Half {
    /// This half of `whole`.
    pub fn of(self, whole: u64) -> u32 {
        match self {
            Self::Low => whole as u32, // The low half is meant.
            Self::High => (whole >> 32) as u32,
        }
    }

    /// `whole` with this half replaced.
    #[must_use]
    pub fn put(self, whole: u64, value: u32) -> u64 {
        match self {
            Self::Low => (whole & !0xffff_ffff) | u64::from(value),
            Self::High => (whole & 0xffff_ffff) | (u64::from(value) << 32),
        }
    }
}

/// A register that exists. What each means is written in [`my_rng_abi::registers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each has the name that it has in the interface, where it is documented")]
pub enum Register {
    Rand32,
    Seed,
    Rand64Low,
    Rand64High,
    Ident,
    Version,
    Features,
    Generator,
    Status,
    QueueCount,
    QueueSelect,
    /// One of the registers of the selected queue.
    Queue(QueueRegister),
    Doorbell,
    /// One of the registers of longer seeds.
    Seeds(SeedRegister),
    /// One of the registers of one-shot transfers.
    OneShot(OneShotRegister),
}

/// A register of the selected queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "as above")]
pub enum QueueRegister {
    Control,
    Depth,
    Vector,
    Descriptors(Half),
    State(Half),
}

/// A register of longer seeds, stream numbers and seeking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "as above")]
pub enum SeedRegister {
    Command,
    Abilities,
    /// The word at that place.
    Word(usize),
    Stream(Half),
}

/// A register of one-shot transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "as above")]
pub enum OneShotRegister {
    Vector,
    Source(Half),
    Destination(Half),
    Count(Half),
    Command,
}

/// Distance of the high half of a 64-bit register from its low half, in bytes.
const HIGH: usize = 4;

const SEED_WORDS_LAST: usize = abi::SEED_WORDS + 4 * (abi::SEED_WORD_COUNT - 1);
const STREAM_HIGH: usize = abi::STREAM_NUMBER + HIGH;
const SOURCE_HIGH: usize = abi::ONE_SHOT_SOURCE + HIGH;
const DESTINATION_HIGH: usize = abi::ONE_SHOT_DESTINATION + HIGH;
const COUNT_HIGH: usize = abi::ONE_SHOT_COUNT + HIGH;

impl Register {
    /// The register at that offset in bytes, which is a multiple of 4.
    pub fn at(offset: u64) -> Option<Self> {
        Some(match usize::try_from(offset).ok()? {
            abi::RAND32 => Self::Rand32,
            abi::SEED => Self::Seed,
            abi::RAND64_LOW => Self::Rand64Low,
            abi::RAND64_HIGH => Self::Rand64High,
            abi::IDENT => Self::Ident,
            abi::VERSION => Self::Version,
            abi::FEATURES => Self::Features,
            abi::GENERATOR => Self::Generator,
            abi::STATUS => Self::Status,
            abi::QUEUE_COUNT => Self::QueueCount,
            abi::QUEUE_SELECT => Self::QueueSelect,
            abi::QUEUE_CONTROL => Self::Queue(QueueRegister::Control),
            abi::QUEUE_DEPTH => Self::Queue(QueueRegister::Depth),
            abi::QUEUE_VECTOR => Self::Queue(QueueRegister::Vector),
            abi::QUEUE_DESCRIPTORS_LOW => Self::Queue(QueueRegister::Descriptors(Half::Low)),
            abi::QUEUE_DESCRIPTORS_HIGH => Self::Queue(QueueRegister::Descriptors(Half::High)),
            abi::QUEUE_STATE_LOW => Self::Queue(QueueRegister::State(Half::Low)),
            abi::QUEUE_STATE_HIGH => Self::Queue(QueueRegister::State(Half::High)),
            abi::DOORBELL => Self::Doorbell,
            abi::SEED_COMMAND => Self::Seeds(SeedRegister::Command),
            abi::SEED_ABILITIES => Self::Seeds(SeedRegister::Abilities),
            offset @ abi::SEED_WORDS..=SEED_WORDS_LAST if offset % 4 == 0 => {
                Self::Seeds(SeedRegister::Word((offset - abi::SEED_WORDS) / 4))
            }
            abi::STREAM_NUMBER => Self::Seeds(SeedRegister::Stream(Half::Low)),
            STREAM_HIGH => Self::Seeds(SeedRegister::Stream(Half::High)),
            abi::ONE_SHOT_VECTOR => Self::OneShot(OneShotRegister::Vector),
            abi::ONE_SHOT_SOURCE => Self::OneShot(OneShotRegister::Source(Half::Low)),
            SOURCE_HIGH => Self::OneShot(OneShotRegister::Source(Half::High)),
            abi::ONE_SHOT_DESTINATION => Self::OneShot(OneShotRegister::Destination(Half::Low)),
            DESTINATION_HIGH => Self::OneShot(OneShotRegister::Destination(Half::High)),
            abi::ONE_SHOT_COUNT => Self::OneShot(OneShotRegister::Count(Half::Low)),
            COUNT_HIGH => Self::OneShot(OneShotRegister::Count(Half::High)),
            abi::ONE_SHOT_COMMAND => Self::OneShot(OneShotRegister::Command),
            _ => return None,
        })
    }

    /// Whether the classic device has it too, which has no queues, no longer seeds, no one-shot
    /// transfers and no interrupts.
    pub fn is_classic(self) -> bool {
        !matches!(
            self,
            Self::QueueSelect | Self::Queue(_) | Self::Doorbell | Self::Seeds(_) | Self::OneShot(_)
        )
    }

    /// Whether a read changes the device, so that it must happen exactly once and as a whole.
    pub fn read_has_effects(self) -> bool {
        matches!(self, Self::Rand32 | Self::Rand64Low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_registers_share_an_offset() {
        let all: Vec<Register> = (0..abi::BAR0_SIZE as u64).step_by(4).filter_map(Register::at).collect();
        assert_eq!(all.len(), 39);
        for (place, register) in all.iter().enumerate() {
            assert!(!all[..place].contains(register), "{register:?} is there twice");
        }
    }

    #[test]
    fn the_classic_registers_are_where_they_always_were() {
        let classic = [Register::Rand32, Register::Seed, Register::Rand64Low, Register::Rand64High];
        for (place, register) in classic.into_iter().enumerate() {
            assert_eq!(Register::at(place as u64 * 4), Some(register));
        }
        assert_eq!(Register::at(0x80), Some(Register::OneShot(OneShotRegister::Source(Half::Low))));
        assert_eq!(Register::at(0x98), Some(Register::OneShot(OneShotRegister::Command)));
    }

    #[test]
    fn halves_are_put_together_in_any_order() {
        let whole = Half::High.put(Half::Low.put(u64::MAX, 1), 2);
        assert_eq!(whole, 0x2_0000_0001);
        assert_eq!((Half::Low.of(whole), Half::High.of(whole)), (1, 2));
    }
}
