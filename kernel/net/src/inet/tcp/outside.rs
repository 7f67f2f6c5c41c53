// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections with other machines. A program's socket has an end of a [`link`], as within the machine, and this has the other: it moves bytes between that
//! and a socket of the interface, and says at each side what has happened at the other. So there is one code for what programs see.

use alloc::{sync::Arc, vec::Vec};

use exo_drivers::network::{
    interface::Interface,
    sockets::{Phase as Progress, Status, Stream},
};
use exo_hal::{sync::SpinLock, time};

use super::{
    buffers::{self, LARGE},
    close::refuse,
    inbox::Segment,
    link::{self, End, Party, Waits},
    socket::{Phase, PortClaim, TcpSocket},
};
use crate::{
    errno::{Errno, Result},
    fallible,
    inet::endpoint::Endpoint,
    interfaces,
    sched::{spans, wait::Observer},
};

/// Bytes of the interface's buffers, for each direction: what may be on its way without having been acknowledged.
const BUFFER: usize = 64 << 10;
/// Bytes of our own between those and the program's.
const ROOM: usize = 64 << 10;
/// How long an attempt to connect may take.
const PATIENCE_NS: u64 = 60_000_000_000;

/// Has the thread look when a program has done something.
struct Caller;

impl Observer for Caller {
    fn changed(&self) {
        interfaces::call_thread();
    }
}

/// How far a connection is.
enum Stage {
    /// It is begun for a socket, until that time.
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
    /// Keeps the observation of those who wait.
    _caller: Arc<dyn Observer>,
    stage: Stage,
}

/// All of them. The thread takes them out while it works on them.
static ALL: SpinLock<Vec<Outside>> = SpinLock::new(Vec::new());

/// Begins to connect a socket from one place to another by an interface.
///
/// # Errors
/// ENOMEM, ENOBUFS if the interface has no more sockets.
pub(super) fn begin(
    socket: &Arc<TcpSocket>,
    interface: Arc<Interface>,
    ends: [Endpoint; 2],
    claim: Arc<PortClaim>,
) -> Result<()> {
    let buffer = || -> Result<Vec<u8>> {
        let mut buffer = fallible::list(BUFFER)?;
        buffer.resize(BUFFER, 0);
        Ok(buffer)
    };
    let [from, to] = ends;
    let remote = to.ip.to_ipv4_mapped().ok_or(Errno::ENETUNREACH)?;
    let waits = fallible::arc(Waits::new())?;
    let caller: Arc<dyn Observer> = Arc::new(Caller);
    waits.polled.observe(&caller)?;
    let buffers = [buffer()?, buffer()?];
    let stream = interface.connect(from.port, (remote, to.port), buffers).map_err(|_| Errno::ENOBUFS)?;
    let stage = Stage::Begun(socket.clone(), time::now_ns().saturating_add(PATIENCE_NS));
    let outside = Outside { interface, stream: Some(stream), ends, claim, waits, _caller: caller, stage };
    {
        let mut all = ALL.lock();
        fallible::push(&mut all, outside)?;
    }
    interfaces::call_thread();
    Ok(())
}

/// Somebody has connected from one place to another by a socket of an interface: the end for a program's, which brings in `own`.
///
/// # Errors
/// ENOMEM, EADDRNOTAVAIL.
pub(super) fn join(
    interface: &Arc<Interface>,
    stream: Stream,
    ends: [Endpoint; 2],
    claim: Arc<PortClaim>,
    own: Party,
) -> Result<End> {
    let caller: Arc<dyn Observer> = Arc::new(Caller);
    let made = fallible::arc(Waits::new()).and_then(|waits| {
        waits.polled.observe(&caller)?;
        let [at, _] = ends;
        let other = Party {
            at,
            send_limit: ROOM,
            receive_limit: ROOM,
            waits: waits.clone(),
            claim: claim.clone(),
            is_program: false,
        };
        link::connect(other, own).map(|both| (waits, both))
    });
    match made {
        Ok((waits, [first, second])) => {
            let (interface, stream, stage) = (interface.clone(), Some(stream), Stage::Open(first));
            let outside = Outside { interface, stream, ends, claim, waits, _caller: caller, stage };
            fallible::push(&mut ALL.lock(), outside)?;
            Ok(second)
        }
        Err(error) => {
            interface.let_go(stream);
            Err(error)
        }
    }
}

