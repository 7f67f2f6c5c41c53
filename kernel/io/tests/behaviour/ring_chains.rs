// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring: requests that wait for others.

use exo_test_support::programs::*;
use linux_raw_sys::io_uring::*;

use crate::{ring::*, support::*};

const CANCELLED: i32 = -125;

#[test]
fn a_link_begins_when_the_one_before_has_succeeded() {
    machine(|| {
        let ring = setup(8);
        let [from, to] = pipe().unwrap();
        let at = zeros(8);
        let chain = [Entry::read(from, at, 2, 1).with(LINK), Entry::write(to, b"next", 2), Entry::nop(3)];
        ring.submit(&chain, 1).unwrap();
        assert_eq!(ring.completions(), [(3, 0)], "who is not linked does not wait");
        write(to, b"go").unwrap();
        ring.enter(0, 2, IORING_ENTER_GETEVENTS).unwrap();
        assert_eq!(ring.completions(), [(1, 2), (2, 4)]);
        assert_eq!(read(from, 9), Ok(b"next".to_vec()));
    });
}

#[test]
fn a_failure_cancels_what_is_linked_behind_it() {
    machine(|| {
        let ring = setup(8);
        let bad = Entry::read(99, zeros(8), 8, 1);
        let chain = [bad.with(LINK), Entry::nop(2).with(LINK), Entry::nop(3), Entry::nop(4)];
        assert_eq!(ring.run(&chain), [(1, failed(Errno::EBADF)), (2, CANCELLED), (3, CANCELLED), (4, 0)]);
        let chain = [bad.with(HARD_LINK), Entry::nop(2)];
        assert_eq!(ring.run(&chain), [(1, failed(Errno::EBADF)), (2, 0)], "a hard link holds all the same");
    });
}

#[test]
fn less_than_was_asked_for_breaks_a_link() {
    machine(|| {
        let ring = setup(8);
        make_file("file", b"short");
        let fd = open("file", 0).unwrap();
        let chain = [Entry::read(fd, zeros(8), 8, 1).with(LINK), Entry::nop(2)];
        assert_eq!(ring.run(&chain), [(1, 5), (2, CANCELLED)]);
    });
}

#[test]
fn an_entry_that_is_wrong_spoils_its_whole_chain() {
    machine(|| {
        let ring = setup(8);
        let chain =
            [Entry::nop(1).with(LINK), Entry { code: 250, ..Entry::nop(2) }.with(LINK), Entry::nop(3)];
        ring.submit(&chain, 0).unwrap();
        let mut ended = ring.completions();
        ended.sort_unstable();
        assert_eq!(ended, [(1, CANCELLED), (2, failed(Errno::EINVAL)), (3, CANCELLED)]);
    });
}

#[test]
fn a_timeout_in_a_chain_delays_it() {
    machine(|| {
        let ring = setup(8);
        let before = now();
        let wait = Entry { operation_flags: IORING_TIMEOUT_ETIME_SUCCESS, ..Entry::timeout(20 * MS, 0, 1) };
        assert_eq!(ring.run(&[wait.with(LINK), Entry::nop(2)]), [(1, failed(Errno::ETIME)), (2, 0)]);
        assert_eq!((now() - before) / MS, 20);
        let chain = [Entry::timeout(MS, 0, 3).with(LINK), Entry::nop(4)];
        assert_eq!(ring.run(&chain), [(3, failed(Errno::ETIME)), (4, CANCELLED)], "it counts as a failure");
    });
}

#[test]
fn a_chain_that_is_cancelled_goes_as_a_whole() {
    machine(|| {
        let ring = setup(8);
        let [from, _to] = pipe().unwrap();
        ring.submit(&[Entry::poll(from, abi::POLLIN, 1).with(LINK), Entry::nop(2)], 0).unwrap();
        ring.submit(&[Entry::cancel(1, 3)], 3).unwrap();
        let mut ended = ring.completions();
        ended.sort_unstable();
        assert_eq!(ended, [(1, CANCELLED), (2, CANCELLED), (3, 0)]);
    });
}

#[test]
fn a_drained_request_waits_for_all_before_it_and_all_behind_wait_for_it() {
    machine(|| {
        let ring = setup(8);
        let [from, to] = pipe().unwrap();
        let entries = [Entry::read(from, zeros(8), 8, 1), Entry::nop(2).with(DRAIN), Entry::nop(3)];
        ring.submit(&entries, 0).unwrap();
        let_others_run();
        assert_eq!(ring.completions(), []);
        write(to, b"x").unwrap();
        ring.enter(0, 3, IORING_ENTER_GETEVENTS).unwrap();
        assert_eq!(ring.completions(), [(1, 1), (2, 0), (3, 0)]);
    });
}

#[test]
fn success_may_go_without_a_word() {
    machine(|| {
        let ring = setup(8);
        let bad = Entry::read(99, zeros(8), 8, 2);
        let entries = [Entry::nop(1).with(SKIP_SUCCESS), bad.with(SKIP_SUCCESS), Entry::nop(3)];
        ring.submit(&entries, 2).unwrap();
        assert_eq!(ring.completions(), [(2, failed(Errno::EBADF)), (3, 0)]);
    });
}
