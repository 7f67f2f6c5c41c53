// SPDX-License-Identifier: MIT OR Apache-2.0
//! How sockets come to be connected: one that listens, and those that connect to it, which wait while its backlog is full.

use alloc::sync::Arc;

use exo_drivers::network::interface::Interface;
use linux_raw_sys::net::AF_UNSPEC;

use super::{
    arrivals,
    close::{close_unaccepted, disconnect, refuse},
    link, outside,
    socket::{Backlog, PORTS, Phase, State, TcpSocket},
};
use crate::{
    address::Address,
    errno::{Errno, Result},
    inet::{
        endpoint::{Endpoint, is_any},
        local,
    },
    interfaces,
    patience::Patience,
    sched::spans,
    socket::direction,
};

/// Most that wait to connect while a backlog is full.
const MOST_WAITING: usize = 1024;

/// Gives a socket an address.
///
/// # Errors
/// EINVAL if it has one, EADDRINUSE, EADDRNOTAVAIL, EACCES.
pub(super) fn bind(socket: &Arc<TcpSocket>, at: Endpoint) -> Result<()> {
    local::check_bind(at)?;
    {
        let state = socket.state();
        if state.claim.is_some() || !matches!(state.phase, Phase::Idle) {
            return Err(Errno::EINVAL);
        }
    }
    claim(socket, at, at.port != 0 || !is_any(at.ip)).map(drop)
}

/// Gives a socket a port. The program has chosen it if it `is_bound`.
fn claim(socket: &Arc<TcpSocket>, at: Endpoint, is_bound: bool) -> Result<Endpoint> {
    let request = socket.settings.bind_request(&socket.common, at.ip);
    let claim = Arc::new(PORTS.claim(at.port, request, Arc::downgrade(socket))?);
    let local = Endpoint { port: claim.port, ..at };
    let unneeded = {
        let mut state = socket.state();
        if state.claim.is_some() {
            Some(claim)
        } else {
            state.claim = Some(claim);
            state.local = Some(local);
            state.is_bound = is_bound;
            None
        }
    };
    if unneeded.is_some() { Err(Errno::EINVAL) } else { Ok(local) }
}

/// Lets others connect.
///
/// # Errors
/// EINVAL if it is connected, EADDRINUSE if somebody else listens there.
pub(super) fn listen(socket: &Arc<TcpSocket>, limit: usize) -> Result<()> {
    let needs_port = {
        let mut state = socket.state();
        if state.is_unannounced {
            return Err(Errno::EINVAL);
        }
        match &mut state.phase {
            Phase::Listening(backlog) => {
                backlog.limit = limit;
                return Ok(());
            }
            Phase::Idle => {}
            _ => return Err(Errno::EINVAL),
        }
        state.claim.is_none()
    };
    if needs_port {
        claim(socket, Endpoint::any(socket.family), false)?;
    }
    let claim = socket.state().claim.clone().ok_or(Errno::EINVAL)?;
    claim.listen()?;
    let is_late = {
        let mut state = socket.state();
        let is_idle = matches!(state.phase, Phase::Idle);
        if is_idle {
            state.phase = Phase::Listening(Backlog { limit, ..Backlog::default() });
            state.ended = 0;
        }
        !is_idle
    };
    if is_late {
        claim.listen_no_more();
        return Err(Errno::EINVAL);
    }
    socket.waits.polled.wake_all();
    Ok(())
}

/// Takes the next connection.
///
/// # Errors
/// EINVAL if it does not listen; those of waiting.
pub(super) fn accept(socket: &Arc<TcpSocket>, no_wait: bool) -> Result<Arc<TcpSocket>> {
    let mut patience = Patience::new(no_wait, socket.common.receive_timeout());
    let (connection, outside) = patience.wait(&socket.waits.receivable, || {
        let mut state = socket.state();
        match &mut state.phase {
            Phase::Listening(backlog) => {
                let connection = backlog.connections.pop_front()?;
                Some(Ok((connection, backlog.outside.pop_front())))
            }
            _ => Some(Err(Errno::EINVAL)),
        }
    })?;
    if let Some(next) = outside {
        arrivals::call(next);
    }
    // Who has waited for room may have it.
    while let Some(client) = next_waiting(socket) {
        if let Err(error) = establish(socket, &client) {
            refuse(&client, error);
        }
        if spans::point() {
            break;
        }
    }
    Ok(connection)
}

/// Takes a place in a backlog for somebody who waits for one.
fn next_waiting(listener: &TcpSocket) -> Option<Arc<TcpSocket>> {
    let mut state = listener.state();
    let Phase::Listening(backlog) = &mut state.phase else { return None };
    if backlog.is_full() {
        return None;
    }
    let client = backlog.waiting.pop_front()?;
    backlog.arriving += 1;
    Some(client)
}

