// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few devices that the kernel cannot do without. All others are drivers of the kernel proper.

pub mod acpi;
pub mod apic;
pub mod interrupt;
pub mod pci;
pub mod registers;
pub mod rtc;
pub mod serial;
