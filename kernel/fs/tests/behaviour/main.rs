// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that show what there is, and devices that every machine has, on a machine of the host: see `exo-test-support`.

mod disks;
mod kernel_log;
mod line_discipline;
mod memory_devices;
mod memory_in_proc;
mod process_files;
mod process_stat;
mod ptys;
mod settings;
mod sysfs;
mod terminals;
mod tmpfs;
mod wire;
