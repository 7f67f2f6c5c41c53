// SPDX-License-Identifier: MIT OR Apache-2.0
//! Futexes: waiting for a word to change, and waking those that wait.

use exo_test_support::{call, programs::*};

use crate::support::*;

/// Starts threads that wait for a word to be other than 0, and note their numbers when they go on.
fn waiters(count: usize, word: usize, log: &Log) {
    for number in 0..count {
        let noted = log.clone();
        thread(move || {
            assert_eq!(wait_while(word, 0), Ok(0));
            noted.note(number.to_string());
        });
        let_others_run();
    }
}

#[test]
fn who_waits_is_woken_in_order() {
    machine(|| {
        let (word, log) = (put(&0_u32), Log::default());
        waiters(4, word, &log);
        assert_eq!(wake(word, 1), Ok(1));
        let_others_run();
        assert_eq!(log.take(), ["0"]);
        assert_eq!(wake(word, 2), Ok(2));
        let_others_run();
        assert_eq!(log.take(), ["1", "2"]);
        assert_eq!(wake(word, 100), Ok(1));
        assert_eq!(wake(word, 100), Ok(0));
    });
}

#[test]
fn who_sees_that_the_word_has_changed_does_not_wait() {
    machine(|| {
        let word = put(&5_u32);
        assert_eq!(wait_while(word, 4), Err(Errno::EAGAIN));
        assert_eq!(wait_while(word + 2, 0), Err(Errno::EINVAL), "no place for a word");
        assert_eq!(wait_while(8, 0), Err(Errno::EFAULT));
    });
}

