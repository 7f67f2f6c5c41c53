// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that make the kernel keep much for what is waited for: sockets, epolls, watches, terminals. For [`crate::hoard`].

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use crate::limits::limit;

const DESCRIPTORS: u64 = 32_768;

/// Descriptors are all that there are.
fn allow_descriptors() {
    limit(libc::RLIMIT_NOFILE, DESCRIPTORS);
}

/// Sends descriptors with a byte; whether that went.
fn send(through: i32, files: &[i32; 3]) -> bool {
    // Room for the header and three descriptors, aligned.
    let mut control = [0_u64; 4];
    let mut byte = 0_u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: the message is made of zeros, and then of places that live as long as the call; its control data has room for three numbers.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(12) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(12) as usize;
        std::ptr::copy_nonoverlapping(files.as_ptr(), libc::CMSG_DATA(header).cast(), 3);
        libc::sendmsg(through, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) == 1
    }
}

fn watch(epoll: i32, fd: i32) {
    let mut event = libc::epoll_event { events: libc::EPOLLIN.unsigned_abs(), u64: 0 };
    // SAFETY: the kernel reads the event.
    unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
}

/// Sockets whose messages hold themselves, with epolls that watch them and pidfds: nobody has a descriptor of any. Over and over.
pub(crate) fn cycles() -> i32 {
    let mut sent = 0;
    for _ in 0..30_000 {
        let mut pair = [0; 2];
        // SAFETY: there is room for two descriptors; those that are closed were just made.
        unsafe {
            if libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr()) != 0 {
                return i32::from(sent < 10_000);
            }
            let epoll = libc::epoll_create1(0);
            let process = libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) as i32;
            watch(epoll, pair[0]);
            watch(epoll, process);
            sent += i32::from(send(pair[1], &[pair[0], epoll, process]));
            sent += i32::from(send(pair[0], &[pair[1], epoll, pair[0]]));
            for fd in [pair[0], pair[1], epoll, process] {
                libc::close(fd);
            }
        }
    }
    i32::from(sent < 10_000)
}

/// Ten thousand connections to one listener, each with something unread in both directions.
pub(crate) fn connections() -> i32 {
    const COUNT: usize = 10_000;
    allow_descriptors();
    let Ok(address) = SocketAddr::from_abstract_name("hoard") else { return 1 };
    let Ok(listener) = UnixListener::bind_addr(&address) else { return 1 };
    let mut all = Vec::new();
    for _ in 0..COUNT {
        // When memory is out, that is what there is.
        let Ok(own) = UnixStream::connect_addr(&address) else { break };
        let Ok((other, _)) = listener.accept() else { break };
        for mut end in [&own, &other] {
            let _ = std::io::Write::write(&mut end, b"unread");
        }
        all.push((own, other));
    }
    super::hoard::wait_for_the_end()
}

/// Pseudo-terminals that were stopped, with writers at both ends.
pub(crate) fn stopped_terminals() -> i32 {
    allow_descriptors();
    let bytes = [b'x'; 4096];
    let mut count = 0;
    // SAFETY: the structures and the bytes live as long as the calls.
    unsafe {
        loop {
            let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK);
            if master < 0 || libc::unlockpt(master) != 0 {
                break;
            }
            let slave =
                libc::ioctl(master, libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK);
            if slave < 0 {
                break;
            }
            libc::tcflow(slave, libc::TCOOFF);
            for _ in 0..16 {
                // The slave's wait, and those of the master fill the line and what is to be echoed.
                libc::write(slave, bytes.as_ptr().cast(), bytes.len());
                libc::write(master, bytes.as_ptr().cast(), bytes.len());
            }
            count += 1;
            if count == 2000 {
                break;
            }
        }
    }
    if count == 0 { 1 } else { super::hoard::wait_for_the_end() }
}

/// Events that many watch and nobody takes.
pub(crate) fn watched_events() -> i32 {
    allow_descriptors();
    // SAFETY: paths are strings, and what is written lives as long as the call.
    unsafe {
        let event = libc::eventfd(0, libc::EFD_NONBLOCK);
        let outer: [i32; 4] = std::array::from_fn(|_| libc::epoll_create1(0));
        for turn in 0..300 {
            let epoll = libc::epoll_create1(0);
            watch(epoll, event);
            if let Some(outer) = outer.get(turn % 8) {
                watch(*outer, epoll);
            }
        }
        for _ in 0..200 {
            let queue = libc::inotify_init1(libc::IN_NONBLOCK);
            libc::inotify_add_watch(queue, c"/tmp".as_ptr(), libc::IN_ALL_EVENTS);
        }
        let one = 1_u64;
        let mut none: libc::epoll_event = std::mem::zeroed();
        loop {
            libc::write(event, (&raw const one).cast(), 8);
            libc::epoll_wait(outer[0], &raw mut none, 1, 0);
            let file = libc::open(c"/tmp/flood".as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600);
            libc::write(file, (&raw const one).cast(), 8);
            libc::close(file);
            libc::unlink(c"/tmp/flood".as_ptr());
        }
    }
}
