// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupt controllers: one local APIC for each CPU, and the IO-APICs of the machine.

pub(crate) mod io;
pub(crate) mod local;

use super::acpi;
use crate::{cpu::percpu, mm::device_map};

pub use io::enable_isa_line;
pub use local::{reschedule, set_timer};

/// Where the local APICs' registers are if ACPI does not say.
const DEFAULT_ADDRESS: u64 = 0xfee0_0000;
/// Bytes of them.
const REGISTERS_SIZE: usize = 4096;

/// Sets up the boot CPU's APIC and the IO-APICs.
pub(crate) fn init_boot_cpu() {
    if !local::is_x2apic() {
        let physical = match acpi::platform().local_apic {
            0 => DEFAULT_ADDRESS,
            address => address,
        };
        // SAFETY: just mapped; such mappings stay.
        unsafe { local::set_registers(device_map::map_device(physical, REGISTERS_SIZE).cast()) };
    }
    io::mask_old_controllers();
    init_other_cpu();
    local::measure_timer();
    io::init();
}

/// Sets up the APIC of the CPU that this runs on, whose NUMA node is known from then on.
pub(crate) fn init_other_cpu() {
    local::enable();
    percpu::set_node(acpi::node_of_apic(local::own_id()) as usize);
}
