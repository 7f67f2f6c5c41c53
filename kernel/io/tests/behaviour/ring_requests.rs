// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring: what can be asked for.

use exo_test_support::{call, programs::*};
use linux_raw_sys::io_uring::*;

use crate::{ring::*, support::*};

#[test]
fn files_are_read_and_written_at_their_offset_or_at_another() {
    machine(|| {
        let ring = setup(8);
        make_file("file", b"0123456789");
        let fd = open("file", abi::O_RDWR).unwrap();
        let at = zeros(16);
        assert_eq!(ring.run(&[Entry::read(fd, at, 4, 1)]), [(1, 4)]);
        assert_eq!(ring.run(&[Entry::read(fd, at + 4, 4, 2)]), [(2, 4)]);
        assert_eq!(get_bytes(at, 8), b"01234567");
        let elsewhere = Entry { offset: 8, ..Entry::read(fd, at, 16, 3) };
        assert_eq!(ring.run(&[elsewhere]), [(3, 2)], "as much as there is");
        assert_eq!(ring.run(&[Entry { offset: 2, ..Entry::write(fd, b"XY", 4) }]), [(4, 2)]);
        assert_eq!(
            ring.run(&[Entry { fd: fd as i32, ..Entry::new(io_uring_op::IORING_OP_FSYNC, 5) }]),
            [(5, 0)]
        );
        assert_eq!(content("file"), b"01XY456789");
    });
}

#[test]
fn several_buffers_may_be_one_request() {
    machine(|| {
        let ring = setup(4);
        make_file("file", b"gather");
        let fd = open("file", abi::O_RDWR).unwrap();
        let (first, second) = (zeros(4), zeros(4));
        let parts = put(&[first, 2, second, 4]) as u64;
        let read = Entry { address: parts, length: 2, ..Entry::read(fd, 0, 0, 1) };
        let read = Entry { code: code(io_uring_op::IORING_OP_READV), ..read };
        assert_eq!(ring.run(&[read]), [(1, 6)]);
        assert_eq!((get_bytes(first, 2), get_bytes(second, 4)), (b"ga".to_vec(), b"ther".to_vec()));
        let write = Entry { code: code(io_uring_op::IORING_OP_WRITEV), offset: 0, ..read };
        memory::write(first, b"GA");
        assert_eq!(ring.run(&[write]), [(1, 6)]);
        assert_eq!(content("file"), b"GAther");
        let bad = Entry { address: 8, ..read };
        assert_eq!(ring.run(&[bad]), [(1, failed(Errno::EFAULT))]);
    });
}

#[test]
fn what_has_to_wait_ends_when_there_is_something() {
    machine(|| {
        let ring = setup(4);
        let [from, to] = pipe().unwrap();
        let at = zeros(8);
        assert_eq!(ring.submit(&[Entry::read(from, at, 8, 1), Entry::nop(2)], 1), Ok(2));
        assert_eq!(ring.completions(), [(2, 0)], "others do not wait for it");
        write(to, b"late").unwrap();
        ring.enter(0, 1, IORING_ENTER_GETEVENTS).unwrap();
        assert_eq!(ring.completions(), [(1, 4)]);
        assert_eq!(get_bytes(at, 4), b"late");
    });
}

#[test]
fn a_poll_ends_when_its_file_is_ready() {
    machine(|| {
        let ring = setup(4);
        let fd = eventfd(0, 0).unwrap();
        ring.submit(&[Entry::poll(fd, abi::POLLIN, 1)], 0).unwrap();
        assert_eq!(ring.completions(), []);
        add(fd, 1).unwrap();
        ring.enter(0, 1, IORING_ENTER_GETEVENTS).unwrap();
        assert_eq!(ring.completions(), [(1, abi::POLLIN as i32)]);
        assert_eq!(ring.run(&[Entry::poll(fd, abi::POLLIN, 2)]), [(2, abi::POLLIN as i32)], "at once");
        let own = Entry::poll(ring.fd, abi::POLLIN, 3);
        assert!(ring.run(&[own])[0].1 < 0, "a ring does not wait for itself");
    });
}

#[test]
fn a_timeout_ends_with_its_time_or_with_others() {
    machine(|| {
        let ring = setup(8);
        let before = now();
        assert_eq!(ring.run(&[Entry::timeout(30 * MS, 0, 1)]), [(1, failed(Errno::ETIME))]);
        assert_eq!((now() - before) / MS, 30);
        ring.submit(&[Entry::timeout(1000 * MS, 2, 2)], 0).unwrap();
        assert_eq!(ring.completions(), []);
        ring.submit(&[Entry::nop(3), Entry::nop(4)], 3).unwrap();
        let mut ended = ring.completions();
        ended.sort_unstable();
        assert_eq!(ended, [(2, 0), (3, 0), (4, 0)]);
        assert!(now() - before < 100 * MS);
        let past = Entry { operation_flags: IORING_TIMEOUT_ABS, ..Entry::timeout(1, 0, 5) };
        assert_eq!(ring.run(&[past]), [(5, failed(Errno::ETIME))]);
    });
}

