// SPDX-License-Identifier: MIT OR Apache-2.0
//! Terminals: what is typed and what is read, what is written and what comes out.

use exo_test_support::{call, programs::*};

use crate::wire::*;

#[test]
fn lines_are_read_when_they_are_whole_and_can_be_changed_until_then() {
    at_terminal(|fd, wire| {
        fork(move || {
            assert_eq!(read(fd, 100), Ok(b"hello\n".to_vec()));
            assert_eq!(read(fd, 3), Ok(b"lon".to_vec()), "a part of a line");
            assert_eq!(read(fd, 100), Ok(b"g\n".to_vec()));
        });
        let_others_run();
        wire.types("jelp\x7f\x7f\x7f\x7fhelo");
        let_others_run();
        assert_eq!(poll(fd, abi::POLLIN), 0);
        wire.types("\x7flo\r");
        let_others_run();
        wire.types("wrong\x15long\n");
        assert_eq!(wait(-1, 0).unwrap().1, 0);
    });
}

#[test]
fn what_is_typed_is_shown_unless_it_is_not_to_be() {
    at_terminal(|fd, wire| {
        wire.types("ab\x7fc\r");
        assert_eq!(wire.shows(), "ab\x08 \x08c\r\n");
        let mut new = termios(fd);
        new.flags[LOCAL] &= !(abi::ECHO | abi::ISIG);
        wire.shows();
        set_termios(fd, &new).unwrap();
        wire.types("secret\r");
        assert_eq!(wire.shows(), "\r\n".repeat(usize::from(new.flags[LOCAL] & abi::ECHONL != 0)));
    });
}

#[test]
fn the_end_of_input_is_typed_too() {
    at_terminal(|fd, wire| {
        wire.types("part\x04");
        assert_eq!(read(fd, 100), Ok(b"part".to_vec()), "what there is");
        wire.types("\x04");
        assert_eq!(read(fd, 100), Ok(vec![]), "nothing: the end");
        wire.types("goes on\n");
        assert_eq!(read(fd, 100), Ok(b"goes on\n".to_vec()));
    });
}

#[test]
fn without_lines_bytes_are_read_at_once() {
    at_terminal(|fd, wire| {
        make_raw(fd, 1, 0);
        wire.types("\x7f\x03a");
        assert_eq!(read(fd, 2), Ok(b"\x7f\x03".to_vec()));
        assert_eq!(read(fd, 2), Ok(b"a".to_vec()));
        assert_eq!(wire.shows(), "");
        make_raw(fd, 3, 0);
        fork(move || assert_eq!(read(fd, 10), Ok(b"xyz".to_vec()), "as many as are wanted"));
        for text in ["x", "y", "z"] {
            let_others_run();
            wire.types(text);
        }
        assert_eq!(wait(-1, 0).unwrap().1, 0);
        make_raw(fd, 0, 0);
        assert_eq!(read(fd, 10), Ok(vec![]), "what there is");
        make_raw(fd, 0, 3);
        let before = clock(abi::CLOCK_MONOTONIC);
        assert_eq!(read(fd, 10), Ok(vec![]));
        assert_eq!((clock(abi::CLOCK_MONOTONIC) - before) / MS, 300, "tenths of a second");
    });
}

#[test]
fn output_has_its_lines_ended_for_a_terminal() {
    at_terminal(|fd, wire| {
        assert_eq!(write(fd, b"one\ntwo"), Ok(7));
        assert_eq!(wire.shows(), "one\r\ntwo");
        let mut new = termios(fd);
        new.flags[OUTPUT] &= !abi::OPOST;
        set_termios(fd, &new).unwrap();
        write(fd, b"\n").unwrap();
        assert_eq!(wire.shows(), "\n");
    });
}

#[test]
fn who_writes_more_than_the_port_takes_waits() {
    at_terminal(|fd, wire| {
        let child = fork(move || assert_eq!(write(fd, &[b'x'; 10_000]), Ok(10_000)));
        let_others_run();
        assert_eq!(wait(child as i64, abi::WNOHANG), Ok((0, 0)));
        assert_eq!(poll(fd, abi::POLLOUT), 0);
        let mut count = wire.shows().len();
        while count < 10_000 {
            let_others_run();
            count += wire.shows().len();
        }
        assert_eq!((end_of(child), count), (0, 10_000));
        call!(abi::__NR_fcntl, fd, abi::F_SETFL, abi::O_NONBLOCK).unwrap();
        let sent = write(fd, &[b'x'; 10_000]).unwrap();
        assert!((4096 - 256..10_000).contains(&sent), "{sent} bytes without waiting");
    });
}

#[test]
fn what_is_typed_before_anybody_reads_is_kept_and_counted() {
    at_terminal(|fd, wire| {
        let waiting = || {
            let at = put(&0_u32);
            call!(abi::__NR_ioctl, fd, linux_raw_sys::ioctl::FIONREAD, at).unwrap();
            get::<u32>(at)
        };
        wire.types("one\ntwo\n");
        assert_eq!(waiting(), 8);
        assert_eq!(read(fd, 100), Ok(b"one\n".to_vec()));
        assert_eq!(waiting(), 4);
        call!(abi::__NR_ioctl, fd, linux_raw_sys::ioctl::TCFLSH, 0).unwrap();
        assert_eq!(waiting(), 0);
        call!(abi::__NR_fcntl, fd, abi::F_SETFL, abi::O_NONBLOCK).unwrap();
        assert_eq!(read(fd, 1), Err(Errno::EAGAIN));
    });
}
