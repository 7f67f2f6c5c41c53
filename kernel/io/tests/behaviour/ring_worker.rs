// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring: the worker that looks for submissions by itself.

use exo_test_support::programs::*;
use linux_raw_sys::io_uring::*;

use crate::ring::*;

fn polled(idle_ms: u32) -> Ring {
    // The worker looks at the clock for how long it has found nothing.
    exo_hal::time::set_window(10_000);
    try_setup(8, |params| (params[2], params[4]) = (IORING_SETUP_SQPOLL, idle_ms)).unwrap()
}

#[test]
fn a_worker_takes_submissions_without_a_call() {
    machine(|| {
        let ring = polled(50);
        make_file("file", b"content");
        let fd = open("file", 0).unwrap();
        ring.push(&[Entry::nop(1), Entry::read(fd, zeros(8), 8, 2)]);
        sleep(5 * MS);
        assert_eq!(ring.completions(), [(1, 0), (2, 7)]);
        close(ring.fd).unwrap();
    });
}

#[test]
fn a_worker_that_has_nothing_to_do_sleeps_and_is_woken() {
    machine(|| {
        let ring = polled(10);
        sleep(50 * MS);
        assert_ne!(ring.sq(4) & IORING_SQ_NEED_WAKEUP, 0);
        ring.push(&[Entry::nop(1)]);
        sleep(20 * MS);
        assert_eq!(ring.completions(), [], "it sleeps");
        ring.enter(1, 0, IORING_ENTER_SQ_WAKEUP).unwrap();
        sleep(5 * MS);
        assert_eq!(ring.completions(), [(1, 0)]);
        close(ring.fd).unwrap();
    });
}

#[test]
fn a_program_may_wait_for_room() {
    machine(|| {
        let ring = polled(50);
        ring.push(&[0, 1, 2, 3, 4, 5, 6, 7].map(Entry::nop));
        ring.enter(8, 0, IORING_ENTER_SQ_WAIT | IORING_ENTER_SQ_WAKEUP).unwrap();
        assert!(ring.sq(1) - ring.sq(0) < 8, "some were taken");
        sleep(10 * MS);
        assert_eq!(ring.completions().len(), 8);
        close(ring.fd).unwrap();
    });
}

#[test]
fn a_worker_ends_with_its_ring() {
    machine(|| {
        let child = fork(|| {
            let ring = polled(1000);
            ring.push(&[Entry::nop(1)]);
        });
        assert_eq!(end_of(child), 0);
    });
}
