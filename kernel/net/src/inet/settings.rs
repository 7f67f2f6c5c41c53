// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of IPv4, IPv6, TCP and UDP sockets, and those of SOL_SOCKET that only they have. Most say how packets are sent, and there are none:
//! their values are checked and kept. Refused is what would have to mean something here and does not.

use core::{
    net::Ipv6Addr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use exo_core::{
    credentials::Which,
    thread::{capable, running},
};
use exo_logic::credentials::capability;
use linux_raw_sys::net;

use super::{endpoint::Family, ports::BindRequest};
use crate::{
    common::Common,
    errno::{Errno, Result},
    options::number,
    socket::{Value, value},
};

const TCP: u32 = net::IPPROTO_TCP as u32;
const IP: u32 = net::IPPROTO_IP as u32;
const IPV6: u32 = net::IPPROTO_IPV6 as u32;
const UDP: u32 = net::IPPROTO_UDP as u32;

/// An option whose value is kept.
struct Kept {
    level: u32,
    number: u32,
    /// Its value as long as nobody sets it.
    usual: i32,
    /// What it may be; flags become 0 or 1.
    least: i32,
    most: i32,
}

impl Kept {
    const fn flag(level: u32, number: u32, usual: i32) -> Self {
        Self::range(level, number, usual, 0, -1)
    }

    const fn range(level: u32, number: u32, usual: i32, least: i32, most: i32) -> Self {
        Self { level, number, usual, least, most }
    }
}

/// Options of TCP with rules of their own.
const MAXSEG: u32 = 2;
const LINGER2: u32 = 8;
const DEFER_ACCEPT: u32 = 9;
/// The type of packets, and two bits of it that are the stream's own (INET_ECN_MASK).
const TOS: u32 = 1;
const TCLASS: u32 = 67;
const ECN: i32 = 3;
const IP_MULTICAST_TTL: u32 = 33;
const IPV6_MULTICAST_HOPS: u32 = 18;

/// Places in the table of those that are looked at.
const REUSE_PORT: usize = 0;
const ONLY_V6: usize = 1;
const RECEIVE_ERRORS: usize = 2;
const RECEIVE_ERRORS_V6: usize = 3;
const RECEIVE_LOW: usize = 4;
const SEGMENT: usize = 5;
const TTL: usize = 6;
const TYPE_OF_SERVICE: usize = 7;
const HOP_LIMIT: usize = 8;
const TRAFFIC_CLASS: usize = 9;
/// The first of those that ask for control messages, in the order of [`tell`]'s bits.
const TELL: usize = 10;
const NO_DELAY: usize = TELL + tell::COUNT;
/// One of the four ways to ask for the time excludes the others.
const TIMES: core::ops::Range<usize> = TELL..TELL + 4;

/// What a program wants to be told with each datagram, as bits.
pub(super) mod tell {
    /// When it came (SO_TIMESTAMP, SO_TIMESTAMPNS, and their newer numbers).
    pub(in super::super) const TIMESTAMP: u32 = 1;
    pub(in super::super) const TIMESTAMPNS: u32 = 2;
    pub(in super::super) const TIMESTAMP_NEW: u32 = 4;
    pub(in super::super) const TIMESTAMPNS_NEW: u32 = 8;
    /// IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_RECVORIGDSTADDR.
    pub(in super::super) const PKTINFO: u32 = 0x10;
    pub(in super::super) const TTL: u32 = 0x20;
    pub(in super::super) const TOS: u32 = 0x40;
    pub(in super::super) const ORIGINAL: u32 = 0x80;
    /// IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, IPV6_RECVORIGDSTADDR.
    pub(in super::super) const PKTINFO_V6: u32 = 0x100;
    pub(in super::super) const HOP_LIMIT: u32 = 0x200;
    pub(in super::super) const TCLASS: u32 = 0x400;
    pub(in super::super) const ORIGINAL_V6: u32 = 0x800;
    /// IPV6_2292PKTINFO, IPV6_2292HOPLIMIT: the same by their old numbers.
    pub(in super::super) const OLD_PKTINFO_V6: u32 = 0x1000;
    pub(in super::super) const OLD_HOP_LIMIT: u32 = 0x2000;
    /// How many there are.
    pub(super) const COUNT: usize = 14;
}

const KEPT: [Kept; 70] = [
    Kept::flag(net::SOL_SOCKET, net::SO_REUSEPORT, 0),
    Kept::flag(IPV6, 26, 0),
    Kept::flag(IP, 11, 0),
    Kept::flag(IPV6, 25, 0),
    Kept::range(net::SOL_SOCKET, net::SO_RCVLOWAT, 1, 1, i32::MAX),
    Kept::range(TCP, MAXSEG, 0, 88, 32767),
    // IP_TTL, IP_TOS, IPV6_UNICAST_HOPS, IPV6_TCLASS.
    Kept::range(IP, 2, 64, 1, 255),
    Kept::range(IP, TOS, 0, 0, 255),
    Kept::range(IPV6, 16, 64, 0, 255),
    Kept::range(IPV6, TCLASS, 0, 0, 255),
    // In the order of `tell`.
    Kept::flag(net::SOL_SOCKET, net::SO_TIMESTAMP_OLD, 0),
    Kept::flag(net::SOL_SOCKET, net::SO_TIMESTAMPNS_OLD, 0),
    Kept::flag(net::SOL_SOCKET, net::SO_TIMESTAMP_NEW, 0),
    Kept::flag(net::SOL_SOCKET, net::SO_TIMESTAMPNS_NEW, 0),
    Kept::flag(IP, 8, 0),
    Kept::flag(IP, 12, 0),
    Kept::flag(IP, 13, 0),
    Kept::flag(IP, 20, 0),
    Kept::flag(IPV6, 49, 0),
    Kept::flag(IPV6, 51, 0),
    Kept::flag(IPV6, 66, 0),
    Kept::flag(IPV6, 74, 0),
    Kept::flag(IPV6, 2, 0),
    Kept::flag(IPV6, 8, 0),
    // TCP_NODELAY.
    Kept::flag(TCP, 1, 0),
    Kept::flag(net::SOL_SOCKET, net::SO_OOBINLINE, 0),
    Kept::flag(net::SOL_SOCKET, net::SO_DONTROUTE, 0),
    Kept::range(net::SOL_SOCKET, net::SO_PRIORITY, 0, i32::MIN, i32::MAX),
    Kept::flag(net::SOL_SOCKET, net::SO_NO_CHECK, 0),
    Kept::range(net::SOL_SOCKET, net::SO_MARK, 0, i32::MIN, i32::MAX),
    Kept::range(net::SOL_SOCKET, net::SO_INCOMING_CPU, -1, i32::MIN, i32::MAX),
    Kept::range(net::SOL_SOCKET, net::SO_BUSY_POLL, 0, 0, i32::MAX),
    Kept::flag(net::SOL_SOCKET, net::SO_SELECT_ERR_QUEUE, 0),
    // TCP_CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, SYNCNT, LINGER2, DEFER_ACCEPT, QUICKACK, USER_TIMEOUT, NOTSENT_LOWAT.
    Kept::flag(TCP, 3, 0),
    Kept::range(TCP, 4, 7200, 1, 32767),
    Kept::range(TCP, 5, 75, 1, 32767),
    Kept::range(TCP, 6, 9, 1, 127),
    Kept::range(TCP, 7, 6, 1, 127),
    Kept::range(TCP, LINGER2, 60, -1, 120),
    Kept::range(TCP, DEFER_ACCEPT, 0, 0, i32::MAX),
    Kept::flag(TCP, 12, 1),
    Kept::range(TCP, 18, 0, 0, i32::MAX),
    Kept::range(TCP, 25, 0, i32::MIN, i32::MAX),
    // TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_THIN_LINEAR_TIMEOUTS, TCP_SAVE_SYN: they only say how connections begin.
    Kept::range(TCP, 23, 0, 0, i32::MAX),
    Kept::range(TCP, 30, 0, 0, 1),
    Kept::range(TCP, 16, 0, 0, 1),
    Kept::range(TCP, 27, 0, 0, 2),
    // IP_RECVOPTS, MTU_DISCOVER, MULTICAST_TTL, MULTICAST_LOOP, MULTICAST_ALL, BIND_ADDRESS_NO_PORT, FREEBIND, MINTTL, LOCAL_PORT_RANGE.
    Kept::flag(IP, 6, 0),
    Kept::range(IP, 10, 1, 0, 5),
    Kept::range(IP, IP_MULTICAST_TTL, 1, 0, 255),
    Kept::flag(IP, 34, 1),
    Kept::range(IP, 49, 1, 0, 1),
    Kept::flag(IP, 24, 0),
    Kept::flag(IP, 15, 0),
    Kept::range(IP, 21, 0, 0, 255),
    // IPV6_MULTICAST_HOPS, MULTICAST_LOOP, MTU_DISCOVER, RECVPATHMTU, AUTOFLOWLABEL, DONTFRAG, MULTICAST_ALL, MINHOPCOUNT, FREEBIND.
    Kept::range(IPV6, IPV6_MULTICAST_HOPS, 1, 0, 255),
    Kept::range(IPV6, 19, 1, 0, 1),
    Kept::range(IPV6, 23, 1, 0, 5),
    Kept::flag(IPV6, 60, 0),
    Kept::flag(IPV6, 70, 1),
    Kept::flag(IPV6, 62, 0),
    Kept::flag(IPV6, 29, 1),
    Kept::range(IPV6, 73, 0, 0, 255),
    Kept::flag(IPV6, 78, 0),
    // UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX.
    Kept::flag(UDP, 101, 0),
    Kept::flag(UDP, 102, 0),
    // IP_RETOPTS, IP_PASSSEC, IP_RECVFRAGSIZE, IPV6_RECVFRAGSIZE: of what there is nothing to tell.
    Kept::flag(IP, 7, 0),
    Kept::flag(IP, 18, 0),
    Kept::flag(IP, 25, 0),
    Kept::flag(IPV6, 77, 0),
];

/// The options of a socket.
pub(super) struct Settings {
    family: Family,
    is_stream: bool,
    kept: [AtomicU32; KEPT.len()],
    /// What it wants to be told ([`tell`]).
    told: AtomicU32,
    /// SO_LINGER: whether it is on, and for how many seconds.
    linger: AtomicU64,
}

impl Clone for Settings {
    fn clone(&self) -> Self {
        let kept = self.kept.each_ref().map(|value| AtomicU32::new(value.load(Ordering::Relaxed)));
        let linger = AtomicU64::new(self.linger.load(Ordering::Relaxed));
        let told = AtomicU32::new(self.told.load(Ordering::Relaxed));
        Self { kept, told, linger, ..*self }
    }
}

/// What TCP makes of a time to wait for the first bytes: as long as so many attempts would take, of which each waits twice as long as the one
/// before, and two minutes at most.
fn deferred(seconds: i32) -> i32 {
    let (mut all, mut step) = (i32::from(seconds > 0), 1);
    let mut attempts = 1;
    while seconds > all && attempts < 255 {
        step = (step * 2).min(120);
        all += step;
        attempts += 1;
    }
    all
}

/// Whether the program may mark packets for those who route them.
fn may_mark() -> bool {
    capable(capability::NET_ADMIN) || capable(capability::NET_RAW)
}

fn place(level: u32, number: u32) -> Option<usize> {
    KEPT.iter().position(|option| (option.level, option.number) == (level, number))
}

impl Settings {
    /// Those of a new socket.
    pub(super) fn new(family: Family, is_stream: bool) -> Self {
        let kept = KEPT.each_ref().map(|option| AtomicU32::new(option.usual as u32));
        Self { family, is_stream, kept, told: AtomicU32::new(0), linger: AtomicU64::new(0) }
    }

    fn at(&self, place: usize) -> u32 {
        self.kept.get(place).map_or(0, |value| value.load(Ordering::Relaxed))
    }

    /// Whether it is for IPv6 alone (IPV6_V6ONLY).
    pub(super) fn is_only_v6(&self) -> bool {
        self.at(ONLY_V6) != 0
    }

    /// Whether it hears of errors of what it sends over IPv4, or IPv6, also without being connected (IP_RECVERR, IPV6_RECVERR).
    pub(super) fn hears_errors(&self, is_v4: bool) -> bool {
        self.at(if is_v4 { RECEIVE_ERRORS } else { RECEIVE_ERRORS_V6 }) != 0
    }

    /// What it wants to be told with each datagram ([`tell`]).
    #[inline]
    pub(super) fn told(&self) -> u32 {
        self.told.load(Ordering::Relaxed)
    }

    /// The time to live and the type of service of what it sends over IPv4, or what IPv6 calls so.
    #[inline]
    pub(super) fn travel(&self, is_v4: bool) -> [u8; 2] {
        let places = if is_v4 { [TTL, TYPE_OF_SERVICE] } else { [HOP_LIMIT, TRAFFIC_CLASS] };
        places.map(|place| self.at(place) as u8)
    }

    /// Whether closing breaks off a connection (SO_LINGER of no time).
    pub(super) fn breaks_off(&self) -> bool {
        self.linger.load(Ordering::Relaxed) == 1
    }

    /// So many bytes are waited for (SO_RCVLOWAT).
    pub(super) fn receive_low(&self) -> usize {
        self.at(RECEIVE_LOW) as usize
    }

    /// The size of segments that the program has chosen (TCP_MAXSEG); 0 for none.
    pub(super) fn segment(&self) -> u32 {
        self.at(SEGMENT)
    }

    /// Whether small segments do not wait for others to be acknowledged (TCP_NODELAY).
    pub(super) fn has_no_delay(&self) -> bool {
        self.at(NO_DELAY) != 0
    }

    /// Whether it has options of a level.
    fn has_level(&self, level: u32) -> bool {
        match level {
            TCP => self.is_stream,
            UDP => !self.is_stream,
            IPV6 => self.family == Family::V6,
            _ => level == IP,
        }
    }

    /// How a socket with these options is bound.
    pub(super) fn bind_request(&self, common: &Common, ip: Ipv6Addr) -> BindRequest {
        BindRequest {
            ip,
            only_v6: self.is_only_v6(),
            reuses_address: common.has(net::SO_REUSEADDR),
            reuses_port: self.at(REUSE_PORT) != 0,
            user: running().credentials.id(Which::EffectiveUser),
        }
    }

    /// The value of an option; none for what every socket has.
    pub(super) fn get(&self, level: u32, number: u32) -> Option<Result<Value>> {
        if (level, number) == (net::SOL_SOCKET, net::SO_LINGER) {
            return Some(Ok(value(&self.linger.load(Ordering::Relaxed).to_ne_bytes())));
        }
        if level != net::SOL_SOCKET && !self.has_level(level) {
            let is_v4 = self.family == Family::V4;
            return Some(Err(if is_v4 { Errno::EOPNOTSUPP } else { Errno::ENOPROTOOPT }));
        }
        match place(level, number) {
            Some(place) => Some(Ok(value(&self.at(place).to_ne_bytes()))),
            None if level == net::SOL_SOCKET => None,
            None => Some(Err(Errno::ENOPROTOOPT)),
        }
    }

    /// Sets it.
    pub(super) fn set(&self, level: u32, option: u32, bytes: &[u8]) -> Option<Result<()>> {
        if (level, option) == (net::SOL_SOCKET, net::SO_LINGER) {
            return Some(self.set_linger(bytes));
        }
        if level != net::SOL_SOCKET && !self.has_level(level) {
            return Some(Err(Errno::ENOPROTOOPT));
        }
        match place(level, option) {
            Some(place) => Some(self.keep(place, bytes)),
            None if level == net::SOL_SOCKET => None,
            None => Some(Err(Errno::ENOPROTOOPT)),
        }
    }

    fn set_linger(&self, bytes: &[u8]) -> Result<()> {
        let bytes: [u8; 8] = *bytes.first_chunk().ok_or(Errno::EINVAL)?;
        let linger = u64::from_ne_bytes(bytes);
        let (is_on, seconds) = (u64::from(linger as u32 != 0), linger >> 32);
        self.linger.store((seconds << 32) | is_on, Ordering::Relaxed);
        Ok(())
    }

    fn keep(&self, place: usize, bytes: &[u8]) -> Result<()> {
        let option = KEPT.get(place).ok_or(Errno::ENOPROTOOPT)?;
        // As on Linux a byte is enough for IPv4's.
        let wanted = match bytes {
            [byte, ..] if option.level == IP && bytes.len() < 4 => i32::from(*byte),
            _ => number(bytes)? as i32,
        };
        let wanted = match (option.level, option.number) {
            (IP, IP_MULTICAST_TTL) if self.is_stream => return Err(Errno::EINVAL),
            (IPV6, IPV6_MULTICAST_HOPS) if self.is_stream => return Err(Errno::ENOPROTOOPT),
            (TCP, LINGER2) if wanted == 0 => option.usual,
            (TCP, LINGER2) => wanted.clamp(option.least, option.most),
            (TCP, DEFER_ACCEPT) => deferred(wanted),
            (TCP, MAXSEG) if wanted == 0 => 0,
            (net::SOL_SOCKET, net::SO_RCVLOWAT) if wanted < 0 => i32::MAX,
            (net::SOL_SOCKET, net::SO_RCVLOWAT) => wanted.max(1),
            (IP, TOS) if self.is_stream => wanted & 0xff & !ECN,
            (IP, TOS) => wanted & 0xff,
            (IPV6, TCLASS) if self.is_stream && (0..=255).contains(&wanted) => wanted & !ECN,
            _ if option.most < option.least => i32::from(wanted != 0),
            // Back to what is usual.
            (IP, 2 | IP_MULTICAST_TTL) | (IPV6, 16 | IPV6_MULTICAST_HOPS | TCLASS) if wanted == -1 => {
                option.usual
            }
            _ if (option.least..=option.most).contains(&wanted) => wanted,
            _ => return Err(Errno::EINVAL),
        };
        if (option.level, option.number) == (net::SOL_SOCKET, net::SO_MARK) && !may_mark()
            || option.level == net::SOL_SOCKET
                && option.number == net::SO_PRIORITY
                && !(0..=6).contains(&wanted)
                && !may_mark()
        {
            return Err(Errno::EPERM);
        }
        if TIMES.contains(&place) {
            for place in TIMES {
                self.keep_at(place, 0);
            }
        }
        self.keep_at(place, wanted as u32);
        Ok(())
    }

    fn keep_at(&self, place: usize, value: u32) {
        if let Some(kept) = self.kept.get(place) {
            kept.store(value, Ordering::Relaxed);
        }
        if let Some(bit) = place.checked_sub(TELL).filter(|bit| *bit < tell::COUNT) {
            if value != 0 {
                self.told.fetch_or(1 << bit, Ordering::Relaxed);
            } else {
                self.told.fetch_and(!(1 << bit), Ordering::Relaxed);
            }
        }
    }
}
