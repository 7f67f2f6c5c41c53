// SPDX-License-Identifier: MIT OR Apache-2.0
//! timerfd.

use exo_test_support::{call, programs::*};

use crate::support::*;

fn create(clock: u32, flags: u32) -> Result {
    call!(abi::__NR_timerfd_create, clock, flags)
}

fn timespec(ns: u64) -> [u64; 2] {
    [ns / 1_000_000_000, ns % 1_000_000_000]
}

fn set(fd: usize, flags: u32, value: u64, interval: u64) -> Result<(u64, u64)> {
    let old = zeros(32);
    call!(abi::__NR_timerfd_settime, fd, flags, put(&[timespec(interval), timespec(value)]), old)?;
    Ok(shown(old))
}

fn shown(at: usize) -> (u64, u64) {
    let [[is, ins], [s, ns]] = get::<[[u64; 2]; 2]>(at);
    (s * 1_000_000_000 + ns, is * 1_000_000_000 + ins)
}

fn setting(fd: usize) -> (u64, u64) {
    let at = zeros(32);
    call!(abi::__NR_timerfd_gettime, fd, at).unwrap();
    shown(at)
}

#[test]
fn who_reads_waits_until_time_is_up() {
    machine(|| {
        let fd = create(abi::CLOCK_MONOTONIC, 0).unwrap();
        assert_eq!(set(fd, 0, 30 * MS, 0), Ok((0, 0)));
        assert_eq!(setting(fd), (30 * MS, 0));
        assert_eq!(poll(fd, abi::POLLIN), 0);
        let before = now();
        assert_eq!(take(fd), Ok(1));
        assert_eq!((now() - before) / MS, 30);
        assert_eq!(setting(fd), (0, 0));
        set_nonblocking(fd);
        assert_eq!(take(fd), Err(Errno::EAGAIN));
        assert_eq!(read(fd, 7), Err(Errno::EINVAL));
    });
}

#[test]
fn turns_are_counted() {
    machine(|| {
        let fd = create(abi::CLOCK_MONOTONIC, 0).unwrap();
        set(fd, 0, 10 * MS, 10 * MS).unwrap();
        sleep(55 * MS);
        assert_eq!(poll(fd, abi::POLLIN), abi::POLLIN);
        assert_eq!(take(fd), Ok(5));
        let before = now();
        assert_eq!(take(fd), Ok(1));
        assert!(now() - before <= 6 * MS, "in step with the first turn");
        let old = set(fd, 0, 0, 0).unwrap();
        assert_eq!(old.1, 10 * MS);
        sleep(50 * MS);
        set_nonblocking(fd);
        assert_eq!(take(fd), Err(Errno::EAGAIN), "it is off");
    });
}

#[test]
fn a_new_setting_begins_anew() {
    machine(|| {
        let fd = create(abi::CLOCK_MONOTONIC, abi::O_NONBLOCK).unwrap();
        set(fd, 0, MS, 0).unwrap();
        sleep(5 * MS);
        set(fd, 0, 100 * MS, 0).unwrap();
        assert_eq!(take(fd), Err(Errno::EAGAIN), "what had run out is forgotten");
    });
}

#[test]
fn a_time_of_a_clock_may_be_said_and_may_be_past() {
    machine(|| {
        let fd = create(abi::CLOCK_MONOTONIC, 0).unwrap();
        set(fd, abi::TFD_TIMER_ABSTIME, now() + 20 * MS, 0).unwrap();
        let before = now();
        take(fd).unwrap();
        assert!((19 * MS..=20 * MS).contains(&(now() - before)));
        set(fd, abi::TFD_TIMER_ABSTIME, 1, 0).unwrap();
        assert_eq!(take(fd), Ok(1));
        let early = now() - 35 * MS;
        set(fd, abi::TFD_TIMER_ABSTIME, early, 10 * MS).unwrap();
        assert_eq!(take(fd), Ok(4), "all turns since then");
    });
}

#[test]
fn the_wall_clock_may_be_set_under_it() {
    machine(|| {
        let set_clock =
            |ns: u64| call!(abi::__NR_clock_settime, abi::CLOCK_REALTIME, put(&timespec(ns))).unwrap();
        // In 2030: it cannot be set to before the boot.
        let start = 1_893_456_000_000_000_000;
        set_clock(start);
        let fd = create(abi::CLOCK_REALTIME, abi::O_NONBLOCK).unwrap();
        set(fd, abi::TFD_TIMER_ABSTIME, start + 10_000 * MS, 0).unwrap();
        set_clock(start + 20_000 * MS);
        let_others_run();
        assert_eq!(take(fd), Ok(1), "its time has come");
        let both = abi::TFD_TIMER_ABSTIME | abi::TFD_TIMER_CANCEL_ON_SET;
        set(fd, both, start + 100_000 * MS, 0).unwrap();
        set_clock(start);
        assert_eq!(take(fd), Err(Errno::ECANCELED));
        assert_eq!(take(fd), Err(Errno::EAGAIN));
    });
}

#[test]
fn what_is_no_timer_is_refused() {
    machine(|| {
        assert_eq!(create(5, 0), Err(Errno::EINVAL));
        assert_eq!(create(abi::CLOCK_MONOTONIC, 1), Err(Errno::EINVAL));
        let fd = create(abi::CLOCK_MONOTONIC, 0).unwrap();
        assert_eq!(set(fd, 0x100, MS, 0), Err(Errno::EINVAL));
        let wrong = put(&[0_u64, 0, 0, 1_000_000_000]);
        assert_eq!(call!(abi::__NR_timerfd_settime, fd, 0, wrong, 0), Err(Errno::EINVAL));
        assert_eq!(set(0, 0, MS, 0), Err(Errno::EINVAL), "another file");
        assert_eq!(set(99, 0, MS, 0), Err(Errno::EBADF));
    });
}
