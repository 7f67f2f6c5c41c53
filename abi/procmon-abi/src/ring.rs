// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rings of `/dev/procmon_events` in memory, for programs that map them, and the rules for reading one.
//!
//! The mapping starts with a header page, and then has one ring for each CPU: a control page, and the slots. It is made
//! of 64-bit words; each is written whole, and only by the kernel. It is mapped from offset 0 on, read-only and
//! shared: first a page, to learn from [`header::SIZE`] how much there is, then all.
//!
//! Event `n` of a ring is in slot `n % slots`. The kernel never waits: when the ring is full it overwrites the oldest
//! event. It raises `begun` to `n + 1` before it touches the slot, and `written` to `n + 1` after. So a reader that has
//! got as far as event `next`
//!
//! 1. reads `written` (acquire): events below it are complete;
//! 2. starts over at [`oldest`]`(begun, slots)`, should `next` be below it, and has lost exactly the difference;
//! 3. copies event `next`, as relaxed loads;
//! 4. reads `begun` again (after a load fence): if `next` is now below [`oldest`], then the copy is worthless, and step 2
//!    is next.

/// In the header's first word: "procmon" and the version of this layout.
pub const MAGIC: u64 = u64::from_be_bytes(*b"procmon\x01");

/// Bytes of the header, and of the control part of each ring.
pub const PAGE: usize = 4096;

/// Words of the header, by index.
pub mod header {
    /// [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// How many rings there are.
    pub const RINGS: usize = 1;
    /// How many slots a ring has: a power of two.
    pub const SLOTS: usize = 2;
    /// Bytes of a slot: [`crate::event::EVENT_SIZE`].
    pub const SLOT_SIZE: usize = 3;
    /// Where the first ring starts, in bytes from the start of the mapping.
    pub const FIRST_RING: usize = 4;
    /// How far the start of a ring is from that of the next, in bytes.
    pub const RING_SIZE: usize = 5;
    /// Bytes of the whole mapping.
    pub const SIZE: usize = 6;
}

/// Words of a ring's control page, by index. Apart from each other, because the kernel writes them all the time.
pub mod control {
    /// How many events the kernel has begun to write.
    pub const BEGUN: usize = 0;
    /// How many events are complete.
    pub const WRITTEN: usize = 1;
    /// Which CPU it belongs to.
    pub const CPU: usize = 8;
}

/// The oldest event that a ring still has, when `begun` were begun.
#[must_use]
pub const fn oldest(begun: u64, slots: u64) -> u64 {
    begun.saturating_sub(slots)
}
