// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections with other machines. A program's socket has an end of a [`link`], as within the machine, and this has the other: it moves bytes between that
//! and a connection of the interface, and says at each side what has happened at the other. So there is one code for what programs see.
//!
//! The thread looks at those connections alone that an interface or a program has marked.

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc};

use exo_drivers::network::{
    NetworkError, Request,
    interface::Interface,
    sockets::{Phase as Progress, Status, Stream},
};
use exo_hal::{sync::SpinLock, time};

use super::{
    buffers::{self, LARGE},
    close::refuse,
    inbox::Segment,
    link::{self, End, Party, Waits},
    mark::{MARKED, Mark},
    socket::{Phase, PortClaim, TcpSocket},
};
use crate::{
    errno::{Errno, Result},
    fallible,
    inet::endpoint::Endpoint,
    sched::{spans, wait::Observer},
};

/// Bytes of the interface's buffers, for each direction: what may be on its way without having been acknowledged.
pub(super) const BUFFER: usize = 64 << 10;
/// Bytes of our own between those and the program's.
const ROOM: usize = 64 << 10;
/// How long an attempt to connect may take, in seconds.
const PATIENCE_S: u64 = 60;

/// How far a connection is.
enum Stage {
    /// It is begun for a socket, at that time.
    Begun(Arc<TcpSocket>, u64),
    /// It is there.
    Open(End),
}

/// A connection.
struct Outside {
    interface: Arc<Interface>,
    stream: Option<Stream>,
    ends: [Endpoint; 2],
    claim: Arc<PortClaim>,
    waits: Arc<Waits>,
    /// What those who wait set: it is kept here.
    mark: Arc<Mark>,
    /// Small segments do not wait for others to be acknowledged.
    has_no_delay: bool,
    stage: Stage,
}

/// All of them, by their marks' numbers. The thread takes one out while it works on it.
static ALL: SpinLock<BTreeMap<u64, Box<Outside>>> = SpinLock::new(BTreeMap::new());
/// Adds a connection.
fn add(outside: Outside) -> Result<()> {
    let outside = fallible::boxed(outside)?;
    let count = ALL.lock().len() + 1;
    {
        let mut marked = MARKED.lock();
        let more = count.saturating_sub(marked.len());
        marked.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
    }
    ALL.lock().insert(outside.mark.number, outside);
    Ok(())
}

/// Who waits at the end that belongs to another machine, and the mark that they set.
fn waits() -> Result<(Arc<Waits>, Arc<Mark>)> {
    let waits = fallible::arc(Waits::new())?;
    let mark = Mark::new()?;
    let observer: Arc<dyn Observer> = mark.clone();
    waits.polled.observe(&observer)?;
    Ok((waits, mark))
}

/// Begins to connect a socket from one place to another by an interface; what to mark when the socket gives up.
///
/// # Errors
/// ENOMEM, ENOBUFS if the interface has no more sockets, EADDRNOTAVAIL if there is a connection between these places.
pub(super) fn begin(
    socket: &Arc<TcpSocket>,
    interface: Arc<Interface>,
    ends: [Endpoint; 2],
    claim: Arc<PortClaim>,
) -> Result<()> {
    let [from, to] = ends;
    let remote = to.ip.to_ipv4_mapped().ok_or(Errno::ENETUNREACH)?;
    let (waits, mark) = waits()?;
    let stream = interface
        .connect(from.port, (remote, to.port), [BUFFER; 2], PATIENCE_S, mark.number)
        .map_err(|error| match error {
            NetworkError::InUse => Errno::EADDRNOTAVAIL,
            NetworkError::Unreachable => Errno::ENETUNREACH,
            _ => Errno::ENOBUFS,
        })?;
    let stage = Stage::Begun(socket.clone(), time::now_ns());
    let again = mark.clone();
    add(Outside { interface, stream: Some(stream), ends, claim, waits, mark, has_no_delay: false, stage })?;
    {
        let mut state = socket.state();
        if let Phase::Reaching(known) = &mut state.phase {
            *known = Some(again.clone());
        }
    }
    // The program may have given up meanwhile.
    again.changed();
    Ok(())
}

