// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for children.

use exo_test_support::{call, programs::*};

use crate::support::*;

const P_PID: u32 = 1;
const P_PGID: u32 = 2;

#[test]
fn who_does_not_want_to_wait_is_told_that_there_is_nothing_yet() {
    machine(|| {
        let child = fork(|| sleep(2 * MS));
        assert_eq!(wait(-1, abi::WNOHANG), Ok((0, 0)));
        sleep(4 * MS);
        assert_eq!(wait(-1, abi::WNOHANG), Ok((child, 0)));
        assert_eq!(wait(-1, abi::WNOHANG), Err(Errno::ECHILD));
    });
}

#[test]
fn an_ended_child_is_a_zombie_until_it_is_waited_for() {
    machine(|| {
        let child = fork(|| exit(1));
        let_others_run();
        assert_eq!(stat(child)[0], "Z");
        assert_eq!(kill(child as i64, 0), Ok(0), "its number is taken");
        end_of(child);
        assert_eq!(kill(child as i64, 0), Err(Errno::ESRCH));
        assert_eq!(open(&format!("/proc/{child}/stat"), 0), Err(Errno::ENOENT));
    });
}

#[test]
fn statuses_say_how_it_ended() {
    machine(|| {
        let by_signal = fork(|| call!(abi::__NR_pause));
        let_others_run();
        kill(by_signal as i64, abi::SIGTERM).unwrap();
        assert_eq!(end_of(by_signal), abi::SIGTERM);
        let by_itself = fork(|| exit(0x1ff));
        assert_eq!(end_of(by_itself), exited(0xff), "eight bits of it");
    });
}

#[test]
fn one_child_or_a_group_may_be_meant() {
    machine(|| {
        let first = fork(|| {
            call!(abi::__NR_setpgid, 0, 0).unwrap();
            exit(1);
        });
        let second = fork(|| exit(2));
        let_others_run();
        assert_eq!(wait(second as i64, 0), Ok((second, exited(2))));
        assert_eq!(wait(0, abi::WNOHANG), Err(Errno::ECHILD), "none of one's own group is left");
        assert_eq!(wait(-(first as i64), 0), Ok((first, exited(1))));
        assert_eq!(wait(pid() as i64, 0), Err(Errno::ECHILD), "nobody is one's own child");
    });
}

/// waitid: what it has filled in.
fn wait_id(kind: u32, id: usize, options: u32) -> Result<Info> {
    let info = zeros(128);
    call!(abi::__NR_waitid, kind, id, info, options, 0)?;
    Ok(Info::at(info))
}

#[test]
fn waitid_tells_more_and_may_leave_the_child() {
    machine(|| {
        let child = fork(|| exit(4));
        let info = wait_id(P_PID, child, abi::WEXITED | abi::WNOWAIT).unwrap();
        let said = (info.signal(), info.code(), info.pid() as usize, info.value());
        assert_eq!(said, (abi::SIGCHLD, 1, child, 4), "CLD_EXITED");
        let again = wait_id(P_PID, child, abi::WEXITED).unwrap();
        assert_eq!(again.pid() as usize, child, "it was left");
        assert_eq!(wait_id(P_PID, child, abi::WEXITED).map(|_| ()), Err(Errno::ECHILD));
        let killed = fork(|| call!(abi::__NR_pause));
        let nothing = wait_id(P_PID, killed, abi::WEXITED | abi::WNOHANG).unwrap();
        assert_eq!((nothing.signal(), nothing.pid()), (0, 0), "zeros say that there is nothing");
        kill(killed as i64, abi::SIGKILL).unwrap();
        let info = wait_id(P_PGID, 0, abi::WEXITED).unwrap();
        assert_eq!((info.code(), info.value()), (2, abi::SIGKILL), "CLD_KILLED");
        assert_eq!(wait_id(P_PID, killed, 0).map(|_| ()), Err(Errno::EINVAL), "for what?");
    });
}

#[test]
fn who_ignores_the_ends_of_its_children_has_no_zombies() {
    machine(|| {
        for (handler, flags) in [(1, 0), (0, abi::SA_NOCLDWAIT)] {
            action(abi::SIGCHLD, handler, flags, 0).unwrap();
            let child = fork(|| exit(1));
            assert_eq!(wait(-1, 0), Err(Errno::ECHILD), "it waits until all are gone");
            assert_eq!(kill(child as i64, 0), Err(Errno::ESRCH));
        }
    });
}

#[test]
fn a_signal_ends_the_wait() {
    machine(|| {
        on_signal(abi::SIGALRM, 0, || {});
        let child = fork(|| sleep(50 * MS));
        call!(abi::__NR_setitimer, 0, put(&[0_u64, 0, 0, 10_000]), 0).unwrap();
        assert_eq!(wait(child as i64, 0), Err(Errno::EINTR));
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn a_thread_may_wait_for_its_own_children_alone() {
    machine(|| {
        let child = fork(|| exit(6));
        thread(move || {
            assert_eq!(wait(-1, abi::__WNOTHREAD), Err(Errno::ECHILD), "another thread made it");
            assert_eq!(wait(child as i64, 0), Ok((child, exited(6))));
        });
        let_others_run();
    });
}

#[test]
fn what_children_used_is_their_parents_once_they_are_waited_for() {
    machine(|| {
        const RUSAGE_CHILDREN: i32 = -1;
        let used = || {
            let at = zeros(144);
            call!(abi::__NR_getrusage, RUSAGE_CHILDREN, at).unwrap();
            let [seconds, micros] = get::<[u64; 2]>(at);
            seconds * 1000 + micros / 1000
        };
        let child = fork(|| user::compute(300 * MS));
        sleep(400 * MS);
        assert_eq!(used(), 0);
        let status = reserve(4);
        let usage = zeros(144);
        call!(abi::__NR_wait4, child, status, 0, usage).unwrap();
        assert_eq!(used(), 300);
        assert_eq!(get::<[u64; 2]>(usage), [0, 300_000]);
    });
}
