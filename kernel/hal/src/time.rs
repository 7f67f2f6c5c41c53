// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time: the cycle counter, its rate measured against ACPI's timer (or the PIT where there is none), and the wall clock.

use core::{
    arch::x86_64::_rdtsc,
    sync::atomic::{AtomicU64, Ordering},
};

use x86_64::instructions::port::Port;

use crate::dev::rtc;

/// ACPI's timer counts 3.579545 MHz in 24 bits at least (ACPI 6.5, 4.8.2.1).
const PM_TIMER_HZ: u64 = 3_579_545;
const PM_TIMER_MASK: u32 = 0xff_ffff;
/// The PIT counts 1.193182 MHz.
const PIT_HZ: u64 = 1_193_182;
/// How long the cycle counter is measured.
const MEASURE_MS: u64 = 10;

/// Nanoseconds per cycle, times 2^32.
static SCALE: AtomicU64 = AtomicU64::new(0);
static FIRST_CYCLE: AtomicU64 = AtomicU64::new(0);
/// Wall clock minus [`now_ns`], in nanoseconds.
static WALL_OFFSET: AtomicU64 = AtomicU64::new(0);

/// The cycle counter.
#[inline(always)]
pub fn cycles() -> u64 {
    // SAFETY: every x86-64 CPU has it.
    unsafe { _rdtsc() }
}

/// Nanoseconds since boot.
#[inline]
pub fn now_ns() -> u64 {
    ns_of_cycles(cycles().wrapping_sub(FIRST_CYCLE.load(Ordering::Relaxed)))
}

/// So many cycles in nanoseconds.
#[inline]
pub fn ns_of_cycles(cycles: u64) -> u64 {
    ((u128::from(cycles) * u128::from(SCALE.load(Ordering::Relaxed))) >> 32) as u64
}

/// Nanoseconds since 1970 (UTC).
#[inline]
pub fn wall_ns() -> u64 {
    now_ns().wrapping_add(WALL_OFFSET.load(Ordering::Relaxed))
}

/// Sets the wall clock to `ns` nanoseconds since 1970.
pub fn set_wall_ns(ns: u64) {
    WALL_OFFSET.store(ns.wrapping_sub(now_ns()), Ordering::Relaxed);
}

/// The cycle counter's rate in kHz.
pub fn cycles_khz() -> u64 {
    match SCALE.load(Ordering::Relaxed) {
        0 => 0,
        scale => ((1_000_000u128 << 32) / u128::from(scale)) as u64,
    }
}

/// Waits `ns` nanoseconds.
pub fn delay_ns(ns: u64) {
    let end = now_ns().saturating_add(ns);
    while now_ns() < end {
        core::hint::spin_loop();
    }
}

/// Cycles and the nanoseconds that they took, by ACPI's timer; none if it stands still.
fn measure_pm_timer(port: u16) -> Option<(u64, u64)> {
    // SAFETY: the timer's port as ACPI gives it; reading it changes nothing.
    let read = || unsafe { Port::<u32>::new(port).read() } & PM_TIMER_MASK;
    let start = read();
    let first = cycles();
    let wanted = (PM_TIMER_HZ * MEASURE_MS / 1000) as u32;
    for _ in 0..10_000_000 {
        let counted = read().wrapping_sub(start) & PM_TIMER_MASK;
        if counted >= wanted {
            return Some((cycles() - first, u64::from(counted) * 1_000_000_000 / PM_TIMER_HZ));
        }
    }
    None
}

/// The same by the PIT's channel 2, which the speaker port gates.
fn measure_pit() -> (u64, u64) {
    let count = (PIT_HZ * MEASURE_MS / 1000) as u16;
    let mut gate = Port::<u8>::new(0x61);
    // SAFETY: speaker off, gate on; mode 0 (one shot) with the count; bit 5 shows the end.
    unsafe {
        let value = gate.read() & !3;
        gate.write(value | 1);
        Port::<u8>::new(0x43).write(0xb0);
        Port::<u8>::new(0x42).write(count as u8);
        Port::<u8>::new(0x42).write((count >> 8) as u8);
        let first = cycles();
        while gate.read() & 0x20 == 0 {}
        (cycles() - first, MEASURE_MS * 1_000_000)
    }
}

/// Measures the cycle counter, by the timer at I/O port `pm_timer` if there is one. Time begins at `start_cycles`.
pub(crate) fn init(start_cycles: u64, pm_timer: Option<u16>) {
    let measured = pm_timer.and_then(measure_pm_timer);
    let (cycles, ns) = measured.unwrap_or_else(measure_pit);
    FIRST_CYCLE.store(start_cycles, Ordering::Relaxed);
    SCALE.store(((u128::from(ns) << 32) / u128::from(cycles.max(1))) as u64, Ordering::Relaxed);
    set_wall_ns(rtc::seconds() * 1_000_000_000);
}
