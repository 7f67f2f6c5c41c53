// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs and Exo-Kernel agree on beyond Linux's system calls: numbers from 0x1000 up, and the structures that
//! pass through them. Linux has no such calls; there they give ENOSYS.
#![no_std]
#![forbid(unsafe_code)]

/// System-call numbers of Exo-Kernel's own.
pub mod number {
    /// `get_time() -> nanoseconds since boot`: the monotonic clock as one number, without a structure in memory.
    pub const GET_TIME: u64 = 0x1000;
    /// `ipc_create() -> endpoint`: a new endpoint, as a descriptor that can be kept, inherited and closed like a file's.
    pub const IPC_CREATE: u64 = 0x1001;
    /// `ipc_send(endpoint, word0, word1, word2)`: gives a message to a receiver; waits until there is one.
    pub const IPC_SEND: u64 = 0x1002;
    /// `ipc_recv(endpoint)`: waits for a message. The result is 0; the words are in RDI, RSI and RDX, and R10 has a token for
    /// the answer, or 0 if the sender waits for none.
    pub const IPC_RECV: u64 = 0x1003;
    /// `ipc_call(endpoint, word0, word1, word2)`: sends, then waits for the answer, whose words are where those of `ipc_recv`
    /// are. EINTR after the message was taken means that the answer is lost.
    pub const IPC_CALL: u64 = 0x1004;
    /// `ipc_reply_recv(endpoint, word0, word1, word2, token)`: answers the caller that `token` names, unless it is 0 or the
    /// caller no longer waits, then receives.
    pub const IPC_REPLY_RECV: u64 = 0x1005;
    /// `block_read(device, sector, buffer, length) -> bytes`: reads `length` bytes, whole sectors from number `sector` on. Devices
    /// count from 0 in the order in which they were found. EINVAL: `length` is no multiple of [`LENGTH_UNIT`](super::block::LENGTH_UNIT)
    /// or above [`MAX_LENGTH`](super::block::MAX_LENGTH), or the place is beyond what any device can have. EFAULT: the buffer is no memory of
    /// the program. ENODEV: there is no such device.
    pub const BLOCK_READ: u64 = 0x1006;
    /// `block_write(device, sector, buffer, length) -> bytes`: writes, with the same arguments and errors as `block_read`.
    pub const BLOCK_WRITE: u64 = 0x1007;
}

/// Limits of `block_read` and `block_write`.
pub mod block {
    /// Every device's sector is this many bytes or a multiple.
    pub const LENGTH_UNIT: u64 = 512;
    /// Most bytes of one call: what one read moves on Linux, cut to whole sectors of the common sizes.
    pub const MAX_LENGTH: u64 = 0x7fff_f000;
}
