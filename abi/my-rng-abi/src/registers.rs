// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI identity and the registers of BAR 0. All registers are 32 bits wide and little-endian.
//!
//! | offset | access | register |
//! | --- | --- | --- |
//! | [`RAND32`] | RO | next 32-bit output of the seedable stream |
//! | [`SEED`] | WO | restarts the seedable stream; reads 0 |
//! | [`RAND64_LOW`] | RO | draws a 64-bit number, latches it, returns its low half |
//! | [`RAND64_HIGH`] | RO | the high half of the latched number |
//! | [`IDENT`] | RO | [`IDENT_VALUE`]: this is a my_rng device that has the registers below |
//! | [`VERSION`] | RO | version of this interface: major in bits 31–16, minor in bits 15–0 |
//! | [`FEATURES`] | RO | what the device has of the rest |
//! | [`GENERATOR`] | RW | generator of the seedable stream |
//! | [`STATUS`] | R/W1C | what went wrong |
//! | [`QUEUE_COUNT`] to [`DOORBELL`] | | queues ([`crate::queue`]), with [`FEATURE_QUEUES`] |
//! | [`SEED_COMMAND`] to [`STREAM_NUMBER`] | | longer seeds, stream numbers and seeking, with [`FEATURE_WIDE_SEEDS`] |
//! | [`ONE_SHOT_VECTOR`], [`ONE_SHOT_SOURCE`] to [`ONE_SHOT_COMMAND`] | | one-shot transfers, with [`FEATURE_ONE_SHOT`] |
//!
//! The first four are the classic interface and never change. Where no register is, or none of a feature that the device
//! lacks, reads give 0 and writes do nothing.
//!
//! Interrupts are MSI-X, a vector for each queue and one more, or MSI with 32 vectors; which one does what, the registers say.

/// PCI vendor identity.
pub const VENDOR_ID: u16 = 0x1234;
/// PCI device identity.
pub const DEVICE_ID: u16 = 0xcafe;
/// PCI revision.
pub const REVISION_ID: u8 = 0x10;
/// PCI class code: base class 0x00, subclass 0xff, programming interface 0x00 (`lspci`: "Unclassified device \[00ff\]").
pub const CLASS_CODE: u32 = 0x00_ff_00;

/// PCI subsystem vendor identity.
pub const SUBSYSTEM_VENDOR_ID: u16 = VENDOR_ID;
/// PCI subsystem identity.
pub const SUBSYSTEM_ID: u16 = DEVICE_ID;

/// Index of the base address register that holds the registers.
pub const REGISTER_BAR: u8 = 0;
/// Size of that region in bytes.
pub const BAR0_SIZE: usize = 4096;

/// RO: the next 32-bit output of the seedable stream.
pub const RAND32: usize = 0x00;
/// WO: restarts the seedable stream with the value written. Reads 0.
pub const SEED: usize = 0x04;
/// RO: draws a 64-bit number (first draw: high word, second: low word), latches it, returns the low half.
pub const RAND64_LOW: usize = 0x08;
/// RO: the high half of the number that the last read of [`RAND64_LOW`] latched.
pub const RAND64_HIGH: usize = 0x0c;
/// RO: [`IDENT_VALUE`].
pub const IDENT: usize = 0x10;
/// RO: version of this interface, major in bits 31–16, minor in bits 15–0.
pub const VERSION: usize = 0x14;

/// What [`IDENT`] reads: "EXOR" in ASCII, first letter in the lowest byte.
pub const IDENT_VALUE: u32 = u32::from_le_bytes(*b"EXOR");
/// What [`VERSION`] reads: 1.0. What a device has beyond these registers is told by [`FEATURES`], and an addition is a new bit
/// there; the major version changes when a driver of the old one would go wrong.
pub const VERSION_VALUE: u32 = 1 << 16;

/// The seed of a device that nobody has seeded, as of glibc's `rand()` before `srand()`.
pub const DEFAULT_SEED: u32 = 1;

