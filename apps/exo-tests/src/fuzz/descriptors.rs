// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors: chains of O_PATH descriptors, io_uring that registers itself, locks, pipes that are spliced, sealed memory, sockets.

use super::shared::Caller;

pub(super) fn step(caller: &mut Caller<'_>) {
    let memory = caller.memory();
    match caller.random.below(6) {
        0 => path_chain(caller),
        1 => {
            let entries = 1 + caller.random.below(64);
            let ring = caller.make(libc::SYS_io_uring_setup, [entries, memory + 8192]);
            let fd = ring.max(0).unsigned_abs();
            let list = [fd as u32, fd as u32];
            let list = list.as_ptr().expose_provenance() as u64;
            for _ in 0..4 {
                let operation = caller.random.below(30);
                caller.make(libc::SYS_io_uring_register, [fd, operation, list, 1]);
            }
            caller.make(libc::SYS_io_uring_register, [fd, 2, list, 2]);
            caller.make(libc::SYS_io_uring_enter, [fd, 4, 0, 0]);
            caller.make(libc::SYS_close, [fd]);
        }
        2 => locks(caller),
        3 => pipes(caller),
        4 => {
            let fd = caller.make(libc::SYS_memfd_create, [memory, 2]).max(0).unsigned_abs();
            let size = caller.size();
            caller.make(libc::SYS_ftruncate, [fd, size]);
            for _ in 0..4 {
                let seals = caller.random.below(64);
                caller.make(libc::SYS_fcntl, [fd, 1033, seals]);
                caller.make(libc::SYS_pwrite64, [fd, memory, 4096, seals << 20]);
                caller.make(libc::SYS_fallocate, [fd, seals % 4, size, seals]);
            }
            caller.make(libc::SYS_close, [fd]);
        }
        _ => {
            let pair = memory + 16384;
            // None waits: who connects may find a full backlog.
            let kind = 0o4000 | caller.one_of(&[1, 2, 5]);
            if caller.make(libc::SYS_socketpair, [1, kind, 0, pair]) == 0 {
                for _ in 0..6 {
                    let fd = 3 + caller.random.below(8);
                    let (how, flags) = (caller.random.below(4), caller.one_of(&[0x40, 0x42, 0x4040]));
                    let length = caller.random.below(70_000);
                    // One of a few abstract names, or none.
                    let name = [libc::AF_UNIX as u16, u16::from_ne_bytes([0, b'a' + (length % 4) as u8])];
                    let name = name.as_ptr().expose_provenance() as u64;
                    caller.make(libc::SYS_sendto, [fd, memory, length, flags, name * (length & 1), 4]);
                    caller.make(libc::SYS_recvfrom, [fd, memory, length / 2, flags]);
                    caller.make(libc::SYS_sendmsg, [fd, memory + 32768, flags]);
                    caller.make(libc::SYS_recvmsg, [fd, memory + 32768, flags]);
                    let size = caller.one_of(&[2, 3, 4, 200]);
                    caller.make(libc::SYS_bind, [fd, name, size]);
                    caller.make(libc::SYS_listen, [fd, length % 8]);
                    caller.make(libc::SYS_connect, [fd, name, size]);
                    caller.make(libc::SYS_getsockname, [fd, pair + 64, pair + 256]);
                    caller.make(libc::SYS_accept4, [fd, pair + 64, pair + 256, 0o4000]);
                    caller.make(libc::SYS_socket, [1, kind, 0]);
                    caller.make(libc::SYS_shutdown, [fd, how]);
                }
            }
            addresses(caller, memory);
        }
    }
    // So that there is always room for more.
    caller.make(libc::SYS_close_range, [64, u64::from(u32::MAX), 0]);
}

