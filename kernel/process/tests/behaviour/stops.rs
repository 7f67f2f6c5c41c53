// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stop and continue.

use exo_test_support::{call, programs::*};

use crate::support::*;

/// A child in a group that its parent could continue.
fn job<R>(code: impl FnOnce() -> R + Send + 'static) -> usize {
    let child = fork(code);
    call!(abi::__NR_setpgid, child, 0).unwrap();
    child
}

#[test]
fn a_stopped_process_does_nothing_until_it_is_continued() {
    machine(|| {
        for signal in [abi::SIGSTOP, abi::SIGTSTP, abi::SIGTTIN, abi::SIGTTOU] {
            let log = Log::default();
            let noted = log.clone();
            let child = job(move || {
                sleep(2 * MS);
                noted.note("done");
            });
            kill(child as i64, signal).unwrap();
            assert_eq!(wait(child as i64, abi::WUNTRACED), Ok((child, stopped(signal))));
            assert_eq!(stat(child)[0], "T");
            sleep(10 * MS);
            assert_eq!(log.take(), [""; 0]);
            kill(child as i64, abi::SIGCONT).unwrap();
            assert_eq!(wait(child as i64, abi::WCONTINUED), Ok((child, 0xffff)));
            assert_eq!(end_of(child), 0);
            assert_eq!(log.take(), ["done"]);
        }
    });
}

#[test]
fn each_stop_is_told_once_and_only_to_who_asks() {
    machine(|| {
        let child = job(|| call!(abi::__NR_pause));
        kill(child as i64, abi::SIGSTOP).unwrap();
        let_others_run();
        assert_eq!(wait(-1, abi::WNOHANG), Ok((0, 0)), "who asks for ends is not told");
        assert_eq!(wait(-1, abi::WNOHANG | abi::WUNTRACED), Ok((child, stopped(abi::SIGSTOP))));
        assert_eq!(wait(-1, abi::WNOHANG | abi::WUNTRACED), Ok((0, 0)));
        kill(child as i64, abi::SIGCONT).unwrap();
        assert_eq!(wait(-1, abi::WNOHANG | abi::WUNTRACED), Ok((0, 0)));
        assert_eq!(wait(-1, abi::WNOHANG | abi::WCONTINUED), Ok((child, 0xffff)));
        assert_eq!(wait(-1, abi::WNOHANG | abi::WCONTINUED), Ok((0, 0)));
        kill(child as i64, abi::SIGKILL).unwrap();
    });
}

#[test]
fn a_parent_gets_a_signal_for_stop_and_continue_unless_it_said_no() {
    machine(|| {
        for (flags, count) in [(0, 2), (abi::SA_NOCLDSTOP, 0)] {
            let log = Log::default();
            let noted = log.clone();
            let code = user::handler(move || {
                let info = Info::at(user::regs().rsi as usize);
                noted.note(format!("{} {}", info.code(), info.value()));
            });
            action(abi::SIGCHLD, code, flags | abi::SA_SIGINFO, 0).unwrap();
            let child = job(|| call!(abi::__NR_pause));
            kill(child as i64, abi::SIGSTOP).unwrap();
            sleep(MS);
            kill(child as i64, abi::SIGCONT).unwrap();
            sleep(MS);
            let notes = log.take();
            assert_eq!(notes.len(), count);
            if count == 2 {
                assert_eq!(notes, [format!("5 {}", abi::SIGSTOP), format!("6 {}", abi::SIGCONT)]);
            }
            action(abi::SIGCHLD, 0, 0, 0).unwrap();
            kill(child as i64, abi::SIGKILL).unwrap();
            end_of(child);
        }
    });
}

#[test]
fn a_stop_takes_back_a_continue_and_the_other_way_round() {
    machine(|| {
        let child = job(|| {
            mask(abi::SIG_BLOCK, signals(&[abi::SIGTSTP, abi::SIGCONT]));
            sleep(5 * MS);
            assert_eq!(pending(), signals(&[abi::SIGCONT]));
            sleep(5 * MS);
            assert_eq!(pending(), signals(&[abi::SIGTSTP]));
        });
        sleep(2 * MS);
        kill(child as i64, abi::SIGTSTP).unwrap();
        kill(child as i64, abi::SIGCONT).unwrap();
        sleep(5 * MS);
        kill(child as i64, abi::SIGTSTP).unwrap();
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn nobody_is_too_stopped_to_be_killed() {
    machine(|| {
        let child = job(|| call!(abi::__NR_pause));
        kill(child as i64, abi::SIGSTOP).unwrap();
        let_others_run();
        kill(child as i64, abi::SIGTERM).unwrap();
        let_others_run();
        assert_eq!(wait(child as i64, abi::WNOHANG), Ok((0, 0)), "an ordinary signal waits");
        kill(child as i64, abi::SIGKILL).unwrap();
        assert_eq!(end_of(child), abi::SIGKILL);
    });
}

#[test]
fn all_threads_stop_and_go_on() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        let child = job(move || {
            let others = noted.clone();
            thread(move || {
                user::compute(20 * MS);
                others.note("second");
            });
            user::compute(20 * MS);
            noted.note("first");
        });
        sleep(5 * MS);
        kill(child as i64, abi::SIGSTOP).unwrap();
        assert_eq!(wait(child as i64, abi::WUNTRACED), Ok((child, stopped(abi::SIGSTOP))));
        sleep(100 * MS);
        assert_eq!(log.take(), [""; 0]);
        kill(child as i64, abi::SIGCONT).unwrap();
        end_of(child);
        let mut notes = log.take();
        notes.sort();
        assert_eq!(notes, ["first", "second"]);
    });
}
