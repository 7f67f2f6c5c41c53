// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ring, as a program has it.

use exo_test_support::{call, programs::*};
use linux_raw_sys::io_uring::*;

/// Words of `struct io_uring_params`.
pub(crate) const PARAMS: usize = 30;
/// Where those are that say the places of the two rings' fields.
const SQ_OFFSETS: usize = 10;
const CQ_OFFSETS: usize = 20;

/// An operation's number.
pub(crate) const fn code(operation: io_uring_op) -> u8 {
    operation as u8
}

pub(crate) const LINK: u8 = 1 << io_uring_sqe_flags_bit::IOSQE_IO_LINK_BIT as u8;
pub(crate) const HARD_LINK: u8 = 1 << io_uring_sqe_flags_bit::IOSQE_IO_HARDLINK_BIT as u8;
pub(crate) const DRAIN: u8 = 1 << io_uring_sqe_flags_bit::IOSQE_IO_DRAIN_BIT as u8;
pub(crate) const FIXED_FILE: u8 = 1 << io_uring_sqe_flags_bit::IOSQE_FIXED_FILE_BIT as u8;
pub(crate) const SKIP_SUCCESS: u8 = 1 << io_uring_sqe_flags_bit::IOSQE_CQE_SKIP_SUCCESS_BIT as u8;
pub(crate) const ASYNC: u8 = 1 << io_uring_sqe_flags_bit::IOSQE_ASYNC_BIT as u8;

/// A submission entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) code: u8,
    pub(crate) flags: u8,
    pub(crate) fd: i32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) operation_flags: u32,
    pub(crate) user_data: u64,
    pub(crate) buffer: u16,
}

impl Entry {
    pub(crate) fn new(operation: io_uring_op, user_data: u64) -> Self {
        Self { code: code(operation), user_data, fd: -1, ..Self::default() }
    }

    pub(crate) fn nop(user_data: u64) -> Self {
        Self::new(io_uring_op::IORING_OP_NOP, user_data)
    }

    /// From a file's own offset.
    pub(crate) fn read(fd: usize, at: usize, count: usize, user_data: u64) -> Self {
        let (address, length) = (at as u64, count as u32);
        Self {
            fd: fd as i32,
            address,
            length,
            offset: u64::MAX,
            ..Self::new(io_uring_op::IORING_OP_READ, user_data)
        }
    }

    pub(crate) fn write(fd: usize, bytes: &[u8], user_data: u64) -> Self {
        let entry = Self::read(fd, put_bytes(bytes), bytes.len(), user_data);
        Self { code: code(io_uring_op::IORING_OP_WRITE), ..entry }
    }

    pub(crate) fn poll(fd: usize, events: u32, user_data: u64) -> Self {
        Self {
            fd: fd as i32,
            operation_flags: events,
            ..Self::new(io_uring_op::IORING_OP_POLL_ADD, user_data)
        }
    }

    /// Ends after so many nanoseconds, or when `count` others have.
    pub(crate) fn timeout(ns: u64, count: u64, user_data: u64) -> Self {
        let address = put(&[ns / 1_000_000_000, ns % 1_000_000_000]) as u64;
        Self { address, length: 1, offset: count, ..Self::new(io_uring_op::IORING_OP_TIMEOUT, user_data) }
    }

    pub(crate) fn cancel(target: u64, user_data: u64) -> Self {
        Self { address: target, ..Self::new(io_uring_op::IORING_OP_ASYNC_CANCEL, user_data) }
    }

    pub(crate) fn with(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![self.code, self.flags, 0, 0];
        out.extend(self.fd.to_ne_bytes());
        out.extend(self.offset.to_ne_bytes());
        out.extend(self.address.to_ne_bytes());
        out.extend(self.length.to_ne_bytes());
        out.extend(self.operation_flags.to_ne_bytes());
        out.extend(self.user_data.to_ne_bytes());
        out.extend(self.buffer.to_ne_bytes());
        out.resize(64, 0);
        out
    }
}

/// A ring.
#[derive(Clone, Copy)]
pub(crate) struct Ring {
    pub(crate) fd: usize,
    pub(crate) params: [u32; PARAMS],
    memory: usize,
    entries: usize,
}

