// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices of the machine.

pub mod acpi;
pub mod apic;
pub mod serial;
