// SPDX-License-Identifier: MIT OR Apache-2.0
//! Submission entries: what a program asks for, checked as far as that needs neither its memory nor its files.

use linux_raw_sys::io_uring::{self as abi, io_uring_op as op, io_uring_sqe_flags_bit as bit};

use super::layout::ENTRY_BYTES;

/// `IOSQE_` flags.
pub mod flag {
    use super::bit;

    /// The descriptor is the number of a registered file.
    pub const FIXED_FILE: u8 = 1 << bit::IOSQE_FIXED_FILE_BIT as u8;
    /// Begin when all that was submitted before has ended.
    pub const DRAIN: u8 = 1 << bit::IOSQE_IO_DRAIN_BIT as u8;
    /// The next entry begins when this one has succeeded.
    pub const LINK: u8 = 1 << bit::IOSQE_IO_LINK_BIT as u8;
    /// The next entry begins when this one has ended.
    pub const HARD_LINK: u8 = 1 << bit::IOSQE_IO_HARDLINK_BIT as u8;
    /// A request: do not try at once.
    pub const ASYNC: u8 = 1 << bit::IOSQE_ASYNC_BIT as u8;
    /// No completion if it succeeds.
    pub const SKIP_SUCCESS: u8 = 1 << bit::IOSQE_CQE_SKIP_SUCCESS_BIT as u8;
    /// All that are understood here; of Linux's own, buffer selection is missing.
    pub const KNOWN: u8 = FIXED_FILE | DRAIN | LINK | HARD_LINK | ASYNC | SKIP_SUCCESS;
}

/// Why an entry cannot be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// EINVAL.
    Invalid,
    /// EOPNOTSUPP.
    Unsupported,
}

/// The program's memory for a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Bytes at an address.
    Plain {
        /// Where.
        address: u64,
        /// How many.
        length: u32,
    },
    /// An array of `struct iovec`.
    Vector {
        /// Where the array is.
        address: u64,
        /// Its elements.
        count: u32,
    },
    /// A part of a registered buffer.
    Registered {
        /// The buffer's number.
        index: u16,
        /// Where the part is.
        address: u64,
        /// How many bytes it has.
        length: u32,
    },
}

/// A read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// To the file.
    pub write: bool,
    /// From or to where.
    pub memory: Memory,
    /// Where in the file; none for its own offset.
    pub offset: Option<u64>,
    /// `RWF_` flags.
    pub flags: u32,
}

/// Which requests a cancellation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Those with this user data.
    UserData(u64),
    /// Those of the entry's own file.
    File,
    /// Every one.
    Any,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing, successfully.
    Nop,
    /// A read or write.
    Transfer(Transfer),
    /// fsync.
    Sync,
    /// Waits until a file is ready.
    Poll {
        /// `POLL` bits.
        events: u16,
    },
    /// Ends a poll.
    PollRemove {
        /// The poll's user data.
        target: u64,
    },
    /// Waits for a time, or for other completions.
    Timeout {
        /// Where a `struct __kernel_timespec` is.
        time: u64,
        /// Completions to wait for; 0 for none.
        count: u32,
        /// The time is a moment, not a span.
        absolute: bool,
        /// … of the wall clock.
        wall_clock: bool,
        /// That the time is up breaks no link.
        is_success: bool,
    },
    /// Ends a timeout.
    TimeoutRemove {
        /// The timeout's user data.
        target: u64,
    },
    /// Ends requests of any kind.
    Cancel {
        /// Which ones.
        target: Target,
        /// All that match, rather than one.
        all: bool,
    },
}

impl Operation {
    /// Whether it names a file.
    pub fn has_file(&self) -> bool {
        match self {
            Self::Transfer(_) | Self::Sync | Self::Poll { .. } => true,
            Self::Cancel { target, .. } => *target == Target::File,
            _ => false,
        }
    }
}

/// The operations that are there, for a program that asks (`IORING_REGISTER_PROBE`).
pub const SUPPORTED: [op; 13] = [
    op::IORING_OP_NOP,
    op::IORING_OP_READV,
    op::IORING_OP_WRITEV,
    op::IORING_OP_FSYNC,
    op::IORING_OP_READ_FIXED,
    op::IORING_OP_WRITE_FIXED,
    op::IORING_OP_POLL_ADD,
    op::IORING_OP_POLL_REMOVE,
    op::IORING_OP_TIMEOUT,
    op::IORING_OP_TIMEOUT_REMOVE,
    op::IORING_OP_ASYNC_CANCEL,
    op::IORING_OP_READ,
    op::IORING_OP_WRITE,
];

