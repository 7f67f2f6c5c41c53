// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports: which sockets are bound to them, who may share one, and to whom something that arrives goes.

use core::net::Ipv6Addr;

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::sync::SpinLock;

use super::endpoint::{Endpoint, Family};
use crate::{
    errno::{Errno, Result},
    fallible, random,
    sched::spans,
};

/// Ports for who does not care, as on Linux (net.ipv4.ip_local_port_range).
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32768..=60999;
/// Ports that are looked at with the lock held once.
const SOME: u16 = 64;
/// Most sockets at one port: all of them are looked at for each that arrives.
const MOST: usize = 1024;

/// How a socket wants to be bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct BindRequest {
    pub(super) ip: Ipv6Addr,
    /// It is not for IPv4, too (IPV6_V6ONLY).
    pub(super) only_v6: bool,
    pub(super) reuses_address: bool,
    pub(super) reuses_port: bool,
    /// Whose it is.
    pub(super) user: u32,
}

impl BindRequest {
    /// Whether it hears what is sent to `ip`; more for who is nearer.
    fn fits(&self, ip: Ipv6Addr) -> u32 {
        if self.ip == ip {
            return 4;
        }
        let is_v4 = ip.to_ipv4_mapped().is_some();
        match self.ip {
            own if own == Family::V4.any() && is_v4 => 2,
            own if own.is_unspecified() && !is_v4 => 2,
            own if own.is_unspecified() && !self.only_v6 => 1,
            _ => 0,
        }
    }

    /// Whether both hear what is sent to some address.
    fn meets(&self, other: &Self) -> bool {
        self.fits(other.ip) > 0 || other.fits(self.ip) > 0
    }
}

/// A socket at a port.
struct Entry<T> {
    number: u64,
    request: BindRequest,
    /// From whom alone it hears.
    peer: Option<Endpoint>,
    listens: bool,
    owner: Weak<T>,
}

impl<T> Entry<T> {
    /// Whether another may be bound as `request` says beside it.
    fn allows(&self, request: &BindRequest) -> bool {
        !self.request.meets(request)
            || self.request.reuses_address && request.reuses_address && !self.listens
            || self.request.reuses_port && request.reuses_port && self.request.user == request.user
    }

    /// How well it fits something from `from` to `to`; 0 for not at all.
    fn fits(&self, to: Endpoint, from: Endpoint) -> u32 {
        match self.peer {
            Some(peer) if peer != from => 0,
            Some(_) => self.request.fits(to.ip) * 8,
            None => self.request.fits(to.ip),
        }
    }
}

struct Table<T> {
    ports: BTreeMap<u16, Vec<Entry<T>>>,
    last: u64,
}

/// The ports of a protocol.
pub(super) struct Ports<T: 'static>(SpinLock<Table<T>>);

/// A socket's entry at a port, until it is dropped.
pub(super) struct Claim<T: 'static> {
    ports: &'static Ports<T>,
    pub(super) port: u16,
    number: u64,
}