/// Moves bytes in all connections; whether there is something to send.
pub(super) fn move_bytes() -> bool {
    let mut moved = false;
    let mut left = core::mem::take(&mut *ALL.lock());
    left.retain_mut(|outside| {
        let stays = outside.work(&mut moved);
        spans::window();
        stays
    });
    let mut all = ALL.lock();
    left.append(&mut all);
    *all = left;
    moved
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.interface.let_go(stream);
        }
    }
}

impl Outside {
    fn status(&self) -> Option<Status> {
        self.stream.as_ref().map(|stream| self.interface.status(stream))
    }

    fn abort(&self) {
        if let Some(stream) = &self.stream {
            self.interface.abort(stream);
        }
    }

    /// Does what is to be done; false when the connection is over.
    fn work(&mut self, moved: &mut bool) -> bool {
        let Some(status) = self.status() else { return false };
        match &self.stage {
            Stage::Begun(socket, until) => {
                let socket = socket.clone();
                if !matches!(socket.state().phase, Phase::Reaching) {
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
                        refuse(&socket, Errno::ECONNREFUSED);
                        false
                    }
                    _ if time::now_ns() > *until => {
                        refuse(&socket, Errno::ETIMEDOUT);
                        self.abort();
                        false
                    }
                    _ => true,
                }
            }
            Stage::Open(end) => {
                let end = end.clone();
                self.exchange(&end, status, moved)
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
            if !matches!(state.phase, Phase::Reaching) {
                return Err(Errno::ECONNABORTED);
            }
            state.phase = Phase::Connected(first);
        }
        self.stage = Stage::Open(second);
        socket.waits.tell_all();
        interfaces::call_thread();
        Ok(())
    }

    /// Moves bytes both ways, and ends.
    fn exchange(&mut self, end: &End, status: Status, moved: &mut bool) -> bool {
        let Some(stream) = &self.stream else { return false };
        let (is_reset, is_closed) = end.with(|own, peer| (own.is_reset, peer.is_closed));
        if is_reset || is_closed && status.readable > 0 {
            // As a machine of this end would: nobody reads what has come.
            end.with(End::reset);
            self.interface.abort(stream);
            *moved = true;
            return false;
        }
        *moved |= self.send(end, stream);
        let is_sent = end.with(|own, _| own.inbox.readable == 0 && own.is_finished);
        if is_sent {
            self.interface.finish(stream);
            *moved = true;
        }
        *moved |= self.receive(end, stream);
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
    fn send(&self, end: &End, stream: &Stream) -> bool {
        let mut moved = false;
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
            moved |= sent > 0;
            if sent == 0 || !is_whole {
                break;
            }
        }
        moved
    }

    /// From the interface to the program.
    fn receive(&self, end: &End, stream: &Stream) -> bool {
        let mut moved = false;
        loop {
            let count = self.interface.status(stream).readable.min(LARGE);
            if count == 0 || end.with(|_, peer| peer.is_full() || peer.is_closed) {
                return moved;
            }
            let Ok(mut buffer) = buffers::take(count) else { return moved };
            let room = buffer.get_mut(..count).unwrap_or_default();
            let count = self.interface.receive(stream, room, false);
            let segment = Segment { buffer, start: 0, end: count };
            let added = end.with(|_, peer| peer.inbox.add(segment));
            end.peer_waits().tell_receivers();
            match added {
                Ok(Some(left)) => buffers::give_back(left.buffer),
                Ok(None) => {}
                // Bytes cannot be left out of a stream.
                Err(_) => {
                    end.with(End::reset);
                    return moved;
                }
            }
            moved = true;
        }
    }
}