#[test]
fn requests_can_be_cancelled() {
    machine(|| {
        let ring = setup(8);
        let [from, _to] = pipe().unwrap();
        let at = zeros(8);
        ring.submit(&[Entry::read(from, at, 8, 1), Entry::poll(from, abi::POLLIN, 2)], 0).unwrap();
        assert_eq!(ring.run(&[Entry::cancel(99, 3)]), [(3, failed(Errno::ENOENT))]);
        ring.submit(&[Entry::cancel(1, 4)], 2).unwrap();
        let mut ended = ring.completions();
        ended.sort_unstable();
        assert_eq!(ended, [(1, failed(Errno::ECANCELED)), (4, 0)]);
        let remove = Entry { address: 2, ..Entry::new(io_uring_op::IORING_OP_POLL_REMOVE, 5) };
        ring.submit(&[remove], 2).unwrap();
        let mut ended = ring.completions();
        ended.sort_unstable();
        assert_eq!(ended, [(2, failed(Errno::ECANCELED)), (5, 0)]);
        ring.submit(&[Entry::timeout(1000 * MS, 0, 6)], 0).unwrap();
        let remove = Entry { address: 6, ..Entry::new(io_uring_op::IORING_OP_TIMEOUT_REMOVE, 7) };
        ring.submit(&[remove], 2).unwrap();
        let mut ended = ring.completions();
        ended.sort_unstable();
        assert_eq!(ended, [(6, failed(Errno::ECANCELED)), (7, 0)]);
    });
}

#[test]
fn many_can_be_cancelled_at_once() {
    machine(|| {
        let ring = setup(8);
        let [first, _a] = pipe().unwrap();
        let [second, _b] = pipe().unwrap();
        let polls =
            [(first, 1), (second, 2), (first, 3)].map(|(fd, data)| Entry::poll(fd, abi::POLLIN, data));
        ring.submit(&polls, 0).unwrap();
        let of_file = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
        let cancel = Entry { fd: first as i32, operation_flags: of_file, ..Entry::cancel(0, 9) };
        ring.submit(&[cancel], 3).unwrap();
        let mut ended = ring.completions();
        ended.sort_unstable();
        assert_eq!(ended, [(1, failed(Errno::ECANCELED)), (3, failed(Errno::ECANCELED)), (9, 2)]);
        let any = Entry { operation_flags: IORING_ASYNC_CANCEL_ANY, ..Entry::cancel(0, 8) };
        ring.submit(&[any], 2).unwrap();
        assert_eq!(ring.completions().len(), 2);
    });
}

#[test]
fn a_ring_that_is_closed_ends_what_waits() {
    machine(|| {
        let ring = setup(4);
        let [from, to] = pipe().unwrap();
        ring.submit(&[Entry::read(from, zeros(8), 8, 1), Entry::timeout(60_000 * MS, 0, 2)], 0).unwrap();
        let before = now();
        close(ring.fd).unwrap();
        write(to, b"x").unwrap();
        assert_eq!(read(from, 8), Ok(b"x".to_vec()), "nobody else took it");
        assert!(now() - before < 1000 * MS);
    });
}

#[test]
fn wrong_requests_end_with_an_error_and_stop_the_rest() {
    machine(|| {
        let ring = setup(8);
        let unknown = Entry { code: 250, ..Entry::nop(1) };
        assert_eq!(ring.submit(&[unknown, Entry::nop(2)], 0), Ok(1), "as Linux does it");
        assert_eq!(ring.completions(), [(1, failed(Errno::EINVAL))]);
        assert_eq!(ring.enter(1, 0, 0), Ok(1));
        assert_eq!(ring.completions(), [(2, 0)]);
        assert_eq!(ring.run(&[Entry::read(99, zeros(8), 8, 3)]), [(3, failed(Errno::EBADF))]);
        assert_eq!(ring.run(&[Entry::nop(4).with(0x80)]), [(4, failed(Errno::EINVAL))]);
        let ring = try_setup(8, |params| params[2] = IORING_SETUP_SUBMIT_ALL).unwrap();
        assert_eq!(ring.submit(&[unknown, Entry::nop(2)], 0), Ok(2));
        assert_eq!(ring.completions(), [(1, failed(Errno::EINVAL)), (2, 0)]);
    });
}

#[test]
fn a_wish_not_to_try_at_once_changes_nothing_else() {
    machine(|| {
        let ring = setup(4);
        make_file("file", b"content");
        let fd = open("file", 0).unwrap();
        assert_eq!(ring.run(&[Entry::read(fd, zeros(8), 8, 1).with(ASYNC)]), [(1, 7)]);
    });
}

#[test]
fn an_offset_beyond_all_files_is_refused() {
    machine(|| {
        let ring = setup(4);
        make_file("file", b"content");
        let fd = open("file", 0).unwrap();
        let far = Entry { offset: 1 << 63, ..Entry::read(fd, zeros(8), 8, 1) };
        assert_eq!(ring.run(&[far]), [(1, failed(Errno::EINVAL))]);
        let [from, _to] = pipe().unwrap();
        let flags = Entry { operation_flags: 0x10, ..Entry::read(from, zeros(8), 8, 2) };
        assert_eq!(ring.run(&[flags]), [(2, failed(Errno::EOPNOTSUPP))]);
        assert_eq!(call!(abi::__NR_close, ring.fd), Ok(0));
    });
}
