// SPDX-License-Identifier: MIT OR Apache-2.0
//! Queues: how random data reaches guest memory without anybody touching a register.
//!
//! A queue is a ring of descriptors in guest memory. Each descriptor names a buffer; the driver posts buffers, the device
//! fills them in the order in which they were posted and says how many it has completed. Both counts lie in guest memory.
//!
//! # Memory of a queue
//! Three parts, each at a guest-physical (with an IOMMU: DMA) address of its own, all little-endian:
//!
//! | part | size in bytes | alignment | written by |
//! | --- | --- | --- | --- |
//! | descriptors | [`DESCRIPTOR_SIZE`] × depth | 16 | the driver |
//! | state | [`STATE_SIZE`] | [`STATE_SIZE`] | both, in halves of their own |
//! | buffers | 1 to [`BUFFER_SIZE_MAX`] each | 1 (64 is fastest) | the device |
//!
//! The state can be mapped into a program together with the buffers; the descriptors never are, because whoever writes them
//! tells the device where to write. A program that holds the state can spoil only its own queue.
//!
//! # Descriptor
//! | offset | size | field |
//! | --- | --- | --- |
//! | [`DESCRIPTOR_ADDRESS`] | 8 | address of the buffer |
//! | [`DESCRIPTOR_LENGTH`] | 4 | its length in bytes |
//! | [`DESCRIPTOR_RESERVED`] | 4 | 0 |
//!
//! # State
//! | offset | size | writer | field |
//! | --- | --- | --- | --- |
//! | [`POSTED`] | 4 | driver | number of buffers posted so far |
//! | [`INTERRUPT_AT`] | 4 | driver | the completion that shall interrupt |
//! | [`INTERRUPT_WANTED`] | 4 | driver | 0: no interrupts; 1: as [`INTERRUPT_AT`] says |
//! | [`GENERATION`] | 4 | driver | changes when what the buffers hold must not be used any more |
//! | [`COMPLETED`] | 4 | device | number of buffers completed so far |
//! | [`SLEEPING`] | 4 | device | 1: the device wants its doorbell rung; 0: it looks by itself |
//! | [`ERROR`] | 4 | device | 0, or one of `ERROR_…`: the queue has stopped |
//!
//! The counts run freely modulo 2³². Buffer number `n` belongs to descriptor `n % depth`; `posted − completed` buffers
//! are the device's, and that difference must never exceed the depth.
//!
//! # Rules
//! 1. **Post**: write the descriptors, then [`POSTED`] with release order. Then a full barrier, then read [`SLEEPING`]; if it is 1,
//!    write the queue's number to [`DOORBELL`](crate::registers::DOORBELL).
//! 2. **Complete**: the device writes a whole buffer, then [`COMPLETED`] with release order; it may complete several buffers with
//!    one write. Who reads [`COMPLETED`] with acquire order may then read those buffers.
//! 3. **Sleep**: the device writes 1 to [`SLEEPING`], then a full barrier, then reads [`POSTED`] once more; if there is work it writes 0 and
//!    goes on, else it sleeps until the doorbell. It writes 0 when it wakes. A doorbell that was not needed does no harm.
//! 4. **Interrupt**: with [`INTERRUPT_WANTED`] at 1, the device sends the queue's vector when its write of [`COMPLETED`] passes the
//!    value of [`INTERRUPT_AT`] ([`passes`]). The driver writes [`INTERRUPT_AT`], then [`INTERRUPT_WANTED`], then a full barrier, then
//!    reads [`COMPLETED`] once more before it sleeps. The device reads both after a full barrier after [`COMPLETED`].
//! 5. **Error**: on a descriptor or a count that breaks a rule, or an address where no memory is, the device writes nothing more than
//!    [`ERROR`], sends the vector, and stops this queue; the others go on. Enabling the queue again clears it.
//! 6. **Start**: while the queue is disabled the driver sets it up, with all fields of the state at 0; both counts begin at 0.
//! 7. **Stop**: once [`QUEUE_CONTROL`](crate::registers::QUEUE_CONTROL) reads back without
//!    [`QUEUE_ENABLE`](crate::registers::QUEUE_ENABLE), the device writes neither state nor buffers of that queue any more.
//! 8. **Erase**: what the device wrote is nowhere else: neither the device nor another queue gives out the same bytes again.

