// SPDX-License-Identifier: MIT OR Apache-2.0
//! Futexes that are locks: those that know their owner and lend priorities, and what becomes of locks whose owner ends.

use exo_test_support::{call, programs::*};

use crate::support::*;

const WAITERS: u32 = 1 << 31;
const OWNER_DIED: u32 = 1 << 30;

fn lock(word: usize) -> Result {
    futex(abi::FUTEX_LOCK_PI, word, 0, 0, 0, 0)
}

fn unlock(word: usize) -> Result {
    futex(abi::FUTEX_UNLOCK_PI, word, 0, 0, 0, 0)
}

/// A policy and priority.
fn set_scheduler(tid: usize, policy: u32, priority: u32) {
    call!(abi::__NR_sched_setscheduler, tid, policy, put(&priority)).unwrap();
}

#[test]
fn a_lock_has_an_owner_and_goes_to_who_waits() {
    machine(|| {
        let (word, log) = (put(&0_u32), Log::default());
        assert_eq!(lock(word), Ok(0));
        assert_eq!(get::<u32>(word), tid() as u32);
        assert_eq!(lock(word), Err(Errno::EDEADLK));
        let noted = log.clone();
        thread(move || {
            assert_eq!(futex(abi::FUTEX_TRYLOCK_PI, word, 0, 0, 0, 0), Err(Errno::EAGAIN));
            assert_eq!(unlock(word), Err(Errno::EPERM), "it is another's");
            assert_eq!(lock(word), Ok(0));
            noted.note("has it");
            assert_eq!(get::<u32>(word) & !WAITERS, tid() as u32);
            assert_eq!(unlock(word), Ok(0));
        });
        let_others_run();
        assert_eq!(get::<u32>(word), tid() as u32 | WAITERS);
        assert_eq!(log.take(), [""; 0]);
        assert_eq!(unlock(word), Ok(0));
        let_others_run();
        assert_eq!(log.take(), ["has it"]);
        assert_eq!(get::<u32>(word), 0);
    });
}

#[test]
fn the_best_that_waits_gets_it() {
    machine(|| {
        let (word, log) = (put(&0_u32), Log::default());
        lock(word).unwrap();
        for priority in [1, 3, 2] {
            let noted = log.clone();
            thread(move || {
                set_scheduler(0, abi::SCHED_FIFO, priority);
                lock(word).unwrap();
                noted.note(priority.to_string());
                unlock(word).unwrap();
            });
            let_others_run();
        }
        unlock(word).unwrap();
        let_others_run();
        assert_eq!(log.take(), ["3", "2", "1"]);
    });
}

#[test]
fn an_owner_runs_with_the_priority_of_who_waits_for_it() {
    machine(|| {
        let (word, log) = (put(&0_u32), Log::default());
        let noted = log.clone();
        thread(move || {
            lock(word).unwrap();
            user::compute(5 * MS);
            noted.note("low");
            unlock(word).unwrap();
        });
        let_others_run();
        let noted = log.clone();
        thread(move || {
            set_scheduler(0, abi::SCHED_FIFO, 10);
            user::compute(20 * MS);
            noted.note("middle");
        });
        let noted = log.clone();
        set_scheduler(0, abi::SCHED_FIFO, 20);
        lock(word).unwrap();
        noted.note("high");
        unlock(word).unwrap();
        set_scheduler(0, abi::SCHED_NORMAL, 0);
        sleep(100 * MS);
        assert_eq!(
            log.take(),
            ["low", "high", "middle"],
            "the middle one would have kept the low one off the CPU"
        );
    });
}

#[test]
fn a_circle_of_waiting_is_found() {
    machine(|| {
        let (first, second) = (put(&0_u32), put(&0_u32));
        lock(first).unwrap();
        let other = thread(move || {
            lock(second).unwrap();
            lock(first).unwrap();
            unlock(first).unwrap();
            unlock(second).unwrap();
        });
        let_others_run();
        assert_eq!(get::<u32>(second), other as u32);
        assert_eq!(lock(second), Err(Errno::EDEADLK));
        unlock(first).unwrap();
    });
}

