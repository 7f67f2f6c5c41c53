// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pseudo-terminals: both directions, packets, sizes, stopping, and who hangs up.

use exo_test_support::{call, programs::*};
use linux_raw_sys::ioctl::*;

use crate::wire::*;

/// A master and its slave.
fn pair() -> (usize, usize) {
    if call!(abi::__NR_access, put_bytes(b"/dev/pts/ptmx\0"), 0).is_err() {
        let [kind, at] = [b"devpts\0".as_slice(), b"/dev/pts\0"].map(put_bytes);
        // It may be there already.
        let _ = call!(abi::__NR_mkdir, at, 0o755);
        call!(abi::__NR_mount, kind, at, kind, 0, 0).unwrap();
    }
    let master = open("/dev/ptmx", abi::O_RDWR | abi::O_NOCTTY).unwrap();
    call!(abi::__NR_ioctl, master, TIOCSPTLCK, put(&0_i32)).unwrap();
    let slave = call!(abi::__NR_ioctl, master, TIOCGPTPEER, abi::O_RDWR | abi::O_NOCTTY).unwrap();
    (master, slave)
}

fn set_nonblocking(fd: usize) {
    call!(abi::__NR_fcntl, fd, abi::F_SETFL, abi::O_NONBLOCK).unwrap();
}

fn flow(fd: usize, action: usize) -> Result {
    call!(abi::__NR_ioctl, fd, TCXONC, action)
}

#[test]
fn what_is_typed_at_the_master_is_a_line_for_the_slave() {
    machine(|| {
        let (master, slave) = pair();
        write(master, b"hellp\x7fo\r").unwrap();
        assert_eq!(read(slave, 100), Ok(b"hello\n".to_vec()));
        assert_eq!(read(master, 100), Ok(b"hellp\x08 \x08o\r\n".to_vec()));
        write(slave, b"answer\n").unwrap();
        assert_eq!(read(master, 100), Ok(b"answer\r\n".to_vec()));
    });
}

#[test]
fn output_stops_and_goes_on_as_the_master_says() {
    machine(|| {
        let (master, slave) = pair();
        set_nonblocking(master);
        write(master, b"\x13").unwrap();
        assert_eq!(poll(slave, abi::POLLOUT), 0);
        let writer = fork(move || assert_eq!(write(slave, b"late"), Ok(4)));
        let_others_run();
        write(master, b"x").unwrap();
        assert_eq!(read(master, 100), Err(Errno::EAGAIN), "neither output nor echo");
        write(master, b"\x11").unwrap();
        assert_eq!(end_of(writer), 0);
        assert_eq!(read(master, 100), Ok(b"xlate".to_vec()));
        assert_eq!(poll(slave, abi::POLLOUT), abi::POLLOUT);
        set_nonblocking(slave);
        flow(slave, 0).unwrap();
        assert_eq!(write(slave, b"y"), Err(Errno::EAGAIN));
        write(master, b"\x11").unwrap();
        assert_eq!(write(slave, b"y"), Err(Errno::EAGAIN), "only a program goes on");
        flow(slave, 1).unwrap();
        assert_eq!(write(slave, b"y"), Ok(1));
        assert_eq!(flow(slave, 4), Err(Errno::EINVAL));
    });
}

#[test]
fn each_end_can_ask_the_other_to_wait() {
    machine(|| {
        let (master, slave) = pair();
        flow(slave, 2).unwrap();
        flow(slave, 3).unwrap();
        assert_eq!(read(master, 100), Ok(b"\x13\x11".to_vec()));
        flow(master, 2).unwrap();
        assert_eq!(poll(slave, abi::POLLOUT), 0);
        flow(master, 3).unwrap();
        assert_eq!(poll(slave, abi::POLLOUT), abi::POLLOUT);
        set_nonblocking(master);
        flow(master, 0).unwrap();
        assert_eq!((poll(master, abi::POLLOUT), write(master, b"x")), (0, Err(Errno::EAGAIN)));
        flow(master, 1).unwrap();
        assert_eq!(write(master, b"x"), Ok(1));
    });
}