impl<T> Ports<T> {
    #[track_caller]
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(Table { ports: BTreeMap::new(), last: 0 }))
    }

    /// A place at a port, or at any that is free if that is 0.
    ///
    /// # Errors
    /// EADDRINUSE, ENOMEM.
    pub(super) fn claim(&'static self, port: u16, request: BindRequest, owner: Weak<T>) -> Result<Claim<T>> {
        if port == 0 {
            return self.claim_any(request, owner);
        }
        let mut table = self.0.lock();
        if let Some(there) = table.ports.get(&port) {
            if there.len() >= MOST || !there.iter().all(|other| other.allows(&request)) {
                return Err(Errno::EADDRINUSE);
            }
        }
        self.enter(&mut table, port, request, owner)
    }

    fn claim_any(&'static self, request: BindRequest, owner: Weak<T>) -> Result<Claim<T>> {
        let count = EPHEMERAL.end() - EPHEMERAL.start() + 1;
        let mut random = [0; 2];
        random::fill(&mut random);
        let start = u16::from_ne_bytes(random) % count;
        for first in (0..count).step_by(SOME.into()) {
            {
                let mut table = self.0.lock();
                for step in first..(first + SOME).min(count) {
                    let index = (u32::from(start) + u32::from(step)) % u32::from(count);
                    let port = EPHEMERAL.start() + index as u16;
                    if !table.ports.contains_key(&port) {
                        return self.enter(&mut table, port, request, owner);
                    }
                }
            }
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
        Err(Errno::EADDRINUSE)
    }

    fn enter(
        &'static self,
        table: &mut Table<T>,
        port: u16,
        request: BindRequest,
        owner: Weak<T>,
    ) -> Result<Claim<T>> {
        table.last += 1;
        let number = table.last;
        let there = table.ports.entry(port).or_default();
        let entered = fallible::push(there, Entry { number, request, peer: None, listens: false, owner });
        if entered.is_err() && there.is_empty() {
            table.ports.remove(&port);
        }
        entered.map(|()| Claim { ports: self, port, number })
    }

    /// Who hears what comes from `from` to `to`: whose address says it most exactly; of those that share a port one that is always the same for
    /// the same sender, else the last.
    pub(super) fn find(&self, to: Endpoint, from: Endpoint, listens: bool) -> Option<Arc<T>> {
        let table = self.0.lock();
        let there = table.ports.get(&to.port)?;
        let fits = |entry: &Entry<T>| if entry.listens == listens { entry.fits(to, from) } else { 0 };
        let best = there.iter().map(fits).max().filter(|best| *best > 0)?;
        let mut equal = there.iter().filter(|entry| fits(entry) == best);
        let last = equal.clone().next_back()?;
        let chosen = if last.request.reuses_port {
            let index = usize::from(from.port).wrapping_mul(0x9e37) >> 4;
            equal.clone().nth(index % equal.by_ref().count().max(1))?
        } else {
            last
        };
        chosen.owner.upgrade()
    }
}

impl<T> Claim<T> {
    fn change<R>(&self, change: impl FnOnce(&mut Entry<T>, bool) -> R) -> Option<R> {
        let mut table = self.ports.0.lock();
        let there = table.ports.get_mut(&self.port)?;
        let index = there.iter().position(|entry| entry.number == self.number)?;
        let own = there.get(index)?;
        // Whether somebody listens where this one would.
        let listens = |entry: &Entry<T>| {
            entry.number != self.number
                && entry.listens
                && entry.request.meets(&own.request)
                && !(entry.request.reuses_port && own.request.reuses_port)
        };
        let others_listen = there.iter().any(listens);
        there.get_mut(index).map(|own| change(own, others_listen))
    }

    /// Others may connect there.
    ///
    /// # Errors
    /// EADDRINUSE if they connect to somebody else already.
    pub(super) fn listen(&self) -> Result<()> {
        let listen = |own: &mut Entry<T>, others_listen: bool| {
            own.listens |= !others_listen;
            if others_listen { Err(Errno::EADDRINUSE) } else { Ok(()) }
        };
        self.change(listen).unwrap_or(Ok(()))
    }

    /// They may no more.
    pub(super) fn listen_no_more(&self) {
        self.change(|own, _| own.listens = false);
    }

    /// Its owner has this address, and hears from that peer alone.
    pub(super) fn connect(&self, ip: Ipv6Addr, peer: Option<Endpoint>) {
        self.change(|own, _| (own.request.ip, own.peer) = (ip, peer));
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        let mut table = self.ports.0.lock();
        let Some(there) = table.ports.get_mut(&self.port) else { return };
        if let Some(index) = there.iter().position(|entry| entry.number == self.number) {
            // In their order: the last is found first.
            there.remove(index);
        }
        if there.is_empty() {
            table.ports.remove(&self.port);
        }
    }
}
