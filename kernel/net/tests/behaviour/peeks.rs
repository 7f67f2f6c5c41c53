// SPDX-License-Identifier: MIT OR Apache-2.0
//! Peeks at an offset (SO_PEEK_OFF).

use exo_test_support::programs::*;
use linux_raw_sys::net;

use crate::support::*;

const PEEK: u32 = net::MSG_PEEK | net::MSG_DONTWAIT;

fn offset(fd: usize) -> i32 {
    option(fd, net::SO_PEEK_OFF).unwrap() as i32
}

fn set_offset(fd: usize, offset: i32) {
    set_option(fd, net::SO_PEEK_OFF, offset as u32).unwrap();
}

#[test]
fn peeks_begin_at_the_first_byte_unless_an_offset_is_set() {
    machine(|| {
        for kind in ALL {
            let [from, to] = pair(kind);
            assert_eq!(offset(to), -1);
            send(from, b"abc", 0).unwrap();
            for _ in 0..2 {
                assert_eq!(receive(to, 2, PEEK), Ok(b"ab".to_vec()));
            }
            assert_eq!(offset(to), -1);
        }
    });
}

#[test]
fn peeks_of_a_stream_go_on_and_reads_take_the_offset_back() {
    machine(|| {
        let [from, to] = pair(SOCK_STREAM);
        send(from, b"abcdef", 0).unwrap();
        send(from, b"ghi", 0).unwrap();
        set_offset(to, 0);
        assert_eq!(receive(to, 4, PEEK), Ok(b"abcd".to_vec()));
        assert_eq!(receive(to, 4, PEEK), Ok(b"efgh".to_vec()));
        assert_eq!(now(to, 3), Ok(b"abc".to_vec()));
        assert_eq!(offset(to), 5);
        assert_eq!(receive(to, 9, PEEK), Ok(b"i".to_vec()));
        assert_eq!(receive(to, 9, PEEK), Err(Errno::EAGAIN));
        assert_eq!(now(to, 9), Ok(b"defghi".to_vec()));
        assert_eq!(offset(to), 0);
    });
}

#[test]
fn peeks_at_messages_end_with_each_message() {
    machine(|| {
        for kind in MESSAGES {
            let [from, to] = pair(kind);
            for text in [&b"abc"[..], b"", b"de"] {
                send(from, text, 0).unwrap();
            }
            set_offset(to, 1);
            assert_eq!(receive_with(to, 1, PEEK | net::MSG_TRUNC), Ok((b"b".to_vec(), 2)));
            assert_eq!(receive(to, 9, PEEK), Ok(b"c".to_vec()));
            for expected in [&b""[..], b"de"] {
                assert_eq!(receive(to, 9, PEEK), Ok(expected.to_vec()));
            }
            assert_eq!(receive(to, 9, PEEK), Err(Errno::EAGAIN));
            assert_eq!(offset(to), 5);
            assert_eq!(now(to, 1), Ok(b"a".to_vec()));
            assert_eq!(offset(to), 2, "what was lost of a message has been read too");
        }
    });
}

#[test]
fn who_peeks_behind_all_there_is_waits_and_finds_what_comes() {
    machine(|| {
        for kind in ALL {
            let [from, to] = pair(kind);
            for _ in 0..600 {
                // More than are passed at once.
                if send(from, b"x", net::MSG_DONTWAIT).is_err() {
                    break;
                }
            }
            let count = drain_peek(to);
            fork(move || {
                sleep(5 * MS);
                if kind == SOCK_STREAM {
                    assert_eq!(receive(to, 1, 0), Ok(b"x".to_vec()), "room, and one less to pass");
                } else {
                    receive(to, 1, 0).unwrap();
                }
                send(from, b"y", 0).unwrap();
            });
            assert_eq!(receive(to, 8, net::MSG_PEEK), Ok(b"y".to_vec()));
            assert_eq!(offset(to), count);
        }
    });
}

/// Peeks to the end; how many bytes that were.
fn drain_peek(fd: usize) -> i32 {
    set_offset(fd, 0);
    while receive(fd, 64 << 10, PEEK).is_ok() {}
    offset(fd)
}