#[test]
fn a_master_that_reads_packets_hears_of_what_happens() {
    machine(|| {
        let (master, slave) = pair();
        call!(abi::__NR_ioctl, master, TIOCPKT, put(&1_i32)).unwrap();
        write(slave, b"data").unwrap();
        assert_eq!(read(master, 100), Ok(b"\0data".to_vec()));
        for (typed, told) in [(b"\x13", 4_u8), (b"\x11", 8)] {
            write(master, typed).unwrap();
            assert_eq!(poll(master, abi::POLLIN | abi::POLLPRI), abi::POLLIN | abi::POLLPRI);
            assert_eq!(read(master, 100), Ok(vec![told]));
        }
        write(master, b"\x13\x11").unwrap();
        assert_eq!(read(master, 100), Ok(vec![8]), "the last counts");
        write(master, b"\x13").unwrap();
        let mut new = termios(slave);
        new.flags[0] &= !abi::IXON;
        set_termios(slave, &new).unwrap();
        assert_eq!(read(master, 100), Ok(vec![8 | 16]), "it goes on, and ^S is a character");
        call!(abi::__NR_ioctl, slave, TCFLSH, 2).unwrap();
        assert_eq!(read(master, 100), Ok(vec![1 | 2]), "both were flushed");
    });
}

#[test]
fn a_stopped_slave_and_a_full_one_are_bounded() {
    machine(|| {
        let (master, slave) = pair();
        set_nonblocking(master);
        set_nonblocking(slave);
        let mut sent = 0;
        while let Ok(count) = write(slave, &[b'x'; 1000]) {
            sent += count;
            assert!(sent < 100_000, "without end");
        }
        write(master, b"\x13").unwrap();
        for _ in 0..100 {
            // What a person types while nothing is shown.
            write(master, &[b'y'; 1000]).unwrap();
        }
        let mut got = 0;
        write(master, b"\x11").unwrap();
        while let Ok(bytes) = read(master, 1000) {
            got += bytes.len();
        }
        assert!(got >= sent && got <= sent + 10_000, "{got} of {sent}");
    });
}

#[test]
fn sizes_are_set_at_either_end() {
    machine(|| {
        let (master, slave) = pair();
        let size = zeros(8);
        call!(abi::__NR_ioctl, slave, TIOCGWINSZ, size).unwrap();
        assert_eq!(get::<[u16; 4]>(size), [0; 4]);
        call!(abi::__NR_ioctl, master, TIOCSWINSZ, put(&[50_u16, 132, 1, 2])).unwrap();
        call!(abi::__NR_ioctl, slave, TIOCGWINSZ, size).unwrap();
        assert_eq!(get::<[u16; 4]>(size), [50, 132, 1, 2]);
    });
}

#[test]
fn who_closes_last_hangs_up() {
    machine(|| {
        let (master, slave) = pair();
        write(slave, b"last").unwrap();
        close(slave).unwrap();
        assert_eq!(read(master, 100), Ok(b"last".to_vec()));
        assert_eq!(read(master, 100), Err(Errno::EIO));
        assert_eq!(poll(master, abi::POLLIN), abi::POLLHUP);
        let (master, slave) = pair();
        let writer = fork(move || {
            close(master).unwrap();
            flow(slave, 0).unwrap();
            assert_eq!(write(slave, b"never"), Err(Errno::EIO), "who waits because it is stopped is told");
        });
        let_others_run();
        close(master).unwrap();
        assert_eq!(end_of(writer), 0);
        assert_eq!(read(slave, 100), Ok(vec![]));
        assert_eq!(write(slave, b"x"), Err(Errno::EIO));
        assert_eq!(poll(slave, abi::POLLIN) & abi::POLLHUP, abi::POLLHUP);
    });
}