/// What a connect finds of the last one.
enum Before {
    /// Nothing: it begins.
    Nothing,
    /// It waits for the end of the one that is under way.
    UnderWay,
    Over(Result<()>),
}

/// What became of a connection that was begun without waiting.
fn before(state: &mut State) -> Before {
    let is_unannounced = state.is_unannounced;
    match &state.phase {
        Phase::Listening(_) => Before::Over(Err(Errno::EISCONN)),
        Phase::Connecting(_) | Phase::Reaching(_) => Before::UnderWay,
        Phase::Connected(_) if !is_unannounced => Before::Over(Err(Errno::EISCONN)),
        Phase::Connected(end) => {
            let failed =
                end.with(|own, _| own.is_over().then(|| own.error.take().unwrap_or(Errno::ECONNABORTED)));
            state.is_unannounced = false;
            Before::Over(failed.map_or(Ok(()), Err))
        }
        Phase::Idle if is_unannounced => {
            state.is_unannounced = false;
            state.ended = 0;
            Before::Over(Err(state.error.take().unwrap_or(Errno::ECONNABORTED)))
        }
        Phase::Idle => Before::Nothing,
    }
}

/// Connects a socket.
///
/// # Errors
/// ECONNREFUSED if nobody listens there, EISCONN, EALREADY, EADDRNOTAVAIL, ENETUNREACH; EINPROGRESS if it must not wait, also if all is done.
pub(super) fn connect(socket: &Arc<TcpSocket>, address: &Address, no_wait: bool) -> Result<()> {
    match address.family() {
        None => return Err(Errno::EINVAL),
        Some(AF_UNSPEC) => {
            disconnect(socket);
            return Ok(());
        }
        Some(_) => {}
    }
    let last = before(&mut socket.state());
    match last {
        Before::Over(result) => return result,
        Before::UnderWay if no_wait => return Err(Errno::EALREADY),
        Before::UnderWay => return wait(socket, no_wait),
        Before::Nothing => {}
    }
    let to = Endpoint::of(address, socket.family)?;
    if socket.settings.is_only_v6() && to.ip.to_ipv4_mapped().is_some() {
        return Err(Errno::ENETUNREACH);
    }
    let to = Endpoint { ip: local::destination(to.ip), ..to };
    let (source, way) = match local::source(to.ip) {
        Ok(source) => (source, None),
        Err(error) => {
            let target = to.ip.to_ipv4_mapped().ok_or(error)?;
            let (interface, own) = interfaces::way_to(target).ok_or(error)?;
            (own.to_ipv6_mapped(), Some(interface))
        }
    };
    let bound = { socket.state().local };
    let from = match bound {
        Some(bound) if is_any(bound.ip) => Endpoint { ip: source, ..bound },
        Some(bound) if bound.ip.to_ipv4_mapped().is_some() != to.ip.to_ipv4_mapped().is_some() => {
            let is_v4 = bound.ip.to_ipv4_mapped().is_some();
            return Err(if is_v4 { Errno::EAFNOSUPPORT } else { Errno::ENETUNREACH });
        }
        Some(bound) => bound,
        None => {
            let at = Endpoint { ip: source, port: 0 };
            claim(socket, at, false).map_err(|error| match error {
                Errno::EADDRINUSE => Errno::EADDRNOTAVAIL,
                other => other,
            })?
        }
    };
    let begun = match way {
        None => begin(socket, from, to),
        Some(interface) => reach(socket, interface, from, to),
    };
    match begun {
        // The usual case: it is there.
        Ok(()) if !no_wait && !matches!(socket.state().phase, Phase::Connecting(_) | Phase::Reaching(_)) => {
            return Ok(());
        }
        Ok(()) => {}
        Err(Errno::ECONNREFUSED) => refuse(socket, Errno::ECONNREFUSED),
        Err(Errno::EALREADY) => return Err(Errno::EALREADY),
        Err(error) => {
            refuse(socket, error);
            let mut state = socket.state();
            (state.error, state.ended) = (None, 0);
            return Err(error);
        }
    }
    socket.state().is_unannounced = true;
    wait(socket, no_wait)
}

/// Begins to connect to another machine.
fn reach(socket: &Arc<TcpSocket>, interface: Arc<Interface>, from: Endpoint, to: Endpoint) -> Result<()> {
    let claim = {
        let mut state = socket.state();
        if !matches!(state.phase, Phase::Idle) {
            return Err(Errno::EALREADY);
        }
        state.phase = Phase::Reaching(None);
        state.local = Some(from);
        state.remote = Some(to);
        state.ended = 0;
        state.claim.clone()
    };
    outside::begin(socket, interface, [from, to], claim.ok_or(Errno::EINVAL)?)
}

