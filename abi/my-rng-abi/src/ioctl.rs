// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `ioctl` interface of `/dev/my_rngN`: command numbers and device names.
//!
//! The numbers are those that Linux's `_IOR('q', …)` and `_IOW('q', …)` give (`include/uapi/asm-generic/ioctl.h`):
//! direction in bits 31–30, argument size in bits 29–16, type in bits 15–8, number in bits 7–0. They are the same for
//! 32-bit programs, because every argument has the same size and alignment there.

/// The `ioctl` type (magic) byte of this interface: `'q'`.
pub const MAGIC: u8 = b'q';

const NOTHING: u32 = 0; // No argument (`_IOC_NONE`).
const WRITE: u32 = 1; // The program writes to the driver (`_IOC_WRITE`).
const READ: u32 = 2; // The program reads from the driver (`_IOC_READ`).

const fn command(direction: u32, number: u8, size: u32) -> u32 {
    (direction << 30) | (size << 16) | ((MAGIC as u32) << 8) | number as u32
}

/// Draws a 32-bit number of the seedable stream: `_IOR('q', 1, __u32)`. The argument points to a `u32` that receives it.
pub const RAND: u32 = command(READ, 1, 4);
/// Restarts the seedable stream: `_IOW('q', 1, __u32)`. The argument points to the `u32` seed.
pub const SEED: u32 = command(WRITE, 1, 4);
/// Draws a 64-bit number of the seedable stream: `_IOR('q', 2, __u64)`. The first 32-bit draw is the high half.
pub const RAND64: u32 = command(READ, 2, 8);

/// Asks for a queue of the entropy stream that the program itself reads, and says how to map it: `_IOR('q', 3, struct
/// my_rng_map_info)`. The argument points to a [`MapInfo`] that receives it. The queue belongs to the open file, which has one:
/// a second call says the same. Fails with `EBUSY` when all queues are in use.
///
/// Then `mmap(2)`: [`MapInfo::length`] bytes of the file from offset 0, shared, readable and writable; once. What is there is
/// said in [`queue`](super::queue); the program keeps the driver's side of those rules. `poll(2)` on the file waits for the
/// completion in `INTERRUPT_AT`. Give it a time-out, and call it again: a device that has died is noticed by a call, at most five
/// times a second, and not by one that waits.
pub const MAP_INFO: u32 = command(READ, 3, size_of::<MapInfo>() as u32);
/// Rings the doorbell of the file's queue: `_IO('q', 4)`. Needed when `SLEEPING` is 1 after something was posted.
pub const WAKE: u32 = command(NOTHING, 4, 0);

/// What [`MAP_INFO`] returns: how the memory that is to be mapped is laid out.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MapInfo {
    /// Size of the mapping in bytes.
    pub length: u64,
    /// Where the state begins, in bytes.
    pub state_offset: u32,
    /// Where the buffers begin, in bytes; they lie one after the other.
    pub buffers_offset: u32,
    /// Number of buffers, a power of two.
    pub depth: u32,
    /// Size of a buffer in bytes, a power of two.
    pub buffer_size: u32,
}

/// Restarts the seedable stream with a seed of 32, 64 or 256 bits, in the stream of a number: `_IOW('q', 5, struct
/// my_rng_wide_seed)`. The argument points to a [`WideSeed`]. Fails with `EINVAL` when that has a length or a flag that does not
/// exist, and with `EOPNOTSUPP` when the device or its generator takes no such thing; then nothing has changed.
pub const SEED_WIDE: u32 = command(WRITE, 5, size_of::<WideSeed>() as u32);
/// Goes on with the number of 32 bits that has that position in the seedable stream, of which the first one's is 0: `_IOW('q',
/// 6, __u64)`. The argument points to the `u64`. Fails with `EOPNOTSUPP` when the device or its generator cannot.
pub const SEEK: u32 = command(WRITE, 6, 8);

/// [`WideSeed::flags`]: the stream [`WideSeed::stream`], in place of the one that the seed has without a number.
pub const WIDE_SEED_STREAM: u32 = 1 << 0;

/// What [`SEED_WIDE`] takes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WideSeed {
    /// The seed, its lowest bits in the first word; words beyond its length do not matter.
    pub seed: [u32; 8],
    /// The stream's number, with [`WIDE_SEED_STREAM`].
    pub stream: u64,
    /// Length of the seed in bits: 32, 64 or 256.
    pub bits: u32,
    /// `WIDE_SEED_…` bits.
    pub flags: u32,
}

/// Words of a [`WideSeed`].
pub const WIDE_SEED_WORDS: usize = size_of::<WideSeed>() / size_of::<u32>();

impl WideSeed {
    /// The structure that lies in memory as these words, on a little-endian machine.
    pub const fn from_words(words: [u32; WIDE_SEED_WORDS]) -> Self {
        let [a, b, c, d, e, f, g, h, low, high, bits, flags] = words;
        Self { seed: [a, b, c, d, e, f, g, h], stream: ((high as u64) << 32) | low as u64, bits, flags }
    }

    /// What a driver writes to [`SEED_COMMAND`](super::registers::SEED_COMMAND). `None`: a length or a flag does not exist.
    pub const fn command(&self) -> Option<u32> {
        let with_stream = match self.flags {
            0 => 0,
            WIDE_SEED_STREAM => super::registers::SEED_WITH_STREAM,
            _ => return None,
        };
        match self.bits {
            32 | 64 | 256 => Some(self.bits | with_stream),
            _ => None,
        }
    }
}

const _: () = assert!(size_of::<WideSeed>() == 48 && SEED_WIDE == 0x4030_7105 && SEEK == 0x4008_7106);
const _: () = assert!(size_of::<MapInfo>() == 24 && MAP_INFO == 0x8018_7103 && WAKE == 0x0000_7104);
const _: () = assert!(RAND == 0x8004_7101 && SEED == 0x4004_7101 && RAND64 == 0x8008_7102);

/// The name of the Linux class and the stem of the node names: `/dev/my_rng0`, `/dev/my_rng1`, ….
pub const CLASS_NAME: &str = "my_rng";
/// The node that always means the first device: `/dev/my_rng_driver`.
pub const FIRST_DEVICE_NAME: &str = "my_rng_driver";
