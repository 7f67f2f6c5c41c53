// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals: full queues, blocked and ignored ones, timers that run out every microsecond, stops and continues.

use super::shared::Caller;

pub(super) fn step(caller: &mut Caller<'_>) {
    let me: u64 = std::process::id().into();
    let memory = caller.memory();
    match caller.random.below(5) {
        0 => {
            // Timers, as often as there are microseconds.
            let timer = caller.random.below(3);
            let value: [u64; 4] = [0, 1 + caller.random.below(50), 0, 1 + caller.random.below(50)];
            let value = value.as_ptr().expose_provenance() as u64;
            caller.make(libc::SYS_rt_sigprocmask, [0, full_mask(), 0, 8]);
            caller.make(libc::SYS_setitimer, [timer, value, 0]);
            for _ in 0..20 {
                caller.make(libc::SYS_sched_yield, []);
            }
            let off = [0_u64; 4];
            caller.make(libc::SYS_setitimer, [timer, off.as_ptr().expose_provenance() as u64, 0]);
        }
        1 => {
            caller.make(libc::SYS_rt_sigprocmask, [0, full_mask(), 0, 8]);
            let signal = 32 + caller.random.below(33);
            for _ in 0..caller.random.below(300) {
                caller.make(libc::SYS_rt_sigqueueinfo, [me, signal, memory]);
                caller.make(libc::SYS_tgkill, [me, me, signal]);
            }
        }
        2 => {
            // A handler that is nowhere, or ignoring.
            let action: [u64; 4] = [caller.random.below(3), 0x4400_0000, 0, 0];
            let (signal, action) = (1 + caller.random.below(64), action.as_ptr().expose_provenance() as u64);
            caller.make(libc::SYS_rt_sigaction, [signal, action, 0, 8]);
            caller.make(libc::SYS_kill, [me, signal]);
        }
        3 => {
            let time: [u64; 2] = [0, caller.random.below(1_000_000)];
            let time = time.as_ptr().expose_provenance() as u64;
            caller.make(libc::SYS_rt_sigtimedwait, [full_mask(), memory, time, 8]);
            caller.make(libc::SYS_rt_sigpending, [memory, 8]);
        }
        _ => {
            let stack: [u64; 3] = [memory, caller.random.below(1 << 31), 32 << 10];
            caller.make(libc::SYS_sigaltstack, [stack.as_ptr().expose_provenance() as u64, 0]);
            caller.make(libc::SYS_kill, [me, libc::SIGCONT as u64]);
        }
    }
}

fn full_mask() -> u64 {
    static MASK: u64 = u64::MAX;
    (&raw const MASK).expose_provenance() as u64
}
