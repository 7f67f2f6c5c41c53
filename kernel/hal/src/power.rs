// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ways to end: QEMU's isa-debug-exit, ACPI's S5, reset.

use x86_64::instructions::{hlt, interrupts, port::Port};

use crate::dev::acpi;

/// I/O port of QEMU's `isa-debug-exit` as `cargo exo vm` places it. QEMU then ends with status `2 * value + 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// What the machine ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Exit {
    /// An orderly power-off: QEMU's status is 33.
    PowerOff = 16,
    /// A crash of the kernel: QEMU's status is 35.
    Panic = 17,
}

/// Ends the machine.
pub fn power_off(exit: Exit) -> ! {
    interrupts::disable();
    // SAFETY: this port is either QEMU's exit device or nothing.
    unsafe { Port::<u32>::new(DEBUG_EXIT).write(exit as u32) };
    if exit == Exit::PowerOff {
        acpi::enter_s5();
        reset();
    }
    stop()
}

/// Resets the machine through the chipset's reset register (0xcf9, as PC chipsets since PIIX have it).
pub fn reset() -> ! {
    interrupts::disable();
    // SAFETY: writing the reset register ends everything; nothing after it relies on memory.
    unsafe {
        Port::<u8>::new(0xcf9).write(0x02);
        Port::<u8>::new(0xcf9).write(0x06);
    }
    stop()
}

/// Stops this CPU for ever.
pub fn stop() -> ! {
    interrupts::disable();
    loop {
        hlt();
    }
}
