// SPDX-License-Identifier: MIT OR Apache-2.0
//! Listening for other machines: some sockets of an interface wait at a port, and each that somebody has connected to becomes a connection of the
//! program's listener, while another takes its place.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_drivers::network::{
    interface::Interface,
    sockets::{Buffers, Phase as Progress, Stream},
};
use exo_hal::sync::SpinLock;

use super::{
    close::close_unaccepted,
    outside,
    socket::{Backlog, Phase, TcpSocket},
};
use crate::{
    errno::{Errno, Result},
    fallible,
    inet::endpoint::{Endpoint, is_any},
    interfaces,
    sched::spans,
};

/// Sockets that wait at a port: who connects while none does has to try again.
const WAITING: usize = 8;
/// Bytes of their buffers, for each direction.
const BUFFER: usize = 16 << 10;

/// A port of an interface at which a socket listens.
struct Gate {
    listener: Weak<TcpSocket>,
    interface: Arc<Interface>,
    number: u16,
    streams: Vec<Stream>,
}

static ALL: SpinLock<Vec<Gate>> = SpinLock::new(Vec::new());

fn buffers() -> Result<Buffers> {
    let buffer = || -> Result<Vec<u8>> {
        let mut buffer = fallible::list(BUFFER)?;
        buffer.resize(BUFFER, 0);
        Ok(buffer)
    };
    Ok([buffer()?, buffer()?])
}

/// Lets other machines connect to a socket, where it is bound to their interface's address or to all.
///
/// # Errors
/// ENOMEM.
pub(super) fn open(listener: &Arc<TcpSocket>, at: Endpoint) -> Result<()> {
    for interface in interfaces::to_others() {
        let own = interface.address().map(|(own, _)| own.to_ipv6_mapped());
        if !is_any(at.ip) && own != Some(at.ip) || at.ip.is_unspecified() && listener.settings.is_only_v6() {
            continue;
        }
        let streams = fallible::list(WAITING)?;
        interface.begin_to_wait_at(at.port).map_err(|_| Errno::ENOMEM)?;
        let gate = Gate { listener: Arc::downgrade(listener), interface, number: at.port, streams };
        fallible::push(&mut ALL.lock(), gate)?;
    }
    interfaces::call_thread();
    Ok(())
}

/// Does what is to be done at all ports; whether somebody has connected.
pub(super) fn look() -> bool {
    let mut came = false;
    let mut gates = core::mem::take(&mut *ALL.lock());
    gates.retain_mut(|gate| {
        spans::window();
        gate.look(&mut came)
    });
    let mut all = ALL.lock();
    gates.append(&mut all);
    *all = gates;
    came
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.interface.end_waiting_at(self.number);
        self.streams.drain(..).for_each(|stream| self.interface.let_go(stream));
    }
}

impl Gate {
    /// Whether the socket still listens.
    fn look(&mut self, came: &mut bool) -> bool {
        let Some(listener) = self.listener.upgrade() else { return false };
        let (listens, is_full) = match &listener.state().phase {
            Phase::Listening(backlog) => (true, backlog.is_full()),
            _ => (false, false),
        };
        if !listens {
            return false;
        }
        let mut place = 0;
        while let Some(stream) = self.streams.get(place) {
            let status = self.interface.status(stream);
            match status.phase {
                Progress::Open if !is_full => {
                    let stream = self.streams.swap_remove(place);
                    if let (Some((ip, port)), Some((own, _))) = (status.remote, self.interface.address()) {
                        let from = Endpoint { ip: ip.to_ipv6_mapped(), port };
                        let to = Endpoint { ip: own.to_ipv6_mapped(), port: self.number };
                        // Without memory for it the other machine is told that it is over.
                        let _ = accept(&listener, &self.interface, stream, [from, to]);
                        *came = true;
                    } else {
                        self.interface.let_go(stream);
                    }
                }
                Progress::Over => self.interface.let_go(self.streams.swap_remove(place)),
                _ => place += 1,
            }
        }
        while self.streams.len() < WAITING {
            let Ok(stream) =
                buffers().and_then(|it| self.interface.wait_at(self.number, it).map_err(|_| Errno::ENOBUFS))
            else {
                break;
            };
            self.streams.push(stream);
        }
        true
    }
}

/// Somebody has connected: that is a connection of the listener's.
fn accept(
    listener: &Arc<TcpSocket>,
    interface: &Arc<Interface>,
    stream: Stream,
    [from, to]: [Endpoint; 2],
) -> Result<()> {
    let claim = { listener.state().claim.clone() };
    let (Ok(connection), Some(claim)) = (listener.accepted(), claim) else {
        interface.let_go(stream);
        return Err(Errno::ENOMEM);
    };
    let party = connection.party(to, claim.clone());
    let second = outside::join(interface, stream, [from, to], claim.clone(), party)?;
    {
        let mut state = connection.state();
        state.phase = Phase::Connected(second);
        state.local = Some(to);
        state.is_bound = true;
        state.claim = Some(claim);
    }
    let lost = {
        let mut state = listener.state();
        match &mut state.phase {
            Phase::Listening(Backlog { connections, .. }) => match connections.try_reserve(1) {
                Ok(()) => {
                    connections.push_back(connection);
                    None
                }
                Err(_) => Some(connection),
            },
            _ => Some(connection),
        }
    };
    if let Some(connection) = lost {
        close_unaccepted(&connection);
    }
    listener.waits.tell_acceptors();
    Ok(())
}