/// RO: what this device can do; `FEATURE_…` bits.
pub const FEATURES: usize = 0x18;
/// RW: the generator of the seedable stream, one of `GENERATOR_…`. A write restarts the stream with the seed that was
/// written last; an unknown number changes nothing and sets [`STATUS_BAD_GENERATOR`].
pub const GENERATOR: usize = 0x1c;
/// R/W1C: what went wrong; `STATUS_…` bits. Writing a 1 clears a bit.
pub const STATUS: usize = 0x20;
/// RO: number of queues.
pub const QUEUE_COUNT: usize = 0x24;
/// RW: the queue that the registers `QUEUE_…` below mean. A number that is not below [`QUEUE_COUNT`] selects none: they read 0,
/// and writes set [`STATUS_BAD_QUEUE`].
pub const QUEUE_SELECT: usize = 0x28;
/// RW: [`QUEUE_ENABLE`] in bit 0, the stream ([`crate::queue`]'s `STREAM_…`) in bits 15–8. Enabling a queue whose set-up is
/// not valid leaves it disabled and sets [`STATUS_BAD_QUEUE`]. The other registers of a queue can be written while it is disabled.
pub const QUEUE_CONTROL: usize = 0x2c;
/// RW: number of descriptors: a power of two, at most [`crate::queue::DEPTH_MAX`].
pub const QUEUE_DEPTH: usize = 0x30;
/// RW: the queue's interrupt vector, or [`NO_VECTOR`].
pub const QUEUE_VECTOR: usize = 0x34;
/// RW: address of the descriptors, bits 31–0.
pub const QUEUE_DESCRIPTORS_LOW: usize = 0x38;
/// RW: address of the descriptors, bits 63–32.
pub const QUEUE_DESCRIPTORS_HIGH: usize = 0x3c;
/// RW: address of the state, bits 31–0.
pub const QUEUE_STATE_LOW: usize = 0x40;
/// RW: address of the state, bits 63–32.
pub const QUEUE_STATE_HIGH: usize = 0x44;
/// WO: wakes the queue whose number is written. Reads 0.
pub const DOORBELL: usize = 0x48;
/// RW: interrupt vector for the end of a one-shot transfer, or [`NO_VECTOR`].
pub const ONE_SHOT_VECTOR: usize = 0x4c;

/// RW: a write restarts the seedable stream with a seed that is in [`SEED_WORDS`], or seeks in it: [`SEED_BITS_32`],
/// [`SEED_BITS_64`] or [`SEED_BITS_256`], with [`SEED_WITH_STREAM`] or without, or [`SEED_SEEK`]. What the generator does not
/// take ([`SEED_ABILITIES`]), and anything else, changes nothing and sets [`STATUS_BAD_SEED`]. Reads [`SEED_REFUSED`] if the last
/// write was of that kind, else 0.
pub const SEED_COMMAND: usize = 0x50;
/// RO: what the generator takes; `SEED_TAKES_…` bits.
pub const SEED_ABILITIES: usize = 0x54;
/// RW: eight words, the lowest bits of the seed in the first; the position of [`SEED_SEEK`] in the first two.
pub const SEED_WORDS: usize = 0x58;
/// Number of words there.
pub const SEED_WORD_COUNT: usize = 8;
/// RW, 64 bits in two halves: which of the seed's streams, with [`SEED_WITH_STREAM`].
pub const STREAM_NUMBER: usize = 0x78;

/// [`SEED_COMMAND`]: restart as with [`SEED`], whose stream this is.
pub const SEED_BITS_32: u32 = 32;
/// [`SEED_COMMAND`]: restart with a seed of 64 bits.
pub const SEED_BITS_64: u32 = 64;
/// [`SEED_COMMAND`]: restart with a seed of 256 bits.
pub const SEED_BITS_256: u32 = 256;
/// [`SEED_COMMAND`]: … in the stream [`STREAM_NUMBER`] of that seed.
pub const SEED_WITH_STREAM: u32 = 1 << 16;
/// [`SEED_COMMAND`]: go on with the number of 32 bits that has that position in the stream; the first one's is 0.
pub const SEED_SEEK: u32 = 1 << 31;
/// What [`SEED_COMMAND`] reads when the last one was refused.
pub const SEED_REFUSED: u32 = 1;

/// [`SEED_ABILITIES`]: seeds of 32 bits.
pub const SEED_TAKES_32: u32 = 1 << 0;
/// [`SEED_ABILITIES`]: seeds of 64 bits.
pub const SEED_TAKES_64: u32 = 1 << 1;
/// [`SEED_ABILITIES`]: seeds of 256 bits.
pub const SEED_TAKES_256: u32 = 1 << 2;
/// [`SEED_ABILITIES`]: stream numbers. [`GENERATOR_PCG64`] takes none with a seed of 256 bits, which has one in it.
pub const SEED_TAKES_STREAM: u32 = 1 << 3;
/// [`SEED_ABILITIES`]: seeking.
pub const SEED_TAKES_SEEK: u32 = 1 << 4;

/// Whether a generator with those [`SEED_ABILITIES`] takes that [`SEED_COMMAND`]: for a driver, who must not disturb the stream
/// for one that is refused.
pub const fn takes_seed_command(generator: u32, abilities: u32, command: u32) -> bool {
    let wanted = match command & !SEED_WITH_STREAM {
        SEED_SEEK => SEED_TAKES_SEEK,
        SEED_BITS_32 => SEED_TAKES_32,
        SEED_BITS_64 => SEED_TAKES_64,
        SEED_BITS_256 => SEED_TAKES_256,
        _ => return false,
    };
    let with_stream = command & SEED_WITH_STREAM != 0;
    let has_its_own = generator == GENERATOR_PCG64 && wanted == SEED_TAKES_256 || wanted == SEED_TAKES_SEEK;
    let stream = !with_stream || abilities & SEED_TAKES_STREAM != 0 && !has_its_own;
    abilities & wanted != 0 && stream
}

