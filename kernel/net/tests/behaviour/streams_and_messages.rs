// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of bytes: order, boundaries, what is cut short, what is only looked at.

use exo_test_support::{call, programs::*};
use linux_raw_sys::net;

use crate::support::*;

#[test]
fn a_stream_keeps_the_order_and_no_boundaries() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        assert_eq!(write(a, b"one"), Ok(3));
        assert_eq!(send(a, b"two", 0), Ok(3));
        assert_eq!(read(b, 4), Ok(b"onet".to_vec()));
        assert_eq!(receive(b, 100, 0), Ok(b"wo".to_vec()));
        assert_eq!(now(b, 1), Err(Errno::EAGAIN));
    });
}

#[test]
fn both_directions_are_apart() {
    for kind in ALL {
        machine(move || {
            let [a, b] = pair(kind);
            write(a, b"to b").unwrap();
            write(b, b"to a").unwrap();
            assert_eq!(read(a, 9), Ok(b"to a".to_vec()));
            assert_eq!(read(b, 9), Ok(b"to b".to_vec()));
        });
    }
}

#[test]
fn messages_keep_their_boundaries_and_what_is_not_read_of_one_is_lost() {
    for kind in MESSAGES {
        machine(move || {
            let [a, b] = pair(kind);
            for message in [&b"first"[..], b"", b"second"] {
                assert_eq!(write(a, message), Ok(message.len()));
            }
            assert_eq!(read(b, 3), Ok(b"fir".to_vec()));
            assert_eq!(read(b, 100), Ok(b"".to_vec()), "an empty message is one");
            assert_eq!(
                receive_with(b, 2, net::MSG_TRUNC),
                Ok((b"se".to_vec(), 6)),
                "the length of the message"
            );
            assert_eq!(now(b, 1), Err(Errno::EAGAIN));
        });
    }
}

#[test]
fn what_is_looked_at_stays() {
    for kind in ALL {
        machine(move || {
            let [a, b] = pair(kind);
            write(a, b"message").unwrap();
            assert_eq!(receive(b, 3, net::MSG_PEEK), Ok(b"mes".to_vec()));
            assert_eq!(receive(b, 10, net::MSG_PEEK), Ok(b"message".to_vec()));
            assert_eq!(read(b, 10), Ok(b"message".to_vec()));
            assert_eq!(receive(b, 1, net::MSG_PEEK | net::MSG_DONTWAIT), Err(Errno::EAGAIN));
        });
    }
}

#[test]
fn who_wants_all_of_a_stream_waits_for_it() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        let child = fork(move || {
            for piece in ["one ", "two ", "three"] {
                write(a, piece.as_bytes()).unwrap();
                let_others_run();
            }
        });
        assert_eq!(receive(b, 13, net::MSG_WAITALL), Ok(b"one two three".to_vec()));
        assert_eq!(end_of(child), 0);
        close(a).unwrap();
        assert_eq!(receive(b, 5, net::MSG_WAITALL), Ok(vec![]), "the end comes before all is there");
    });
}

#[test]
fn without_that_what_is_there_is_enough() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        fork(move || {
            write(a, b"one").unwrap();
            sleep(5 * MS);
            write(a, b"two").unwrap();
        });
        assert_eq!(read(b, 100), Ok(b"one".to_vec()));
        assert_eq!(read(b, 100), Ok(b"two".to_vec()));
    });
}

#[test]
fn one_call_may_have_several_buffers() {
    for kind in ALL {
        machine(move || {
            let [a, b] = pair(kind);
            let parts = put(&[put_bytes(b"gather"), 3, put_bytes(b"!"), 0, put_bytes(b"them"), 4]);
            assert_eq!(call!(abi::__NR_writev, a, parts, 3), Ok(7));
            let (first, second) = (zeros(4), zeros(8));
            let parts = put(&[first, 2, second, 8]);
            assert_eq!(call!(abi::__NR_readv, b, parts, 2), Ok(7));
            assert_eq!(
                (get_bytes(first, 4), get_bytes(second, 6)),
                (b"ga\0\0".to_vec(), b"tthem\0".to_vec())
            );
        });
    }
}

#[test]
fn a_message_that_cannot_be_copied_is_lost_and_a_stream_keeps_its_bytes() {
    machine(|| {
        for (kind, left) in [(SOCK_STREAM, Ok(b"bytes".to_vec())), (SOCK_DGRAM, Err(Errno::EAGAIN))] {
            let [a, b] = pair(kind);
            write(a, b"bytes").unwrap();
            assert_eq!(call!(abi::__NR_read, b, 8, 100), Err(Errno::EFAULT));
            assert_eq!(now(b, 100), left);
            assert_eq!(call!(abi::__NR_write, a, 8, 100), Err(Errno::EFAULT));
            assert_eq!(now(b, 100), Err(Errno::EAGAIN), "nothing was sent");
        }
    });
}

#[test]
fn what_waits_is_counted() {
    machine(|| {
        let waiting = |fd: usize| {
            let at = put(&0_u32);
            call!(abi::__NR_ioctl, fd, linux_raw_sys::ioctl::FIONREAD, at).map(|_| get::<u32>(at))
        };
        let [a, b] = pair(SOCK_STREAM);
        assert_eq!(waiting(b), Ok(0));
        write(a, b"abc").unwrap();
        write(a, b"de").unwrap();
        assert_eq!(waiting(b), Ok(5));
        assert_eq!(waiting(a), Ok(0));
        let [a, b] = pair(SOCK_DGRAM);
        write(a, b"abc").unwrap();
        write(a, b"de").unwrap();
        assert_eq!(waiting(b), Ok(3), "of messages the first");
    });
}

#[test]
fn out_of_band_bytes_are_refused_and_nothing_of_a_stream_can_have_no_bytes() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        assert_eq!(send(a, b"x", net::MSG_OOB), Err(Errno::EOPNOTSUPP));
        assert_eq!(receive(b, 1, net::MSG_OOB), Err(Errno::EOPNOTSUPP));
        assert_eq!(write(a, b""), Ok(0));
        assert_eq!(now(b, 1), Err(Errno::EAGAIN));
        assert_eq!(read(b, 0), Ok(vec![]));
    });
}
