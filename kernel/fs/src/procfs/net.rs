// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/net.

use alloc::sync::Arc;

use super::{Content, Each, Entry, find_entry, inode::Class, list_entries, text};
use exo_net::{inet, interfaces as network, unix};

use crate::{
    errno::{Errno, Result},
    fs::inode::{Inode, directory::DirectoryOperations},
};

/// The directory.
pub(super) struct Net;

static ENTRIES: &[Entry] = &[
    text("addresses", network::addresses),
    text("dev", network::devices),
    text("if_inet6", network::addresses_v6),
    Entry { name: "ping", content: Content::Setting(0o644, network::pings, network::ping) },
    text("rates", network::rates),
    text("route", network::routes),
    text("tcp", inet::tcp_sockets),
    text("tcp6", inet::tcp6_sockets),
    text("udp", inet::udp_sockets),
    text("udp6", inet::udp6_sockets),
    text("unix", unix::sockets),
];

impl DirectoryOperations for Net {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        find_entry(ENTRIES, Class::Network, name).ok_or(Errno::ENOENT)
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()> {
        // Whether it was broken off, the caller knows.
        let _ = list_entries(ENTRIES, Class::Network, after, each);
        Ok(())
    }
}
