// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which messages a raw socket does not want (ICMP_FILTER, ICMP6_FILTER), and the few other options that only raw sockets have.

use core::sync::atomic::{AtomicU32, Ordering};

use exo_logic::icmp;
use linux_raw_sys::net;

use crate::{
    errno::{Errno, Result},
    inet::endpoint::Family,
    options::number,
    socket::{Value, value},
};

const IP: u32 = net::IPPROTO_IP as u32;
const IPV6: u32 = net::IPPROTO_IPV6 as u32;
const ICMPV6: u32 = net::IPPROTO_ICMPV6;
const SOL_RAW: u32 = 255;
const ICMP_FILTER: u32 = 1;
const ICMP6_FILTER: u32 = 1;
const IP_HDRINCL: u32 = 3;
const IPV6_CHECKSUM: u32 = 7;
/// Where the checksum of ICMPv6 is.
const CHECKSUM_OFFSET: u32 = 2;

/// A bit for each type of message that is not wanted.
#[derive(Debug, Default)]
pub(super) struct Filter([AtomicU32; 8]);

impl Filter {
    fn words(&self) -> [u32; 8] {
        self.0.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    /// Whether it keeps a message from its socket.
    pub(super) fn keeps_out(&self, family: Family, message: &[u8]) -> bool {
        let words = self.words();
        match (family, words) {
            (Family::V4, [first, ..]) => icmp::is_filtered(message, first),
            (Family::V6, words) => icmp::is_filtered_v6(message, &words),
        }
    }

    /// An option; none for what others have, too.
    pub(super) fn get(&self, family: Family, level: u32, option: u32) -> Option<Result<Value>> {
        let words = self.words();
        let mut bytes = Value::new();
        for word in words.into_iter().take(if family == Family::V4 { 1 } else { words.len() }) {
            bytes.extend(word.to_ne_bytes());
        }
        match (family, level, option) {
            (Family::V4, SOL_RAW, ICMP_FILTER) | (Family::V6, ICMPV6, ICMP6_FILTER) => Some(Ok(bytes)),
            (Family::V4, IP, IP_HDRINCL) => Some(Ok(value(&0_u32.to_ne_bytes()))),
            (Family::V6, IPV6 | SOL_RAW, IPV6_CHECKSUM) => Some(Ok(value(&CHECKSUM_OFFSET.to_ne_bytes()))),
            (Family::V4, SOL_RAW, _) | (Family::V6, ICMPV6 | SOL_RAW | IP, _) => {
                Some(Err(Errno::ENOPROTOOPT))
            }
            _ => None,
        }
    }

    /// Sets one. Headers that programs write themselves are refused.
    pub(super) fn set(&self, family: Family, level: u32, option: u32, bytes: &[u8]) -> Option<Result<()>> {
        match (family, level, option) {
            (Family::V4, SOL_RAW, ICMP_FILTER) | (Family::V6, ICMPV6, ICMP6_FILTER) => {
                // As much of it as there is, as on Linux.
                for (word, bytes) in self.0.iter().zip(bytes.chunks(4)) {
                    let mut whole = word.load(Ordering::Relaxed).to_ne_bytes();
                    whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                    word.store(u32::from_ne_bytes(whole), Ordering::Relaxed);
                }
                Some(Ok(()))
            }
            (Family::V4, IP, IP_HDRINCL) => Some(match number(bytes) {
                Ok(0) => Ok(()),
                Ok(_) => Err(Errno::EOPNOTSUPP),
                Err(error) => Err(error),
            }),
            (Family::V6, IPV6, IPV6_CHECKSUM) => Some(Err(Errno::EINVAL)),
            (Family::V6, SOL_RAW, IPV6_CHECKSUM) => Some(match number(bytes) {
                Ok(CHECKSUM_OFFSET) => Ok(()),
                _ => Err(Errno::EINVAL),
            }),
            (Family::V4, SOL_RAW, _) | (Family::V6, ICMPV6 | SOL_RAW | IP, _) => {
                Some(Err(Errno::ENOPROTOOPT))
            }
            _ => None,
        }
    }
}
