// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timers of timer_create.

use exo_test_support::{call, programs::*};

use crate::support::*;

const SIGEV_SIGNAL: u32 = 0;
const SIGEV_NONE: u32 = 1;
const SIGEV_THREAD_ID: u32 = 4;
const SI_TIMER: i32 = -2;

/// Makes a timer that sends `signal` with `value`.
fn create(clock: u32, notify: u32, signal: u32, value: u64, thread: usize) -> Result<u32> {
    let event = put(&[value, u64::from(signal) | (u64::from(notify) << 32), thread as u64, 0, 0, 0, 0, 0]);
    let id = reserve(4);
    call!(abi::__NR_timer_create, clock, event, id)?;
    Ok(get(id))
}

fn words(ns: u64) -> [u64; 2] {
    [ns / 1_000_000_000, ns % 1_000_000_000]
}

fn set(timer: u32, flags: u32, delay: u64, interval: u64) -> Result {
    call!(abi::__NR_timer_settime, timer, flags, put(&[words(interval), words(delay)]), 0)
}

/// What is left and the interval, in nanoseconds.
fn setting(timer: u32) -> (u64, u64) {
    let at = zeros(32);
    call!(abi::__NR_timer_gettime, timer, at).unwrap();
    let [[is, ins], [s, ns]] = get::<[[u64; 2]; 2]>(at);
    (s * 1_000_000_000 + ns, is * 1_000_000_000 + ins)
}

#[test]
fn a_timer_sends_its_signal_with_its_value() {
    machine(|| {
        mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1]));
        let timer = create(abi::CLOCK_MONOTONIC, SIGEV_SIGNAL, abi::SIGUSR1, 0x55, 0).unwrap();
        assert_eq!(setting(timer), (0, 0));
        set(timer, 0, 20 * MS, 0).unwrap();
        assert_eq!(setting(timer), (20 * MS, 0));
        let before = clock(abi::CLOCK_MONOTONIC);
        let info = take_signal(signals(&[abi::SIGUSR1]), 1000).unwrap();
        assert_eq!((clock(abi::CLOCK_MONOTONIC) - before) / MS, 20);
        assert_eq!((info.code(), info.0[4], info.value()), (SI_TIMER, timer, 0x55));
        assert_eq!(take_signal(signals(&[abi::SIGUSR1]), 100).map(|_| ()), Err(Errno::EAGAIN), "once");
    });
}

#[test]
fn turns_that_nobody_took_are_counted() {
    machine(|| {
        mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1]));
        let timer = create(abi::CLOCK_MONOTONIC, SIGEV_SIGNAL, abi::SIGUSR1, 0, 0).unwrap();
        set(timer, 0, 10 * MS, 10 * MS).unwrap();
        sleep(55 * MS);
        let info = take_signal(signals(&[abi::SIGUSR1]), 0).unwrap();
        assert_eq!(info.0[5], 4, "five turns were one signal");
        assert_eq!(call!(abi::__NR_timer_getoverrun, timer), Ok(4));
        take_signal(signals(&[abi::SIGUSR1]), 100).unwrap();
        assert_eq!(call!(abi::__NR_timer_getoverrun, timer), Ok(0));
        assert_eq!(call!(abi::__NR_timer_delete, timer), Ok(0));
        assert_eq!(call!(abi::__NR_timer_delete, timer), Err(Errno::EINVAL));
    });
}

#[test]
fn a_time_of_the_clock_may_be_said() {
    machine(|| {
        mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1]));
        let timer = create(abi::CLOCK_MONOTONIC, SIGEV_SIGNAL, abi::SIGUSR1, 0, 0).unwrap();
        const TIMER_ABSTIME: u32 = 1;
        set(timer, TIMER_ABSTIME, clock(abi::CLOCK_MONOTONIC) + 30 * MS, 0).unwrap();
        let left = setting(timer).0;
        assert!((29 * MS..=30 * MS).contains(&left), "{left}");
        set(timer, TIMER_ABSTIME, 1, 0).unwrap();
        assert!(take_signal(signals(&[abi::SIGUSR1]), 1).is_ok(), "one that is past comes at once");
    });
}

#[test]
fn one_thread_may_be_meant() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        on_signal(abi::SIGUSR1, 0, move || noted.note(tid().to_string()));
        let other = thread(|| assert_eq!(call!(abi::__NR_pause), Err(Errno::EINTR)));
        let_others_run();
        let timer = create(abi::CLOCK_MONOTONIC, SIGEV_THREAD_ID, abi::SIGUSR1, 0, other).unwrap();
        set(timer, 0, 5 * MS, 0).unwrap();
        sleep(10 * MS);
        assert_eq!(log.take(), [other.to_string()]);
        let child = fork(|| sleep(10 * MS));
        let strange = create(abi::CLOCK_MONOTONIC, SIGEV_THREAD_ID, abi::SIGUSR1, 0, child);
        assert_eq!(strange, Err(Errno::EINVAL), "a thread of another process");
        end_of(child);
    });
}

#[test]
fn a_timer_may_only_run() {
    machine(|| {
        let timer = create(abi::CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0).unwrap();
        set(timer, 0, 50 * MS, 20 * MS).unwrap();
        sleep(55 * MS);
        let (left, interval) = setting(timer);
        assert!((10 * MS..=15 * MS).contains(&left), "{left}");
        assert_eq!(interval, 20 * MS);
    });
}

#[test]
fn time_on_the_cpu_may_be_what_counts() {
    machine(|| {
        const CLOCK_PROCESS_CPUTIME_ID: u32 = 2;
        let log = Log::default();
        let noted = log.clone();
        on_signal(abi::SIGUSR1, 0, move || noted.note("up"));
        let timer = create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, abi::SIGUSR1, 0, 0).unwrap();
        set(timer, 0, 40 * MS, 0).unwrap();
        sleep(200 * MS);
        assert_eq!(log.take(), [""; 0]);
        user::compute(30 * MS);
        assert_eq!(log.take(), [""; 0]);
        user::compute(30 * MS);
        assert_eq!(log.take(), ["up"]);
    });
}

#[test]
fn what_is_no_timer_is_refused() {
    machine(|| {
        assert_eq!(create(77, SIGEV_SIGNAL, abi::SIGUSR1, 0, 0), Err(Errno::EINVAL));
        assert_eq!(create(abi::CLOCK_MONOTONIC, 9, abi::SIGUSR1, 0, 0), Err(Errno::EINVAL));
        assert_eq!(create(abi::CLOCK_MONOTONIC, SIGEV_SIGNAL, 65, 0, 0), Err(Errno::EINVAL));
        assert_eq!(set(12_345, 0, 1, 0), Err(Errno::EINVAL));
        let timer = create(abi::CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0).unwrap();
        assert_eq!(call!(abi::__NR_timer_settime, timer, 0, 0, 0), Err(Errno::EINVAL));
        let wrong = put(&[0_u64, 1_000_000_000, 0, 1]);
        assert_eq!(call!(abi::__NR_timer_settime, timer, 0, wrong, 0), Err(Errno::EINVAL));
        let child = fork(move || assert_eq!(set(timer, 0, 1, 0), Err(Errno::EINVAL), "a child has none"));
        assert_eq!(end_of(child), 0);
    });
}
