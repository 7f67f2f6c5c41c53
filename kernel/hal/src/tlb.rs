// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flushing the translation caches of this CPU and of others (shoot-down).

use core::sync::atomic::{AtomicU64, Ordering};

use exo_logic::translations::Flushes;
use x86_64::{
    VirtAddr,
    instructions::tlb,
    registers::control::{Cr4, Cr4Flags},
};

use crate::{MAX_CPUS, PAGE_SIZE, cpu::percpu, dev::apic, trap};

/// Pages up to which single invalidations are cheaper than dropping everything.
const SINGLE_LIMIT: usize = 16;

static FLUSHES: [Flushes; MAX_CPUS] = [const { Flushes::new() }; MAX_CPUS];
/// How often kernel pages were unmapped, and up to which of them each CPU has flushed.
static KERNEL_UNMAPS: AtomicU64 = AtomicU64::new(0);
static KERNEL_FLUSHED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static SHOOTDOWNS: AtomicU64 = AtomicU64::new(0);

/// Shoot-downs since boot.
pub fn shootdowns() -> u64 {
    SHOOTDOWNS.load(Ordering::Relaxed)
}

/// Flushes the user pages in `start..end` on this CPU.
pub(crate) fn flush_local(start: usize, end: usize) {
    if end.saturating_sub(start) / PAGE_SIZE > SINGLE_LIMIT {
        tlb::flush_all();
    } else {
        for page in (start..end).step_by(PAGE_SIZE) {
            tlb::flush(VirtAddr::new_truncate(page as u64));
        }
    }
}

/// Does what other CPUs asked of this one. Called by the shoot-down interrupt and by everything that waits with
/// interrupts off.
#[inline]
pub fn answer() {
    FLUSHES[percpu::cpu_index()].answer(flush_asked);
}

/// Flushes the user pages, and the kernel's too if some were unmapped.
fn flush_asked() {
    let unmaps = KERNEL_UNMAPS.load(Ordering::Acquire);
    if KERNEL_FLUSHED[percpu::cpu_index()].swap(unmaps, Ordering::Relaxed) == unmaps {
        tlb::flush_all();
    } else {
        flush_global();
    }
}

/// Flushes all pages, global ones included, as a change of CR4.PGE does.
fn flush_global() {
    let features = Cr4::read();
    // SAFETY: the bit is set again before anything can depend on it; without it pages are just not kept across switches.
    unsafe {
        Cr4::write(features - Cr4Flags::PAGE_GLOBAL);
        Cr4::write(features);
    }
}

/// All CPUs forget the kernel pages that were unmapped before. Returns when they have.
pub(crate) fn shootdown_kernel() {
    KERNEL_UNMAPS.fetch_add(1, Ordering::AcqRel);
    flush_asked();
    let all = u64::MAX >> (u64::BITS as usize - percpu::cpu_count());
    ask(all & !(1 << percpu::cpu_index()));
}

/// Flushes the user pages in `start..end` here, if this CPU is in `cpus`, and everything on the other CPUs in `cpus`.
/// Returns when all have done so.
pub(crate) fn shootdown(cpus: u64, start: usize, end: usize) {
    let own = 1u64 << percpu::cpu_index();
    if cpus & own != 0 {
        flush_local(start, end);
    }
    ask(cpus & !own);
}

/// Has other CPUs flush everything; returns when all have done so.
fn ask(others: u64) {
    if others == 0 {
        return;
    }
    SHOOTDOWNS.fetch_add(1, Ordering::Relaxed);
    let mut tickets = [0u64; MAX_CPUS];
    for cpu in bits(others) {
        tickets[cpu] = FLUSHES[cpu].request();
        apic::send(cpu, trap::vector::SHOOTDOWN);
    }
    for cpu in bits(others) {
        while !FLUSHES[cpu].is_done(tickets[cpu]) {
            answer();
            core::hint::spin_loop();
        }
    }
}

/// The numbers of the set bits.
pub fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        if bit == 64 {
            return None;
        }
        mask &= mask - 1;
        Some(bit as usize)
    })
}
