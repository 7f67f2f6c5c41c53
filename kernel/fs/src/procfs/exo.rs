// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/exo: counters of this kernel's own; tests read them.

use core::fmt::Write;

use exo_hal::{
    cpu::percpu,
    dev::acpi,
    mm::{dma, heap, paging},
    tlb,
};

use crate::{errno::Result, sched::spans};

/// Whatever is written: the longest span with interrupts off is looked for anew.
pub(super) fn reset(_text: &[u8]) -> Result<()> {
    spans::reset();
    Ok(())
}

pub(super) fn counters(out: &mut dyn Write) -> core::fmt::Result {
    let (locks, allocations) = percpu::counters();
    writeln!(out, "locks {locks}\nallocations {allocations}\nshootdowns {}", tlb::shootdowns())?;
    writeln!(out, "random_fed {}", crate::random::fed())?;
    let (off_ns, off_in) = spans::longest();
    writeln!(out, "interrupts_off_ns {off_ns}")?;
    match off_in {
        Ok(call) => writeln!(out, "interrupts_off_in call {call}")?,
        Err(vector) => writeln!(out, "interrupts_off_in vector {vector}")?,
    }
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
