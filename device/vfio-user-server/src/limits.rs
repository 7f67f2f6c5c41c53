// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bounds on what one client can make the server hold or wait for, each with its reason.

use std::time::Duration;

/// Bounds on one client. The defaults suit a device that QEMU attaches.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most bytes of data in one region access or one DMA message; the client is told at the version exchange. Together
    /// with a header this is also the most memory that one message can take. Default: 1 MiB, the protocol's own default.
    pub max_data_xfer_size: u32,
    /// Most file descriptors in one message. Default: 16, the most that QEMU sends. At most 64 are accepted.
    pub max_msg_fds: u32,
    /// Most DMA maps at a time. Each costs one of the kernel's maps of this process, of which there are 65530 by
    /// default for all clients together. Default: 4096.
    pub max_dma_maps: u32,
    /// Most bytes that all DMA maps with a descriptor take together, in whole pages of their files. They take as much of this
    /// process's addresses, of which there are 2^47 on x86-64 for all clients and all that the process does itself; the files
    /// may be nothing but holes. Default: 16 TiB, more than machines have.
    pub max_dma_size: u64,
    /// From how many of a client's descriptors on that wait to be closed no more are taken; a message can bring 253. Their
    /// closing can take as long as the client likes, and meanwhile they count against this process's limit
    /// (`RLIMIT_NOFILE`): for each server that should allow for these, a descriptor for each interrupt, and some ten more.
    /// Default: 512. At least 254.
    pub max_unclosed_fds: u32,
    /// How long a client may take to send its version after it connected; until then it keeps others out. Default: 10 s.
    pub handshake: Duration,
    /// How long the server waits for a client that does not read its replies, and a thread for the client's answer to a
    /// DMA message. Default: 5 s, QEMU's own limit for an answer.
    pub reply: Duration,
    /// How long a client that assigned the interrupt [`IrqIndex::Req`](crate::IrqIndex::Req), by which it is then asked to
    /// let go of the device, has for that when the server is to end. Default: 0, it is not asked.
    pub release: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_data_xfer_size: 1 << 20,
            max_msg_fds: 16,
            max_dma_maps: 4096,
            max_dma_size: 16 << 40,
            max_unclosed_fds: 512,
            handshake: Duration::from_secs(10),
            reply: Duration::from_secs(5),
            release: Duration::ZERO,
        }
    }
}

macro_rules! changes {
    ($($name:ident: $field:ident: $kind:ty,)+) => {
        impl Limits {
            $(
                #[doc = concat!("The same with another [`Self::", stringify!($field), "`].")]
                #[must_use]
                pub fn $name(self, $field: $kind) -> Self {
                    Self { $field, ..self }
                }
            )+
        }
    };
}

changes! {
    with_max_data_xfer_size: max_data_xfer_size: u32,
    with_max_msg_fds: max_msg_fds: u32,
    with_max_dma_maps: max_dma_maps: u32,
    with_max_dma_size: max_dma_size: u64,
    with_max_unclosed_fds: max_unclosed_fds: u32,
    with_handshake: handshake: Duration,
    with_reply: reply: Duration,
    with_release: release: Duration,
}
