// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a connection: one direction, both, and a side that is gone.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use exo_test_support::programs::*;
use linux_raw_sys::net;

use crate::support::*;

#[test]
fn who_sends_no_more_is_heard_out() {
    for kind in [SOCK_STREAM, SOCK_SEQPACKET] {
        machine(move || {
            let [a, b] = pair(kind);
            write(a, b"last").unwrap();
            assert_eq!(shutdown(a, net::SHUT_WR), Ok(0));
            assert_eq!(send(a, b"more", net::MSG_NOSIGNAL), Err(Errno::EPIPE));
            assert_eq!(read(b, 9), Ok(b"last".to_vec()));
            assert_eq!(read(b, 9), Ok(vec![]), "then the end");
            assert_eq!(write(b, b"answer"), Ok(6), "the other direction goes on");
            assert_eq!(read(a, 9), Ok(b"answer".to_vec()));
        });
    }
}

#[test]
fn who_receives_no_more_is_not_sent_to() {
    for kind in [SOCK_STREAM, SOCK_SEQPACKET] {
        machine(move || {
            let [a, b] = pair(kind);
            write(a, b"before").unwrap();
            assert_eq!(shutdown(b, net::SHUT_RD), Ok(0));
            assert_eq!(send(a, b"x", net::MSG_NOSIGNAL), Err(Errno::EPIPE));
            assert_eq!(read(b, 9), Ok(b"before".to_vec()));
            assert_eq!(read(b, 9), Ok(vec![]));
            assert_eq!(write(b, b"back"), Ok(4));
        });
    }
}

#[test]
fn events_say_which_direction_has_ended() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        assert_eq!(events(b), abi::POLLOUT);
        shutdown(a, net::SHUT_WR).unwrap();
        assert_eq!(events(b), abi::POLLIN | abi::POLLOUT | abi::POLLRDHUP);
        assert_eq!(events(a), abi::POLLOUT);
        shutdown(a, net::SHUT_RD).unwrap();
        for fd in [a, b] {
            assert_eq!(events(fd), abi::POLLIN | abi::POLLOUT | abi::POLLRDHUP | abi::POLLHUP);
        }
        assert_eq!(shutdown(a, 3), Err(Errno::EINVAL));
    });
}

#[test]
fn a_datagrams_direction_ends_on_one_side_alone() {
    machine(|| {
        let [a, b] = pair(SOCK_DGRAM);
        shutdown(a, net::SHUT_WR).unwrap();
        assert_eq!(send(a, b"x", 0), Err(Errno::EPIPE));
        assert_eq!(now(b, 1), Err(Errno::EAGAIN), "the other side is told nothing");
        assert_eq!(write(b, b"x"), Ok(1));
    });
}

#[test]
fn a_stream_to_nobody_is_a_signal_and_an_error() {
    machine(|| {
        let count = Arc::new(AtomicU32::new(0));
        let counted = count.clone();
        on_signal(abi::SIGPIPE, 0, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let [a, b] = pair(SOCK_STREAM);
        close(b).unwrap();
        assert_eq!(write(a, b"x"), Err(Errno::EPIPE));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(send(a, b"x", net::MSG_NOSIGNAL), Err(Errno::EPIPE));
        assert_eq!(count.load(Ordering::Relaxed), 1, "it was not wanted");
        assert_eq!(read(a, 1), Ok(vec![]));
        for kind in MESSAGES {
            let [a, b] = pair(kind);
            close(b).unwrap();
            write(a, b"x").unwrap_err();
            assert_eq!(count.load(Ordering::Relaxed), 1, "only streams raise it");
        }
    });
}

#[test]
fn what_the_other_side_has_not_read_is_an_error_once() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        write(a, b"unread").unwrap();
        write(b, b"on its way").unwrap();
        close(b).unwrap();
        assert_eq!(events(a) & abi::POLLERR, abi::POLLERR);
        assert_eq!(read(a, 20), Ok(b"on its way".to_vec()), "bytes of a stream come first");
        assert_eq!(read(a, 20), Err(Errno::ECONNRESET));
        assert_eq!(read(a, 20), Ok(vec![]));
        let [a, b] = pair(SOCK_SEQPACKET);
        write(a, b"unread").unwrap();
        write(b, b"on its way").unwrap();
        close(b).unwrap();
        assert_eq!(option(a, net::SO_ERROR), Ok(Errno::ECONNRESET.0 as u32));
        assert_eq!(option(a, net::SO_ERROR), Ok(0));
        assert_eq!(read(a, 20), Ok(b"on its way".to_vec()));
    });
}

#[test]
fn a_datagram_to_nobody_is_refused_and_then_has_no_destination() {
    machine(|| {
        let [a, b] = pair(SOCK_DGRAM);
        close(b).unwrap();
        assert_eq!(write(a, b"x"), Err(Errno::ECONNREFUSED));
        assert_eq!(write(a, b"x"), Err(Errno::ENOTCONN));
        assert_eq!(now(a, 1), Err(Errno::EAGAIN), "and its reader is not told");
    });
}

#[test]
fn a_reader_that_waits_hears_of_the_end() {
    for kind in [SOCK_STREAM, SOCK_SEQPACKET] {
        machine(move || {
            let [a, b] = pair(kind);
            let child = fork(move || {
                close(a).unwrap();
                assert_eq!(read(b, 1), Ok(vec![]));
            });
            close(b).unwrap();
            let_others_run();
            close(a).unwrap();
            assert_eq!(end_of(child), 0);
        });
    }
}
