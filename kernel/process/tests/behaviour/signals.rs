// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals: what is sent, to whom, what waits in which order, and what is done by default.

use exo_test_support::{call, programs::*};

use crate::support::*;

/// Real-time signals, as the kernel counts them.
const FIRST: u32 = 34;

#[test]
fn a_standard_signal_is_pending_once_and_real_time_signals_queue_up() {
    machine(|| {
        mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1, FIRST]));
        for value in 1..=3 {
            queue(pid(), abi::SIGUSR1, value).unwrap();
            queue(pid(), FIRST, 10 * value).unwrap();
        }
        assert_eq!(pending(), signals(&[abi::SIGUSR1, FIRST]));
        let mut values = Vec::new();
        while let Ok(info) = take_signal(signals(&[abi::SIGUSR1, FIRST]), 0) {
            assert_eq!((info.code(), info.pid() as usize), (SI_QUEUE, pid()));
            values.push(info.value());
        }
        assert_eq!(values, [1, 10, 20, 30], "the first of them, and all in order");
        assert_eq!(pending(), 0);
    });
}

#[test]
fn lower_numbers_come_first_and_faults_before_them() {
    machine(|| {
        let log = Log::default();
        let all = [FIRST + 1, abi::SIGUSR2, FIRST, abi::SIGHUP, abi::SIGSEGV];
        mask(abi::SIG_BLOCK, signals(&all));
        for signal in all {
            let noted = log.clone();
            // With all of them blocked in each handler, so that one runs after the other.
            let code = user::handler(move || noted.note(signal.to_string()));
            action(signal, code, 0, u64::MAX).unwrap();
            kill(pid() as i64, signal).unwrap();
        }
        mask(abi::SIG_UNBLOCK, signals(&all));
        let order = [abi::SIGSEGV, abi::SIGHUP, abi::SIGUSR2, FIRST, FIRST + 1];
        assert_eq!(log.take(), order.map(|signal| signal.to_string()));
    });
}

#[test]
fn a_signal_to_a_process_is_taken_by_a_thread_that_has_it_not_blocked() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        on_signal(abi::SIGUSR1, 0, move || noted.note(tid().to_string()));
        mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1]));
        let other = thread(|| {
            mask(abi::SIG_UNBLOCK, signals(&[abi::SIGUSR1]));
            assert_eq!(call!(abi::__NR_pause), Err(Errno::EINTR));
        });
        let_others_run();
        kill(pid() as i64, abi::SIGUSR1).unwrap();
        let_others_run();
        assert_eq!(log.take(), [other.to_string()]);
        kill(pid() as i64, abi::SIGUSR1).unwrap();
        assert_eq!(pending(), signals(&[abi::SIGUSR1]), "nobody else would take it");
    });
}

#[test]
fn a_signal_to_a_thread_is_its_own() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        on_signal(abi::SIGUSR1, 0, move || noted.note(tid().to_string()));
        let other = thread(|| {
            mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1]));
            sleep(5 * MS);
            assert_eq!(pending(), signals(&[abi::SIGUSR1]));
        });
        let_others_run();
        call!(abi::__NR_tgkill, pid(), other, abi::SIGUSR1).unwrap();
        assert_eq!(pending(), 0);
        sleep(10 * MS);
        assert_eq!(log.take(), [""; 0], "it went with the thread");
    });
}

#[test]
fn what_signals_do_by_default() {
    machine(|| {
        for signal in 1..=64_u32 {
            let ends = match signal {
                abi::SIGCHLD | abi::SIGCONT | abi::SIGURG | abi::SIGWINCH => false,
                abi::SIGSTOP | abi::SIGTSTP | abi::SIGTTIN | abi::SIGTTOU => continue,
                _ => true,
            };
            let child = fork(move || {
                kill(pid() as i64, signal).unwrap();
                exit(9);
            });
            let expected = if ends { signal } else { exited(9) };
            assert_eq!(end_of(child), expected, "signal {signal}");
        }
    });
}

