// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a benchmark ran on.

use std::fs;

use serde::Serialize;

/// The machine and its kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// The kernel's name, as `uname -s`.
    pub system: String,
    /// The kernel's release, as `uname -r`.
    pub release: String,
    /// The kernel's build, as `uname -v`.
    pub version: String,
    /// How many CPUs this program may use.
    pub cpus: usize,
    /// The processor's name, where the kernel tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Whether the kernel says that it runs under a hypervisor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_machine: Option<bool>,
}

impl Environment {
    /// Asks the kernel. What it does not tell stays out.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let uname = rustix::system::uname();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            system: uname.sysname().to_string_lossy().into_owned(),
            release: uname.release().to_string_lossy().into_owned(),
            version: uname.version().to_string_lossy().into_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&cpuinfo, "model name").map(str::to_owned),
            virtual_machine: field(&cpuinfo, "flags")
                .map(|flags| flags.split_ascii_whitespace().any(|flag| flag == "hypervisor")),
        }
    }
}

fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 6\nmodel name\t: A CPU: fast\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(cpuinfo, "model name"), Some("A CPU: fast"));
        assert_eq!(field(cpuinfo, "model"), Some("6"));
        assert_eq!(field(cpuinfo, "name"), None);
        assert_eq!(field("", "flags"), None);
    }
}
