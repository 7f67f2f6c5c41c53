// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vfio-user header, command numbers and the byte order: everything is in the host's order, without padding.
//!
//! The numbers are the specification's own ("Commands" and "Header" in QEMU's `docs/interop/vfio-user.rst`), as
//! `vfio-bindings` has only those of VFIO itself.

/// Size of the header in bytes.
pub(crate) const HEADER_SIZE: usize = 16;
/// Size in bytes of what precedes the data in a region access and in its reply: offset, region, count.
pub(crate) const REGION_ACCESS_SIZE: usize = 16;
/// Size in bytes of what precedes the data in a DMA message and in its reply: address, count.
pub(crate) const DMA_ACCESS_SIZE: usize = 16;

/// The major version of the protocol.
pub(crate) const VERSION_MAJOR: u16 = 0;
/// The newest minor version that this server speaks. A client that names an older one gets that.
pub(crate) const VERSION_MINOR: u16 = 1;

/// Command numbers.
pub(crate) mod command {
    pub(crate) const VERSION: u16 = 1;
    pub(crate) const DMA_MAP: u16 = 2;
    pub(crate) const DMA_UNMAP: u16 = 3;
    pub(crate) const DEVICE_GET_INFO: u16 = 4;
    pub(crate) const DEVICE_GET_REGION_INFO: u16 = 5;
    pub(crate) const DEVICE_GET_REGION_IO_FDS: u16 = 6;
    pub(crate) const DEVICE_GET_IRQ_INFO: u16 = 7;
    pub(crate) const DEVICE_SET_IRQS: u16 = 8;
    pub(crate) const REGION_READ: u16 = 9;
    pub(crate) const REGION_WRITE: u16 = 10;
    pub(crate) const DMA_READ: u16 = 11;
    pub(crate) const DMA_WRITE: u16 = 12;
    pub(crate) const DEVICE_RESET: u16 = 13;
    /// Dropped from the specification; older clients know it.
    pub(crate) const DIRTY_PAGES: u16 = 14;
    pub(crate) const REGION_WRITE_MULTI: u16 = 15;
    pub(crate) const DEVICE_FEATURE: u16 = 16;
    pub(crate) const MIG_DATA_READ: u16 = 17;
    pub(crate) const MIG_DATA_WRITE: u16 = 18;
}

const TYPE_MASK: u32 = 0xf;
const TYPE_COMMAND: u32 = 0;
const TYPE_REPLY: u32 = 1;
const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;

/// What a header's flags say the message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request; `reply` says whether an answer is wanted.
    Command { reply: bool },
    /// An answer to one of our requests; the errno if it failed.
    Reply { error: Option<u32> },
    /// Flags that the specification does not define.
    Unknown,
}

/// A message's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The sender's name for the message, echoed in the reply.
    pub(crate) id: u16,
    pub(crate) command: u16,
    /// Bytes of the whole message, header included.
    pub(crate) size: u32,
    flags: u32,
    error: u32,
}

impl Header {
    /// The header of a request of ours, whose payload has `payload` bytes.
    pub(crate) fn request(id: u16, command: u16, payload: usize) -> Self {
        Self { id, command, size: message_size(payload), flags: TYPE_COMMAND, error: 0 }
    }

    /// The header of the answer to `self`.
    pub(crate) fn reply(&self, payload: usize) -> Self {
        Self { size: message_size(payload), flags: TYPE_REPLY, error: 0, ..*self }
    }

    /// The header of the answer to `self` that says that it failed. An error without a number would be taken for
    /// success by QEMU, so it becomes `EIO`.
    pub(crate) fn error_reply(&self, errno: rustix::io::Errno) -> Self {
        let number = u32::try_from(errno.raw_os_error()).ok().filter(|&number| number != 0);
        let number = number.unwrap_or(libc::EIO.unsigned_abs());
        Self { size: message_size(0), flags: TYPE_REPLY | ERROR, error: number, ..*self }
    }