#[test]
fn kill_and_stop_cannot_be_blocked_ignored_or_caught() {
    machine(|| {
        for signal in [abi::SIGKILL, abi::SIGSTOP] {
            assert_eq!(action(signal, 1, 0, 0), Err(Errno::EINVAL));
            assert_eq!(action(signal, user::handler(|| {}), 0, 0), Err(Errno::EINVAL));
        }
        mask(abi::SIG_SETMASK, u64::MAX);
        assert_eq!(mask(abi::SIG_SETMASK, 0), !signals(&[abi::SIGKILL, abi::SIGSTOP]));
        let child = fork(|| {
            mask(abi::SIG_SETMASK, u64::MAX);
            sleep(1000 * MS);
        });
        let_others_run();
        kill(child as i64, abi::SIGKILL).unwrap();
        assert_eq!(end_of(child), abi::SIGKILL);
    });
}

#[test]
fn what_is_ignored_is_not_even_pending() {
    machine(|| {
        mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1]));
        action(abi::SIGUSR1, 1, 0, 0).unwrap();
        kill(pid() as i64, abi::SIGUSR1).unwrap();
        assert_eq!(
            pending(),
            signals(&[abi::SIGUSR1]),
            "but for one that is blocked: it may not be ignored later"
        );
        action(abi::SIGUSR1, 0, 0, 0).unwrap();
        kill(pid() as i64, abi::SIGUSR1).unwrap();
        assert_eq!(pending(), signals(&[abi::SIGUSR1]));
        action(abi::SIGUSR1, 1, 0, 0).unwrap();
        assert_eq!(pending(), 0, "it is thrown away when it is ignored from now on");
    });
}

#[test]
fn who_may_send_to_whom() {
    machine(|| {
        let target = fork(|| {
            call!(abi::__NR_setresuid, 5, 5, 5).unwrap();
            sleep(50 * MS);
        });
        let_others_run();
        let own_session = fork(move || {
            call!(abi::__NR_setresuid, 6, 6, 6).unwrap();
            assert_eq!(kill(target as i64, abi::SIGTERM), Err(Errno::EPERM));
            assert_eq!(kill(target as i64, 0), Err(Errno::EPERM));
            assert_eq!(kill(target as i64, abi::SIGCONT), Ok(0), "within a session");
            assert_eq!(kill(99_999, 0), Err(Errno::ESRCH));
            assert_eq!(kill(pid() as i64, 65), Err(Errno::EINVAL));
        });
        assert_eq!(end_of(own_session), 0);
        let other_session = fork(move || {
            call!(abi::__NR_setsid).unwrap();
            call!(abi::__NR_setresuid, 6, 6, 6).unwrap();
            assert_eq!(kill(target as i64, abi::SIGCONT), Err(Errno::EPERM));
        });
        assert_eq!(end_of(other_session), 0);
        let same = fork(move || {
            call!(abi::__NR_setresuid, 5, 5, 5).unwrap();
            assert_eq!(kill(target as i64, abi::SIGTERM), Ok(0));
        });
        assert_eq!(end_of(same), 0);
        assert_eq!(end_of(target), abi::SIGTERM);
    });
}

#[test]
fn nobody_says_that_a_signal_is_the_kernels() {
    machine(|| {
        let child = fork(|| sleep(10 * MS));
        let mut info = [0_u32; 32];
        for code in [0, -6_i32, 1] {
            (info[0], info[2]) = (abi::SIGUSR1, code as u32);
            let sent = call!(abi::__NR_rt_sigqueueinfo, child, abi::SIGUSR1, put(&info));
            assert_eq!(sent, Err(Errno::EPERM), "code {code}");
        }
        end_of(child);
    });
}

