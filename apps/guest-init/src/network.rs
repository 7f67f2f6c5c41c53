// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's network, as far as its kernel leaves that to programs: `lo` is up on every machine, and the card has its
//! address before the command starts. Linux is told the address; Exo-Kernel asks for it by itself.

use std::fs;
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::conf::{Address, Network};
use crate::failure::Failure;
use crate::files::BUSYBOX;
use crate::kernel_log;

/// Exo-Kernel's list of interfaces with their addresses.
const ADDRESSES: &str = "/proc/net/addresses";
/// Linux's flags of `lo`: up, and a loopback (`IFF_UP`, `IFF_LOOPBACK`).
const LOOPBACK_FLAGS: (&str, &str) = ("/sys/class/net/lo/flags", "0x9");

/// QEMU's DHCP server answers within milliseconds; an emulated machine on a busy host takes longer to ask.
const WAIT_FOR_ADDRESS: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// Turns `lo` on where that is not the kernel's own business. Linux gives it 127.0.0.1 and ::1 then.
pub(crate) fn start_loopback() {
    let (flags, up) = LOOPBACK_FLAGS;
    match fs::write(flags, up) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => kernel_log::note(&format!("lo is not up: {flags}: {error}")),
    }
}

/// Gives the interface its address, or waits until the kernel has.
pub(crate) fn start(network: &Network) -> Result<(), Failure> {
    match &network.address {
        Some(address) => set(&network.interface, address),
        None => wait(&network.interface),
    }
}

fn set(interface: &str, Address { address, gateway }: &Address) -> Result<(), Failure> {
    ip(&["link", "set", interface, "up"])?;
    ip(&["address", "add", address, "dev", interface])?;
    ip(&["route", "add", "default", "via", gateway])
}

fn ip(words: &[&str]) -> Result<(), Failure> {
    let line = words.join(" ");
    let output = Command::new(BUSYBOX)
        .arg("ip")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("network=: cannot run {BUSYBOX} ip: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!(
        "network=: `ip {line}` failed ({}): {} (has the machine a network card, and is its driver loaded?)",
        output.status,
        said.trim()
    )))
}

fn wait(interface: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + WAIT_FOR_ADDRESS;
    loop {
        let text = fs::read_to_string(ADDRESSES).map_err(|error| {
            Failure::new(format!(
                "network={interface}: {ADDRESSES}: {error} (this kernel must be told the address)"
            ))
        })?;
        if has_address(&text, interface) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!(
                "network={interface}: the kernel has no address for it after {} s; its interfaces are:\n{text}",
                WAIT_FOR_ADDRESS.as_secs()
            )));
        }
        std::thread::sleep(POLL);
    }
}

/// Whether the list has an address of that interface: `eth0 virtio-net link … address 10.0.2.15/24 …`.
fn has_address(list: &str, interface: &str) -> bool {
    list.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some(interface) && words.any(|word| word == "address")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_an_address_when_the_list_says_so() {
        let list = "lo loopback address 127.0.0.1/8\neth0 virtio-net link 52:54:00:12:34:56 by dhcp\n";
        assert!(has_address(list, "lo") && !has_address(list, "eth0") && !has_address(list, "eth1"));
        let list = "eth0 virtio-net link 52:54:00:12:34:56 address 10.0.2.15/24 gateway 10.0.2.2 by dhcp\n";
        assert!(has_address(list, "eth0") && !has_address(list, "eth"));
        assert!(!has_address("", "eth0"));
    }
}
