// SPDX-License-Identifier: MIT OR Apache-2.0
//! /sys/devices/system/cpu: which CPUs there are. All that exist are in use, and each is a core of its own in one package.

use core::fmt::Write;

use alloc::{
    format,
    string::{String, ToString},
};

use exo_hal::{MAX_CPUS, cpu::percpu::cpu_count};

use super::sysfs::add_text;

/// The set of the CPUs `first..end` as a mask: words of 32 bits, the highest first, with as many digits as Linux writes.
fn mask(first: usize, end: usize) -> String {
    let words = MAX_CPUS.min(cpu_count().next_multiple_of(32)).div_ceil(32);
    let bits = (first..end).fold(0u64, |set, cpu| set | (1 << cpu));
    let mut out = String::new();
    for word in (0..words).rev() {
        let digits = if word + 1 == words { cpu_count().div_ceil(4).min(8) - word * 8 } else { 8 };
        let comma = if out.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(out, "{comma}{:0digits$x}", (bits >> (32 * word)) as u32);
    }
    out + "\n"
}

/// The same as a list.
fn list(first: usize, end: usize) -> String {
    if end - first == 1 { format!("{first}\n") } else { format!("{first}-{}\n", end - 1) }
}

/// Adds the files, when all CPUs run.
pub fn init() {
    const FOLDER: &str = "devices/system/cpu";
    let count = cpu_count();
    for name in ["online", "possible", "present"] {
        add_text(&format!("{FOLDER}/{name}"), move || list(0, count));
    }
    for name in ["offline", "isolated"] {
        add_text(&format!("{FOLDER}/{name}"), || "\n".to_string());
    }
    add_text(&format!("{FOLDER}/kernel_max"), || format!("{}\n", MAX_CPUS - 1));
    for cpu in 0..count {
        let topology = format!("{FOLDER}/cpu{cpu}/topology");
        for (name, value) in [("core_id", cpu), ("physical_package_id", 0), ("die_id", 0)] {
            add_text(&format!("{topology}/{name}"), move || format!("{value}\n"));
        }
        for (name, first, end) in [
            ("thread_siblings", cpu, cpu + 1),
            ("core_cpus", cpu, cpu + 1),
            ("core_siblings", 0, count),
            ("package_cpus", 0, count),
            ("die_cpus", 0, count),
        ] {
            add_text(&format!("{topology}/{name}"), move || mask(first, end));
            add_text(&format!("{topology}/{name}_list"), move || list(first, end));
        }
    }
}
