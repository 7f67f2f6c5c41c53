// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine's network: a virtio network card, and what it is plugged into.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use anyhow::{bail, ensure};

use super::{Config, System};
use crate::kernel::Kernel;
use crate::toolroot::Toolroot;

/// The file that says who answers questions for names, with what QEMU's user network has for that.
pub(super) const RESOLV_CONF: (&str, &str) = ("/etc/resolv.conf", "nameserver 10.0.2.3\n");
/// Names that need nobody to be asked.
pub(super) const HOSTS: (&str, &str) = ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");

/// What the card is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Network {
    /// QEMU's user network. The machine is 10.0.2.15, the host is 10.0.2.2; connections out of the machine are QEMU's own on
    /// the host, and into it there are only these.
    User(Vec<Forward>),
    /// A test that is the other end of the wire: frames are UDP datagrams between two ports of the host.
    Frames {
        /// The card's address.
        hardware_address: [u8; 6],
        /// The port that QEMU takes.
        local: u16,
        /// The port that it sends to.
        remote: u16,
    },
}

/// The transport of a forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// `tcp`, which is meant if nothing is said.
    Tcp,
    /// `udp`.
    Udp,
}

/// A port of the host that leads into the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    /// The port on the host, of 127.0.0.1 alone.
    pub(crate) host: u16,
    /// The port in the machine.
    pub(crate) guest: u16,
    /// Connections or datagrams.
    pub(crate) transport: Transport,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected HOST:GUEST or HOST:GUEST/udp, such as 8080:80";
        let (ports, transport) = match text.split_once('/') {
            None => (text, Transport::Tcp),
            Some((ports, "tcp")) => (ports, Transport::Tcp),
            Some((ports, "udp")) => (ports, Transport::Udp),
            Some((_, other)) => return Err(format!("{other:?} is neither tcp nor udp; {EXPECTED}")),
        };
        let (host, guest) = ports.split_once(':').ok_or(EXPECTED)?;
        let port = |text: &str, whose: &str| {
            // A sign is no part of a port, though it is one of a number.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|&port: &u16| digits && port > 0).ok_or_else(|| {
                format!("{text:?} is no port of the {whose}, which is a number from 1 to 65535; {EXPECTED}")
            })
        };
        Ok(Self { host: port(host, "host")?, guest: port(guest, "machine")?, transport })
    }
}

/// What is wrong with the ports, as far as it can be said without a machine: somebody may still take one until QEMU does.
pub(crate) fn check(forwards: &[Forward]) -> anyhow::Result<()> {
    for (index, Forward { host, transport, .. }) in forwards.iter().enumerate() {
        let is_same = |other: &Forward| (other.host, other.transport) == (*host, *transport);
        ensure!(
            !forwards.iter().take(index).any(is_same),
            "--forward: {transport} port {host} of the host is given twice; it can lead to one port only"
        );
        let place = (Ipv4Addr::LOCALHOST, *host);
        let taken = match transport {
            Transport::Tcp => TcpListener::bind(place).map(drop),
            Transport::Udp => UdpSocket::bind(place).map(drop),
        };
        let Err(error) = taken else { continue };
        let letter = if *transport == Transport::Tcp { 't' } else { 'u' };
        match error.kind() {
            ErrorKind::AddrInUse => bail!(
                "--forward: {transport} port {host} of the host is in use; take another one, or end the program that has it \
                 (`ss -{letter}lnp sport = {host}` names it)"
            ),
            ErrorKind::PermissionDenied => {
                bail!(
                    "--forward: this user may not have {transport} port {host} of the host; take one above 1023"
                )
            }
            _ => bail!("--forward: cannot have {transport} port {host} of the host: {error}"),
        }
    }
    Ok(())
}

