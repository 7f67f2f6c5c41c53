// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring: set-up, and the rings themselves.

use exo_test_support::{call, programs::*};
use linux_raw_sys::io_uring::*;

use crate::ring::*;

#[test]
fn sizes_are_powers_of_two_and_the_kernel_says_where_things_are() {
    machine(|| {
        let ring = setup(5);
        assert_eq!((ring.params[0], ring.params[1]), (8, 16));
        assert_eq!((ring.sq(2), ring.sq(3), ring.cq(2), ring.cq(3)), (7, 8, 15, 16));
        let own = try_setup(4, |params| (params[2], params[1]) = (IORING_SETUP_CQSIZE, 100)).unwrap();
        assert_eq!(own.params[1], 128);
        assert_eq!(call!(abi::__NR_fcntl, ring.fd, abi::F_GETFD, 0), Ok(abi::FD_CLOEXEC as usize));
        assert_ne!(ring.params[5] & IORING_FEAT_NODROP, 0);
    });
}

#[test]
fn what_cannot_be_had_is_refused() {
    machine(|| {
        let refused = |entries, change: fn(&mut [u32; PARAMS])| try_setup(entries, change).map(|_| ());
        assert_eq!(refused(0, |_| {}), Err(Errno::EINVAL));
        assert_eq!(refused(40_000, |_| {}), Err(Errno::EINVAL));
        assert_eq!(refused(4, |params| params[2] = 1 << 30), Err(Errno::EINVAL), "a flag that there is not");
        assert_eq!(refused(4, |params| params[7] = 1), Err(Errno::EINVAL), "what is reserved");
        assert_eq!(refused(4, |params| params[2] = IORING_SETUP_SQ_AFF), Err(Errno::EINVAL));
        assert_eq!(
            refused(8, |params| (params[2], params[1]) = (IORING_SETUP_CQSIZE, 4)),
            Err(Errno::EINVAL)
        );
        assert_eq!(refused(4, |params| params[2] = IORING_SETUP_DEFER_TASKRUN), Err(Errno::EINVAL));
        assert_eq!(call!(abi::__NR_io_uring_setup, 4, 8), Err(Errno::EFAULT));
        assert_eq!(call!(abi::__NR_io_uring_enter, 0, 1, 0, 0, 0, 0), Err(Errno::EOPNOTSUPP), "no ring");
        assert_eq!(setup(4).enter(0, 0, 1 << 30), Err(Errno::EINVAL));
    });
}

#[test]
fn too_many_entries_become_the_most_if_that_is_fine() {
    machine(|| {
        let ring = try_setup(40_000, |params| params[2] = IORING_SETUP_CLAMP).unwrap();
        assert_eq!(ring.params[0], 32_768);
    });
}

#[test]
fn what_is_submitted_ends_with_its_data() {
    machine(|| {
        let ring = setup(4);
        assert_eq!(ring.run(&[Entry::nop(7), Entry::nop(u64::MAX)]), [(7, 0), (u64::MAX, 0)]);
        assert_eq!((ring.sq(0), ring.sq(1)), (2, 2));
        for round in 0..10 {
            let entries = [0, 1, 2, 3].map(|i| Entry::nop(4 * round + i));
            assert_eq!(ring.run(&entries).len(), 4, "the rings go round");
        }
    });
}

#[test]
fn as_many_are_taken_as_are_said_and_there() {
    machine(|| {
        let ring = setup(8);
        ring.push(&[1, 2, 3].map(Entry::nop));
        assert_eq!(ring.enter(2, 0, 0), Ok(2));
        assert_eq!(ring.completions(), [(1, 0), (2, 0)]);
        assert_eq!(ring.enter(5, 0, 0), Ok(1));
        assert_eq!(ring.enter(5, 0, 0), Ok(0));
    });
}

