// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/net/tcp, tcp6, udp and udp6, as on Linux.

use core::fmt::{Result, Write};

use alloc::{format, string::String};

use super::{
    endpoint::{Endpoint, Family},
    line::{Line, TIME_WAIT},
    tcp, udp,
};
use crate::sched::spans;

/// A line's length on Linux, without its end.
const TCP_WIDTH: usize = 149;
const UDP_WIDTH: usize = 127;

fn address(at: Endpoint, family: Family) -> String {
    let port = at.port;
    match (family, at.ip.to_ipv4_mapped()) {
        (Family::V4, Some(ip)) => format!("{:08X}:{port:04X}", u32::from_le_bytes(ip.octets())),
        (Family::V4, None) => format!("{:08X}:{port:04X}", 0),
        (Family::V6, _) => {
            let mut text = String::new();
            for part in at.ip.octets().chunks_exact(4) {
                let part = part.first_chunk().copied().unwrap_or_default();
                text += &format!("{:08X}", u32::from_le_bytes(part));
            }
            text + &format!(":{port:04X}")
        }
    }
}

fn write_line(number: usize, family: Family, line: &Line, is_tcp: bool, out: &mut dyn Write) -> Result {
    let (local, remote) =
        (address(line.local, family), address(line.remote.unwrap_or(Endpoint::any(family)), family));
    let width = if is_tcp { 4 } else { 5 };
    // Which timer runs, and how many hundredths of a second.
    let (timer, left) = if line.state == TIME_WAIT { (3, line.left_ns / 10_000_000) } else { (0, 0) };
    let start = format!(
        "{number:width$}: {local} {remote} {:02X} 00000000:{:08X} {timer:02X}:{left:08X} 00000000 {:5}        0 {} {} {:016x}",
        line.state, line.waiting, line.user, line.inode, line.references, 0
    );
    match (is_tcp, family) {
        (true, Family::V4) if line.state == TIME_WAIT => writeln!(out, "{start:TCP_WIDTH$}"),
        (true, Family::V6) if line.state == TIME_WAIT => writeln!(out, "{start}"),
        // What follows is about packets.
        (true, Family::V4) => writeln!(out, "{:TCP_WIDTH$}", start + " 100 0 0 10 0"),
        (true, Family::V6) => writeln!(out, "{start} 100 0 0 10 0"),
        (false, Family::V4) => writeln!(out, "{:UDP_WIDTH$}", start + " 0"),
        (false, Family::V6) => writeln!(out, "{start} 0"),
    }
}

const V6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

fn tcp_of(family: Family, out: &mut dyn Write) -> Result {
    let (mut last, mut count) = (0, 0);
    while let Some((number, line)) = tcp::next_line(last, family) {
        last = number;
        if let Some(line) = line {
            write_line(count, family, &line, true, out)?;
            count += 1;
        }
        let _ = spans::point();
    }
    last = 0;
    while let Some((number, line)) = tcp::next_waiting_line(last, family) {
        last = number;
        if let Some(line) = line {
            write_line(count, family, &line, true, out)?;
            count += 1;
        }
        let _ = spans::point();
    }
    Ok(())
}

fn udp_of(family: Family, out: &mut dyn Write) -> Result {
    let (mut last, mut count) = (0, 0);
    while let Some((number, line)) = udp::next_line(last, family) {
        last = number;
        if let Some(line) = line {
            write_line(count, family, &line, false, out)?;
            count += 1;
        }
        let _ = spans::point();
    }
    Ok(())
}

/// /proc/net/tcp.
pub fn tcp(out: &mut dyn Write) -> Result {
    let head =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
    writeln!(out, "{head:TCP_WIDTH$}")?;
    tcp_of(Family::V4, out)
}

/// /proc/net/tcp6.
pub fn tcp6(out: &mut dyn Write) -> Result {
    writeln!(out, "{V6}")?;
    tcp_of(Family::V6, out)
}

/// /proc/net/udp.
pub fn udp(out: &mut dyn Write) -> Result {
    let head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
    writeln!(out, "{head:UDP_WIDTH$}")?;
    udp_of(Family::V4, out)
}

/// /proc/net/udp6.
pub fn udp6(out: &mut dyn Write) -> Result {
    writeln!(out, "{V6} ref pointer drops")?;
    udp_of(Family::V6, out)
}