/// The fields of a submission entry (`struct io_uring_sqe`), named by their commonest use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    opcode: u8,
    /// See [`flag`].
    pub flags: u8,
    priority: u16,
    /// The file's descriptor, or its number among the registered ones.
    pub fd: i32,
    offset: u64,
    address: u64,
    length: u32,
    more: u32,
    /// What the completion has, too.
    pub user_data: u64,
    buffer: u16,
    personality: u16,
    file_index: u32,
    address3: u64,
    pad: u64,
}

impl Entry {
    /// Takes an entry apart.
    pub fn new(words: [u64; ENTRY_BYTES / 8]) -> Self {
        let [first, offset, address, sizes, user_data, extra, address3, pad] = words;
        Self {
            opcode: first as u8,
            flags: (first >> 8) as u8,
            priority: (first >> 16) as u16,
            fd: (first >> 32) as i32,
            offset,
            address,
            length: sizes as u32,
            more: (sizes >> 32) as u32,
            user_data,
            buffer: extra as u16,
            personality: (extra >> 16) as u16,
            file_index: (extra >> 32) as u32,
            address3,
            pad,
        }
    }

    /// Whether the entry that follows waits for this one.
    pub fn is_linked(&self) -> bool {
        self.flags & (flag::LINK | flag::HARD_LINK) != 0
    }

    fn transfer(&self, write: bool, memory: Memory) -> Result<Operation, Refused> {
        if self.priority != 0 {
            return Err(Refused::Invalid);
        }
        let offset = (self.offset != u64::MAX).then_some(self.offset);
        Ok(Operation::Transfer(Transfer { write, memory, offset, flags: self.more }))
    }

    /// What it asks for.
    pub fn operation(&self) -> Result<Operation, Refused> {
        if self.flags & !(flag::KNOWN | (1 << bit::IOSQE_BUFFER_SELECT_BIT as u8)) != 0
            || self.personality != 0
        {
            return Err(Refused::Invalid);
        }
        if self.flags & !flag::KNOWN != 0
            || self.flags & flag::SKIP_SUCCESS != 0 && self.flags & flag::DRAIN != 0
        {
            return Err(Refused::Unsupported);
        }
        let plain = Memory::Plain { address: self.address, length: self.length };
        let vector = Memory::Vector { address: self.address, count: self.length };
        let registered =
            Memory::Registered { index: self.buffer, address: self.address, length: self.length };
        /// An operation and its opcode's number.
        const fn number(op: op) -> u8 {
            op as u8
        }
        const NOP: u8 = number(op::IORING_OP_NOP);
        const READ: u8 = number(op::IORING_OP_READ);
        const WRITE: u8 = number(op::IORING_OP_WRITE);
        const READV: u8 = number(op::IORING_OP_READV);
        const WRITEV: u8 = number(op::IORING_OP_WRITEV);
        const READ_FIXED: u8 = number(op::IORING_OP_READ_FIXED);
        const WRITE_FIXED: u8 = number(op::IORING_OP_WRITE_FIXED);
        const FSYNC: u8 = number(op::IORING_OP_FSYNC);
        const POLL_ADD: u8 = number(op::IORING_OP_POLL_ADD);
        const POLL_REMOVE: u8 = number(op::IORING_OP_POLL_REMOVE);
        const TIMEOUT: u8 = number(op::IORING_OP_TIMEOUT);
        const TIMEOUT_REMOVE: u8 = number(op::IORING_OP_TIMEOUT_REMOVE);
        const ASYNC_CANCEL: u8 = number(op::IORING_OP_ASYNC_CANCEL);
        let Self { offset, address, length, more, buffer, file_index, .. } = *self;
        // Fields that an operation does not have must be zero, as on Linux, so that they can get a meaning later.
        let need = |zeros: &[u64]| {
            if zeros.iter().all(|field| *field == 0) { Ok(()) } else { Err(Refused::Invalid) }
        };
        Ok(match self.opcode {
            NOP => {
                need(&[more.into()])?;
                Operation::Nop
            }
            READ => self.transfer(false, plain)?,
            WRITE => self.transfer(true, plain)?,
            READV => self.transfer(false, vector)?,
            WRITEV => self.transfer(true, vector)?,
            READ_FIXED => self.transfer(false, registered)?,
            WRITE_FIXED => self.transfer(true, registered)?,
            FSYNC => {
                need(&[
                    address,
                    buffer.into(),
                    file_index.into(),
                    (more & !abi::IORING_FSYNC_DATASYNC).into(),
                ])?;
                Operation::Sync
            }
            POLL_ADD => {
                need(&[offset, address, buffer.into(), file_index.into(), length.into()])?;
                Operation::Poll { events: more as u16 }
            }
            POLL_REMOVE => {
                need(&[offset, buffer.into(), file_index.into(), length.into(), more.into()])?;
                Operation::PollRemove { target: address }
            }
            TIMEOUT => self.timeout()?,
            TIMEOUT_REMOVE => {
                need(&[length.into(), buffer.into(), file_index.into(), more.into()])?;
                Operation::TimeoutRemove { target: address }
            }
            ASYNC_CANCEL => {
                need(&[offset, file_index.into()])?;
                self.cancel()?
            }
            _ => return Err(Refused::Invalid),
        })
    }