#[test]
fn an_index_that_is_none_is_dropped_and_counted() {
    machine(|| {
        let ring = setup(4);
        ring.push_index(99);
        ring.push(&[Entry::nop(1)]);
        ring.enter(2, 0, 0).unwrap();
        ring.enter(2, 0, 0).unwrap();
        assert_eq!(ring.completions(), [(1, 0)]);
        assert_eq!(ring.sq(5), 1);
    });
}

#[test]
fn no_completion_is_lost_when_their_ring_is_full() {
    machine(|| {
        let ring = setup(4);
        for first in [0, 4, 8] {
            let entries = [0, 1, 2, 3].map(|i| Entry::nop(first + i));
            assert_eq!(ring.submit(&entries, 0), Ok(4));
        }
        assert_eq!(ring.cq(1), 8, "the ring has eight places");
        assert_ne!(ring.sq(4) & IORING_SQ_CQ_OVERFLOW, 0);
        let mut seen: Vec<u64> = ring.completions().iter().map(|it| it.0).collect();
        ring.enter(0, 0, IORING_ENTER_GETEVENTS).unwrap();
        seen.extend(ring.completions().iter().map(|it| it.0));
        assert_eq!(seen, (0..12).collect::<Vec<u64>>());
        assert_eq!(ring.sq(4) & IORING_SQ_CQ_OVERFLOW, 0);
    });
}

#[test]
fn who_takes_nothing_out_can_put_nothing_in_at_last() {
    machine(|| {
        let ring = setup(4);
        let mut count = 0;
        let refused = loop {
            match ring.submit(&[0, 1, 2, 3].map(Entry::nop), 0) {
                Ok(4) => count += 4,
                other => break other,
            }
            assert!(count < 10_000, "without end");
        };
        assert_eq!(refused, Err(Errno::EBUSY));
        let mut taken = 0;
        while taken < count {
            ring.enter(0, 0, IORING_ENTER_GETEVENTS).unwrap();
            taken += ring.completions().len();
        }
        assert_eq!(ring.enter(4, 0, 0), Ok(4), "what was not taken is still there");
    });
}

#[test]
fn waiting_may_have_a_limit_and_ends_with_a_signal() {
    machine(|| {
        let ring = setup(4);
        let time = put(&[0, 20 * MS]) as u64;
        let argument = put(&[0_u64, 8, time]);
        let flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
        let before = clock(abi::CLOCK_MONOTONIC);
        let waited = call!(abi::__NR_io_uring_enter, ring.fd, 0, 1, flags, argument, 24);
        assert_eq!(waited, Err(Errno::ETIME));
        assert_eq!((clock(abi::CLOCK_MONOTONIC) - before) / MS, 20);
        let child = thread(move || {
            on_signal(abi::SIGUSR1, 0, || {});
            assert_eq!(ring.enter(0, 1, IORING_ENTER_GETEVENTS), Err(Errno::EINTR));
        });
        let_others_run();
        call!(abi::__NR_tgkill, pid(), child, abi::SIGUSR1).unwrap();
        let_others_run();
    });
}

#[test]
fn a_ring_is_ready_when_there_is_a_completion() {
    machine(|| {
        let ring = setup(4);
        assert_eq!(poll(ring.fd, abi::POLLIN | abi::POLLOUT), abi::POLLOUT);
        ring.submit(&[Entry::nop(1)], 0).unwrap();
        assert_eq!(poll(ring.fd, abi::POLLIN | abi::POLLOUT), abi::POLLIN | abi::POLLOUT);
        ring.completions();
        assert_eq!(poll(ring.fd, abi::POLLIN), 0);
    });
}

#[test]
fn one_thread_alone_may_be_the_one_that_submits() {
    machine(|| {
        let ring = try_setup(4, |params| params[2] = IORING_SETUP_SINGLE_ISSUER).unwrap();
        thread(move || assert_eq!(ring.submit(&[Entry::nop(1)], 0), Err(Errno::EEXIST)));
        let_others_run();
        assert_eq!(ring.enter(1, 0, 0), Ok(1));
    });
}
