// SPDX-License-Identifier: MIT OR Apache-2.0
//! The IO-APICs, which bring devices' interrupt lines to CPUs. Source: 82093AA data sheet.

use alloc::vec::Vec;

use x86_64::instructions::port::Port;

use crate::{cpu::percpu, dev::acpi, log, mm::device_map, once::Once, sync::SpinLock, trap::vector};

/// A line's entry: it does not interrupt.
const MASKED: u32 = 1 << 16;
/// A PC's old interrupt lines.
const ISA_LINES: u8 = 16;

static IO_APICS: Once<Vec<SpinLock<IoApic>>> = Once::new();

/// Takes over those that ACPI names, with all lines masked.
pub(super) fn init() {
    let io_apics = acpi::platform().io_apics.iter();
    IO_APICS.set(io_apics.map(|&(address, first)| SpinLock::new(IoApic::new(address, first))).collect());
}

/// Masks every line of the two 8259s, which a PC still has beside its IO-APIC.
pub(super) fn mask_old_controllers() {
    // SAFETY: the mask registers of the two controllers.
    unsafe {
        Port::<u8>::new(0x21).write(0xff);
        Port::<u8>::new(0xa1).write(0xff);
    }
}

struct IoApic {
    registers: *mut u32,
    first: u32,
    lines: u32,
}

// SAFETY: the registers may be used from any CPU; the lock around it orders the two accesses that each register takes.
unsafe impl Send for IoApic {}

impl IoApic {
    fn new(physical: u64, first: u32) -> Self {
        let mut this = Self { registers: device_map::map_device(physical, 32).cast(), first, lines: 0 };
        this.lines = ((this.read(1) >> 16) & 0xff) + 1;
        for line in 0..this.lines {
            this.write(0x10 + 2 * line, MASKED);
        }
        this
    }

    fn read(&mut self, register: u32) -> u32 {
        // SAFETY: index and data register in the mapped page.
        unsafe {
            self.registers.write_volatile(register);
            self.registers.add(4).read_volatile()
        }
    }

    fn write(&mut self, register: u32, value: u32) {
        // SAFETY: as in `read`.
        unsafe {
            self.registers.write_volatile(register);
            self.registers.add(4).write_volatile(value);
        }
    }
}

/// Lets ISA line `isa` interrupt the boot CPU, as vector [`vector::LINES`] plus `isa`.
pub fn enable_isa_line(isa: u8) {
    if isa >= ISA_LINES {
        return;
    }
    let wired = acpi::platform().lines.iter().find(|l| l.isa == isa);
    enable_line(isa, wired.is_some_and(|l| l.level));
}

/// The same, for a line that PCI devices share: `level`-triggered.
pub(crate) fn enable_line(isa: u8, level: bool) {
    let mut low = u32::from(vector::LINES + isa);
    if acpi::platform().lines.iter().any(|l| l.isa == isa && l.low) {
        low |= 1 << 13;
    }
    if level {
        low |= 1 << 15;
    }
    set_line(isa, low);
}

/// Keeps a line from interrupting: nobody would make it quiet.
pub(crate) fn disable_line(isa: u8) {
    set_line(isa, MASKED);
}

/// Writes the lower half of a line's entry; the upper half names the boot CPU.
fn set_line(isa: u8, low: u32) {
    let wired = acpi::platform().lines.iter().find(|l| l.isa == isa);
    let global = wired.map_or(u32::from(isa), |l| l.global);
    for io_apic in IO_APICS.get().into_iter().flatten() {
        let mut io_apic = io_apic.lock();
        if let Some(line) = global.checked_sub(io_apic.first).filter(|&line| line < io_apic.lines) {
            io_apic.write(0x11 + 2 * line, percpu::apic_id_of(0) << 24);
            io_apic.write(0x10 + 2 * line, low);
            return;
        }
    }
    log!("no IO-APIC has interrupt line {isa}");
}
