// SPDX-License-Identifier: MIT OR Apache-2.0
//! Process groups and sessions.

use exo_test_support::{call, programs::*};

use crate::support::*;

fn set_group(pid: usize, group: usize) -> Result {
    call!(abi::__NR_setpgid, pid, group)
}

fn session_of(pid: usize) -> Result {
    call!(abi::__NR_getsid, pid)
}

#[test]
fn a_group_is_its_childrens_until_they_have_another() {
    machine(|| {
        let group = group_of(0).unwrap();
        let child = fork(|| sleep(10 * MS));
        assert_eq!(group_of(child), Ok(group));
        assert_eq!(set_group(child, 0), Ok(0), "a parent may do that");
        assert_eq!(group_of(child), Ok(child));
        let second = fork(|| sleep(10 * MS));
        assert_eq!(set_group(second, child), Ok(0), "another's group");
        assert_eq!(group_of(second), Ok(child));
        assert_eq!(group_of(99_999), Err(Errno::ESRCH));
    });
}

#[test]
fn not_every_group_may_be_chosen() {
    machine(|| {
        assert_eq!(set_group(0, 99_999), Err(Errno::EPERM), "there is no such group");
        assert_eq!(set_group(1, 0), Err(Errno::ESRCH), "neither oneself nor a child");
        assert_eq!(call!(abi::__NR_setpgid, 0, -1), Err(Errno::EINVAL));
        let other = fork(|| {
            call!(abi::__NR_setsid).unwrap();
            assert_eq!(set_group(0, 0), Err(Errno::EPERM), "who leads a session stays in its group");
            sleep(10 * MS);
        });
        let_others_run();
        assert_eq!(set_group(other, 0), Err(Errno::EPERM), "a child of another session");
        assert_eq!(set_group(0, other), Err(Errno::EPERM), "a group of another session");
        make_program("program", || sleep(10 * MS));
        let started = fork(|| exec("program", &[], &[]));
        let_others_run();
        assert_eq!(set_group(started, 0), Err(Errno::EACCES), "a child that has started a program");
    });
}

#[test]
fn a_session_begins_with_its_leader() {
    machine(|| {
        let old = session_of(0).unwrap();
        let child = fork(move || {
            assert_eq!(session_of(0), Ok(old));
            assert_eq!(call!(abi::__NR_setsid), Ok(pid()));
            assert_eq!((session_of(0), group_of(0)), (Ok(pid()), Ok(pid())));
            assert_eq!(call!(abi::__NR_setsid), Err(Errno::EPERM), "it leads a group");
        });
        assert_eq!(end_of(child), 0);
        assert_eq!(session_of(0), Ok(old));
    });
}

#[test]
fn a_signal_may_go_to_a_group() {
    machine(|| {
        let log = Log::default();
        let mut group = 0;
        for name in ["first", "second", "other"] {
            let log = log.clone();
            let child = fork(move || {
                let noted = log.clone();
                on_signal(abi::SIGUSR1, 0, move || noted.note(name));
                sleep(20 * MS);
            });
            group = if group == 0 { child } else { group };
            set_group(child, if name == "other" { 0 } else { group }).unwrap();
        }
        let_others_run();
        assert_eq!(kill(-(group as i64), abi::SIGUSR1), Ok(0));
        let_others_run();
        assert_eq!(log.take(), ["first", "second"]);
        assert_eq!(kill(-99_999, abi::SIGUSR1), Err(Errno::ESRCH));
    });
}

#[test]
fn a_stopped_group_that_becomes_orphaned_is_hung_up_and_continued() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        let shell = fork(move || {
            call!(abi::__NR_setsid).unwrap();
            let job = fork(move || {
                let (hung_up, continued) = (noted.clone(), noted.clone());
                on_signal(abi::SIGHUP, 0, move || hung_up.note("hung up"));
                on_signal(abi::SIGCONT, 0, move || continued.note("continued"));
                kill(0, abi::SIGSTOP).unwrap();
                noted.note("goes on");
            });
            set_group(job, 0).unwrap();
            assert_eq!(wait(job as i64, abi::WUNTRACED), Ok((job, stopped(abi::SIGSTOP))));
        });
        assert_eq!(end_of(shell), 0);
        let_others_run();
        let mut notes = log.take();
        assert_eq!(notes.pop().as_deref(), Some("goes on"));
        notes.sort();
        assert_eq!(notes, ["continued", "hung up"]);
    });
}

#[test]
fn a_terminals_stop_does_nothing_to_a_group_that_nobody_could_continue() {
    machine(|| {
        let child = fork(|| {
            call!(abi::__NR_setsid).unwrap();
            kill(pid() as i64, abi::SIGTSTP).unwrap();
            exit(5);
        });
        assert_eq!(wait(child as i64, abi::WUNTRACED), Ok((child, exited(5))));
        let child = fork(|| {
            call!(abi::__NR_setsid).unwrap();
            kill(pid() as i64, abi::SIGSTOP).unwrap();
            exit(5);
        });
        assert_eq!(
            wait(child as i64, abi::WUNTRACED),
            Ok((child, stopped(abi::SIGSTOP))),
            "but on purpose it does"
        );
        kill(child as i64, abi::SIGKILL).unwrap();
    });
}
