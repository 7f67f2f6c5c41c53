// SPDX-License-Identifier: MIT OR Apache-2.0
//! The module's arithmetic, tested where tests are easy: the very files that the module is compiled from.

#[path = "../../../linux/procmon/cpu_time.rs"]
mod cpu_time;

use cpu_time::adjusted;
use procmon::abi::rates::{History, Milli, Rates, Sample, WINDOWS};

const SECOND: u64 = 1_000_000_000;

fn divided(user: u64, system: u64, running: u64) -> (u64, u64) {
    let times = adjusted(user, system, running);
    (times.user, times.system)
}

#[test]
fn the_measured_time_is_divided_as_the_ticks_say() {
    assert_eq!(divided(3, 1, 1000), (750, 250));
    assert_eq!(divided(1, 2, 900), (300, 600));
}

#[test]
fn without_ticks_all_of_it_is_the_users() {
    assert_eq!(divided(0, 0, 77), (77, 0));
    assert_eq!(divided(5, 0, 77), (77, 0));
    assert_eq!(divided(0, 5, 77), (0, 77));
    assert_eq!(divided(4, 4, 0), (0, 0));
}

#[test]
fn no_time_overflows() {
    for (user, system, running) in [
        (u64::MAX, u64::MAX, u64::MAX),
        (1, u64::MAX, u64::MAX),
        (u64::MAX, 1, u64::MAX),
        (u64::MAX / 2, u64::MAX / 2, 9),
    ] {
        let (user, system) = divided(user, system, running);
        assert_eq!(user + system, running);
    }
    // Years of many processors, within a millionth.
    let (user, system) = divided(3 << 60, 1 << 60, 1 << 62);
    assert!(user.abs_diff(3 << 60) < 1 << 40 && system.abs_diff(1 << 60) < 1 << 40);
}

/// Samples of a system in which ten processes are made each second and three threads want to run.
fn steady(history: &mut History, interval: u64, count: u64) {
    for number in 0..count {
        let time = number * interval;
        let forks = time * 10 / SECOND;
        let all = number + 1;
        history.add(Sample { time, forks, execs: forks / 2, exits: 0, runnable: 3 * all, count: all });
    }
}

#[test]
fn a_steady_system_has_steady_rates() {
    for interval in [SECOND / 10, SECOND / 2, SECOND, 2 * SECOND] {
        let mut history = History::EMPTY;
        steady(&mut history, interval, 200 * SECOND / interval);
        for window in WINDOWS {
            let expected = Rates { forks: 10_000, execs: 5000, exits: 0, runnable: 3000 };
            let rates = history.rates(window);
            assert!(rates.forks.abs_diff(expected.forks) <= 500, "{interval} ns, {window} s: {rates:?}");
            assert!(rates.execs.abs_diff(expected.execs) <= 500, "{interval} ns, {window} s: {rates:?}");
            assert_eq!((rates.exits, rates.runnable), (0, 3000));
        }
    }
}

#[test]
fn windows_are_of_their_length() {
    let mut history = History::EMPTY;
    // Quiet for a long time, then 60 in the last second.
    for second in 0..100 {
        let forks = if second == 99 { 60 } else { 0 };
        history.add(Sample { time: second * SECOND, forks, ..Sample::default() });
    }
    let forks = WINDOWS.map(|window| history.rates(window).forks);
    assert_eq!(forks, [60_000, 6000, 1000]);
}

#[test]
fn the_first_samples_give_no_nonsense() {
    let mut history = History::EMPTY;
    assert_eq!(history.rates(1), Rates::default());
    history.add(Sample { time: 5, forks: 100, ..Sample::default() });
    assert_eq!(history.rates(60), Rates::default());
    history.add(Sample { time: 5, forks: 200, ..Sample::default() });
    assert_eq!(history.rates(60), Rates::default(), "no time has passed");
}

#[test]
fn thousandths_are_shown_as_decimals() {
    assert_eq!(
        [0, 7, 1234, 10_000].map(|value| Milli(value).to_string()),
        ["0.000", "0.007", "1.234", "10.000"]
    );
}
