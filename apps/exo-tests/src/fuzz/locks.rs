// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks that all processes want at once: futexes that inherit priorities, with owners that end, words that lie, and policies that change
//! meanwhile.

use super::shared::{Caller, LOCKS};

const LOCK: u64 = 6;
const UNLOCK: u64 = 7;
const TRY: u64 = 8;
const WAIT_REQUEUE: u64 = 11;
const CMP_REQUEUE: u64 = 12;
const LOCK_2: u64 = 13;
const REALTIME: u64 = 256;

/// A time on a clock, at most some milliseconds away.
fn soon(caller: &mut Caller<'_>, clock: libc::clockid_t) -> [i64; 2] {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the time.
    unsafe { libc::clock_gettime(clock, &mut now) };
    let later = now.tv_nsec + caller.random.below(3_000_000) as i64;
    [now.tv_sec + later / 1_000_000_000, later % 1_000_000_000]
}

pub(super) fn step(caller: &mut Caller<'_>) {
    for _ in 0..10 {
        let (place, other) = (caller.random.below(LOCKS), caller.random.below(LOCKS));
        let (word, second) = (caller.lock(place), caller.lock(other));
        let (wall, boot) = (soon(caller, libc::CLOCK_REALTIME), soon(caller, libc::CLOCK_MONOTONIC));
        let (wall, boot) =
            (wall.as_ptr().expose_provenance() as u64, boot.as_ptr().expose_provenance() as u64);
        match caller.random.below(12) {
            0..=2 => caller.make(libc::SYS_futex, [word, LOCK, 0, wall, 0, 0]),
            3 => caller.make(libc::SYS_futex, [word, LOCK_2, 0, boot, 0, 0]),
            4 | 5 => caller.make(libc::SYS_futex, [word, UNLOCK, 0, 0, 0, 0]),
            6 => caller.make(libc::SYS_futex, [word, TRY, 0, 0, 0, 0]),
            7 => {
                let (operation, time) = caller.either((WAIT_REQUEUE | REALTIME, wall), (WAIT_REQUEUE, boot));
                let value = u64::from(caller.read_lock(place));
                caller.make(libc::SYS_futex, [word, operation, value, time, second, 0])
            }
            8 => {
                let value = u64::from(caller.read_lock(place));
                let count = caller.random.below(9);
                caller.make(libc::SYS_futex, [word, CMP_REQUEUE, 1, count, second, value])
            }
            9 => {
                // A word that lies: free, another's, nobody's, with bits that are not so.
                let owner = caller.one_of(&[0, 1, u64::from(std::process::id()), 0x3fff_ffff]);
                let bits = caller.one_of(&[0, 0x4000_0000, 0x8000_0000, 0xc000_0000]);
                caller.write_lock(place, (owner | bits) as u32);
                0
            }
            10 => {
                let (policy, priority) = caller.either((1, 1 + caller_priority()), (0, 0));
                let parameters = [priority as u32, 0];
                let parameters = parameters.as_ptr().expose_provenance() as u64;
                caller.make(libc::SYS_sched_setscheduler, [0, policy, parameters])
            }
            _ => owner_ends(caller, place, word),
        };
    }
    let normal = [0_u32; 2];
    caller.make(libc::SYS_sched_setscheduler, [0, 0, normal.as_ptr().expose_provenance() as u64]);
}

/// Below that of the parent of all, if that has one.
fn caller_priority() -> u64 {
    u64::from(std::process::id()) % 5
}

/// A child takes a lock and ends with it, with a robust list or without.
fn owner_ends(caller: &mut Caller<'_>, place: u64, word: u64) -> i64 {
    let pid = caller.make(libc::SYS_fork, []);
    if pid == 0 {
        // The list's only entry is the lock; its bit says that it inherits priorities.
        let mut list = [0_u64; 3];
        let entry = [list.as_ptr().expose_provenance() as u64];
        let at = entry.as_ptr().expose_provenance() as u64;
        list = [at | 1, word.wrapping_sub(at), 0];
        if place % 2 == 0 {
            caller.make(libc::SYS_set_robust_list, [list.as_ptr().expose_provenance() as u64, 24]);
        }
        caller.make(libc::SYS_futex, [word, TRY, 0, 0, 0, 0]);
        caller.make(libc::SYS_exit_group, [0]);
    }
    caller.make(libc::SYS_wait4, [pid as u64, 0, 1, 0])
}
