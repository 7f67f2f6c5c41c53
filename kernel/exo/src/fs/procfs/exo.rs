// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/exo: counters of this kernel's own; tests read them.

use core::fmt::Write;

use exo_hal::{
    cpu::percpu,
    dev::acpi,
    mm::{dma, heap, paging},
    tlb,
};

pub(super) fn counters(out: &mut dyn Write) -> core::fmt::Result {
    let (locks, allocations) = percpu::counters();
    writeln!(out, "locks {locks}\nallocations {allocations}\nshootdowns {}", tlb::shootdowns())?;
    writeln!(out, "random_fed {}", crate::random::fed())?;
    let (from_node, from_elsewhere) = dma::node_statistics();
    for node in acpi::nodes() {
        let count = from_node.get(node as usize).copied().unwrap_or(0);
        writeln!(out, "dma_from_node{node} {count}")?;
    }
    writeln!(out, "dma_from_elsewhere {from_elsewhere}")?;
    writeln!(
        out,
        "heap {}\nwritable_and_executable {}",
        heap::heap_bytes(),
        paging::count_writable_and_executable()
    )
}