    fn timeout(&self) -> Result<Operation, Refused> {
        const CLOCKS: u32 = abi::IORING_TIMEOUT_BOOTTIME | abi::IORING_TIMEOUT_REALTIME;
        let known = abi::IORING_TIMEOUT_ABS | CLOCKS | abi::IORING_TIMEOUT_ETIME_SUCCESS;
        let count = u32::try_from(self.offset).map_err(|_| Refused::Invalid)?;
        let zeros = [u64::from(self.buffer), self.file_index.into(), self.address3, self.pad];
        if self.length != 1
            || zeros != [0; 4]
            || self.more & !known != 0
            || self.more & CLOCKS == CLOCKS
            // A number of completions, counted from the request before: not with a link.
            || count != 0 && self.is_linked()
        {
            return Err(Refused::Invalid);
        }
        Ok(Operation::Timeout {
            time: self.address,
            count,
            absolute: self.more & abi::IORING_TIMEOUT_ABS != 0,
            wall_clock: self.more & abi::IORING_TIMEOUT_REALTIME != 0,
            is_success: self.more & abi::IORING_TIMEOUT_ETIME_SUCCESS != 0,
        })
    }

    fn cancel(&self) -> Result<Operation, Refused> {
        let known = abi::IORING_ASYNC_CANCEL_ALL
            | abi::IORING_ASYNC_CANCEL_FD
            | abi::IORING_ASYNC_CANCEL_ANY
            | abi::IORING_ASYNC_CANCEL_FD_FIXED
            | abi::IORING_ASYNC_CANCEL_USERDATA;
        let has = |flag: u32| self.more & flag != 0;
        let by_file = has(abi::IORING_ASYNC_CANCEL_FD);
        let by_data =
            has(abi::IORING_ASYNC_CANCEL_USERDATA) || self.more & !abi::IORING_ASYNC_CANCEL_ALL == 0;
        let any = has(abi::IORING_ASYNC_CANCEL_ANY);
        let fixed = has(abi::IORING_ASYNC_CANCEL_FD_FIXED) == (self.flags & flag::FIXED_FILE != 0);
        let kinds = usize::from(by_file) + usize::from(by_data) + usize::from(any);
        if self.more & !known != 0 || kinds != 1 || by_file && !fixed {
            return Err(Refused::Invalid);
        }
        let target = match (by_file, any) {
            (true, _) => Target::File,
            (_, true) => Target::Any,
            _ => Target::UserData(self.address),
        };
        Ok(Operation::Cancel { target, all: any || has(abi::IORING_ASYNC_CANCEL_ALL) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry in bytes, with fields at the offsets of `struct io_uring_sqe`.
    fn entry(fields: &[(usize, u64, usize)]) -> Entry {
        let mut bytes = [0_u8; ENTRY_BYTES];
        for &(at, value, size) in fields {
            bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        let mut words = [0; 8];
        for (word, part) in words.iter_mut().zip(bytes.chunks(8)) {
            *word = u64::from_le_bytes(part.try_into().unwrap());
        }
        Entry::new(words)
    }

    const OPCODE: usize = 0;

    #[test]
    fn fields_are_where_linux_has_them() {
        let read = entry(&[
            (OPCODE, 22, 1),
            (1, 1, 1),
            (4, 0xffff_fffe, 4),
            (8, 4096, 8),
            (16, 0x1234_5678, 8),
            (24, 512, 4),
            (28, 7, 4),
            (32, 99, 8),
        ]);
        assert_eq!((read.fd, read.flags, read.user_data), (-2, flag::FIXED_FILE, 99));
        let memory = Memory::Plain { address: 0x1234_5678, length: 512 };
        let transfer = Transfer { write: false, memory, offset: Some(4096), flags: 7 };
        assert_eq!(read.operation(), Ok(Operation::Transfer(transfer)));
        let fixed = entry(&[(OPCODE, 5, 1), (8, u64::MAX, 8), (40, 3, 2)]);
        let memory = Memory::Registered { index: 3, address: 0, length: 0 };
        let transfer = Transfer { write: true, memory, offset: None, flags: 0 };
        assert_eq!(fixed.operation(), Ok(Operation::Transfer(transfer)));
    }

    #[test]
    fn every_operation_that_is_announced_can_be_asked_for() {
        for op in SUPPORTED {
            let length = u64::from(op == op::IORING_OP_TIMEOUT);
            assert!(entry(&[(OPCODE, op as u64, 1), (24, length, 4)]).operation().is_ok(), "{op:?}");
        }
        for opcode in 0..=255 {
            let announced = SUPPORTED.iter().any(|op| *op as u64 == opcode);
            let length = u64::from(opcode == op::IORING_OP_TIMEOUT as u64);
            assert_eq!(
                entry(&[(OPCODE, opcode, 1), (24, length, 4)]).operation().is_ok(),
                announced,
                "{opcode}"
            );
        }
    }

    #[test]
    fn flags_and_fields_without_a_meaning_are_refused() {
        let with = |opcode: u64, field: (usize, u64, usize)| entry(&[(OPCODE, opcode, 1), field]).operation();
        assert_eq!(with(0, (1, 0x80, 1)), Err(Refused::Invalid));
        assert_eq!(with(0, (1, 0x20, 1)), Err(Refused::Unsupported));
        assert_eq!(with(0, (1, 0x42, 1)), Err(Refused::Unsupported));
        assert_eq!(with(0, (42, 1, 2)), Err(Refused::Invalid));
        assert_eq!(with(0, (28, 1, 4)), Err(Refused::Invalid));
        assert_eq!(with(22, (2, 1, 2)), Err(Refused::Invalid));
        for (at, size) in [(16, 8), (40, 2), (44, 4)] {
            assert_eq!(with(3, (at, 1, size)), Err(Refused::Invalid), "{at}");
        }
        assert_eq!(with(3, (28, 1, 4)), Ok(Operation::Sync));
        assert_eq!(with(3, (28, 2, 4)), Err(Refused::Invalid));
        assert_eq!(with(6, (24, 1, 4)), Err(Refused::Invalid));
    }

    #[test]
    fn a_timeout_has_one_time_and_one_clock() {
        let with = |fields: &[(usize, u64, usize)]| {
            let mut all = std::vec![(OPCODE, 11, 1), (16, 0x5000, 8), (24, 1, 4)];
            all.extend_from_slice(fields);
            entry(&all).operation()
        };
        let plain = Operation::Timeout {
            time: 0x5000,
            count: 0,
            absolute: false,
            wall_clock: false,
            is_success: false,
        };
        assert_eq!(with(&[]), Ok(plain));
        assert!(with(&[(28, 1 | 8 | 32, 4), (8, 5, 8)]).is_ok());
        for wrong in [(28, 12, 4), (28, 2, 4), (24, 2, 4), (8, 1 << 32, 8), (48, 1, 8)] {
            assert_eq!(with(&[wrong]), Err(Refused::Invalid), "{wrong:?}");
        }
        assert_eq!(with(&[(8, 1, 8), (1, flag::LINK.into(), 1)]), Err(Refused::Invalid));
    }

    #[test]
    fn a_cancellation_means_one_kind_of_target() {
        let with = |flags: u64| entry(&[(OPCODE, 14, 1), (16, 42, 8), (28, flags, 4)]).operation();
        assert_eq!(with(0), Ok(Operation::Cancel { target: Target::UserData(42), all: false }));
        assert_eq!(with(1), Ok(Operation::Cancel { target: Target::UserData(42), all: true }));
        assert_eq!(with(2 | 1), Ok(Operation::Cancel { target: Target::File, all: true }));
        assert_eq!(with(4), Ok(Operation::Cancel { target: Target::Any, all: true }));
        for wrong in [6, 2 | 16, 32, 64, 2 | 8] {
            assert_eq!(with(wrong), Err(Refused::Invalid), "{wrong}");
        }
    }
}