#[test]
fn a_queue_is_as_long_as_the_limit_says() {
    machine(|| {
        let child = fork(|| {
            call!(abi::__NR_setresuid, 7, 7, 7).unwrap();
            set_limit(abi::RLIMIT_SIGPENDING, 3);
            mask(abi::SIG_BLOCK, u64::MAX);
            for value in 0..3 {
                assert_eq!(queue(pid(), FIRST, value), Ok(0));
            }
            assert_eq!(queue(pid(), FIRST, 3), Err(Errno::EAGAIN));
            assert_eq!(kill(pid() as i64, abi::SIGUSR1), Ok(0), "a standard signal always goes");
            let codes: Vec<_> =
                std::iter::from_fn(|| take_signal(u64::MAX, 0).ok()).map(|info| info.signal()).collect();
            assert_eq!(codes, [abi::SIGUSR1, FIRST, FIRST, FIRST]);
            assert_eq!(queue(pid(), FIRST, 4), Ok(0), "there is room again");
        });
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn waiting_for_a_signal() {
    machine(|| {
        mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1]));
        let before = clock(abi::CLOCK_MONOTONIC);
        assert_eq!(take_signal(signals(&[abi::SIGUSR1]), 20).map(|_| ()), Err(Errno::EAGAIN));
        assert!(clock(abi::CLOCK_MONOTONIC) - before >= 20 * MS);
        let parent = pid();
        let child = fork(move || kill(parent as i64, abi::SIGUSR1).unwrap());
        let info = take_signal(signals(&[abi::SIGUSR1]), 1000).unwrap();
        assert_eq!((info.code(), info.pid() as usize), (0, child), "SI_USER");
        on_signal(abi::SIGUSR2, 0, || {});
        fork(move || kill(parent as i64, abi::SIGUSR2).unwrap());
        assert_eq!(take_signal(signals(&[abi::SIGUSR1]), 1000).map(|_| ()), Err(Errno::EINTR), "another one");
    });
}

#[test]
fn a_mask_may_be_in_force_for_one_wait() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        on_signal(abi::SIGUSR1, 0, move || {
            noted.note(format!("handler {:#x}", mask(abi::SIG_BLOCK, 0)));
        });
        mask(abi::SIG_SETMASK, signals(&[abi::SIGUSR1]));
        kill(pid() as i64, abi::SIGUSR1).unwrap();
        let during = signals(&[abi::SIGHUP]);
        assert_eq!(call!(abi::__NR_rt_sigsuspend, put(&during), 8), Err(Errno::EINTR));
        assert_eq!(mask(abi::SIG_BLOCK, 0), signals(&[abi::SIGUSR1]), "the old one is back");
        assert_eq!(log.take(), [format!("handler {:#x}", during | signals(&[abi::SIGUSR1]))]);
    });
}

#[test]
fn all_processes_but_the_first_and_oneself_may_be_meant() {
    machine(|| {
        let children: Vec<_> = (0..3).map(|_| fork(|| sleep(1000 * MS))).collect();
        let_others_run();
        assert_eq!(kill(-1, abi::SIGTERM), Ok(0));
        for child in children {
            assert_eq!(end_of(child), abi::SIGTERM);
        }
    });
}

#[test]
fn a_wait_that_ends_by_itself_gives_the_mask_back() {
    machine(|| {
        mask(abi::SIG_SETMASK, signals(&[abi::SIGUSR1]));
        let (limit, during) = (put(&[0, MS]), put(&signals(&[abi::SIGHUP])));
        assert_eq!(call!(abi::__NR_ppoll, 0, 0, limit, during, 8), Ok(0));
        assert_eq!(mask(abi::SIG_BLOCK, 0), signals(&[abi::SIGUSR1]));
        action(abi::SIGUSR2, 1, 0, 0).unwrap();
        let parent = pid();
        fork(move || kill(parent as i64, abi::SIGCONT).unwrap());
        let limit = put(&[0, 10 * MS]);
        assert_eq!(call!(abi::__NR_ppoll, 0, 0, limit, during, 8), Ok(0), "what is ignored ends no wait");
        assert_eq!(mask(abi::SIG_BLOCK, 0), signals(&[abi::SIGUSR1]));
    });
}
