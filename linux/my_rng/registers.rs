// SPDX-License-Identifier: GPL-2.0

//! The registers of BAR 0, as types that know their offset and their fields.
//!
//! What each register does is said in [`abi::registers`](crate::abi::registers), which has the last
//! word: `register!` wants its offsets as literals, so each is compared with the one there.

use crate::abi::registers as abi;
use kernel::{
    io::{
        register,
        register::Register, //
    },
    pci,
    prelude::*, //
};

/// The mapped registers.
pub(crate) type Bar0<'bound> = pci::Bar<'bound, { abi::BAR0_SIZE }>;

register! {
    /// The next 32-bit output of the seedable stream. Each read draws.
    pub(crate) RAND32(u32) @ 0x00 {
        31:0 number;
    }

    /// Restarts the seedable stream. Write only.
    pub(crate) SEED(u32) @ 0x04 {
        31:0 seed;
    }

    /// Draws and latches a 64-bit number; its low half.
    pub(crate) RAND64_LOW(u32) @ 0x08 {
        31:0 half;
    }

    /// The high half of the number that was latched last.
    pub(crate) RAND64_HIGH(u32) @ 0x0c {
        31:0 half;
    }

    /// Tells a my_rng device from others.
    pub(crate) IDENT(u32) @ 0x10 {
        31:0 value;
    }

    /// The version of the register interface.
    pub(crate) VERSION(u32) @ 0x14 {
        31:16 major;
        15:0 minor;
    }

    /// What the device can do.
    pub(crate) FEATURES(u32) @ 0x18 {
        3:3 wide_seeds => bool;
        1:1 queues => bool;
        0:0 generators => bool;
    }

    /// The generator of the seedable stream. A write restarts the stream with the last seed.
    pub(crate) GENERATOR(u32) @ 0x1c {
        31:0 number;
    }

    /// The number of queues.
    pub(crate) QUEUE_COUNT(u32) @ 0x24 {
        31:0 count;
    }

    /// Which queue the registers below mean.
    pub(crate) QUEUE_SELECT(u32) @ 0x28 {
        31:0 number;
    }

    /// Whether the queue runs, and which stream it gives.
    pub(crate) QUEUE_CONTROL(u32) @ 0x2c {
        15:8 stream;
        0:0 enable => bool;
    }

    /// The number of descriptors.
    pub(crate) QUEUE_DEPTH(u32) @ 0x30 {
        31:0 depth;
    }

    /// The queue's interrupt vector.
    pub(crate) QUEUE_VECTOR(u32) @ 0x34 {
        31:0 vector;
    }

    /// Address of the descriptors, lower half.
    pub(crate) QUEUE_DESCRIPTORS_LOW(u32) @ 0x38 {
        31:0 half;
    }

    /// Address of the descriptors, upper half.
    pub(crate) QUEUE_DESCRIPTORS_HIGH(u32) @ 0x3c {
        31:0 half;
    }

    /// Address of the state, lower half.
    pub(crate) QUEUE_STATE_LOW(u32) @ 0x40 {
        31:0 half;
    }

    /// Address of the state, upper half.
    pub(crate) QUEUE_STATE_HIGH(u32) @ 0x44 {
        31:0 half;
    }

    /// Wakes the queue whose number is written.
    pub(crate) DOORBELL(u32) @ 0x48 {
        31:0 number;
    }

    /// Restarts the seedable stream with what is in the registers below, or seeks in it. Reads
    /// whether the last command was refused.
    pub(crate) SEED_COMMAND(u32) @ 0x50 {
        31:0 command;
    }

    /// What the generator takes.
    pub(crate) SEED_ABILITIES(u32) @ 0x54 {
        31:0 bits;
    }

    /// The seed, lowest bits first; or a position.
    pub(crate) SEED_WORDS(u32)[8] @ 0x58 {
        31:0 word;
    }

    /// Which of the seed's streams, lower half.
    pub(crate) STREAM_NUMBER_LOW(u32) @ 0x78 {
        31:0 half;
    }

    /// Which of the seed's streams, upper half.
    pub(crate) STREAM_NUMBER_HIGH(u32) @ 0x7c {
        31:0 half;
    }
}

static_assert!(<RAND32 as Register>::OFFSET == abi::RAND32);
static_assert!(<SEED as Register>::OFFSET == abi::SEED);
static_assert!(<RAND64_LOW as Register>::OFFSET == abi::RAND64_LOW);
static_assert!(<RAND64_HIGH as Register>::OFFSET == abi::RAND64_HIGH);
static_assert!(<IDENT as Register>::OFFSET == abi::IDENT);
static_assert!(<VERSION as Register>::OFFSET == abi::VERSION);
static_assert!(<FEATURES as Register>::OFFSET == abi::FEATURES);
static_assert!(<GENERATOR as Register>::OFFSET == abi::GENERATOR);
static_assert!(<QUEUE_COUNT as Register>::OFFSET == abi::QUEUE_COUNT);
static_assert!(<QUEUE_SELECT as Register>::OFFSET == abi::QUEUE_SELECT);
static_assert!(<QUEUE_CONTROL as Register>::OFFSET == abi::QUEUE_CONTROL);
static_assert!(<QUEUE_DEPTH as Register>::OFFSET == abi::QUEUE_DEPTH);
static_assert!(<QUEUE_VECTOR as Register>::OFFSET == abi::QUEUE_VECTOR);
static_assert!(<QUEUE_DESCRIPTORS_LOW as Register>::OFFSET == abi::QUEUE_DESCRIPTORS_LOW);
static_assert!(<QUEUE_DESCRIPTORS_HIGH as Register>::OFFSET == abi::QUEUE_DESCRIPTORS_HIGH);
static_assert!(<QUEUE_STATE_LOW as Register>::OFFSET == abi::QUEUE_STATE_LOW);
static_assert!(<QUEUE_STATE_HIGH as Register>::OFFSET == abi::QUEUE_STATE_HIGH);
static_assert!(<DOORBELL as Register>::OFFSET == abi::DOORBELL);
static_assert!(<SEED_COMMAND as Register>::OFFSET == abi::SEED_COMMAND);
static_assert!(<SEED_ABILITIES as Register>::OFFSET == abi::SEED_ABILITIES);
static_assert!(<SEED_WORDS as Register>::OFFSET == abi::SEED_WORDS);
static_assert!(<STREAM_NUMBER_LOW as Register>::OFFSET == abi::STREAM_NUMBER);
static_assert!(<STREAM_NUMBER_HIGH as Register>::OFFSET == abi::STREAM_NUMBER + 4);

// The fields of the registers that have some.
static_assert!(abi::FEATURE_WIDE_SEEDS == 1 << 3 && abi::SEED_WORD_COUNT == 8);
static_assert!(abi::FEATURE_GENERATORS == 1 << 0 && abi::FEATURE_QUEUES == 1 << 1);
static_assert!(abi::QUEUE_ENABLE == 1 << 0 && abi::QUEUE_STREAM_SHIFT == 8);

/// The version of the register interface that this driver was written for. A device may have a
/// larger minor: that only adds registers.
pub(crate) const VERSION_MAJOR: u32 = abi::VERSION_VALUE >> 16;
