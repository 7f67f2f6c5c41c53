// SPDX-License-Identifier: MIT OR Apache-2.0
//! Room: full buffers, who waits for room, and for how long.

use exo_test_support::{call, programs::*};
use linux_raw_sys::net;

use crate::support::*;

/// Room of a socket that nobody has changed, as on Linux.
const ROOM: usize = 212_992;

#[test]
fn a_stream_takes_what_there_is_room_for() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        let bytes = vec![7; 2 * ROOM];
        let sent = send(a, &bytes, net::MSG_DONTWAIT).unwrap();
        // As on Linux, the last piece may begin where there is room for less.
        assert!((ROOM / 2..=ROOM + (64 << 10)).contains(&sent), "{sent} bytes");
        assert_eq!(send(a, b"x", net::MSG_DONTWAIT), Err(Errno::EAGAIN));
        assert_eq!(events(a), 0, "no room to write");
        assert_eq!(drain(b), sent, "nothing is lost");
        assert_eq!(events(a), abi::POLLOUT);
        assert_eq!(send(a, b"x", net::MSG_DONTWAIT), Ok(1));
    });
}

#[test]
fn who_writes_more_than_there_is_room_for_waits_until_all_is_sent() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        let bytes: Vec<u8> = (0..500_000_u32).map(|i| (i % 251) as u8).collect();
        let sent = bytes.clone();
        let child = fork(move || assert_eq!(write(a, &sent), Ok(sent.len())));
        close(a).unwrap();
        let mut got = Vec::new();
        loop {
            let piece = read(b, 30_000).unwrap();
            if piece.is_empty() {
                break;
            }
            got.extend(piece);
        }
        assert!(got == bytes, "order");
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn a_message_is_sent_as_a_whole_or_not_at_all() {
    for kind in MESSAGES {
        machine(move || {
            let [a, b] = pair(kind);
            set_option(a, net::SO_SNDBUF, 10_000).unwrap();
            let room = option(a, net::SO_SNDBUF).unwrap() as usize;
            assert_eq!(room, 20_000, "twice what was asked for");
            assert_eq!(send(a, &vec![1; room], net::MSG_DONTWAIT), Err(Errno::EMSGSIZE), "never");
            assert_eq!(send(a, &vec![1; 15_000], net::MSG_DONTWAIT), Ok(15_000));
            // As on Linux, it is taken while there is room for a byte.
            assert_eq!(send(a, &vec![2; 15_000], net::MSG_DONTWAIT), Ok(15_000));
            assert_eq!(send(a, &vec![3; 15_000], net::MSG_DONTWAIT), Err(Errno::EAGAIN), "not now");
            assert_eq!(now(b, 20_000).unwrap().len(), 15_000);
            assert_eq!(send(a, &vec![3; 15_000], net::MSG_DONTWAIT), Ok(15_000));
        });
    }
}

#[test]
fn empty_messages_take_room_too() {
    machine(|| {
        let [a, b] = pair(SOCK_DGRAM);
        let mut count = 0;
        while send(a, b"", net::MSG_DONTWAIT).is_ok() {
            count += 1;
            assert!(count < 100_000, "without end");
        }
        assert_eq!(now(b, 1), Ok(vec![]));
        assert_eq!(send(a, b"", net::MSG_DONTWAIT), Ok(0));
        assert_eq!(send(a, b"", net::MSG_DONTWAIT), Err(Errno::EAGAIN));
    });
}

#[test]
fn a_writer_that_waits_goes_on_when_there_is_room() {
    for kind in ALL {
        machine(move || {
            let [a, b] = pair(kind);
            let fill = vec![0; 50_000];
            while send(a, &fill, net::MSG_DONTWAIT).is_ok() {}
            let child = fork(move || assert_eq!(send(a, &[9; 50_000], 0), Ok(50_000)));
            let_others_run();
            assert_eq!(wait(child as i64, abi::WNOHANG), Ok((0, 0)), "it waits");
            while wait(child as i64, abi::WNOHANG) == Ok((0, 0)) {
                now(b, 50_000).unwrap();
                let_others_run();
            }
        });
    }
}

