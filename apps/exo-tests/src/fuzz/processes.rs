// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes: children that end at once or are read about while they do, ids, limits, policies, futexes.

use super::shared::Caller;

pub(super) fn step(caller: &mut Caller<'_>) {
    let memory = caller.memory();
    match caller.random.below(5) {
        0 => children(caller),
        1 => {
            for _ in 0..6 {
                let (resource, soft) = (caller.random.below(16), caller.size());
                let limit: [u64; 2] = [soft, u64::MAX];
                let limit = limit.as_ptr().expose_provenance() as u64;
                caller.make(libc::SYS_prlimit64, [0, resource, limit, memory]);
            }
        }
        2 => {
            for _ in 0..6 {
                let option = caller.random.below(70);
                let value = caller.random.below(70);
                caller.make(libc::SYS_prctl, [option, value, memory, 0, 0]);
                let (policy, priority) = (caller.random.below(7), caller.random.below(100));
                let parameters = [priority as u32, 0];
                let parameters = parameters.as_ptr().expose_provenance() as u64;
                caller.make(libc::SYS_sched_setscheduler, [0, policy, parameters]);
            }
            let normal = [0_u32; 2];
            caller.make(libc::SYS_sched_setscheduler, [0, 0, normal.as_ptr().expose_provenance() as u64]);
        }
        3 => {
            let time: [u64; 2] = [0, 1000];
            let time = time.as_ptr().expose_provenance() as u64;
            for _ in 0..8 {
                let word = memory + 4 * caller.random.below(64);
                let operation = caller.random.below(14) | caller.one_of(&[0, 128, 256, 384]);
                let value = caller.random.below(3);
                caller.make(libc::SYS_futex, [word, operation, value, time, word + 4, 1]);
            }
        }
        _ => read_about_all(caller),
    }
}

fn children(caller: &mut Caller<'_>) {
    for _ in 0..1 + caller.random.below(4) {
        let pid = caller.make(libc::SYS_fork, []);
        if pid == 0 {
            if caller.random.below(2) == 0 {
                let id = 1 + caller.random.below(70_000);
                caller.make(libc::SYS_setresuid, [id, id, id]);
            }
            caller.make(libc::SYS_exit_group, [0]);
        }
    }
    read_about_all(caller);
    for _ in 0..4 {
        caller.make(libc::SYS_wait4, [u64::MAX, 0, 1, 0]);
    }
}

/// Reads everything that /proc says about some processes, which may end meanwhile.
fn read_about_all(caller: &mut Caller<'_>) {
    const FILES: [&str; 14] = [
        "stat", "status", "statm", "maps", "cmdline", "environ", "limits", "fd", "fdinfo/3", "task",
        "mounts", "cwd", "exe", "comm",
    ];
    caller.mount_proc();
    let (memory, me) = (caller.memory(), u64::from(std::process::id()));
    let pid = me.saturating_add(caller.random.below(12)).saturating_sub(4);
    for file in FILES {
        let path = format!("p/{pid}/{file}\0");
        let path = path.as_ptr().expose_provenance() as u64;
        let fd = caller.make(libc::SYS_open, [path, libc::O_NONBLOCK as u64]);
        if fd > 2 {
            let fd = fd.unsigned_abs();
            let length = caller.random.below(4096);
            caller.make(libc::SYS_read, [fd, memory + 40_960, length]);
            caller.make(libc::SYS_getdents64, [fd, memory + 40_960, length]);
            caller.make(libc::SYS_close, [fd]);
        }
    }
}