/// Sockets with addresses of the machine, of IPv4 and IPv6.
fn addresses(caller: &mut Caller<'_>, memory: u64) {
    for _ in 0..6 {
        let port = (7000 + caller.random.below(4) as u16).to_be_bytes();
        let is_v6 = caller.random.below(2) == 1;
        let mut name = [0_u8; 28];
        name[..4].copy_from_slice(&[if is_v6 { 10 } else { 2 }, 0, port[0], port[1]]);
        if is_v6 {
            name[23] = 1;
        } else {
            name[4..8].copy_from_slice(&[127, 0, 0, 1]);
        }
        let name = name.as_ptr().expose_provenance() as u64;
        let size = caller.one_of(&[28, 28, 28, 16, 8]);
        // None waits.
        let kind = 0o4000 | caller.one_of(&[1, 1, 2, 3]);
        caller.make(libc::SYS_socket, [if is_v6 { 10 } else { 2 }, kind, 0]);
        for _ in 0..4 {
            let fd = 3 + caller.random.below(12);
            let (how, flags) = (caller.random.below(4), caller.one_of(&[0x40, 0x42, 0x4040, 0x60, 0x41]));
            let length = caller.random.below(70_000);
            let (level, option) = (caller.one_of(&[1, 6, 0, 41]), caller.random.below(40));
            caller.make(libc::SYS_setsockopt, [fd, level, option, memory, size % 20]);
            caller.make(libc::SYS_getsockopt, [fd, level, option, memory, memory + 64]);
            caller.make(libc::SYS_bind, [fd, name, size]);
            caller.make(libc::SYS_listen, [fd, length % 4]);
            caller.make(libc::SYS_connect, [fd, name, size]);
            caller.make(libc::SYS_accept4, [fd, 0, 0, 0o4000]);
            caller.make(libc::SYS_sendto, [fd, memory, length, flags, name * (length & 1), size]);
            caller.make(libc::SYS_recvfrom, [fd, memory, length / 2, flags]);
            if length % 4 == 0 {
                caller.make(libc::SYS_shutdown, [fd, how]);
            }
        }
    }
}

/// Each descriptor stands for the link to the one before.
fn path_chain(caller: &mut Caller<'_>) {
    caller.mount_proc();
    let mut last = 0;
    for _ in 0..caller.random.below(300) {
        let path = format!("p/self/fd/{last}\0");
        let flags = (libc::O_PATH | libc::O_NOFOLLOW) as u64;
        let fd = caller.make(libc::SYS_open, [path.as_ptr().expose_provenance() as u64, flags]);
        if fd < 0 {
            break;
        }
        if last > 2 {
            caller.make(libc::SYS_close, [last]);
        }
        last = fd.unsigned_abs();
    }
    caller.make(libc::SYS_close, [last.max(3)]);
}

fn locks(caller: &mut Caller<'_>) {
    let name = c"lock".as_ptr().expose_provenance() as u64;
    let fd = caller.make(libc::SYS_open, [name, (libc::O_RDWR | libc::O_CREAT) as u64, 0o666]);
    let fd = fd.max(0).unsigned_abs();
    for _ in 0..8 {
        let operation = caller.one_of(&[5, 6, 8, 4, 12, 7]);
        caller.make(libc::SYS_flock, [fd, operation]);
        let kind = caller.random.below(4);
        let (start, length) = (caller.random.below(100), caller.random.below(100));
        // struct flock: type and whence, start, length, process.
        let lock: [u64; 4] = [kind, start, length, 0];
        let command = caller.one_of(&[5, 6, 36, 37]);
        caller.make(libc::SYS_fcntl, [fd, command, lock.as_ptr().expose_provenance() as u64]);
    }
    caller.make(libc::SYS_close, [fd]);
}

fn pipes(caller: &mut Caller<'_>) {
    let memory = caller.memory();
    let pair = memory + 24576;
    if caller.make(libc::SYS_pipe2, [pair, libc::O_NONBLOCK as u64]) != 0 {
        return;
    }
    for _ in 0..8 {
        let (from, to) = (caller.random.below(16), caller.random.below(16));
        let length = caller.size();
        let flags = 2 | caller.random.below(8);
        match caller.random.below(6) {
            0 => caller.make(libc::SYS_splice, [from, 0, to, 0, length, flags]),
            1 => caller.make(libc::SYS_tee, [from, to, length, flags]),
            2 => caller.make(libc::SYS_sendfile, [to, from, 0, length]),
            3 => caller.make(libc::SYS_copy_file_range, [from, 0, to, 0, length, 0]),
            4 => caller.make(libc::SYS_fcntl, [from, 1031, length]),
            _ => caller.make(libc::SYS_write, [to, memory, length.min(4096)]),
        };
    }
}
