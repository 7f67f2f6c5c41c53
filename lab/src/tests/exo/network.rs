// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exo-Kernel on a network: this test is the other machine on the wire, and sends and takes bare frames.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::super::{network, vm::succeed};
use super::Both;
use crate::machine::{Config, Machine, Network, Output};

const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 9, 8, 7];
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 7);
const US: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 1);

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// How long an answer may take before it is asked for again, and how long it is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const GIVE_UP: Duration = Duration::from_secs(30);

/// The wire: QEMU sends each frame as a datagram.
struct Wire(UdpSocket);

impl Wire {
    fn send(&self, kind: u16, to: [u8; 6], payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = Vec::from(to);
        frame.extend(OUR_MAC);
        frame.extend(kind.to_be_bytes());
        frame.extend(payload);
        // The shortest that Ethernet carries.
        frame.resize(frame.len().max(60), 0);
        self.0.send(&frame).map(drop).context("cannot send a frame")
    }

    /// The next frame's kind and payload, if one comes soon.
    fn receive(&self) -> anyhow::Result<Option<(u16, Vec<u8>)>> {
        let mut frame = [0; 2048];
        match self.0.recv(&mut frame) {
            Ok(length) => {
                let frame = frame.get(..length).unwrap_or_default();
                let kind =
                    frame.get(12..14).and_then(|kind| kind.try_into().ok()).map_or(0, u16::from_be_bytes);
                Ok(Some((kind, frame.get(14..).unwrap_or_default().to_vec())))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("cannot receive a frame"),
        }
    }

    /// Asks until an answer comes.
    fn ask<T>(
        &self,
        what: &str,
        ask: impl Fn() -> anyhow::Result<()>,
        answer: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + GIVE_UP;
        while Instant::now() < deadline {
            ask()?;
            while let Some((kind, payload)) = self.receive()? {
                if let Some(answer) = answer(kind, &payload) {
                    return Ok(answer);
                }
            }
        }
        bail!("{what}: no answer")
    }
}

/// An ARP packet: 1 asks, 2 answers.
fn arp(operation: u16, target_mac: [u8; 6]) -> Vec<u8> {
    let mut out = vec![0, 1, 8, 0, 6, 4];
    out.extend(operation.to_be_bytes());
    out.extend(OUR_MAC);
    out.extend(US.octets());
    out.extend(target_mac);
    out.extend(GUEST.octets());
    out
}

/// The Internet checksum (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A ping, or its answer, in an IPv4 packet.
fn ping(kind: u8, ident: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let mut icmp = vec![kind, 0, 0, 0];
    icmp.extend(ident.to_be_bytes());
    icmp.extend(sequence.to_be_bytes());
    icmp.extend(data);
    let check = sum(&icmp).to_be_bytes();
    icmp[2..4].copy_from_slice(&check);
    let length = u16::try_from(20 + icmp.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, 1, 0, 0];
    out.extend(US.octets());
    out.extend(GUEST.octets());
    let check = sum(&out).to_be_bytes();
    out[10..12].copy_from_slice(&check);
    out.extend(icmp);
    out
}

/// Kind, ident, sequence and data of a ping from the guest, if its sums are right.
fn unpack(packet: &[u8]) -> Option<(u8, u16, u16, Vec<u8>)> {
    let length = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    let (header, icmp) = packet.get(..length)?.split_at_checked(20)?;
    let right =
        header.get(..2)? == [0x45, 0] && header.get(9)? == &1 && header.get(12..16)? == GUEST.octets();
    if !right || sum(header) != 0 || sum(icmp) != 0 {
        return None;
    }
    let number = |at: usize| Some(u16::from_be_bytes(icmp.get(at..at + 2)?.try_into().ok()?));
    Some((*icmp.first()?, number(4)?, number(6)?, icmp.get(8..)?.to_vec()))
}

pub(super) fn pings_are_answered_and_sent(both: &Both<'_>) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot open a socket")?;
    // A port that is free now and most likely stays so until QEMU takes it.
    let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr())?.port();
    let ours = socket.local_addr()?.port();
    socket.connect((Ipv4Addr::LOCALHOST, theirs))?;
    socket.set_read_timeout(Some(ASK_AGAIN))?;
    let config = Config {
        smp: 2,
        append: vec![format!("exo.net={GUEST}/24,{US}")],
        network: Some(Network::Frames { hardware_address: GUEST_MAC, local: theirs, remote: ours }),
        ..both.exo.config()
    };
    let line = format!(
        "cat /proc/net/addresses; echo ready; \
         until grep -q '^eth0 in [1-9]' /proc/net/rates; do sleep 0.1; done; \
         until grep -q 'eth0: *[0-9]* *[2-9][0-9]' /proc/net/dev; do sleep 0.1; done; \
         echo {US} > /proc/net/ping; until grep -q 'answered after' /proc/net/ping; do sleep 0.1; done; \
         cat /proc/net/ping /proc/net/dev"
    );
    let mut machine =
        Machine::start(&both.exo.parts, &config, &["sh", "-c", &line].map(str::to_owned), Output::Capture)?;
    machine.wait_for("ready")?;
    let wire = Wire(socket);
    talk(&wire)?;
    let outcome = machine.wait()?;
    let said = &outcome.captured.stdout;
    let expected = [
        "link 52:54:00:09:08:07 address 10.9.8.7/24 gateway 10.9.8.1\n",
        "10.9.8.1 answered after ",
        "Inter-|   Receive",
    ];
    let is_said = expected.iter().all(|text| said.contains(text));
    ensure!(outcome.status == 0 && is_said, "status {}, output:\n{said}", outcome.status);
    Ok(())
}

