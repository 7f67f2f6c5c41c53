// SPDX-License-Identifier: MIT OR Apache-2.0
//! eventfd.

use exo_test_support::{call, programs::*};

use crate::support::*;

#[test]
fn what_is_added_is_read_as_a_sum_and_gone() {
    machine(|| {
        let fd = eventfd(5, 0).unwrap();
        assert_eq!(add(fd, 7), Ok(8));
        assert_eq!(take(fd), Ok(12));
        set_nonblocking(fd);
        assert_eq!(take(fd), Err(Errno::EAGAIN));
    });
}

#[test]
fn a_semaphore_gives_one_at_a_time() {
    machine(|| {
        let fd = eventfd(2, abi::EFD_SEMAPHORE | abi::O_NONBLOCK).unwrap();
        assert_eq!((take(fd), take(fd), take(fd)), (Ok(1), Ok(1), Err(Errno::EAGAIN)));
    });
}

#[test]
fn who_reads_waits_for_something_and_who_adds_for_room() {
    machine(|| {
        let fd = eventfd(0, 0).unwrap();
        let log = Log::default();
        let noted = log.clone();
        let child = fork(move || {
            noted.note(format!("{:?}", take(fd)));
            add(fd, u64::MAX - 1).unwrap();
            noted.note("full");
            add(fd, 1).unwrap();
            noted.note("added");
        });
        let_others_run();
        add(fd, 3).unwrap();
        let_others_run();
        assert_eq!(log.take(), ["Ok(3)", "full"]);
        assert_eq!(poll(fd, abi::POLLIN | abi::POLLOUT), abi::POLLIN);
        assert_eq!(take(fd), Ok(u64::MAX - 1));
        assert_eq!(end_of(child), 0);
        assert_eq!(log.take(), ["added"]);
        assert_eq!(poll(fd, abi::POLLIN | abi::POLLOUT), abi::POLLIN | abi::POLLOUT);
    });
}

#[test]
fn numbers_have_eight_bytes_and_one_is_too_large() {
    machine(|| {
        let fd = eventfd(1, abi::O_NONBLOCK).unwrap();
        assert_eq!(read(fd, 7), Err(Errno::EINVAL));
        assert_eq!(write(fd, &[1; 7]), Err(Errno::EINVAL));
        assert_eq!(add(fd, u64::MAX), Err(Errno::EINVAL));
        assert_eq!(add(fd, u64::MAX - 2), Ok(8), "the most that fits");
        assert_eq!(add(fd, 1), Err(Errno::EAGAIN));
        assert_eq!(read(fd, 100).unwrap().len(), 8);
        assert_eq!(eventfd(0, 0x10), Err(Errno::EINVAL));
        assert_eq!(call!(abi::__NR_lseek, fd, 5, 0), Ok(0), "it has no place to go to");
        assert!(text(&format!("/proc/self/fdinfo/{fd}")).contains("eventfd-count:"));
    });
}