/// Somebody has connected from one place to another: the end for a program's socket, which brings in `own`.
///
/// # Errors
/// ENOMEM, EADDRNOTAVAIL, ENOBUFS; ECONNABORTED if it was not as it should be.
pub(super) fn join(
    interface: &Arc<Interface>,
    request: Request,
    ends: [Endpoint; 2],
    claim: Arc<PortClaim>,
    own: Party,
) -> Result<End> {
    let (waits, mark) = waits()?;
    let now = time::now_ns();
    let stream = interface.establish(request, BUFFER, mark.number, now).map_err(|error| match error {
        NetworkError::InUse => Errno::EADDRNOTAVAIL,
        NetworkError::QueueFull => Errno::ENOBUFS,
        _ => Errno::ECONNABORTED,
    })?;
    let [at, _] = ends;
    let other = Party {
        at,
        send_limit: ROOM,
        receive_limit: ROOM,
        waits: waits.clone(),
        claim: claim.clone(),
        is_program: false,
    };
    match link::connect(other, own) {
        Ok([first, second]) => {
            let (interface, stream, stage) = (interface.clone(), Some(stream), Stage::Open(first));
            let again = mark.clone();
            add(Outside { interface, stream, ends, claim, waits, mark, has_no_delay: false, stage })?;
            // Bytes may have come with it.
            again.changed();
            Ok(second)
        }
        Err(error) => {
            interface.abort(&stream);
            interface.let_go(stream);
            Err(error)
        }
    }
}

/// An interface says that something has happened to a connection.
pub(in crate::inet) fn mark(number: u64) {
    let mark = { ALL.lock().get(&number).map(|outside| outside.mark.clone()) };
    if let Some(mark) = mark {
        mark.changed();
    }
}

/// Works on the connections that are marked; whether there were any.
pub(super) fn work() -> bool {
    let count = MARKED.lock().len();
    for _ in 0..count {
        let Some(number) = ({ MARKED.lock().pop_front() }) else { break };
        let Some(mut outside) = ({ ALL.lock().remove(&number) }) else { continue };
        outside.mark.is_set.store(false, Ordering::Relaxed);
        if outside.work() {
            let (interface, mark) = (outside.interface.clone(), outside.mark.clone());
            ALL.lock().insert(number, outside);
            if interface.is_gone() {
                // It went meanwhile, and has not found it.
                mark.changed();
            }
        }
        spans::window();
    }
    count > 0
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.interface.let_go(stream);
        }
    }
}

impl Outside {
    fn abort(&self) {
        if let Some(stream) = &self.stream {
            self.interface.abort(stream);
        }
    }

    /// Does what is to be done; false when the connection is over.
    fn work(&mut self) -> bool {
        let Some(status) = self.stream.as_ref().map(|stream| self.interface.status(stream)) else {
            return false;
        };
        let is_gone = self.interface.is_gone();
        match &self.stage {
            Stage::Begun(socket, _) if is_gone => {
                refuse(socket, Errno::ENETDOWN);
                false
            }
            Stage::Open(end) if is_gone => {
                end.with(|own, peer| End::break_off(own, peer, Errno::ENETDOWN));
                end.peer_waits().tell_all();
                false
            }
            Stage::Begun(socket, since) => {
                let (socket, since) = (socket.clone(), *since);
                if !matches!(socket.state().phase, Phase::Reaching(_)) {
                    // The program has given up.
                    self.abort();
                    return false;
                }
                match status.phase {
                    Progress::Open => {
                        let result = self.open(&socket);
                        if let Err(error) = result {
                            refuse(&socket, error);
                            self.abort();
                        }
                        result.is_ok()
                    }
                    Progress::Over => {
                        let is_late = time::now_ns().saturating_sub(since) >= PATIENCE_S * 1_000_000_000;
                        refuse(&socket, if is_late { Errno::ETIMEDOUT } else { Errno::ECONNREFUSED });
                        false
                    }
                    Progress::Begins => true,
                }
            }
            Stage::Open(end) => {
                let end = end.clone();
                self.exchange(&end, status)
            }
        }
    }