    /// What the flags say.
    pub(crate) fn kind(&self) -> Kind {
        match (self.flags & TYPE_MASK, self.flags & !TYPE_MASK) {
            (TYPE_COMMAND, 0) => Kind::Command { reply: true },
            (TYPE_COMMAND, NO_REPLY) => Kind::Command { reply: false },
            (TYPE_REPLY, 0) => Kind::Reply { error: None },
            (TYPE_REPLY, ERROR) => Kind::Reply { error: Some(self.error) },
            _ => Kind::Unknown,
        }
    }

    /// Whether the sender wants an answer, even to a message whose flags are otherwise senseless.
    pub(crate) fn wants_reply(&self) -> bool {
        self.flags & NO_REPLY == 0 && self.flags & TYPE_MASK != TYPE_REPLY
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_SIZE]) -> Self {
        let [i0, i1, c0, c1, s0, s1, s2, s3, f0, f1, f2, f3, e0, e1, e2, e3] = *bytes;
        Self {
            id: u16::from_ne_bytes([i0, i1]),
            command: u16::from_ne_bytes([c0, c1]),
            size: u32::from_ne_bytes([s0, s1, s2, s3]),
            flags: u32::from_ne_bytes([f0, f1, f2, f3]),
            error: u32::from_ne_bytes([e0, e1, e2, e3]),
        }
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        let mut writer = Writer::new(&mut bytes);
        writer.u16(self.id);
        writer.u16(self.command);
        writer.u32(self.size);
        writer.u32(self.flags);
        writer.u32(self.error);
        bytes
    }
}

/// The size field of a message that this server makes. Payloads are bounded by [`crate::Limits`], far below 4 GiB.
fn message_size(payload: usize) -> u32 {
    u32::try_from(payload.saturating_add(HEADER_SIZE)).unwrap_or(u32::MAX)
}

/// Takes numbers off the front of a payload.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_ne_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    /// What has not been taken.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
}

/// Puts numbers into a reply's fixed part, whose size the caller knows; what does not fit is a bug, caught in tests.
#[derive(Debug)]
pub(crate) struct Writer<'a>(&'a mut [u8]);

impl<'a> Writer<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.put(value.to_ne_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.put(value.to_ne_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.put(value.to_ne_bytes());
    }

    fn put<const N: usize>(&mut self, value: [u8; N]) {
        debug_assert!(self.0.len() >= N, "a reply's fixed part is too small for its fields");
        if let Some((place, rest)) = std::mem::take(&mut self.0).split_first_chunk_mut::<N>() {
            *place = value;
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn header(flags: u32) -> Header {
        Header { id: 7, command: command::REGION_READ, size: 32, flags, error: 5 }
    }

    #[test]
    fn a_header_survives_encoding() {
        let before = header(NO_REPLY);
        assert_eq!(Header::decode(&before.encode()), before);
        assert_eq!(
            before.encode(),
            [7, 0, 9, 0, 32, 0, 0, 0, 16, 0, 0, 0, 5, 0, 0, 0],
            "little-endian hosts"
        );
    }

    #[test]
    fn flags_are_told_apart() {
        assert_eq!(header(0).kind(), Kind::Command { reply: true });
        assert_eq!(header(0x10).kind(), Kind::Command { reply: false });
        assert_eq!(header(1).kind(), Kind::Reply { error: None });
        assert_eq!(header(0x21).kind(), Kind::Reply { error: Some(5) });
        for senseless in [2, 0xf, 0x20, 0x40, 0x11, 0x31, 1 << 31] {
            assert_eq!(header(senseless).kind(), Kind::Unknown, "flags {senseless:#x}");
        }
    }

    #[test]
    fn an_error_reply_carries_the_errno_and_no_payload() {
        let reply = header(0).error_reply(Errno::NOSPC);
        assert_eq!(reply.kind(), Kind::Reply { error: Some(28) });
        assert_eq!((reply.id, reply.command, reply.size), (7, command::REGION_READ, 16));
    }

    #[test]
    fn a_reader_never_reads_past_the_end() {
        let mut reader = Reader(&[1, 0, 0, 0, 2]);
        assert_eq!(reader.u32(), Some(1));
        assert_eq!(reader.u16(), None);
        assert_eq!(reader.rest(), [2]);
    }
}
