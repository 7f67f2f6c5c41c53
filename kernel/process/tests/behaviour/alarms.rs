// SPDX-License-Identifier: MIT OR Apache-2.0
//! alarm and setitimer: signals when time is up, of the clock or of the CPU.

use exo_test_support::{call, programs::*};

use crate::support::*;

/// Sets an interval timer, in milliseconds: what was left of the old one, and its interval.
fn set_timer(which: u32, delay: u64, interval: u64) -> (u64, u64) {
    let time = |ms: u64| [ms / 1000, ms % 1000 * 1000];
    let old = zeros(32);
    let new = put(&[time(interval), time(delay)]);
    call!(abi::__NR_setitimer, which, new, old).unwrap();
    shown(old)
}

fn shown(at: usize) -> (u64, u64) {
    let [[is, iu], [s, u]] = get::<[[u64; 2]; 2]>(at);
    ((s * 1_000_000 + u).div_ceil(1000), (is * 1_000_000 + iu).div_ceil(1000))
}

fn timer(which: u32) -> (u64, u64) {
    let at = zeros(32);
    call!(abi::__NR_getitimer, which, at).unwrap();
    shown(at)
}

/// Notes the time, in milliseconds since now, of each signal.
fn note_times(signal: u32) -> Log {
    let (log, start) = (Log::default(), clock(abi::CLOCK_MONOTONIC));
    let noted = log.clone();
    on_signal(signal, 0, move || noted.note(((clock(abi::CLOCK_MONOTONIC) - start) / MS).to_string()));
    log
}

#[test]
fn an_alarm_comes_once() {
    machine(|| {
        let log = note_times(abi::SIGALRM);
        assert_eq!(call!(abi::__NR_alarm, 2), Ok(0));
        assert_eq!(call!(abi::__NR_alarm, 1), Ok(2), "what was left, rounded up");
        assert_eq!(call!(abi::__NR_pause), Err(Errno::EINTR));
        sleep(3000 * MS);
        assert_eq!(log.take(), ["1000"]);
        call!(abi::__NR_alarm, 1).unwrap();
        assert_eq!(call!(abi::__NR_alarm, 0), Ok(1));
        sleep(2000 * MS);
        assert_eq!(log.take(), [""; 0], "it was taken back");
    });
}

#[test]
fn an_interval_repeats_and_what_is_left_can_be_asked() {
    machine(|| {
        let log = note_times(abi::SIGALRM);
        assert_eq!(set_timer(abi::ITIMER_REAL, 30, 50), (0, 0));
        assert_eq!(timer(abi::ITIMER_REAL), (30, 50));
        for _ in 0..3 {
            assert_eq!(call!(abi::__NR_pause), Err(Errno::EINTR));
        }
        assert_eq!(log.take(), ["30", "80", "130"]);
        sleep(20 * MS);
        assert_eq!(set_timer(abi::ITIMER_REAL, 0, 0), (30, 50));
        assert_eq!(timer(abi::ITIMER_REAL), (0, 0));
    });
}

#[test]
fn a_child_has_no_timers_of_its_parent() {
    machine(|| {
        action(abi::SIGALRM, 1, 0, 0).unwrap();
        set_timer(abi::ITIMER_REAL, 1000, 0);
        let child = fork(|| assert_eq!(timer(abi::ITIMER_REAL), (0, 0)));
        assert_eq!(end_of(child), 0);
        set_timer(abi::ITIMER_REAL, 0, 0);
    });
}

#[test]
fn time_on_the_cpu_has_timers_of_its_own() {
    machine(|| {
        let log = note_times(abi::SIGVTALRM);
        set_timer(abi::ITIMER_VIRTUAL, 50, 0);
        sleep(100 * MS);
        assert_eq!(log.take(), [""; 0], "who sleeps uses none");
        user::compute(70 * MS);
        let at: u64 = log.take().concat().parse().unwrap();
        assert!((150..=165).contains(&at), "at {at} ms");
        let log = note_times(abi::SIGPROF);
        set_timer(abi::ITIMER_PROF, 20, 20);
        user::compute(100 * MS);
        let count = log.take().len();
        assert!((4..=5).contains(&count), "{count} times");
        set_timer(abi::ITIMER_PROF, 0, 0);
    });
}

#[test]
fn who_uses_more_of_the_cpu_than_it_may_is_told_and_ended() {
    machine(|| {
        let child = fork(|| {
            on_signal(abi::SIGXCPU, 0, || {});
            call!(abi::__NR_prlimit64, 0, abi::RLIMIT_CPU, put(&[1_u64, 2]), 0).unwrap();
            user::compute(10_000 * MS);
        });
        assert_eq!(end_of(child), abi::SIGKILL);
        let child = fork(|| {
            set_limit(abi::RLIMIT_CPU, 1);
            user::compute(10_000 * MS);
        });
        assert_eq!(end_of(child), abi::SIGXCPU);
    });
}

#[test]
fn what_is_no_time_is_refused() {
    machine(|| {
        let set = |which: u32, micros: u64| call!(abi::__NR_setitimer, which, put(&[0, 0, 0, micros]), 0);
        assert_eq!(set(abi::ITIMER_REAL, 1_000_000), Err(Errno::EINVAL));
        assert_eq!(set(3, 1), Err(Errno::EINVAL));
    });
}