#[test]
fn waiting_ends_in_time_or_by_a_signal() {
    machine(|| {
        let word = put(&0_u32);
        let limit = put(&[0, 20 * MS]) as u64;
        let before = clock(abi::CLOCK_MONOTONIC);
        assert_eq!(futex(abi::FUTEX_WAIT, word, 0, limit, 0, 0), Err(Errno::ETIMEDOUT));
        let waited = clock(abi::CLOCK_MONOTONIC) - before;
        assert!((20 * MS..22 * MS).contains(&waited), "{waited} ns");
        let until = clock(abi::CLOCK_MONOTONIC) + 30 * MS;
        let until = put(&[until / 1_000_000_000, until % 1_000_000_000]) as u64;
        let before = clock(abi::CLOCK_MONOTONIC);
        assert_eq!(futex(abi::FUTEX_WAIT_BITSET, word, 0, until, 0, 1), Err(Errno::ETIMEDOUT));
        let waited = clock(abi::CLOCK_MONOTONIC) - before;
        assert!((28 * MS..=31 * MS).contains(&waited), "a time of the clock: {waited} ns");
        let child = fork(move || {
            on_signal(abi::SIGUSR1, 0, || {});
            assert_eq!(wait_while(word, 0), Err(Errno::EINTR));
        });
        let_others_run();
        kill(child as i64, abi::SIGUSR1).unwrap();
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn a_word_in_shared_memory_is_the_same_for_all_who_have_it() {
    machine(|| {
        let word = map_shared(4096).unwrap();
        let child = fork(move || assert_eq!(wait_while(word, 0), Ok(0)));
        let private = fork(move || {
            let result =
                futex(abi::FUTEX_WAIT | abi::FUTEX_PRIVATE_FLAG, word, 0, put(&[0, 50 * MS]) as u64, 0, 0);
            assert_eq!(result, Err(Errno::ETIMEDOUT), "who says that it is private is not found");
        });
        let_others_run();
        assert_eq!(wake(word, 10), Ok(1));
        assert_eq!((end_of(child), end_of(private)), (0, 0));
    });
}

#[test]
fn who_waits_in_shared_memory_is_found_when_its_page_was_taken_back() {
    machine(|| {
        let word = map_shared(4096).unwrap();
        set_word(word, 7);
        let child = fork(move || assert_eq!(wait_while(word, 7), Ok(0)));
        let_others_run();
        call!(abi::__NR_madvise, word, 4096, abi::MADV_REMOVE).unwrap();
        assert_eq!(get::<u32>(word), 0);
        assert_eq!(wake(word, 10), Ok(1));
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn private_memory_of_two_processes_is_not_the_same() {
    machine(|| {
        let word = put(&0_u32);
        let child = fork(move || {
            let limit = put(&[0, 10 * MS]) as u64;
            assert_eq!(futex(abi::FUTEX_WAIT, word, 0, limit, 0, 0), Err(Errno::ETIMEDOUT));
        });
        let_others_run();
        assert_eq!(wake(word, 10), Ok(0));
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn bits_choose_who_is_woken() {
    machine(|| {
        let (word, log) = (put(&0_u32), Log::default());
        for bits in [1, 2, 3] {
            let noted = log.clone();
            thread(move || {
                assert_eq!(futex(abi::FUTEX_WAIT_BITSET, word, 0, 0, 0, bits), Ok(0));
                noted.note(bits.to_string());
            });
            let_others_run();
        }
        let wake_bits = |bits| futex(abi::FUTEX_WAKE_BITSET, word, 10, 0, 0, bits);
        assert_eq!(wake_bits(4), Ok(0));
        assert_eq!(wake_bits(2), Ok(2));
        let_others_run();
        assert_eq!(log.take(), ["2", "3"]);
        assert_eq!(wake_bits(0), Err(Errno::EINVAL));
        assert_eq!(futex(abi::FUTEX_WAIT_BITSET, word, 0, 0, 0, 0), Err(Errno::EINVAL));
        assert_eq!(wake(word, 10), Ok(1));
    });
}

#[test]
fn waiters_can_be_moved_to_another_word() {
    machine(|| {
        let (first, second, log) = (put(&0_u32), put(&0_u32), Log::default());
        waiters(4, first, &log);
        let moved = futex(abi::FUTEX_CMP_REQUEUE, first, 1, 2, second, 7);
        assert_eq!(moved, Err(Errno::EAGAIN), "the word is not as it was said to be");
        assert_eq!(futex(abi::FUTEX_CMP_REQUEUE, first, 1, 2, second, 0), Ok(3), "woken and moved");
        let_others_run();
        assert_eq!(log.take(), ["0"]);
        assert_eq!(wake(second, 10), Ok(2));
        let_others_run();
        assert_eq!(log.take(), ["1", "2"]);
        assert_eq!(wake(first, 10), Ok(1));
        assert_eq!(futex(abi::FUTEX_REQUEUE, first, u32::MAX, 0, second, 0), Err(Errno::EINVAL));
    });
}

#[test]
fn one_call_may_change_one_word_and_wake_at_two() {
    machine(|| {
        let (first, second, log) = (put(&0_u32), put(&0_u32), Log::default());
        waiters(1, first, &log);
        waiters(1, second, &log);
        // FUTEX_OP_ADD 5, and at the second if it was equal to 0.
        let operation = (1 << 28) | (5 << 12);
        assert_eq!(futex(abi::FUTEX_WAKE_OP, first, 10, 10, second, operation), Ok(2));
        assert_eq!(get::<u32>(second), 5);
        // Now it is not 0: FUTEX_OP_OR 2.
        let operation = (2 << 28) | (2 << 12);
        assert_eq!(futex(abi::FUTEX_WAKE_OP, first, 10, 10, second, operation), Ok(0));
        assert_eq!(get::<u32>(second), 7);
        assert_eq!(futex(abi::FUTEX_WAKE_OP, first, 1, 1, second, 7 << 28), Err(Errno::ENOSYS));
    });
}

#[test]
fn one_may_wait_for_several_words() {
    machine(|| {
        let words = [0_u32; 3].map(|word| put(&word));
        let list = |values: [u32; 3]| {
            let entries = words.iter().zip(values).flat_map(|(at, value)| [u64::from(value), *at as u64, 2]);
            put(&entries.collect::<Vec<u64>>()[..])
        };
        let log = Log::default();
        let (noted, waited) = (log.clone(), list([0; 3]));
        thread(move || {
            noted.note(format!("{:?}", call!(abi::__NR_futex_waitv, waited, 3, 0, 0, 0)));
        });
        let_others_run();
        assert_eq!(wake(words[1], 1), Ok(1));
        let_others_run();
        assert_eq!(log.take(), ["Ok(1)"], "the place of the one that was woken");
        assert_eq!(wake(words[0], 1), Ok(0), "nobody waits there any more");
        assert_eq!(call!(abi::__NR_futex_waitv, list([0, 9, 0]), 3, 0, 0, 0), Err(Errno::EAGAIN));
        let now = clock(abi::CLOCK_MONOTONIC) + 5 * MS;
        let limit = put(&[now / 1_000_000_000, now % 1_000_000_000]);
        assert_eq!(
            call!(abi::__NR_futex_waitv, list([0; 3]), 3, 0, limit, abi::CLOCK_MONOTONIC),
            Err(Errno::ETIMEDOUT)
        );
        assert_eq!(call!(abi::__NR_futex_waitv, list([0; 3]), 0, 0, 0, 0), Err(Errno::EINVAL));
    });
}