/// Waits until a connection is there or has failed.
fn wait(socket: &TcpSocket, no_wait: bool) -> Result<()> {
    if no_wait {
        return Err(Errno::EINPROGRESS);
    }
    let mut patience = Patience::new(false, socket.common.send_timeout());
    let result = patience.wait(&socket.waits.sendable, || {
        let mut state = socket.state();
        match before(&mut state) {
            Before::Over(result) => Some(result),
            Before::UnderWay => None,
            // Somebody has ended it meanwhile.
            Before::Nothing => Some(Err(Errno::ECONNABORTED)),
        }
    });
    match result {
        Err(Errno::EAGAIN) => Err(Errno::EINPROGRESS),
        other => other,
    }
}

/// What a listener says to who wants to connect.
enum Answer {
    Comes,
    Waits,
    Refused,
}

/// Finds the listener: the connection is there after that, or the socket waits for it.
fn begin(socket: &Arc<TcpSocket>, from: Endpoint, to: Endpoint) -> Result<()> {
    let listener = PORTS.find(to, from, true).ok_or(Errno::ECONNREFUSED)?;
    {
        let mut state = socket.state();
        if !matches!(state.phase, Phase::Idle) {
            return Err(Errno::EALREADY);
        }
        state.phase = Phase::Connecting(listener.clone());
        state.local = Some(from);
        state.ended = 0;
        state.remote = Some(to);
    }
    let answer = {
        let mut state = listener.state();
        match &mut state.phase {
            Phase::Listening(backlog) if !backlog.is_full() => {
                backlog.arriving += 1;
                Answer::Comes
            }
            Phase::Listening(Backlog { waiting, .. }) if waiting.len() < MOST_WAITING => {
                match waiting.try_reserve(1) {
                    Ok(()) => {
                        waiting.push_back(socket.clone());
                        Answer::Waits
                    }
                    Err(_) => Answer::Refused,
                }
            }
            _ => Answer::Refused,
        }
    };
    match answer {
        Answer::Comes => establish(&listener, socket),
        Answer::Waits => Ok(()),
        Answer::Refused => Err(Errno::ECONNREFUSED),
    }
}

/// Makes a connection, for which a place in the backlog is kept.
fn establish(listener: &Arc<TcpSocket>, client: &Arc<TcpSocket>) -> Result<()> {
    let made = make(listener, client);
    let (connection, result) = match made {
        Ok(connection) => (connection, Ok(())),
        Err(error) => (None, Err(error)),
    };
    let lost = {
        let mut state = listener.state();
        match (&mut state.phase, connection) {
            (Phase::Listening(backlog), connection) => {
                backlog.arriving = backlog.arriving.saturating_sub(1);
                match connection {
                    Some(connection) if backlog.connections.try_reserve(1).is_ok() => {
                        backlog.connections.push_back(connection);
                        None
                    }
                    other => other,
                }
            }
            (_, connection) => connection,
        }
    };
    if let Some(connection) = lost {
        // As if the listener had been closed right after that.
        close_unaccepted(&connection);
    }
    listener.waits.tell_acceptors();
    client.waits.tell_all();
    result
}

/// The listener's side of a connection; none if the client has given up.
fn make(listener: &Arc<TcpSocket>, client: &Arc<TcpSocket>) -> Result<Option<Arc<TcpSocket>>> {
    let connection = listener.accepted()?;
    let its_claim = { listener.state().claim.clone() }.ok_or(Errno::ECONNREFUSED)?;
    let (from, to, claim) = {
        let state = client.state();
        match (&state.phase, state.local, state.remote, &state.claim) {
            (Phase::Connecting(_), Some(from), Some(to), Some(claim)) => (from, to, claim.clone()),
            _ => return Ok(None),
        }
    };
    let [first, second] = link::connect(client.party(from, claim), connection.party(to, its_claim.clone()))?;
    {
        let mut state = connection.state();
        state.phase = Phase::Connected(second);
        state.local = Some(to);
        state.is_bound = true;
        state.claim = Some(its_claim);
    }
    let last = {
        let mut state = client.state();
        if matches!(state.phase, Phase::Connecting(_)) {
            Ok(core::mem::replace(&mut state.phase, Phase::Connected(first)))
        } else {
            Err(first)
        }
    };
    match last {
        Ok(_) => Ok(Some(connection)),
        Err(first) => {
            first.close(true);
            Ok(None)
        }
    }
}

/// Ends directions.
///
/// # Errors
/// ENOTCONN if it is not connected.
pub(super) fn shutdown(socket: &Arc<TcpSocket>, directions: u8) -> Result<()> {
    if let Some(end) = socket.end() {
        return end.shut_down(directions);
    }
    let stops = {
        let mut state = socket.state();
        match &state.phase {
            Phase::Listening(_) => directions & direction::RECEIVE != 0,
            Phase::Connecting(_) | Phase::Reaching(_) => true,
            _ => {
                state.ended |= directions;
                drop(state);
                socket.waits.tell_all();
                return Err(Errno::ENOTCONN);
            }
        }
    };
    if stops {
        disconnect(socket);
    }
    Ok(())
}
