// SPDX-License-Identifier: MIT OR Apache-2.0
//! TCP and UDP between the sockets of a machine: what only a machine shows whose tasks take turns as the test says, and whose memory is
//! counted. How programs see the rest is in `tests/c`.

use exo_test_support::{call, programs::*};
use linux_raw_sys::net;

use crate::support::*;

const LOCALHOST: [u8; 4] = [127, 0, 0, 1];

fn socket(kind: u32) -> usize {
    call!(abi::__NR_socket, net::AF_INET, kind, 0).unwrap()
}

fn address(port: u16) -> usize {
    let [high, low] = port.to_be_bytes();
    let [a, b, c, d] = LOCALHOST;
    put(&[2, 0, high, low, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0])
}

fn bind(fd: usize, port: u16) -> Result {
    call!(abi::__NR_bind, fd, address(port), 16)
}

fn connect_to(fd: usize, port: u16) -> Result {
    call!(abi::__NR_connect, fd, address(port), 16)
}

fn accept(fd: usize, flags: u32) -> Result {
    call!(abi::__NR_accept4, fd, 0, 0, flags)
}

fn listener(port: u16, backlog: usize) -> usize {
    let fd = socket(SOCK_STREAM);
    bind(fd, port).unwrap();
    call!(abi::__NR_listen, fd, backlog).unwrap();
    fd
}

/// Two ends of a connection; the first has connected.
fn connection() -> [usize; 2] {
    let listener = listener(7000, 1);
    let first = socket(SOCK_STREAM);
    connect_to(first, 7000).unwrap();
    let second = accept(listener, 0).unwrap();
    close(listener).unwrap();
    [first, second]
}

#[test]
fn bytes_come_in_order_and_an_end_is_heard() {
    machine(|| {
        let [a, b] = connection();
        for n in 0..3000_u32 {
            assert_eq!(write(a, &n.to_le_bytes()), Ok(4));
        }
        shutdown(a, net::SHUT_WR).unwrap();
        let bytes = receive(b, 20_000, net::MSG_WAITALL).unwrap();
        assert_eq!(bytes.len(), 12_000);
        for (n, bytes) in bytes.chunks(4).enumerate() {
            assert_eq!(bytes, (n as u32).to_le_bytes());
        }
        assert_eq!(read(b, 1), Ok(vec![]));
        assert_eq!(write(b, b"answer"), Ok(6));
        assert_eq!(read(a, 9), Ok(b"answer".to_vec()));
    });
}

#[test]
fn who_sends_without_end_waits_for_the_reader() {
    machine(|| {
        let [a, b] = connection();
        let piece = vec![7; 32 << 10];
        let mut sum = 0;
        while let Ok(count) = send(a, &piece, net::MSG_DONTWAIT) {
            sum += count;
            assert!(sum < 1 << 20, "what is on its way is bounded");
        }
        assert_eq!(events(a), 0);
        assert_eq!(drain(b), sum);
        assert_eq!(events(a), abi::POLLOUT);
    });
}

#[test]
fn single_bytes_share_their_memory() {
    machine(|| {
        let [a, b] = connection();
        for n in 0..100_000 {
            assert_eq!(send(a, b"x", net::MSG_DONTWAIT), Ok(1), "{n}");
        }
        assert_eq!(drain(b), 100_000);
    });
}

#[test]
fn who_connects_to_a_full_backlog_gets_in_when_there_is_room() {
    machine(|| {
        let listener = listener(7000, 0);
        let fds: Vec<_> = (0..3).map(|_| socket(SOCK_STREAM | abi::O_NONBLOCK)).collect();
        for fd in &fds {
            assert_eq!(connect_to(*fd, 7000), Err(Errno::EINPROGRESS));
        }
        assert_eq!([events(fds[0]), events(fds[1]), events(fds[2])], [abi::POLLOUT, 0, 0]);
        assert_eq!(close(fds[1]), Ok(0), "who gives up is not waited for");
        accept(listener, 0).unwrap();
        assert_eq!(events(fds[2]), abi::POLLOUT);
        accept(listener, 0).unwrap();
        assert_eq!(events(listener), 0, "and nobody else has come");
    });
}

#[test]
fn who_waits_is_refused_when_the_listener_goes() {
    machine(|| {
        let listener = listener(7000, 0);
        let [first, second] = [socket(SOCK_STREAM), socket(SOCK_STREAM | abi::O_NONBLOCK)];
        connect_to(first, 7000).unwrap();
        assert_eq!(connect_to(second, 7000), Err(Errno::EINPROGRESS));
        close(listener).unwrap();
        assert_eq!(option(second, net::SO_ERROR), Ok(Errno::ECONNREFUSED.0 as u32));
        assert_eq!(read(first, 1), Err(Errno::ECONNRESET));
    });
}

#[test]
fn a_port_is_free_a_minute_after_its_last_connection_is_closed() {
    machine(|| {
        let [a, b] = connection();
        let other = socket(SOCK_STREAM);
        assert_eq!(bind(other, 7000), Err(Errno::EADDRINUSE), "the accepted one has it");
        close(b).unwrap();
        close(a).unwrap();
        assert_eq!(bind(other, 7000), Err(Errno::EADDRINUSE), "it has closed first, and waits");
        sleep(61_000 * MS);
        assert_eq!(bind(other, 7000), Ok(0));
    });
}

#[test]
fn datagrams_beyond_the_buffer_are_lost() {
    machine(|| {
        let [a, b] = [socket(SOCK_DGRAM), socket(SOCK_DGRAM)];
        bind(b, 7000).unwrap();
        connect_to(a, 7000).unwrap();
        let sent = 2000;
        for _ in 0..sent {
            assert_eq!(write(a, b"datagram"), Ok(8));
        }
        let mut count = 0;
        while now(b, 9).is_ok() {
            count += 1;
        }
        assert!((100..sent).contains(&count), "{count}");
        assert_eq!(write(a, b"again"), Ok(5));
        assert_eq!(now(b, 9), Ok(b"again".to_vec()));
    });
}

#[test]
fn a_connected_socket_is_told_that_nobody_is_there() {
    machine(|| {
        let a = socket(SOCK_DGRAM);
        connect_to(a, 7000).unwrap();
        assert_eq!(write(a, b"x"), Ok(1));
        assert_eq!(events(a), abi::POLLOUT | abi::POLLERR);
        assert_eq!(now(a, 1), Err(Errno::ECONNREFUSED));
        assert_eq!(now(a, 1), Err(Errno::EAGAIN));
    });
}
