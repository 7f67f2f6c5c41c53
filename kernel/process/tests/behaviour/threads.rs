// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads: what they share, and how they and their process end.

use exo_test_support::{call, programs::*};

use crate::support::*;

#[test]
fn threads_share_the_process_and_have_numbers_of_their_own() {
    machine(|| {
        let (own, word) = (pid(), put(&0_u32));
        let other = thread(move || {
            assert_eq!(pid(), own);
            assert_ne!(tid(), own);
            set_word(word, tid() as u32);
        });
        let_others_run();
        assert_eq!(get::<u32>(word) as usize, other);
        assert_eq!(tid(), own, "the first thread has the process's");
    });
}

#[test]
fn a_process_lives_as_long_as_one_of_its_threads() {
    machine(|| {
        let child = fork(|| {
            thread(|| {
                sleep(5 * MS);
                exit(4);
            });
            let _ = call!(abi::__NR_exit, 1);
        });
        sleep(2 * MS);
        assert_eq!(wait(child as i64, abi::WNOHANG), Ok((0, 0)));
        assert_eq!(end_of(child), exited(4));
        let child = fork(|| {
            thread(|| {
                sleep(5 * MS);
                let _ = call!(abi::__NR_exit, 8);
            });
            let _ = call!(abi::__NR_exit, 1);
        });
        assert_eq!(end_of(child), exited(8), "the last one's status");
    });
}

#[test]
fn the_end_of_a_process_is_that_of_all_its_threads() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        let child = fork(move || {
            for _ in 0..5 {
                let noted = noted.clone();
                thread(move || {
                    sleep(10 * MS);
                    noted.note("lives on");
                });
            }
            let_others_run();
            exit(3);
        });
        assert_eq!(end_of(child), exited(3));
        sleep(20 * MS);
        assert_eq!(log.take(), [""; 0]);
    });
}

#[test]
fn a_signal_that_ends_ends_all_threads() {
    machine(|| {
        let child = fork(|| {
            let other = thread(|| call!(abi::__NR_pause));
            let_others_run();
            call!(abi::__NR_tgkill, pid(), other, abi::SIGTERM).unwrap();
            sleep(1000 * MS);
        });
        assert_eq!(end_of(child), abi::SIGTERM);
    });
}

#[test]
fn who_starts_a_program_becomes_the_first_thread() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        make_program("program", move || {
            noted.note(format!("{}", pid() == tid()));
            noted.note(format!("{} thread", names(&format!("/proc/{}/task", pid())).len()));
        });
        let child = fork(|| {
            thread(|| {
                exec("program", &["program"], &[]);
            });
            sleep(1000 * MS);
            exit(99);
        });
        assert_eq!(end_of(child), 0);
        assert_eq!(log.take(), ["true", "1 thread"]);
    });
}

#[test]
fn a_thread_of_another_process_cannot_be_named() {
    machine(|| {
        let child = fork(|| sleep(10 * MS));
        assert_eq!(call!(abi::__NR_tgkill, pid(), child, 0), Err(Errno::ESRCH));
        assert_eq!(call!(abi::__NR_tgkill, child, child, 0), Ok(0));
        assert_eq!(call!(abi::__NR_tgkill, 0, child, 0), Err(Errno::EINVAL));
    });
}
