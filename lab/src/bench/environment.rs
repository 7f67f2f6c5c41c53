// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a measurement ran on: figures mean nothing without it.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use bench_report::vcpus_text;
use serde::Serialize;

use super::Options;
use crate::machine::{Accel, Config, Parts};
use crate::process;

/// The host, the machines on it, and how was measured.
#[derive(Debug, Serialize)]
pub(super) struct Environment {
    /// When the measurement began, in UTC.
    date: String,
    host: Host,
    /// As QEMU says it.
    qemu: String,
    /// Known once a machine has run.
    pub(super) acceleration: Option<Accel>,
    /// The release of the machines' kernel.
    guest_kernel: String,
    /// The numbers of virtual processors, a machine each.
    vcpus: Vec<u32>,
    /// Of each machine.
    memory_mib: u32,
    /// How often each row was measured.
    runs: u32,
    /// How long each time.
    window_ms: u128,
}

/// The computer, which may be a virtual one itself.
#[derive(Debug, Serialize)]
struct Host {
    cpu: String,
    cores: usize,
    kernel: String,
    /// How many programs wanted a core in the minute before: above 0, the figures are lower than they could be.
    load: f64,
}

impl Environment {
    /// Asks the host and QEMU.
    pub(super) fn now(parts: &Parts, options: &Options) -> anyhow::Result<Self> {
        let version =
            process::output(parts.toolroot.command("qemu-system-x86_64", Path::new("/"))?.arg("--version"))?;
        Ok(Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            host: Host::this()?,
            qemu: version.lines().next().context("QEMU did not say its version")?.to_owned(),
            acceleration: None,
            guest_kernel: parts.system.name(),
            vcpus: options.vcpus.clone(),
            memory_mib: Config::default().memory,
            runs: options.runs,
            window_ms: options.window.as_millis(),
        })
    }
}

impl Host {
    fn this() -> anyhow::Result<Self> {
        let system = bench_report::Environment::of_this_machine();
        let load = std::fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
        Ok(Self {
            cpu: cpu_name(system.cpu.as_deref(), system.virtual_machine),
            cores: system.cpus,
            kernel: system.release,
            load: load
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .context("/proc/loadavg has no number")?,
        })
    }
}

/// The processor's name; virtual machines often have none that means anything.
fn cpu_name(name: Option<&str>, virtual_machine: Option<bool>) -> String {
    let name = name.unwrap_or("unknown processor");
    if virtual_machine == Some(true) { format!("{name} (virtual)") } else { name.to_owned() }
}

impl fmt::Display for Environment {
    /// Two lines of fewer than 100 columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Host { cpu, cores, load, .. } = &self.host;
        writeln!(f, "{cpu}, {cores} cores, load {load:.1} at the start, {}", self.date)?;
        // "QEMU emulator version 11.1.3 (Debian …)"
        let qemu =
            self.qemu.trim_start_matches("QEMU emulator version ").split(' ').next().unwrap_or_default();
        write!(f, "QEMU {qemu}, ")?;
        if let Some(accel) = self.acceleration {
            write!(f, "{accel}, ")?;
        }
        let machines: Vec<_> = self.vcpus.iter().map(|&vcpus| vcpus_text(vcpus)).collect();
        write!(f, "{} and {} MiB, {}", machines.join(" or "), self.memory_mib, self.guest_kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_tells_what_it_is() {
        let host = Host::this().unwrap();
        assert!(host.cores >= 1 && host.load >= 0.0 && !host.kernel.is_empty(), "{host:?}");
        assert_eq!(cpu_name(Some("A CPU"), Some(false)), "A CPU");
        assert_eq!(cpu_name(None, Some(true)), "unknown processor (virtual)");
    }
}
