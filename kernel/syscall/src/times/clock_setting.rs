// SPDX-License-Identifier: MIT OR Apache-2.0
//! Setting the wall clock. It is set at once or not at all: it is never made to go faster or slower, and who asks for that is refused.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use exo_hal::time as clock;
use exo_logic::credentials::capability;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::clock_ns;
use crate::{
    errno::{Errno, Result},
    sched::wait::set_wall_clock,
    task::{credentials::capable, table},
    user::{self, TimeSpec},
};

const NS: i64 = 1_000_000_000;
/// Seconds since 1970 that the clock may not be set to, so that nanoseconds fit 63 bits for 30 years from there, as on Linux.
const TOO_LATE: i64 = i64::MAX / NS - 30 * 365 * 24 * 60 * 60;

/// `struct timezone`: minutes west of Greenwich and a kind of summer time, which programs may keep here.
static ZONE: AtomicU64 = AtomicU64::new(0);
static ZONE_WAS_SET: AtomicBool = AtomicBool::new(false);
/// Minutes that a time zone can be off.
const MOST_WEST: i32 = 15 * 60;

/// What the time zone was set to.
pub(super) fn zone() -> [i32; 2] {
    let both = ZONE.load(Ordering::Relaxed);
    [both as i32, (both >> 32) as i32]
}

/// The time as nanoseconds since 1970, if the clock can be set to it.
fn checked(seconds: i64, nanoseconds: i64) -> Result<u64> {
    if !(0..TOO_LATE).contains(&seconds) || !(0..NS).contains(&nanoseconds) {
        return Err(Errno::EINVAL);
    }
    Ok(seconds as u64 * NS as u64 + nanoseconds as u64)
}

/// Sets the clock; the machine cannot have started before 1970.
fn set(ns: u64) -> Result {
    if ns < clock::now_ns() {
        return Err(Errno::EINVAL);
    }
    set_wall_clock(ns);
    table::walk().for_each(|process| process.posix_timers.wall_clock_was_set());
    exo_io::timer_fd::wall_clock_was_set();
    Ok(0)
}

/// Sets it so many nanoseconds forwards.
fn step(by: i64) -> Result {
    let now = clock::wall_ns();
    let then = now.checked_add_signed(by).ok_or(Errno::EINVAL)?;
    checked((then / NS as u64) as i64, (then % NS as u64) as i64)?;
    set(then)
}

fn may_set() -> Result<()> {
    if capable(capability::SYS_TIME) { Ok(()) } else { Err(Errno::EPERM) }
}

pub(crate) fn clock_settime(id: i32, from: usize) -> Result {
    match id {
        0 => {}
        // Somebody's CPU time.
        id if id < 0 => return clock_ns(id).and(Err(Errno::EPERM)),
        _ => return Err(Errno::EINVAL),
    }
    let time: TimeSpec = user::read(from)?;
    let ns = checked(time.seconds, time.nanoseconds)?;
    may_set()?;
    set(ns)
}

pub(crate) fn settimeofday(from: usize, zone: usize) -> Result {
    let time = if from == 0 {
        None
    } else {
        let [seconds, microseconds] = user::read::<[i64; 2]>(from)?;
        if !(0..=1_000_000).contains(&microseconds) {
            return Err(Errno::EINVAL);
        }
        Some((seconds, microseconds * 1000))
    };
    let zone = if zone == 0 { None } else { Some(user::read::<[i32; 2]>(zone)?) };
    let ns = time.map(|(seconds, nanoseconds)| checked(seconds, nanoseconds)).transpose()?;
    may_set()?;
    if let Some([west, summer]) = zone {
        if !(-MOST_WEST..=MOST_WEST).contains(&west) {
            return Err(Errno::EINVAL);
        }
        ZONE.store(u64::from(west as u32) | (u64::from(summer as u32) << 32), Ordering::Relaxed);
        // The hardware's clock may have been local time until now, as on Linux.
        if !ZONE_WAS_SET.swap(true, Ordering::Relaxed) && ns.is_none() && west != 0 {
            step(i64::from(west) * 60 * NS)?;
        }
    }
    ns.map_or(Ok(0), set)
}

/// `struct timex`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Adjustment {
    modes: u32,
    _pad_1: u32,
    offset: i64,
    frequency: i64,
    most_error: i64,
    estimated_error: i64,
    status: i32,
    _pad_2: i32,
    constant: i64,
    precision: i64,
    tolerance: i64,
    seconds: i64,
    /// Micro- or nanoseconds.
    fraction: i64,
    tick: i64,
    /// Of a pulse per second, which there is not: [`Adjustment::now`] has zeros.
    pulse: [u64; 8],
    tai: i32,
    _pad_3: [u32; 11],
}

/// Bits of [`Adjustment::modes`].
mod mode {
    pub(super) const SETOFFSET: u32 = 0x0100;
    pub(super) const NANO: u32 = 0x2000;
    /// Reads what is left of a gradual change.
    pub(super) const SS_READ: u32 = 0xa001;
    pub(super) const SINGLESHOT: u32 = 0x8000;
}

/// The clock follows no other one.
const UNSYNCHRONISED: i32 = 0x40;
/// … which is how the call answers.
const TIME_ERROR: usize = 5;
/// What Linux says about a clock that nobody has adjusted: an error of up to 16 s, a tick of 10 ms, and 500 millionths that a tick may be
/// off.
const MOST_ERROR: i64 = 16_000_000;
const TICK_MICROSECONDS: i64 = 10_000;
const TOLERANCE: i64 = 500 << 16;
const TIME_CONSTANT: i64 = 2;

impl Adjustment {
    fn now() -> Self {
        let time = TimeSpec::from_ns(clock::wall_ns());
        Self {
            modes: 0,
            _pad_1: 0,
            offset: 0,
            frequency: 0,
            most_error: MOST_ERROR,
            estimated_error: MOST_ERROR,
            status: UNSYNCHRONISED,
            _pad_2: 0,
            constant: TIME_CONSTANT,
            precision: 1,
            tolerance: TOLERANCE,
            seconds: time.seconds,
            fraction: time.nanoseconds / 1000,
            tick: TICK_MICROSECONDS,
            pulse: [0; 8],
            tai: 0,
            _pad_3: [0; 11],
        }
    }
}

pub(crate) fn clock_adjtime(id: i32, at: usize) -> Result {
    let wanted: Adjustment = user::read(at)?;
    if id != 0 {
        // A clock that nobody can adjust, or none at all.
        return clock_ns(id).and(Err(Errno::EOPNOTSUPP));
    }
    if wanted.modes != 0 && wanted.modes != mode::SS_READ {
        may_set()?;
    }
    match wanted.modes {
        0 | mode::SS_READ => {}
        modes if modes & mode::SETOFFSET != 0 && modes & mode::SINGLESHOT == 0 => {
            let unit = if modes & mode::NANO != 0 { 1 } else { 1000 };
            if !(0..NS / unit).contains(&wanted.fraction) {
                return Err(Errno::EINVAL);
            }
            if modes & !(mode::SETOFFSET | mode::NANO) != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            let by = wanted.seconds.checked_mul(NS).and_then(|ns| ns.checked_add(wanted.fraction * unit));
            step(by.ok_or(Errno::EINVAL)?)?;
        }
        _ => return Err(Errno::EOPNOTSUPP),
    }
    user::write(at, &Adjustment { modes: wanted.modes, ..Adjustment::now() })?;
    Ok(TIME_ERROR)
}

pub(crate) fn adjtimex(at: usize) -> Result {
    clock_adjtime(0, at)
}
