// SPDX-License-Identifier: MIT OR Apache-2.0
//! Netlink sockets: programs ask the kernel by messages, and it answers with messages. There is NETLINK_ROUTE, and of that what is asked about
//! links, addresses and routes; getifaddrs and `ip` begin so. Nothing is changed by it, and nobody is told of changes.

mod answers;

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use exo_hal::sync::SpinLock;
use exo_vfs::{context, events::Events};
use linux_raw_sys::net;

use crate::{
    address::Address,
    common::Common,
    errno::{Errno, Result},
    fallible,
    io_buf::{IoBuf, IoSource},
    patience::Patience,
    sched::wait::WaitQueue,
    socket::{How, Nature, Outgoing, Received, Socket},
};

/// The only protocol.
const ROUTE: u32 = 0;
/// Most bytes that a program asks with.
const LONGEST: usize = 4096;
/// Bytes of `struct sockaddr_nl`.
const ADDRESS: usize = 12;
/// What a message costs beside its bytes.
const OVERHEAD: usize = 256;

/// A netlink socket.
struct Netlink {
    kind: u32,
    common: Common,
    state: SpinLock<State>,
    /// What the answers cost that nobody has read.
    queued: AtomicUsize,
    receivable: WaitQueue,
    polled: WaitQueue,
}

#[derive(Default)]
struct State {
    /// Its number among those of the protocol; 0 as long as it has none.
    port: u32,
    /// Those of its address that a program has chosen (multicast groups, to which nothing is sent).
    groups: u32,
    answers: VecDeque<Vec<u8>>,
    error: Option<Errno>,
}

/// A socket.
///
/// # Errors
/// ESOCKTNOSUPPORT, EPROTONOSUPPORT, ENOMEM.
pub(crate) fn create(kind: u32, protocol: u32) -> Result<Box<dyn Socket>> {
    if kind != net::SOCK_RAW && kind != net::SOCK_DGRAM {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    if protocol != ROUTE {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Ok(fallible::boxed(Netlink {
        kind,
        common: Common::default(),
        state: SpinLock::new(State::default()),
        queued: AtomicUsize::new(0),
        receivable: WaitQueue::new(),
        polled: WaitQueue::new(),
    })?)
}

/// An address: a number, and groups.
fn address(port: u32, groups: u32) -> Result<Address> {
    let mut bytes = [0; ADDRESS];
    let parts = [u32::from(net::AF_NETLINK as u16).to_le_bytes(), port.to_ne_bytes(), groups.to_ne_bytes()];
    for (to, from) in bytes.chunks_exact_mut(4).zip(parts) {
        to.copy_from_slice(&from);
    }
    Address::new(&bytes)
}

/// The number and the groups of an address.
fn parts(address: &Address) -> Result<(u32, u32)> {
    let bytes: &[u8; ADDRESS] = address.bytes().first_chunk().ok_or(Errno::EINVAL)?;
    if address.family() != Some(net::AF_NETLINK) {
        return Err(Errno::EINVAL);
    }
    let [_, _, _, _, a, b, c, d, e, f, g, h] = *bytes;
    Ok((u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])))
}

impl Netlink {
    /// Gives it a number: the process's own, as on Linux for the first.
    fn find_port(&self) -> u32 {
        let mut state = self.state.lock();
        if state.port == 0 {
            state.port = context::current().process();
        }
        state.port
    }

    /// Puts an answer into its queue; without room for it the program is told that some were lost.
    fn answer(&self, bytes: Vec<u8>) {
        let lost = {
            let mut state = self.state.lock();
            let queued = self.queued.load(Ordering::Relaxed);
            let is_full = queued > self.common.receive_buffer() as usize;
            if is_full || state.answers.try_reserve(1).is_err() {
                state.error = Some(Errno::ENOBUFS);
                Some(bytes)
            } else {
                self.queued.store(queued + bytes.len() + OVERHEAD, Ordering::Relaxed);
                state.answers.push_back(bytes);
                None
            }
        };
        drop(lost);
        self.receivable.wake_all();
        self.polled.wake_all();
    }
}

impl Socket for Netlink {
    fn nature(&self) -> Nature {
        Nature { domain: net::AF_NETLINK, kind: self.kind, protocol: ROUTE }
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, address: &Address, _mode: u32) -> Result<()> {
        let (port, groups) = parts(address)?;
        {
            let mut state = self.state.lock();
            if state.port != 0 && port != 0 && port != state.port {
                return Err(Errno::EINVAL);
            }
            state.groups = groups;
            if port != 0 {
                state.port = port;
            }
        }
        self.find_port();
        Ok(())
    }

    fn connect(&self, address: &Address, _no_wait: bool) -> Result<()> {
        match parts(address)? {
            (0, _) => {
                self.find_port();
                Ok(())
            }
            // There is nobody but the kernel.
            _ => Err(Errno::ECONNREFUSED),
        }
    }

    fn name(&self) -> Result<Address> {
        let (port, groups) = {
            let state = self.state.lock();
            (state.port, state.groups)
        };
        address(port, groups)
    }

    fn peer_name(&self) -> Result<Address> {
        address(0, 0)
    }

    fn send(&self, outgoing: Outgoing<'_>, from: &mut IoSource<'_>) -> Result {
        if outgoing.how.out_of_band {
            return Err(Errno::EOPNOTSUPP);
        }
        if let Some(to) = outgoing.to {
            if parts(to)?.0 != 0 {
                return Err(Errno::ECONNREFUSED);
            }
        }
        let length = from.left();
        if length == 0 {
            return Err(Errno::ENODATA);
        }
        if length > LONGEST {
            return Err(Errno::EMSGSIZE);
        }
        let port = self.find_port();
        let mut bytes: Vec<u8> = fallible::list(length)?;
        bytes.resize(length, 0);
        from.take_all(&mut bytes)?;
        answers::to(&bytes, port, |answer| self.answer(answer));
        Ok(length)
    }

    fn receive(&self, how: How, to: &mut IoBuf<'_>) -> Result<Received> {
        if how.out_of_band {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut patience = Patience::new(how.no_wait, self.common.receive_timeout());
        let answer = patience.wait(&self.receivable, || {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Some(Err(error));
            }
            // Who looks gets a copy: answers are a page at most.
            let answer = if how.peek { state.answers.front().cloned() } else { state.answers.pop_front() }?;
            if !how.peek {
                self.queued.fetch_sub(answer.len() + OVERHEAD, Ordering::Relaxed);
            }
            Some(Ok(answer))
        })?;
        let bytes = answer.len().min(to.left());
        to.put_all(answer.get(..bytes).unwrap_or_default())?;
        let from = if how.wants_address { Some(address(0, 0)?) } else { None };
        Ok(Received { bytes, length: answer.len(), from, ..Received::default() })
    }

    fn shutdown(&self, _directions: u8) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    fn readable(&self) -> Result {
        Ok(self.state.lock().answers.front().map_or(0, Vec::len))
    }

    fn unread(&self) -> Result {
        Ok(0)
    }

    fn events(&self) -> Events {
        let state = self.state.lock();
        let mut events = Events::OUT;
        events.set(Events::IN, !state.answers.is_empty());
        events.set(Events::ERR, state.error.is_some());
        events
    }

    fn queue(&self) -> &WaitQueue {
        &self.polled
    }

    fn kernel_memory(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}
