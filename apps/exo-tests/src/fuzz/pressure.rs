// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that is nearly used up, and calls that need some then. Each may be told that there is none.

use super::shared::Caller;

/// The most that a process takes, so that several are at it.
const MOST: u64 = 512 << 20;

pub(super) fn step(caller: &mut Caller<'_>) {
    let memory = caller.memory();
    // `struct sysinfo` has the free memory at byte 40, in units that are bytes here.
    caller.make(libc::SYS_sysinfo, [memory]);
    let free = caller.word(40).min(MOST);
    let size = (free / 16 * (8 + caller.random.below(9))) & !4095;
    let at = caller.make(libc::SYS_mmap, [0, size, 3, 0x22, u64::MAX, 0]);
    if at > 0 {
        let (place, populate) = (at.unsigned_abs(), libc::MADV_POPULATE_WRITE as u64);
        // In parts, so that others take some meanwhile.
        let part = (size / 8).max(4096) & !4095;
        for index in 0..8 {
            caller.make(libc::SYS_madvise, [place + index * part, part, populate]);
        }
    }
    let mut opened = Vec::new();
    for _ in 0..12 {
        let fd = match caller.random.below(8) {
            0 => {
                let name = caller.name();
                caller.make(libc::SYS_memfd_create, [name, 0])
            }
            1 => {
                caller.make(libc::SYS_pipe2, [memory, libc::O_NONBLOCK as u64]);
                let [first, second] = [caller.word(0) as u32, (caller.word(0) >> 32) as u32];
                opened.push(i64::from(first));
                caller.make(libc::SYS_write, [second.into(), memory, 60_000]);
                i64::from(second)
            }
            2 => {
                let name = caller.name();
                let fd = caller.make(libc::SYS_open, [name, (libc::O_CREAT | libc::O_RDWR) as u64, 0o600]);
                caller.make(libc::SYS_fallocate, [fd as u64, 0, 0, 8 << 20]);
                fd
            }
            3 => {
                let pid = caller.make(libc::SYS_fork, []);
                if pid == 0 {
                    caller.make(libc::SYS_exit_group, [0]);
                }
                caller.make(libc::SYS_wait4, [pid as u64, 0, 0, 0]);
                -1
            }
            4 => caller.make(libc::SYS_io_uring_setup, [256, memory + 1024]),
            5 => caller.make(libc::SYS_dup2, [0, 60_000]),
            6 => {
                let size = caller.size();
                caller.make(libc::SYS_mmap, [0, size, 3, 0x8022, u64::MAX, 0]);
                -1
            }
            _ => caller.make(libc::SYS_socketpair, [1, 1, 0, memory]),
        };
        opened.push(fd);
    }
    for fd in opened.into_iter().filter(|fd| *fd > 2) {
        caller.make(libc::SYS_close, [fd.unsigned_abs()]);
    }
    if at > 0 {
        caller.make(libc::SYS_munmap, [at.unsigned_abs(), size]);
    }
}
