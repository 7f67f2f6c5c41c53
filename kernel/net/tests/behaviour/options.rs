// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be asked of sockets and set, and which there are.

use exo_test_support::{call, programs::*};
use linux_raw_sys::net;

use crate::support::*;

#[test]
fn there_are_pairs_of_unix_sockets() {
    machine(|| {
        let pair_of = |domain, kind, protocol| try_pair(domain, kind, protocol).map(|_| ());
        for domain in [net::AF_INET, net::AF_INET6] {
            assert_eq!(pair_of(domain, SOCK_STREAM, 0), Err(Errno::EOPNOTSUPP));
        }
        assert_eq!(pair_of(net::AF_PACKET, SOCK_STREAM, 0), Err(Errno::EAFNOSUPPORT));
        assert_eq!(pair_of(9999, SOCK_STREAM, 0), Err(Errno::EAFNOSUPPORT));
        assert_eq!(pair_of(net::AF_UNIX, SOCK_STREAM, 77), Err(Errno::EPROTONOSUPPORT));
        assert_eq!(pair_of(net::AF_UNIX, net::SOCK_RDM, 0), Err(Errno::ESOCKTNOSUPPORT));
        assert_eq!(pair_of(net::AF_UNIX, 15, 0), Err(Errno::EINVAL));
        assert_eq!(pair_of(net::AF_UNIX, SOCK_STREAM | 0x100, 0), Err(Errno::EINVAL));
        assert_eq!(pair_of(net::AF_UNIX, SOCK_STREAM, net::AF_UNIX), Ok(()));
    });
}

#[test]
fn a_socket_knows_what_it_is() {
    machine(|| {
        for kind in ALL {
            let [a, _] = pair(kind | abi::O_CLOEXEC);
            assert_eq!(option(a, net::SO_TYPE), Ok(kind));
            assert_eq!(option(a, net::SO_ACCEPTCONN), Ok(0));
            assert_eq!(call!(abi::__NR_fcntl, a, abi::F_GETFD, 0), Ok(abi::FD_CLOEXEC as usize));
            let [_, b] = pair(kind);
            assert_eq!(call!(abi::__NR_fcntl, b, abi::F_GETFD, 0), Ok(0));
        }
        let [from, _] = pipe().unwrap();
        assert_eq!(option(from, net::SO_TYPE), Err(Errno::ENOTSOCK));
        assert_eq!(option(99, net::SO_TYPE), Err(Errno::EBADF));
    });
}

#[test]
fn who_made_the_pair_is_remembered() {
    machine(|| {
        let maker = pid();
        let [a, b] = pair(SOCK_STREAM);
        let child = fork(move || {
            for fd in [a, b] {
                let (to, size) = (zeros(12), put(&12_u32));
                call!(abi::__NR_getsockopt, fd, net::SOL_SOCKET, net::SO_PEERCRED, to, size).unwrap();
                assert_eq!(get::<[u32; 3]>(to), [maker as u32, 0, 0]);
            }
        });
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn times_and_sizes_are_kept_within_bounds() {
    machine(|| {
        let [a, _] = pair(SOCK_STREAM);
        set_option(a, net::SO_SNDBUF, 1).unwrap();
        assert_eq!(option(a, net::SO_SNDBUF), Ok(4608));
        set_option(a, net::SO_SNDBUF, u32::MAX).unwrap();
        assert_eq!(option(a, net::SO_SNDBUF), Ok(425_984));
        set_option(a, net::SO_RCVBUF, 50_000).unwrap();
        assert_eq!(option(a, net::SO_RCVBUF), Ok(100_000));
        set_time_limit(a, net::SO_RCVTIMEO_OLD, 1500).unwrap();
        let (to, size) = (zeros(16), put(&16_u32));
        call!(abi::__NR_getsockopt, a, net::SOL_SOCKET, net::SO_RCVTIMEO_OLD, to, size).unwrap();
        assert_eq!(get::<[u64; 2]>(to), [1, 500_000]);
        let wrong = put(&[1_u64, 1_000_000]);
        assert_eq!(
            call!(abi::__NR_setsockopt, a, net::SOL_SOCKET, net::SO_RCVTIMEO_OLD, wrong, 16),
            Err(Errno::EDOM)
        );
        assert_eq!(set_option(a, 9999, 1), Err(Errno::ENOPROTOOPT));
        assert_eq!(
            call!(abi::__NR_setsockopt, a, net::SOL_SOCKET, net::SO_SNDBUF, put(&1_u32), 3),
            Err(Errno::EINVAL)
        );
    });
}
