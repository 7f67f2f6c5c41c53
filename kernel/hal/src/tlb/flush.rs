// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flushing this CPU's translation cache, also when another CPU asks for it.

use core::sync::atomic::{AtomicU64, Ordering};

use exo_logic::translations::Flushes;
use x86_64::{
    VirtAddr,
    instructions::tlb,
    registers::control::{Cr4, Cr4Flags},
};

use crate::{MAX_CPUS, PAGE_SIZE, cpu::percpu};

/// Pages up to which single invalidations are cheaper than dropping everything.
const SINGLE_LIMIT: usize = 16;

static FLUSHES: [Flushes; MAX_CPUS] = [const { Flushes::new() }; MAX_CPUS];
/// How often kernel pages were unmapped, and up to which of them each CPU has flushed.
static KERNEL_UNMAPS: AtomicU64 = AtomicU64::new(0);
static KERNEL_FLUSHED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Flushes the user pages in `start..end` on this CPU.
pub(super) fn user_pages(start: usize, end: usize) {
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

/// Kernel pages were unmapped: flushes them here. The other CPUs do when they are asked to.
pub(super) fn kernel_pages() {
    KERNEL_UNMAPS.fetch_add(1, Ordering::AcqRel);
    flush_asked();
}

/// Asks CPU `cpu` to flush everything. What it gives is for [`is_done`]; the CPU has to be interrupted for it.
#[inline]
pub(super) fn request(cpu: usize) -> u64 {
    FLUSHES[cpu].request()
}

/// Whether CPU `cpu` has done what it was asked for.
#[inline]
pub(super) fn is_done(cpu: usize, ticket: u64) -> bool {
    FLUSHES[cpu].is_done(ticket)
}
