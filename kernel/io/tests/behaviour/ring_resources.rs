// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring: files and buffers that are registered.

use exo_test_support::programs::*;
use linux_raw_sys::io_uring::{io_uring_register_op::*, *};

use crate::ring::*;

#[test]
fn registered_files_have_numbers_of_their_own() {
    machine(|| {
        let ring = setup(4);
        make_file("file", b"content");
        let fd = open("file", 0).unwrap();
        let list = put(&[fd as i32, -1]);
        ring.register(IORING_REGISTER_FILES, list, 2).unwrap();
        close(fd).unwrap();
        let read = Entry { offset: 0, ..Entry::read(0, zeros(8), 8, 1) };
        assert_eq!(ring.run(&[read.with(FIXED_FILE)]), [(1, 7)], "it stays open");
        assert_eq!(
            ring.run(&[Entry { fd: 1, ..read }.with(FIXED_FILE)]),
            [(1, failed(Errno::EBADF))],
            "an empty place"
        );
        assert_eq!(ring.run(&[Entry { fd: 2, ..read }.with(FIXED_FILE)]), [(1, failed(Errno::EBADF))]);
        assert_eq!(ring.register(IORING_REGISTER_FILES, list, 2), Err(Errno::EBUSY));
        let null = open("/dev/null", 0).unwrap();
        let update = put(&[1_u64, put(&[null as i32]) as u64]);
        assert_eq!(ring.register(IORING_REGISTER_FILES_UPDATE, update, 1), Ok(1));
        assert_eq!(ring.run(&[Entry { fd: 1, ..read }.with(FIXED_FILE)]), [(1, 0)]);
        assert_eq!(ring.register(IORING_UNREGISTER_FILES, 0, 0), Ok(0));
        assert_eq!(ring.register(IORING_UNREGISTER_FILES, 0, 0), Err(Errno::ENXIO));
        assert_eq!(ring.register(IORING_REGISTER_FILES, put(&[99_i32]), 1), Err(Errno::EBADF));
    });
}

#[test]
fn registered_buffers_are_read_and_written_within_their_bounds() {
    machine(|| {
        let ring = setup(4);
        make_file("file", b"content");
        let fd = open("file", abi::O_RDWR).unwrap();
        let buffer = map(8192).unwrap();
        ring.register(IORING_REGISTER_BUFFERS, put(&[buffer, 8192]), 1).unwrap();
        let fixed = |operation, at: usize, count: usize| Entry {
            code: code(operation),
            buffer: 0,
            offset: 0,
            ..Entry::read(fd, at, count, 1)
        };
        let read = fixed(io_uring_op::IORING_OP_READ_FIXED, buffer + 4090, 7);
        assert_eq!(ring.run(&[read]), [(1, 7)]);
        assert_eq!(get_bytes(buffer + 4090, 7), b"content");
        memory::write(buffer, b"written");
        assert_eq!(ring.run(&[fixed(io_uring_op::IORING_OP_WRITE_FIXED, buffer, 7)]), [(1, 7)]);
        assert_eq!(content("file"), b"written");
        let beyond = fixed(io_uring_op::IORING_OP_READ_FIXED, buffer + 8190, 7);
        assert_eq!(ring.run(&[beyond]), [(1, failed(Errno::EFAULT))]);
        assert_eq!(
            ring.run(&[Entry { buffer: 1, ..read }]),
            [(1, failed(Errno::EFAULT))],
            "there is no such buffer"
        );
        assert_eq!(ring.register(IORING_REGISTER_BUFFERS, put(&[buffer, 8192]), 1), Err(Errno::EBUSY));
        assert_eq!(ring.register(IORING_UNREGISTER_BUFFERS, 0, 0), Ok(0));
        assert_eq!(ring.register(IORING_REGISTER_BUFFERS, put(&[8_usize, 10]), 1), Err(Errno::EFAULT));
        assert_eq!(ring.register(IORING_REGISTER_BUFFERS, 0, 0), Err(Errno::EINVAL));
    });
}

#[test]
fn what_is_known_can_be_asked() {
    machine(|| {
        let ring = setup(4);
        let probe = zeros(16 + 8 * 64);
        ring.register(IORING_REGISTER_PROBE, probe, 64).unwrap();
        let supported = |operation: io_uring_op| get::<u16>(probe + 16 + 8 * operation as usize + 2) & 1;
        for known in
            [io_uring_op::IORING_OP_NOP, io_uring_op::IORING_OP_READ, io_uring_op::IORING_OP_ASYNC_CANCEL]
        {
            assert_eq!(supported(known), 1);
        }
        assert_eq!(supported(io_uring_op::IORING_OP_MADVISE), 0);
        assert_eq!(ring.register(IORING_REGISTER_PERSONALITY, 0, 0), Err(Errno::EINVAL));
    });
}
