// SPDX-License-Identifier: MIT OR Apache-2.0
//! What sockets for datagrams have in common, those of UDP and of ICMP: where they are bound and connected, what waits to be received, and how it is
//! copied.

use core::{
    net::Ipv6Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use super::{
    endpoint::{Endpoint, Family, is_any},
    ports::{BindRequest, Claim, Ports},
};
pub(super) use crate::common::datagram_cost as cost;
use crate::{
    errno::{Errno, Result},
    fallible,
    io_buf::{IoBuf, IoSource},
    sched::spans,
    socket::{How, direction},
};

/// Bytes that are copied between two preemption points.
const STEP: usize = 16 << 10;

/// Appends the next `length` bytes of a program's to some for which there is room.
///
/// # Errors
/// Those of copying.
#[inline]
pub(super) fn append(bytes: &mut Vec<u8>, length: usize, from: &mut IoSource<'_>) -> Result<()> {
    let end = bytes.len() + length;
    while bytes.len() < end {
        let start = bytes.len();
        bytes.resize(end.min(start + STEP), 0);
        from.take_all(bytes.get_mut(start..).unwrap_or_default())?;
        if bytes.len() < end {
            // Who is to end does so after the call.
            let _ = spans::point();
        }
    }
    Ok(())
}

/// Gives a program as many of these bytes as it has room for; how many.
///
/// # Errors
/// Those of copying.
#[inline]
pub(super) fn give(bytes: &[u8], to: &mut IoBuf<'_>) -> Result {
    let count = bytes.len().min(to.left());
    for (index, step) in bytes.get(..count).unwrap_or_default().chunks(STEP).enumerate() {
        // Who is to end does so after the call.
        let _ = index > 0 && spans::point();
        to.put_all(step)?;
    }
    Ok(count)
}

/// What waits to be received.
pub(super) struct Inbox<T> {
    pub(super) datagrams: VecDeque<Arc<T>>,
    /// To be reported once.
    pub(super) error: Option<Errno>,
    /// [`direction`](crate::socket::direction)s that have ended.
    pub(super) ended: u8,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { datagrams: VecDeque::new(), error: None, ended: 0 }
    }
}

impl<T> Inbox<T> {
    /// The error that is to be reported before anything is sent.
    #[inline]
    pub(super) fn check_send(&mut self) -> Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None if self.ended & direction::SEND != 0 => Err(Errno::EPIPE),
            None => Ok(()),
        }
    }

    /// Adds a datagram, which costs so much of what may be `queued`; it comes back if there is no room.
    #[inline]
    pub(super) fn add(
        &mut self,
        datagram: Arc<T>,
        cost: usize,
        queued: &AtomicUsize,
        limit: usize,
    ) -> core::result::Result<(), Arc<T>> {
        let before = queued.load(Ordering::Relaxed);
        // As on Linux one may go beyond the limit.
        if before > limit || self.datagrams.try_reserve(1).is_err() {
            return Err(datagram);
        }
        queued.store(before + cost, Ordering::Relaxed);
        self.datagrams.push_back(datagram);
        Ok(())
    }

    /// What a receiver gets: a datagram, an error, or none at the end; nothing yet if it has to wait.
    #[inline]
    pub(super) fn take(
        &mut self,
        how: &How,
        queued: &AtomicUsize,
        cost: impl FnOnce(&T) -> usize,
    ) -> Option<Result<Option<Arc<T>>>> {
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        let first = if how.peek { self.datagrams.front().cloned() } else { self.datagrams.pop_front() };
        match first {
            Some(datagram) => {
                if !how.peek {
                    queued.fetch_sub(cost(&datagram), Ordering::Relaxed);
                }
                Some(Ok(Some(datagram)))
            }
            None => (self.ended & direction::RECEIVE != 0 && !how.no_wait).then_some(Ok(None)),
        }
    }
}

/// Where a socket is bound and connected.
pub(super) struct Binding<T: 'static> {
    pub(super) local: Option<Endpoint>,
    /// The program has chosen its address.
    pub(super) has_chosen_ip: bool,
    /// It has chosen its port.
    pub(super) has_chosen_port: bool,
    claim: Option<Arc<Claim<T>>>,
    pub(super) peer: Option<Endpoint>,
}

