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

const _: () = assert!(size_of::<MapInfo>() == 24 && MAP_INFO == 0x8018_7103 && WAKE == 0x0000_7104);
const _: () = assert!(RAND == 0x8004_7101 && SEED == 0x4004_7101 && RAND64 == 0x8008_7102);

/// The name of the Linux class and the stem of the node names: `/dev/my_rng0`, `/dev/my_rng1`, ….
pub const CLASS_NAME: &str = "my_rng";
/// The node that always means the first device: `/dev/my_rng_driver`.
pub const FIRST_DEVICE_NAME: &str = "my_rng_driver";
