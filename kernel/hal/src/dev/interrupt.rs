// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts of devices: a table of handlers for each CPU's vectors, and one for the lines of the IO-APIC.

use alloc::{sync::Arc, vec::Vec};

use exo_logic::device::InterruptHandler;

use super::apic::io;
use crate::{MAX_CPUS, cpu::percpu, sync::SpinLock, trap::vector};

/// Lines that handlers can be told of: the ISA lines, on which a PC also brings PCI's.
const LINES: usize = 16;

#[derive(Clone)]
struct Entry {
    handler: Arc<dyn InterruptHandler>,
    index: usize,
}

/// By CPU, then by vector from [`vector::DEVICES`].
static VECTORS: [SpinLock<Vec<Option<Entry>>>; MAX_CPUS] = [const { SpinLock::new(Vec::new()) }; MAX_CPUS];
static SHARED: [SpinLock<Vec<Entry>>; LINES] = [const { SpinLock::new(Vec::new()) }; LINES];

/// A vector of one CPU. Given back when dropped.
pub(crate) struct Vector {
    cpu: usize,
    slot: usize,
}

impl Vector {
    /// Lets interrupt `index` of `handler` come to CPU `cpu`; none if the CPU has no vector left.
    pub(crate) fn new(cpu: usize, handler: Arc<dyn InterruptHandler>, index: usize) -> Option<Self> {
        let mut table = VECTORS.get(cpu)?.lock();
        let slot = match table.iter().position(Option::is_none) {
            Some(free) => free,
            None if table.len() < usize::from(vector::DEVICES_END - vector::DEVICES) => {
                table.push(None);
                table.len() - 1
            }
            None => return None,
        };
        *table.get_mut(slot)? = Some(Entry { handler, index });
        Some(Self { cpu, slot })
    }

    /// The message that a device sends: address and data. Source: Intel SDM volume 3, 10.11.
    pub(crate) fn message(&self) -> (u64, u32) {
        let number = vector::DEVICES as usize + self.slot;
        (0xfee0_0000 | (u64::from(percpu::apic_id_of(self.cpu) & 0xff) << 12), number as u32)
    }
}

impl Drop for Vector {
    fn drop(&mut self) {
        let entry = VECTORS[self.cpu].lock().get_mut(self.slot).and_then(Option::take);
        drop(entry);
    }
}

/// A share of a line. Given back when dropped.
pub struct Line {
    line: u8,
    handler: Arc<dyn InterruptHandler>,
}

impl Line {
    /// Tells `handler` (interrupt 0) of ISA line `line`, triggered as ACPI says.
    pub fn isa(line: u8, handler: Arc<dyn InterruptHandler>) -> Option<Self> {
        let this = Self::new(line, handler)?;
        io::enable_isa_line(line);
        Some(this)
    }

    /// Tells `handler` (interrupt 0) of a level-triggered line of PCI's, which others may share.
    pub(crate) fn shared(line: u8, handler: Arc<dyn InterruptHandler>) -> Option<Self> {
        let this = Self::new(line, handler)?;
        io::enable_line(line, true);
        Some(this)
    }

    fn new(line: u8, handler: Arc<dyn InterruptHandler>) -> Option<Self> {
        SHARED.get(usize::from(line))?.lock().push(Entry { handler: handler.clone(), index: 0 });
        Some(Self { line, handler })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut entries = SHARED[usize::from(self.line)].lock();
        let at = entries.iter().position(|e| Arc::ptr_eq(&e.handler, &self.handler));
        let entry = at.map(|at| entries.swap_remove(at));
        if entries.is_empty() {
            io::disable_line(self.line);
        }
        drop(entries);
        drop(entry);
    }
}

/// Handles vector `number` of this CPU.
pub(crate) fn message(number: u8) {
    let slot = usize::from(number.wrapping_sub(vector::DEVICES));
    let entry = VECTORS[percpu::cpu_index()].lock().get(slot).and_then(Clone::clone);
    if let Some(entry) = entry {
        entry.handler.interrupt(entry.index);
    }
}

/// Handles a line; false if no handler wanted it.
pub(crate) fn line(number: u8) -> bool {
    let Some(entries) = SHARED.get(usize::from(number)) else { return false };
    let mut at = 0;
    // One at a time, since no lock may be held while a handler runs.
    loop {
        let entry = entries.lock().get(at).cloned();
        let Some(entry) = entry else { return at > 0 };
        entry.handler.interrupt(entry.index);
        at += 1;
    }
}