/// Makes one; `change` sets what it is asked for.
pub(crate) fn try_setup(entries: u32, change: impl FnOnce(&mut [u32; PARAMS])) -> Result<Ring> {
    let mut params = [0; PARAMS];
    change(&mut params);
    let at = put(&params);
    let fd = call!(abi::__NR_io_uring_setup, entries, at)?;
    let params: [u32; PARAMS] = get(at);
    let map = |bytes: usize, offset: u64| {
        let access = abi::PROT_READ | abi::PROT_WRITE;
        call!(abi::__NR_mmap, 0, bytes, access, abi::MAP_SHARED, fd, offset).unwrap()
    };
    let bytes = params[CQ_OFFSETS + 5] as usize + 16 * params[1] as usize;
    let bytes = bytes.max(params[SQ_OFFSETS + 6] as usize + 4 * params[0] as usize);
    let memory = map(bytes, IORING_OFF_SQ_RING.into());
    let entries = map(64 * params[0] as usize, IORING_OFF_SQES.into());
    Ok(Ring { fd, params, memory, entries })
}

pub(crate) fn setup(entries: u32) -> Ring {
    try_setup(entries, |_| {}).unwrap()
}

impl Ring {
    fn field(&self, index: usize) -> usize {
        self.memory + self.params[index] as usize
    }

    /// A field of the submission ring: head, tail, mask, entries, flags, dropped, array.
    pub(crate) fn sq(&self, index: usize) -> u32 {
        get(self.field(SQ_OFFSETS + index))
    }

    /// A field of the completion ring: head, tail, mask, entries, overflow.
    pub(crate) fn cq(&self, index: usize) -> u32 {
        get(self.field(CQ_OFFSETS + index))
    }

    /// Puts entries into the ring.
    pub(crate) fn push(&self, entries: &[Entry]) {
        for entry in entries {
            let tail = self.sq(1);
            let index = tail & self.sq(2);
            memory::write(self.entries + 64 * index as usize, &entry.bytes());
            self.push_index(index);
        }
    }

    /// Names an entry.
    pub(crate) fn push_index(&self, index: u32) {
        let tail = self.sq(1);
        let place = self.field(SQ_OFFSETS + 6) + 4 * (tail & self.sq(2)) as usize;
        memory::write(place, &index.to_ne_bytes());
        memory::write(self.field(SQ_OFFSETS + 1), &(tail + 1).to_ne_bytes());
    }

    pub(crate) fn enter(&self, submit: u32, complete: u32, flags: u32) -> Result {
        call!(abi::__NR_io_uring_enter, self.fd, submit, complete, flags, 0, 0)
    }

    /// Submits entries, and waits for so many completions.
    pub(crate) fn submit(&self, entries: &[Entry], complete: u32) -> Result {
        self.push(entries);
        let flags = if complete > 0 { IORING_ENTER_GETEVENTS } else { 0 };
        self.enter(entries.len() as u32, complete, flags)
    }

    /// Completions that are there: user data and results.
    pub(crate) fn completions(&self) -> Vec<(u64, i32)> {
        let (head, tail) = (self.cq(0), self.cq(1));
        let place = |index: u32| self.field(CQ_OFFSETS + 5) + 16 * (index & self.cq(2)) as usize;
        let found = (head..tail).map(|index| (get(place(index)), get(place(index) + 8))).collect();
        memory::write(self.field(CQ_OFFSETS), &tail.to_ne_bytes());
        found
    }

    /// Submits entries, waits until as many have ended, and gives the completions.
    pub(crate) fn run(&self, entries: &[Entry]) -> Vec<(u64, i32)> {
        assert_eq!(self.submit(entries, entries.len() as u32), Ok(entries.len()));
        self.completions()
    }

    pub(crate) fn register(&self, operation: io_uring_register_op, argument: usize, count: usize) -> Result {
        call!(abi::__NR_io_uring_register, self.fd, operation as u32, argument, count)
    }
}

/// A completion's result for an error.
pub(crate) fn failed(error: Errno) -> i32 {
    -error.0
}