    /// The connection is there: the program's socket gets its end.
    fn open(&mut self, socket: &Arc<TcpSocket>) -> Result<()> {
        let [from, to] = self.ends;
        let other = Party {
            at: to,
            send_limit: ROOM,
            receive_limit: ROOM,
            waits: self.waits.clone(),
            claim: self.claim.clone(),
            is_program: false,
        };
        let [first, second] = link::connect(socket.party(from, self.claim.clone()), other)?;
        {
            let mut state = socket.state();
            if !matches!(state.phase, Phase::Reaching(_)) {
                return Err(Errno::ECONNABORTED);
            }
            state.phase = Phase::Connected(first);
        }
        if let Some(stream) = &self.stream {
            self.interface.set_patience(stream, None);
        }
        self.stage = Stage::Open(second);
        socket.waits.tell_all();
        self.mark.changed();
        Ok(())
    }

    /// Moves bytes both ways, and ends.
    fn exchange(&mut self, end: &End, status: Status) -> bool {
        let Some(stream) = &self.stream else { return false };
        let (is_reset, is_closed) = end.with(|own, peer| (own.is_reset, peer.is_closed));
        if is_reset || is_closed && status.readable > 0 {
            // As a machine of this end would: nobody reads what has come.
            end.with(End::reset);
            self.interface.abort(stream);
            return false;
        }
        let has_no_delay = end.peer_waits().has_no_delay.load(Ordering::Relaxed);
        if has_no_delay != self.has_no_delay {
            self.has_no_delay = has_no_delay;
            self.interface.set_delay(stream, !has_no_delay);
        }
        self.send(end, stream);
        let is_sent = end.with(|own, _| own.inbox.readable == 0 && own.is_finished);
        if is_sent {
            self.interface.finish(stream);
        }
        self.receive(end, stream);
        let status = self.interface.status(stream);
        let was_finished = end.with(|own, _| own.has_finished);
        if status.is_finished && status.readable == 0 && !was_finished {
            let is_broken = status.phase == Progress::Over && !is_sent;
            if is_broken {
                end.with(End::reset);
            } else {
                end.finish();
            }
            end.peer_waits().tell_all();
        } else if status.phase == Progress::Over && !end.with(|own, _| own.is_over()) {
            end.with(End::reset);
            end.peer_waits().tell_all();
        }
        // What was sent to a program that has closed goes on without it.
        !(end.with(|own, _| own.is_over()) || is_closed && is_sent)
    }

    /// From the program to the interface.
    fn send(&self, end: &End, stream: &Stream) {
        while let Some(lent) = end.with(|own, _| own.inbox.lend(0)) {
            let sent = self.interface.send(stream, lent.bytes()).unwrap_or(0);
            let (done, is_room) = end.with(|own, _| {
                let had_room = own.has_room();
                (own.inbox.consume(lent, sent), !had_room && own.has_room())
            });
            if is_room {
                end.peer_waits().tell_senders();
            }
            let is_whole = done.is_some() || end.with(|own, _| own.inbox.readable == 0);
            if let Some(done) = done {
                buffers::give_back(done.buffer);
            }
            if sent == 0 || !is_whole {
                break;
            }
        }
    }

    /// From the interface to the program.
    fn receive(&self, end: &End, stream: &Stream) {
        loop {
            let count = self.interface.status(stream).readable.min(LARGE);
            if count == 0 || end.with(|_, peer| peer.is_full() || peer.is_closed) {
                return;
            }
            let Ok(mut buffer) = buffers::take(count) else { return };
            let room = buffer.get_mut(..count).unwrap_or_default();
            let count = self.interface.receive(stream, room, false);
            let segment = Segment { buffer, start: 0, end: count };
            let added = end.with(|_, peer| {
                let added = peer.inbox.add(segment);
                end.peer_waits().queued.store(peer.inbox.cost, Ordering::Relaxed);
                added
            });
            end.peer_waits().tell_receivers();
            match added {
                Ok(Some(left)) => buffers::give_back(left.buffer),
                Ok(None) => {}
                // Bytes cannot be left out of a stream.
                Err(_) => {
                    end.with(End::reset);
                    return;
                }
            }
        }
    }
}