/// RW, 64 bits in two halves: where a one-shot transfer reads. Towards the guest: the stream, one of [`crate::queue`]'s
/// `STREAM_…`.
pub const ONE_SHOT_SOURCE: usize = 0x80;
/// RW, 64 bits in two halves: where a one-shot transfer writes. Towards the guest: an address in guest memory.
pub const ONE_SHOT_DESTINATION: usize = 0x88;
/// RW, 64 bits in two halves: bytes to transfer, 1 to [`ONE_SHOT_MAX`].
pub const ONE_SHOT_COUNT: usize = 0x90;
/// RW: `ONE_SHOT_…` bits. [`ONE_SHOT_START`] reads 1 while the transfer runs.
pub const ONE_SHOT_COMMAND: usize = 0x98;

/// Starts the transfer (as QEMU's `edu` device, `docs/specs/edu.rst`).
pub const ONE_SHOT_START: u32 = 1 << 0;
/// Direction: from the device to guest memory. The other direction is refused: this device takes nothing in.
pub const ONE_SHOT_TO_GUEST: u32 = 1 << 1;
/// Interrupt when done.
pub const ONE_SHOT_INTERRUPT: u32 = 1 << 2;
/// RO: the last transfer was refused or failed; it wrote nothing. Cleared by the next start.
pub const ONE_SHOT_ERROR: u32 = 1 << 31;
/// Most bytes of one transfer.
pub const ONE_SHOT_MAX: u64 = 1 << 20;

/// [`FEATURES`]: [`GENERATOR`] can be written.
pub const FEATURE_GENERATORS: u32 = 1 << 0;
/// [`FEATURES`]: queues.
pub const FEATURE_QUEUES: u32 = 1 << 1;
/// [`FEATURES`]: one-shot transfers.
pub const FEATURE_ONE_SHOT: u32 = 1 << 2;
/// [`FEATURES`]: longer seeds, stream numbers and seeking.
pub const FEATURE_WIDE_SEEDS: u32 = 1 << 3;

/// [`STATUS`]: an unknown generator was asked for.
pub const STATUS_BAD_GENERATOR: u32 = 1 << 0;
/// [`STATUS`]: a queue was set up wrongly or does not exist.
pub const STATUS_BAD_QUEUE: u32 = 1 << 1;
/// [`STATUS`]: a queue has stopped with an error, which its state tells.
pub const STATUS_QUEUE_ERROR: u32 = 1 << 2;
/// [`STATUS`]: a one-shot transfer was refused or failed.
pub const STATUS_ONE_SHOT_ERROR: u32 = 1 << 3;
/// [`STATUS`]: the generator takes no such seed, stream number or position.
pub const STATUS_BAD_SEED: u32 = 1 << 4;

/// [`QUEUE_CONTROL`]: the queue runs.
pub const QUEUE_ENABLE: u32 = 1 << 0;
/// [`QUEUE_CONTROL`]: shift of the stream's number.
pub const QUEUE_STREAM_SHIFT: u32 = 8;
/// No interrupt.
pub const NO_VECTOR: u32 = 0xffff;

/// glibc's `rand()`, TYPE_3: 31 bits a draw. Seeded as by `srand()`: 0 is the same as 1.
pub const GENERATOR_GLIBC: u32 = 0;
/// xorshift64* (Vigna 2016: shifts 12, 25, 27, multiplier 0x2545f4914f6cdd1d), upper 32 bits a draw. The seed, zero-extended, is
/// the state before the first step; seed 0, whose state would stay 0, is the same as 1. A seed of 64 bits is the state.
pub const GENERATOR_XORSHIFT64_STAR: u32 = 1;
/// PCG64: PCG XSL RR 128/64 (O'Neill 2014), the low half of each 64-bit output first. Seeded as by the author's
/// `pcg64_srandom(seed, 54)`: initial state the seed, zero-extended to 128 bits, stream 54; with [`SEED_WITH_STREAM`] that stream in
/// place of 54. A seed of 256 bits is state and increment, as `rand_pcg::Pcg64::from_seed` takes them.
pub const GENERATOR_PCG64: u32 = 2;
/// ChaCha20 (RFC 8439) keyed from the seed, as `rand_chacha::ChaCha20Rng::seed_from_u64`. A seed of 256 bits is the key. The stream's
/// number, 0 without [`SEED_WITH_STREAM`], is the nonce, in the last two words of the state; the two before them count blocks.
pub const GENERATOR_CHACHA20: u32 = 3;