/// Size of a descriptor in bytes.
pub const DESCRIPTOR_SIZE: usize = 16;
/// Offset of the buffer's address in a descriptor.
pub const DESCRIPTOR_ADDRESS: usize = 0;
/// Offset of the buffer's length.
pub const DESCRIPTOR_LENGTH: usize = 8;
/// Offset of the field that must be 0.
pub const DESCRIPTOR_RESERVED: usize = 12;

/// Most descriptors of a queue; a depth is a power of two from 1 to this.
pub const DEPTH_MAX: u32 = 1024;
/// Longest buffer in bytes: bounds the time that the device spends on one descriptor to some hundred microseconds.
pub const BUFFER_SIZE_MAX: u32 = 1 << 20;

/// Size and alignment of the state in bytes: a page, so that it can be mapped.
pub const STATE_SIZE: usize = 4096;
/// Driver's half: buffers posted.
pub const POSTED: usize = 0x00;
/// Driver's half: the completion that shall interrupt.
pub const INTERRUPT_AT: usize = 0x04;
/// Driver's half: whether interrupts are wanted.
pub const INTERRUPT_WANTED: usize = 0x08;
/// Driver's half, ignored by the device: changes when the bytes in the buffers must not be used any more, because the machine
/// was suspended or cloned. Who has mapped the queue reads this after it has copied bytes, and drops them if it has changed;
/// [`ERROR`] is then [`ERROR_STALE`].
pub const GENERATION: usize = 0x0C;
/// Device's half, on a cache line of its own: buffers completed.
pub const COMPLETED: usize = 0x80;
/// Device's half: whether the doorbell is needed.
pub const SLEEPING: usize = 0x84;
/// Device's half: why the queue has stopped.
pub const ERROR: usize = 0x88;

/// [`POSTED`] is more than the depth ahead of [`COMPLETED`].
pub const ERROR_COUNT: u32 = 1;
/// A descriptor's length is 0 or more than [`BUFFER_SIZE_MAX`], or its reserved field is not 0.
pub const ERROR_DESCRIPTOR: u32 = 2;
/// A descriptor, the state or a buffer lies where no memory of the guest is.
pub const ERROR_ADDRESS: u32 = 3;
/// Written by a driver, not by the device: the device has gone, and nothing more will come.
pub const ERROR_GONE: u32 = 4;
/// Written by a driver, not by the device: the queue has stopped for good, but the device is there. Ask for another.
pub const ERROR_STALE: u32 = 5;

/// The queue's stream is the entropy stream.
pub const STREAM_ENTROPY: u32 = 0;
/// The queue's stream is the seedable stream: its 32-bit outputs, little-endian. Buffers of a length that 4 does not divide end
/// with the low bytes of an output whose other bytes are dropped.
pub const STREAM_SEEDABLE: u32 = 1;

/// Whether a count that went from `old` to `new` passed `at`: one of the completions numbered `old + 1 ..= new` is number `at`.
///
/// ```
/// use my_rng_abi::queue::passes;
/// assert!(passes(8, 5, 8) && passes(6, 5, 8) && !passes(5, 5, 8) && !passes(9, 5, 8));
/// assert!(passes(1, u32::MAX, 2));
/// ```
pub const fn passes(at: u32, old: u32, new: u32) -> bool {
    new.wrapping_sub(at) < new.wrapping_sub(old)
}

/// How many buffers are the device's, unless that is more than the depth.
pub const fn outstanding(posted: u32, completed: u32, depth: u32) -> Option<u32> {
    let count = posted.wrapping_sub(completed);
    if count <= depth { Some(count) } else { None }
}
