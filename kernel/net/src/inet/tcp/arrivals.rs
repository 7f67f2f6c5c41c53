// SPDX-License-Identifier: MIT OR Apache-2.0
//! Other machines that connect to sockets that listen. Which do is looked for when a request comes, so that an interface needs not know of them: one
//! that comes later serves those that listen already.

use alloc::{collections::VecDeque, sync::Arc};

use exo_drivers::network::{Answer, Request, interface::Interface, sockets::Remote};
use exo_hal::{sync::SpinLock, time};

use super::{
    close::close_unaccepted,
    outside::{self, BUFFER},
    socket::{Backlog, Completion, PORTS, Phase, TcpSocket},
};
use crate::{
    errno::{Errno, Result},
    inet::endpoint::Endpoint,
    interfaces, random,
};

fn endpoint((ip, port): Remote) -> Endpoint {
    Endpoint { ip: ip.to_ipv6_mapped(), port }
}

/// Who listens where a request goes, whether it takes more connections, and how many it lets wait.
fn listener(request: &Request) -> Option<(Arc<TcpSocket>, bool, usize)> {
    let listener = PORTS.find(endpoint(request.to()), endpoint(request.from()), true)?;
    let (is_full, limit) = match &listener.state().phase {
        Phase::Listening(backlog) => (backlog.is_full(), backlog.limit),
        _ => return None,
    };
    Some((listener, is_full, limit))
}

/// Another machine asks for a connection. As on Linux it is not answered while a backlog is full, and asks again.
pub(in crate::inet) fn opens(interface: &Interface, request: Request) {
    let now = time::now_ns();
    match listener(&request) {
        None => interface.refuse(request, now),
        Some((_, true, _)) => {}
        Some((_, false, most)) => {
            let mut seed = [0; 8];
            random::fill(&mut seed);
            let seed = u64::from_le_bytes(seed);
            interface.answer(&request, Answer { seed, receive: BUFFER, most }, now);
        }
    }
}

/// Most that wait for room in a backlog. Others say again that they have our answer.
const MOST_WAITING: usize = 64;

/// Those for whom there may be room now.
static CALLED: SpinLock<VecDeque<Completion>> = SpinLock::new(VecDeque::new());

/// There is room in a backlog for somebody who has waited.
pub(super) fn call(next: Completion) {
    {
        let mut called = CALLED.lock();
        // Without memory for it, it says it again.
        if called.try_reserve(1).is_ok() {
            called.push_back(next);
        }
    }
    interfaces::call_thread();
}

/// Establishes the connections of those for whom there is room.
pub(in crate::inet) fn establish_called() {
    loop {
        let Some((interface, request)) = ({ CALLED.lock().pop_front() }) else { return };
        completes(&interface, request);
    }
}

/// Keeps one until there is room in a backlog.
fn wait(listener: &TcpSocket, interface: &Arc<Interface>, request: Request) {
    let mut state = listener.state();
    let Phase::Listening(Backlog { outside, .. }) = &mut state.phase else { return };
    let is_known =
        outside.iter().any(|(_, known)| (known.from(), known.to()) == (request.from(), request.to()));
    if !is_known && outside.len() < MOST_WAITING && outside.try_reserve(1).is_ok() {
        outside.push_back((interface.clone(), request));
    }
}

/// One has got our answer. While the backlog is full it waits.
pub(in crate::inet) fn completes(interface: &Arc<Interface>, request: Request) {
    match listener(&request) {
        None => interface.refuse(request, time::now_ns()),
        Some((listener, true, _)) => wait(&listener, interface, request),
        // Without memory for it the other machine says it again, and at last is told that nothing came of it.
        Some((listener, false, _)) => drop(accept(&listener, interface, request)),
    }
}

/// Somebody has connected: that is a connection of the listener's.
fn accept(listener: &Arc<TcpSocket>, interface: &Arc<Interface>, request: Request) -> Result<()> {
    let (from, to) = (endpoint(request.from()), endpoint(request.to()));
    let claim = { listener.state().claim.clone() }.ok_or(Errno::ECONNREFUSED)?;
    let connection = listener.accepted()?;
    let party = connection.party(to, claim.clone());
    let second = outside::join(interface, request, [from, to], claim.clone(), party)?;
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
