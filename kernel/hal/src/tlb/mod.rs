// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shoot-down: having other CPUs flush their translation caches, and waiting until they have.

pub(crate) mod flush;

use core::sync::atomic::{AtomicU64, Ordering};

use crate::{MAX_CPUS, cpu::percpu, dev::apic::local, trap::vector};

pub use flush::answer;

static SHOOTDOWNS: AtomicU64 = AtomicU64::new(0);

/// Shoot-downs since boot.
pub fn shootdowns() -> u64 {
    SHOOTDOWNS.load(Ordering::Relaxed)
}

/// All CPUs forget the kernel pages that were unmapped before. Returns when they have.
pub(crate) fn shootdown_kernel() {
    flush::kernel_pages();
    let all = u64::MAX >> (u64::BITS as usize - percpu::cpu_count());
    ask(all & !(1 << percpu::cpu_index()));
}

/// Flushes the user pages in `start..end` here, if this CPU is in `cpus`, and everything on the other CPUs in `cpus`.
/// Returns when all have done so.
pub(crate) fn shootdown(cpus: u64, start: usize, end: usize) {
    let own = 1u64 << percpu::cpu_index();
    if cpus & own != 0 {
        flush::user_pages(start, end);
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
        tickets[cpu] = flush::request(cpu);
        local::send(cpu, vector::SHOOTDOWN);
    }
    for cpu in bits(others) {
        while !flush::is_done(cpu, tickets[cpu]) {
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
