// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ways to end: QEMU's isa-debug-exit, ACPI's S5, reset.

use x86_64::instructions::{hlt, interrupts, port::Port};

use crate::once::Once;

/// I/O port of QEMU's `isa-debug-exit` as `cargo exo vm` places it. QEMU then ends with status `2 * value + 1`.
const DEBUG_EXIT: u16 = 0xf4;
/// SLP_EN in the power-management control register; SLP_TYP begins at bit 10. Source: ACPI 6.5, 4.8.3.2.1.
const SLEEP_ENABLE: u16 = 1 << 13;
const SLEEP_TYPE: u32 = 10;

/// I/O port of the power-management control register, and SLP_TYP for S5.
static SOFT_OFF: Once<(u16, u16)> = Once::new();

/// How ACPI switches this machine off: see [`SOFT_OFF`].
pub(crate) fn set_soft_off(port: u16, sleep_type: u16) {
    SOFT_OFF.set((port, sleep_type));
}

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
        enter_s5();
        reset();
    }
    stop()
}

/// Switches the machine off; returns if that is not possible.
fn enter_s5() {
    if let Some(&(port, sleep_type)) = SOFT_OFF.get() {
        // SAFETY: the power-management control register, as ACPI gives it.
        unsafe { Port::<u16>::new(port).write((sleep_type << SLEEP_TYPE) | SLEEP_ENABLE) };
    }
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