/// Asks the guest who it is, pings it with data of many lengths, and answers its own ping.
fn talk(wire: &Wire) -> anyhow::Result<()> {
    let mac = wire.ask(
        "who has the guest's address",
        || wire.send(ARP, [0xff; 6], &arp(1, [0; 6])),
        |kind, packet| {
            let is_answer = kind == ARP
                && packet.get(6..8) == Some(&[0, 2])
                && packet.get(14..18) == Some(&GUEST.octets());
            if is_answer { packet.get(8..14).map(<[u8]>::to_vec) } else { None }
        },
    )?;
    ensure!(mac == GUEST_MAC, "the guest has the address {mac:02x?}");
    for (sequence, length) in (1..).zip([0, 1, 18, 56, 57, 1000, 1471, 1472].into_iter().cycle().take(24)) {
        let data: Vec<u8> =
            (0..length).map(|number: usize| (number * 7 + usize::from(sequence)) as u8).collect();
        wire.ask(
            &format!("a ping with {length} bytes"),
            || wire.send(IPV4, GUEST_MAC, &ping(ECHO_REQUEST, 77, sequence, &data)),
            |kind, packet| {
                let (reply, ident, number, back) = unpack(packet).filter(|_| kind == IPV4)?;
                ((reply, ident, number) == (ECHO_REPLY, 77, sequence) && back == data).then_some(())
            },
        )?;
    }
    // Now it asks.
    let deadline = Instant::now() + GIVE_UP;
    while Instant::now() < deadline {
        match wire.receive()? {
            Some((ARP, packet)) if packet.get(6..8) == Some(&[0, 1]) => {
                wire.send(ARP, GUEST_MAC, &arp(2, GUEST_MAC))?;
            }
            Some((IPV4, packet)) => {
                if let Some((ECHO_REQUEST, ident, sequence, data)) = unpack(&packet) {
                    return wire.send(IPV4, GUEST_MAC, &ping(ECHO_REPLY, ident, sequence, &data));
                }
            }
            _ => {}
        }
    }
    bail!("the guest has not pinged us")
}

/// QEMU's own network gives addresses by DHCP before the command starts, and its gateway answers.
pub(super) fn an_address_comes_by_dhcp(both: &Both<'_>) -> anyhow::Result<()> {
    let config = Config { network: Some(Network::User(Vec::new())), ..both.exo.config() };
    let line = "grep 'address 10.0.2.15/24 gateway 10.0.2.2 by dhcp' /proc/net/addresses && \
                grep -x 'nameserver 10.0.2.3' /etc/resolv.conf && \
                echo 10.0.2.2 > /proc/net/ping && until grep 'answered after' /proc/net/ping; do sleep 0.1; done; \
                echo 127.0.0.1 > /proc/net/ping; grep '^127.0.0.1 answered' /proc/net/ping";
    succeed(&both.exo, &config, line).map(drop)
}

pub(super) fn the_host_gets_to_a_server_in_the_machine(both: &Both<'_>) -> anyhow::Result<()> {
    network::forwarded_ports_lead_into_the_machine(&both.exo)
}

pub(super) fn a_machine_gets_what_the_host_has(both: &Both<'_>) -> anyhow::Result<()> {
    network::a_machine_reaches_servers_on_the_host(&both.exo)
}