impl<T> Default for Binding<T> {
    fn default() -> Self {
        Self { local: None, has_chosen_ip: false, has_chosen_port: false, claim: None, peer: None }
    }
}

/// A socket that is bound to a port, or to what its protocol has in the place of one.
pub(super) trait Bound: Sized + 'static {
    /// Does something with where it is, with that locked.
    fn with_binding<R>(&self, with: impl FnOnce(&mut Binding<Self>) -> R) -> R;

    /// How it wants to be bound to an address.
    fn bind_request(&self, ip: Ipv6Addr) -> BindRequest;

    /// The ports of its protocol.
    fn ports(&self) -> &'static Ports<Self>;

    /// Its family.
    fn family(&self) -> Family;

    /// Whether it has a port.
    fn is_bound(&self) -> bool {
        self.with_binding(|binding| binding.claim.is_some())
    }

    /// Gives it a place that it may have.
    ///
    /// # Errors
    /// EINVAL if it has one, EADDRINUSE.
    fn bind_to(self: &Arc<Self>, at: Endpoint) -> Result<()> {
        if self.is_bound() {
            return Err(Errno::EINVAL);
        }
        self.claim(at)?;
        self.with_binding(|binding| {
            (binding.has_chosen_ip, binding.has_chosen_port) = (!is_any(at.ip), at.port != 0);
        });
        Ok(())
    }

    /// Takes a port for it.
    ///
    /// # Errors
    /// EINVAL if another thread has done so, EADDRINUSE, ENOMEM.
    fn claim(self: &Arc<Self>, at: Endpoint) -> Result<Endpoint> {
        let claim = self.ports().claim(at.port, self.bind_request(at.ip), Arc::downgrade(self))?;
        let claim = fallible::arc(claim)?;
        let local = Endpoint { port: claim.port, ..at };
        let unneeded = self.with_binding(|binding| {
            if binding.claim.is_some() {
                return Some(claim);
            }
            (binding.claim, binding.local) = (Some(claim), Some(local));
            None
        });
        if unneeded.is_some() { Err(Errno::EINVAL) } else { Ok(local) }
    }

    /// Where it is; it gets a port unless it has one.
    ///
    /// # Errors
    /// EAGAIN if there is none, as on Linux.
    #[inline]
    fn find_local(self: &Arc<Self>) -> Result<Endpoint> {
        let local = self.with_binding(|binding| binding.local);
        let at = match local {
            Some(local) if local.port != 0 => return Ok(local),
            Some(local) => local,
            None => Endpoint::any(self.family()),
        };
        match self.claim(at) {
            Err(Errno::EADDRINUSE) => Err(Errno::EAGAIN),
            // Another thread was faster.
            Err(Errno::EINVAL) => self.with_binding(|binding| binding.local).ok_or(Errno::EAGAIN),
            other => other,
        }
    }

    /// What it sends goes `to` there from now on, and comes from `source` unless the program has chosen an address. It hears from there alone if it
    /// `hears_no_others`.
    fn connect_from(&self, at: Endpoint, source: Ipv6Addr, to: Endpoint, hears_no_others: bool) {
        let claim = self.with_binding(|binding| {
            let ip = if binding.has_chosen_ip { at.ip } else { source };
            binding.local = Some(Endpoint { ip, ..at });
            binding.peer = Some(to);
            binding.claim.clone().map(|claim| (claim, ip))
        });
        if let Some((claim, ip)) = claim {
            claim.connect(ip, hears_no_others.then_some(to));
        }
    }

    /// It is connected no more.
    fn disconnect(&self) {
        let (kept, dropped) = self.with_binding(|binding| {
            binding.peer = None;
            let ip = match binding.local {
                Some(local) if binding.has_chosen_ip => local.ip,
                _ => self.family().any(),
            };
            if binding.has_chosen_port {
                binding.local = binding.local.map(|local| Endpoint { ip, ..local });
                (binding.claim.clone().map(|claim| (claim, ip)), None)
            } else {
                binding.local = binding.has_chosen_ip.then_some(Endpoint { ip, port: 0 });
                (None, binding.claim.take())
            }
        });
        drop(dropped);
        if let Some((claim, ip)) = kept {
            claim.connect(ip, None);
        }
    }
}
