// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--net` and `--forward`: a machine reaches the host, and is reached from it. With either kernel.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::Lab;
use super::vm::succeed;
use crate::machine::network::Transport;
use crate::machine::{Config, Forward, Machine, Network, Output};

/// How often other ports are tried when somebody has taken one between this program and QEMU.
const ATTEMPTS: u32 = 5;
/// What QEMU says then.
const TAKEN: &str = "Could not set up host forwarding rule";
/// How long an answer may take.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Lines of the file that is sent: 8 MiB, much more than any buffer on its way.
const LINES: u32 = 1_200_000;

fn numbers() -> String {
    (1..=LINES).map(|number| format!("{number}\n")).collect()
}

/// A port of the host that nobody had a moment ago.
fn free_port(transport: Transport) -> anyhow::Result<u16> {
    let place = (Ipv4Addr::LOCALHOST, 0);
    let address = match transport {
        Transport::Tcp => TcpListener::bind(place).and_then(|socket| socket.local_addr()),
        Transport::Udp => UdpSocket::bind(place).and_then(|socket| socket.local_addr()),
    };
    Ok(address.context("cannot find a free port")?.port())
}

/// Programs of the host get to a web server in the machine. Debian's busybox has no server for datagrams: of those, QEMU only
/// takes the option.
pub(super) fn forwarded_ports_lead_into_the_machine(lab: &Lab) -> anyhow::Result<()> {
    let line =
        format!("mkdir /www; seq 1 {LINES} > /www/numbers; httpd -p 80 -h /www; echo ready; sleep 1000");
    for _ in 0..ATTEMPTS {
        let (http, datagrams) = (free_port(Transport::Tcp)?, free_port(Transport::Udp)?);
        let forwards = vec![
            Forward { host: http, guest: 80, transport: Transport::Tcp },
            Forward { host: datagrams, guest: 5353, transport: Transport::Udp },
        ];
        let config = Config { network: Some(Network::User(forwards)), ..lab.config() };
        let command = ["sh", "-c", &line].map(str::to_owned);
        let started = Machine::start(&lab.parts, &config, &command, Output::Capture)
            .and_then(|mut machine| machine.wait_for("ready").map(|()| machine));
        // Stopped when the test has seen what it came for.
        let _machine = match started {
            Err(error) if format!("{error:#}").contains(TAKEN) => continue,
            other => other?,
        };
        let fetched = fetch(http)?;
        let expected = numbers();
        ensure!(fetched == expected, "{} bytes came, not {}", fetched.len(), expected.len());
        return Ok(());
    }
    bail!("{ATTEMPTS} times, somebody has taken a port that was free")
}

/// What the machine's web server has; it may not listen yet.
fn fetch(port: u16) -> anyhow::Result<String> {
    let deadline = Instant::now() + GIVE_UP;
    loop {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("nobody listens for QEMU")?;
        stream.set_read_timeout(Some(GIVE_UP))?;
        stream.write_all(b"GET /numbers HTTP/1.0\r\n\r\n")?;
        let mut answer = Vec::new();
        // A connection that the machine refuses is reset.
        let ended = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        match text.split_once("\r\n\r\n") {
            Some((head, body)) if ended.is_ok() && head.contains("200 OK") => return Ok(body.to_owned()),
            _ if Instant::now() > deadline => bail!("the web server in the machine said {text:?}, {ended:?}"),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// A machine finds its card ready when its command starts, and gets what a server on the host's 127.0.0.1 has.
pub(super) fn a_machine_reaches_servers_on_the_host(lab: &Lab) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    let port = listener.local_addr()?.port();
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        // The request's first bytes are enough; the rest is short, too.
        let _ = stream.read(&mut [0; 1024])?;
        let body = numbers();
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let config = Config { network: Some(Network::User(Vec::new())), ..lab.config() };
    let line = format!(
        "ip -4 address show eth0 | grep -q ' 10.0.2.15/24 ' && ip route | grep -q '^default via 10.0.2.2 dev eth0' && \
         grep -qx 'nameserver 10.0.2.3' /etc/resolv.conf && ping -c 1 -W 20 localhost > /ping && \
         ping -c 2 -W 20 10.0.2.2 | grep -q '2 packets received' && \
         wget -q -O /came http://10.0.2.2:{port}/ && seq 1 {LINES} | cmp - /came && echo the same"
    );
    let said = succeed(lab, &config, &line)?.stdout;
    ensure!(said == "the same\n", "the machine got {said:?}");
    match server.join() {
        Ok(served) => served.context("the server on the host failed"),
        Err(_) => bail!("the server on the host has panicked"),
    }
}

/// `lo` needs no card, and no option.
pub(super) fn programs_reach_each_other_without_a_card(lab: &Lab) -> anyhow::Result<()> {
    let line = "(echo through lo | nc -l -p 7 127.0.0.1) & \
                until nc 127.0.0.1 7; do sleep 0.1; done; test ! -e /sys/class/net/eth0";
    let said = succeed(lab, &lab.config(), line)?.stdout;
    ensure!(said == "through lo\n", "{said:?}");
    Ok(())
}
