// SPDX-License-Identifier: MIT OR Apache-2.0
//! One call after the other, in one thread.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::system;
use bench_report::{Failure, nanoseconds};

/// Makes a call over and over; every answer must be what `expected` says, or the kernel did something else.
fn each(window: Duration, expected: i64, mut call: impl FnMut() -> i64) -> Result<f64, Failure> {
    nanoseconds(window, |count| {
        for _ in 0..count {
            let answer = call();
            if answer != expected {
                return Err(format!("the call answered {answer}, expected {expected}").into());
            }
        }
        Ok(())
    })
}

pub(crate) fn getpid(window: Duration) -> Result<f64, Failure> {
    each(window, std::process::id().into(), system::getpid)
}

pub(crate) fn unknown(window: Duration) -> Result<f64, Failure> {
    each(window, -i64::from(libc::ENOSYS), system::unknown)
}

pub(crate) fn sched_yield(window: Duration) -> Result<f64, Failure> {
    each(window, 0, system::sched_yield)
}

pub(crate) fn clock_gettime(window: Duration) -> Result<f64, Failure> {
    each(window, 0, system::clock_gettime)
}

pub(crate) fn open_close(window: Duration) -> Result<f64, Failure> {
    each(window, 0, system::open_close)
}

/// With nobody to wake: what every unlock of a contended lock pays that came too early.
pub(crate) fn futex_wake(window: Duration) -> Result<f64, Failure> {
    let word = AtomicU32::new(0);
    each(window, 0, || system::futex_wake(&word))
}

pub(crate) fn read_zero_1(window: Duration) -> Result<f64, Failure> {
    read_zero(window, &mut [0])
}

pub(crate) fn read_zero_4k(window: Duration) -> Result<f64, Failure> {
    read_zero(window, &mut [0; 4096])
}

fn read_zero(window: Duration, buffer: &mut [u8]) -> Result<f64, Failure> {
    let zero = File::open("/dev/zero")?;
    each(window, i64::try_from(buffer.len())?, || system::read(zero.as_fd(), buffer))
}

pub(crate) fn write_null(window: Duration) -> Result<f64, Failure> {
    let null = File::options().write(true).open("/dev/null")?;
    each(window, 1, || system::write(null.as_fd(), b"x"))
}
