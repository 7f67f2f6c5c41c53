// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls of Exo-Kernel's short path neither allocate nor take a lock: `/proc/exo` counts both, for each CPU.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;

use exo_user::raw;

use crate::{Outcome, failed};

/// More calls than the two readings of the counters can hide: those take locks and memory, the same each time.
const CALLS: u64 = 1000;
/// How often each is counted; the least counts.
const TRIES: u32 = 5;
/// The timer's tick may come in between; it takes a few locks.
const TICKS: u64 = 50;

/// A call of the short path: its name, number and arguments.
type Call = (&'static str, libc::c_long, [u64; 6]);

pub(crate) fn run() -> Outcome {
    let (null, zero) = (File::options().read(true).write(true).open("/dev/null")?, File::open("/dev/zero")?);
    let zero_write = File::options().write(true).open("/dev/zero")?;
    let mut buffer = [0_u8; 4096];
    let at = buffer.as_mut_ptr().expose_provenance() as u64;
    let fd = |file: &File| u64::from(file.as_raw_fd().unsigned_abs());
    let calls: [Call; 13] = [
        ("getpid", libc::SYS_getpid, [0; 6]),
        ("gettid", libc::SYS_gettid, [0; 6]),
        ("getuid", libc::SYS_getuid, [0; 6]),
        ("clock_gettime", libc::SYS_clock_gettime, [1, at, 0, 0, 0, 0]),
        ("sched_yield", libc::SYS_sched_yield, [0; 6]),
        ("read of null", libc::SYS_read, [fd(&null), at, 1, 0, 0, 0]),
        ("read of zero", libc::SYS_read, [fd(&zero), at, 4096, 0, 0, 0]),
        ("write to null", libc::SYS_write, [fd(&null), at, 4096, 0, 0, 0]),
        ("write to zero", libc::SYS_write, [fd(&zero_write), at, 1, 0, 0, 0]),
        ("a missing number of Linux's", 500, [0; 6]),
        ("a missing number of the kernel's own", 0x100f, [0; 6]),
        ("an unknown number", 4000, [0; 6]),
        ("the largest number", u32::MAX.into(), [0; 6]),
    ];
    let mut counters = Counters::open()?;
    for (name, number, arguments) in calls {
        // A call that did either would do it each time; another program that ran in between does not come each time.
        let mut spent = counters.spent_by(number, arguments)?;
        for _ in 1..TRIES {
            let again = counters.spent_by(number, arguments)?;
            spent.locks = spent.locks.min(again.locks);
            spent.allocations = spent.allocations.min(again.allocations);
        }
        if spent.locks >= CALLS || spent.allocations >= CALLS || spent.locks > TICKS || spent.allocations > 0
        {
            return Err(failed(format!("{CALLS} times {name}: {spent:?}")));
        }
        println!("{name}: nothing");
    }
    // The counters count: a call of the other path takes locks.
    let spent =
        counters.spent_by(libc::SYS_fcntl, [fd(&null), libc::F_GETFD.unsigned_abs().into(), 0, 0, 0, 0])?;
    if spent.locks < CALLS {
        return Err(failed(format!("fcntl takes locks, but only {spent:?} were counted")));
    }
    println!("fcntl: locks");
    Ok(())
}

#[derive(Debug, Clone, Copy)]
struct Spent {
    locks: u64,
    allocations: u64,
}

/// `/proc/exo`, kept open.
struct Counters(File);

impl Counters {
    fn open() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(File::open("/proc/exo")?))
    }

    fn read(&mut self) -> Result<Spent, Box<dyn std::error::Error + Send + Sync>> {
        let mut bytes = [0; 1024];
        self.0.seek(SeekFrom::Start(0))?;
        let count = self.0.read(&mut bytes)?;
        let text = std::str::from_utf8(bytes.get(..count).unwrap_or_default())?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok())
                .ok_or_else(|| failed(format!("/proc/exo has no {name}")))
        };
        Ok(Spent { locks: value("locks ")?, allocations: value("allocations ")? })
    }

    /// What [`CALLS`] of a call spend, without what the reading of the counters itself does.
    fn spent_by(
        &mut self,
        number: libc::c_long,
        arguments: [u64; 6],
    ) -> Result<Spent, Box<dyn std::error::Error + Send + Sync>> {
        let number = number.unsigned_abs();
        // SAFETY: the calls in `run` write at most 4096 bytes at the buffer there, or nothing.
        let call = || unsafe { raw::call(number, arguments) };
        // The first use of a number that does not exist is logged.
        call();
        self.read()?;
        let (first, second) = (self.read()?, self.read()?);
        for _ in 0..CALLS {
            std::hint::black_box(call());
        }
        let third = self.read()?;
        let less = |a: u64, b: u64, own: u64| a.saturating_sub(b).saturating_sub(own);
        Ok(Spent {
            locks: less(third.locks, second.locks, second.locks.saturating_sub(first.locks)),
            allocations: less(
                third.allocations,
                second.allocations,
                second.allocations.saturating_sub(first.allocations),
            ),
        })
    }
}