/// Puts the card into QEMU's command line.
pub(super) fn add(qemu: &mut Command, network: &Network) {
    let mut card = "virtio-net-pci,id=card0,netdev=net0".to_owned();
    let backend = match network {
        Network::User(forwards) => {
            forwards.iter().fold("user,id=net0".to_owned(), |text, Forward { host, guest, transport }| {
                format!("{text},hostfwd={transport}:{}:{host}-:{guest}", Ipv4Addr::LOCALHOST)
            })
        }
        Network::Frames { hardware_address: [a, b, c, d, e, f], local, remote } => {
            card += &format!(",mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
            format!(
                "dgram,id=net0,local.type=inet,local.host=127.0.0.1,local.port={local},\
                 remote.type=inet,remote.host=127.0.0.1,remote.port={remote}"
            )
        }
    };
    // Nothing boots over the network, so the firmware need not run the card's own program.
    card += ",romfile=";
    qemu.args(["-netdev", &backend, "-device", &card]);
}

/// Linux's own modules for the card, in load order.
pub(super) fn modules(kernel: &Kernel, toolroot: &Toolroot) -> anyhow::Result<Vec<PathBuf>> {
    ["failover", "net_failover", "virtio_net"]
        .map(|name| kernel.own_module(toolroot, name))
        .into_iter()
        .collect()
}

/// The line of the machine's configuration that gives the card its address, or waits until the kernel has done so. What QEMU's
/// user network gives by DHCP never changes, so Linux, which asks nobody by itself, is told it.
pub(super) fn conf(system: &System, config: &Config) -> &'static str {
    match (&config.network, system) {
        (Some(Network::User(_)), System::Linux(_)) => "network=eth0 10.0.2.15/24 10.0.2.2\n",
        (Some(Network::User(_)), System::Exo(_)) if !is_off(&config.append) => "network=eth0\n",
        _ => "",
    }
}

/// Whether Exo-Kernel is told to leave its cards without addresses.
fn is_off(append: &[String]) -> bool {
    append.iter().flat_map(|words| words.split_whitespace()).any(|word| word == "exo.net=off")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(host: u16, guest: u16, transport: Transport) -> Forward {
        Forward { host, guest, transport }
    }

    #[test]
    fn a_forward_is_a_port_of_the_host_and_one_of_the_machine() {
        assert_eq!("8080:80".parse(), Ok(forward(8080, 80, Transport::Tcp)));
        assert_eq!("1:65535/tcp".parse(), Ok(forward(1, 65535, Transport::Tcp)));
        assert_eq!("5353:53/udp".parse(), Ok(forward(5353, 53, Transport::Udp)));
        for (wrong, part) in [
            ("8080", "expected HOST:GUEST"),
            ("", "expected HOST:GUEST"),
            ("0:80", "\"0\" is no port of the host"),
            (":80", "\"\" is no port of the host"),
            ("80:0", "\"0\" is no port of the machine"),
            ("80:65536", "\"65536\" is no port of the machine"),
            ("65536:80", "\"65536\" is no port of the host"),
            ("+80:80", "\"+80\" is no port of the host"),
            ("-1:80", "\"-1\" is no port of the host"),
            ("80:80:80", "\"80:80\" is no port of the machine"),
            ("127.0.0.1:80:80", "\"127.0.0.1\" is no port of the host"),
            ("80:http", "\"http\" is no port of the machine"),
            ("80:80/sctp", "\"sctp\" is neither tcp nor udp"),
            ("80:80/", "\"\" is neither tcp nor udp"),
        ] {
            let error = wrong.parse::<Forward>().unwrap_err();
            assert!(error.contains(part) && error.contains("8080:80"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_port_that_is_in_use_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = check(&[forward(port, 80, Transport::Tcp)]).unwrap_err().to_string();
        assert!(error.contains(&format!("tcp port {port} of the host is in use")), "{error}");
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let error = check(&[forward(port, 80, Transport::Udp)]).unwrap_err().to_string();
        assert!(error.contains(&format!("udp port {port} of the host is in use")), "{error}");
    }

    #[test]
    fn a_port_leads_to_one_place() {
        // Nobody needs these to be free: the second is refused before it is tried, and the first may fail.
        let twice = [forward(60_999, 1, Transport::Udp), forward(60_999, 2, Transport::Udp)];
        assert!(check(&twice).is_err());
    }

    fn arguments(network: &Network) -> Vec<String> {
        let mut command = Command::new("qemu");
        add(&mut command, network);
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn forwards_are_of_this_host_alone() {
        let forwards = vec![forward(8080, 80, Transport::Tcp), forward(5353, 53, Transport::Udp)];
        assert_eq!(
            arguments(&Network::User(forwards)),
            [
                "-netdev",
                "user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:127.0.0.1:5353-:53",
                "-device",
                "virtio-net-pci,id=card0,netdev=net0,romfile="
            ]
        );
    }

    #[test]
    fn a_card_without_an_address_is_not_waited_for() {
        assert!(is_off(&["quiet exo.net=off".to_owned()]));
        assert!(!is_off(&["exo.net=dhcp".to_owned(), "exo.net=10.0.2.15/24".to_owned()]));
    }
}