#[test]
fn waiting_has_a_limit_if_one_is_set() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        set_time_limit(b, net::SO_RCVTIMEO_OLD, 250).unwrap();
        let before = clock(abi::CLOCK_MONOTONIC);
        assert_eq!(read(b, 1), Err(Errno::EAGAIN));
        let waited = clock(abi::CLOCK_MONOTONIC) - before;
        assert!((250 * MS..260 * MS).contains(&waited), "{waited} ns");
        set_time_limit(a, net::SO_SNDTIMEO_OLD, 100).unwrap();
        let before = clock(abi::CLOCK_MONOTONIC);
        let sent = send(a, &vec![0; 400_000], 0).unwrap();
        assert!(sent < 400_000, "what there was room for");
        assert_eq!(send(a, b"x", 0), Err(Errno::EAGAIN));
        assert_eq!((clock(abi::CLOCK_MONOTONIC) - before) / (100 * MS), 2);
    });
}

#[test]
fn a_signal_ends_a_wait() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        let child = fork(move || {
            on_signal(abi::SIGUSR1, 0, || {});
            assert_eq!(read(b, 1), Err(Errno::EINTR));
            on_signal(abi::SIGUSR1, abi::SA_RESTART, || {});
            assert_eq!(read(b, 1), Ok(b"x".to_vec()), "the call goes on");
            set_time_limit(b, net::SO_RCVTIMEO_OLD, 10_000).unwrap();
            assert_eq!(read(b, 1), Err(Errno::EINTR), "but not one with a limit of time");
        });
        for _ in 0..2 {
            let_others_run();
            kill(child as i64, abi::SIGUSR1).unwrap();
        }
        let_others_run();
        write(a, b"x").unwrap();
        let_others_run();
        kill(child as i64, abi::SIGUSR1).unwrap();
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn sockets_that_do_not_wait_say_so() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM | abi::O_NONBLOCK);
        assert_eq!(read(b, 1), Err(Errno::EAGAIN));
        let bytes = vec![0; 300_000];
        let sent = write(a, &bytes).unwrap();
        assert!(sent < bytes.len());
        assert_eq!(write(a, b"x"), Err(Errno::EAGAIN));
    });
}

/// Somebody who polls a sender is told when its peer has room again.
#[track_caller]
fn waits_for_room(sender: usize, peer: usize) {
    while send(sender, b"x", net::MSG_DONTWAIT).is_ok() {}
    let child = fork(move || {
        let asked = put(&[sender as u32, abi::POLLOUT]);
        assert_eq!(call!(abi::__NR_poll, asked, 1, -1_i32), Ok(1));
    });
    let_others_run();
    assert_eq!(wait(child as i64, abi::WNOHANG), Ok((0, 0)), "it waits");
    now(peer, 1).unwrap();
    assert_eq!(end_of(child), 0);
}

#[test]
fn a_sender_is_told_of_room_whoever_has_asked_before_and_left() {
    machine(|| {
        let [busy, _idle] = ["busy", "idle"].map(bound);
        let filler = connected_to("busy");
        while send(filler, b"x", net::MSG_DONTWAIT).is_ok() {}
        for _ in 0..20 {
            let fd = connected_to("busy");
            assert_eq!(events(fd), 0);
            connect(fd, "idle").unwrap();
        }
        waits_for_room(connected_to("busy"), busy);
    });
}

#[test]
fn one_of_a_pair_is_told_of_room_when_the_other_has_left_it() {
    machine(|| {
        let [a, b] = pair(SOCK_DGRAM);
        let _idle = bound("idle");
        connect(b, "idle").unwrap();
        call!(abi::__NR_connect, b, put(&0_u16), 2).unwrap();
        assert_eq!(option(a, net::SO_ERROR), Ok(Errno::ECONNRESET.0 as u32));
        waits_for_room(a, b);
    });
}