#[test]
fn waiting_for_a_lock_may_have_an_end() {
    machine(|| {
        let word = put(&0_u32);
        lock(word).unwrap();
        thread(move || {
            let until = clock(abi::CLOCK_REALTIME) + 10 * MS;
            let until = put(&[until / 1_000_000_000, until % 1_000_000_000]) as u64;
            assert_eq!(futex(abi::FUTEX_LOCK_PI, word, 0, until, 0, 0), Err(Errno::ETIMEDOUT));
        });
        sleep(30 * MS);
        assert_eq!(unlock(word), Ok(0));
        assert_eq!(get::<u32>(word), 0, "nobody waits any more");
    });
}

#[test]
fn a_word_that_names_nobody_is_no_lock() {
    machine(|| {
        let word = put(&99_999_u32);
        assert_eq!(lock(word), Err(Errno::ESRCH));
        assert_eq!(unlock(word), Err(Errno::EPERM));
    });
}

#[test]
fn who_waits_for_a_condition_wakes_with_the_lock() {
    machine(|| {
        let (condition, word, log) = (put(&0_u32), put(&0_u32), Log::default());
        let noted = log.clone();
        thread(move || {
            assert_eq!(futex(abi::FUTEX_WAIT_REQUEUE_PI, condition, 0, 0, word, 0), Ok(0));
            assert_eq!(get::<u32>(word) & !WAITERS, tid() as u32);
            noted.note("woken");
            unlock(word).unwrap();
        });
        let_others_run();
        lock(word).unwrap();
        assert_eq!(futex(abi::FUTEX_CMP_REQUEUE_PI, condition, 1, 10, word, 0), Ok(1));
        let_others_run();
        assert_eq!(log.take(), [""; 0], "the lock is not free");
        unlock(word).unwrap();
        let_others_run();
        assert_eq!(log.take(), ["woken"]);
    });
}

/// A list with one robust lock whose word is `offset` bytes behind the entry.
fn robust_list(is_pending: bool) -> (usize, usize) {
    let (head, entry) = (zeros(24), zeros(16));
    let first = if is_pending { head } else { entry };
    let pending = if is_pending { entry } else { 0 };
    memory::write(head, &[first, 8, pending].map(usize::to_ne_bytes).concat());
    memory::write(entry, &head.to_ne_bytes());
    (head, entry + 8)
}

#[test]
fn locks_of_a_thread_that_ends_are_marked_and_somebody_is_woken() {
    machine(|| {
        for is_pending in [false, true] {
            let (head, word) = robust_list(is_pending);
            let log = Log::default();
            thread(move || {
                call!(abi::__NR_set_robust_list, head, 24).unwrap();
                set_word(word, tid() as u32 | WAITERS);
                sleep(5 * MS);
            });
            let_others_run();
            for number in 0..2 {
                let noted = log.clone();
                thread(move || {
                    let seen = get::<u32>(word);
                    wait_while(word, seen).unwrap();
                    noted.note(format!("{number} {:#x}", get::<u32>(word)));
                });
                let_others_run();
            }
            sleep(10 * MS);
            assert_eq!(log.take(), [format!("0 {:#x}", WAITERS | OWNER_DIED)], "one of them");
            assert_eq!(wake(word, 10), Ok(1));
            let_others_run();
        }
        assert_eq!(call!(abi::__NR_set_robust_list, 8, 23), Err(Errno::EINVAL));
    });
}

#[test]
fn another_threads_lock_is_left_alone() {
    machine(|| {
        let (head, word) = robust_list(false);
        set_word(word, 12_345);
        thread(move || call!(abi::__NR_set_robust_list, head, 24).unwrap());
        sleep(5 * MS);
        assert_eq!(get::<u32>(word), 12_345);
    });
}

#[test]
fn a_list_without_an_end_has_one() {
    machine(|| {
        let entry = zeros(16);
        memory::write(entry, &entry.to_ne_bytes());
        let head = put(&[entry, 8, 0]);
        let child = fork(move || call!(abi::__NR_set_robust_list, head, 24).unwrap());
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn a_lock_with_priorities_is_handed_on_by_who_ends() {
    machine(|| {
        let (word, log) = (put(&0_u32), Log::default());
        thread(move || {
            lock(word).unwrap();
            sleep(5 * MS);
        });
        let_others_run();
        assert_eq!(lock(word), Ok(0));
        log.note("has it");
        assert_eq!(get::<u32>(word) & !WAITERS, tid() as u32 | OWNER_DIED);
    });
}
