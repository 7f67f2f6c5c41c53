// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pairs of connected sockets without names: what programs use as pipes in both directions, Rust's standard library among them
//! when it starts a program. There are no other sockets.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec};

use exo_hal::{PAGE_SIZE, mm::frame, sync::SpinLock};
use linux_raw_sys::general as abi;

use super::{
    file::{File, Io, OpenFile},
    node::{Body, FileSystem, Node, kind},
    poll::Events,
};
use crate::{
    errno::{Errno, Result},
    mm::oom,
    sched::wait::{WaitQueue, wait_for},
    signal::{Info, number},
    task::current,
    user,
};

/// Bytes that wait to be read on each side, at most.
const CAPACITY: usize = 65536;
/// As many page frames.
const FRAMES: usize = CAPACITY / PAGE_SIZE;
/// Messages that wait, at most: empty ones take room, too.
const MOST_MESSAGES: usize = 256;

/// Whether messages keep their boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes (SOCK_STREAM).
    Stream,
    /// Messages, each read whole or cut short (SOCK_SEQPACKET, SOCK_DGRAM).
    Messages,
}

/// What one side has yet to read.
#[derive(Default)]
struct Inbox {
    messages: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Nobody will read it any more.
    closed: bool,
}

struct Pair {
    kind: Kind,
    inboxes: [SpinLock<Inbox>; 2],
    changed: WaitQueue,
}

/// One of the two sockets.
pub struct Socket {
    pair: Arc<Pair>,
    is_second: bool,
}

/// A new pair. `flags` are `O_` bits of both.
pub fn new_pair(kind: Kind, flags: u32) -> [Arc<OpenFile>; 2] {
    let pair = Arc::new(Pair {
        kind,
        inboxes: [SpinLock::default(), SpinLock::default()],
        changed: WaitQueue::new(),
    });
    [false, true].map(|is_second| {
        let node = Node::new(FileSystem::Anonymous, kind::SOCKET | 0o777, Body::Socket);
        OpenFile::new(Box::new(Socket { pair: pair.clone(), is_second }), node, abi::O_RDWR | flags)
    })
}

impl Socket {
    fn own(&self) -> &SpinLock<Inbox> {
        let [first, second] = &self.pair.inboxes;
        if self.is_second { second } else { first }
    }

    fn peers(&self) -> &SpinLock<Inbox> {
        let [first, second] = &self.pair.inboxes;
        if self.is_second { first } else { second }
    }

    /// Takes what is there; none if the reader has to wait.
    fn try_receive(&self, to: usize, length: usize) -> Option<Result> {
        // Looked at first: what the peer sent before it closed is there then.
        let peer_is_gone = self.peers().lock().closed;
        let mut inbox = self.own().lock();
        let mut done = 0;
        while let Some(message) = inbox.messages.pop_front() {
            let count = message.len().min(length - done);
            let (part, rest) = message.split_at_checked(count).unwrap_or_default();
            if user::copy_out(to.wrapping_add(done), part).is_err() {
                inbox.messages.push_front(message);
                return Some(if done > 0 { Ok(done) } else { Err(Errno::EFAULT) });
            }
            done += count;
            if self.pair.kind == Kind::Messages {
                inbox.bytes -= message.len();
                return Some(Ok(done));
            }
            inbox.bytes -= count;
            if !rest.is_empty() {
                let rest = rest.into();
                inbox.messages.push_front(rest);
            }
            if done == length {
                break;
            }
        }
        (done > 0 || length == 0 || peer_is_gone).then_some(Ok(done))
    }

    /// Adds what fits, a message whole or not at all; none if the writer has to wait.
    fn try_send(&self, from: usize, length: usize, signal: bool) -> Option<Result> {
        let mut inbox = self.peers().lock();
        if inbox.closed {
            if signal {
                current().process.signal(Info::kernel(number::SIGPIPE));
            }
            return Some(Err(Errno::EPIPE));
        }
        let room = CAPACITY.saturating_sub(inbox.bytes);
        let count = match self.pair.kind {
            Kind::Messages if length > CAPACITY => return Some(Err(Errno::EMSGSIZE)),
            Kind::Messages if length > room => return None,
            Kind::Messages => length,
            Kind::Stream => length.min(room),
        };
        if inbox.messages.len() >= MOST_MESSAGES || count == 0 && length > 0 {
            return None;
        }
        if !oom::has_room(FRAMES) {
            return Some(Err(Errno::ENOMEM));
        }
        let mut message = vec![0; count].into_boxed_slice();
        if let Err(error) = user::copy_in(&mut message, from) {
            return Some(Err(error.into()));
        }
        inbox.bytes += count;
        inbox.messages.push_back(message);
        Some(Ok(count))
    }

    /// Receives. At the end, when the peer is gone, 0.
    pub fn receive(&self, no_wait: bool, to: usize, length: usize) -> Result {
        let result = match self.try_receive(to, length) {
            Some(result) => result,
            None if no_wait => Err(Errno::EAGAIN),
            None => {
                wait_for(&self.pair.changed, || self.try_receive(to, length)).unwrap_or(Err(Errno::RESTART))
            }
        };
        if result.is_ok() {
            self.pair.changed.wake_all();
        }
        result
    }

    /// Sends. Without a peer EPIPE, and SIGPIPE if `signal`.
    pub fn send(&self, no_wait: bool, signal: bool, from: usize, length: usize) -> Result {
        if length == 0 && self.pair.kind == Kind::Stream {
            return Ok(0);
        }
        if !frame::available(FRAMES) {
            // If that is in vain, sending says so.
            oom::make_room(FRAMES);
        }
        let mut done = 0;
        loop {
            let at = from.wrapping_add(done);
            let send = || self.try_send(at, length - done, signal);
            let step = match send() {
                Some(step) => step,
                None if no_wait => Err(Errno::EAGAIN),
                None => wait_for(&self.pair.changed, send).unwrap_or(Err(Errno::RESTART)),
            };
            match step {
                Ok(count) => {
                    done += count;
                    self.pair.changed.wake_all();
                    if done >= length {
                        return Ok(done);
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done),
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        {
            let mut inbox = self.own().lock();
            inbox.closed = true;
            inbox.messages.clear();
            inbox.bytes = 0;
        }
        self.pair.changed.wake_all();
    }
}

impl File for Socket {
    /// What it has yet to read.
    fn kernel_memory(&self) -> usize {
        self.own()
            .try_lock()
            .map_or(0, |inbox| inbox.bytes + inbox.messages.capacity() * size_of::<Box<[u8]>>())
    }

    fn read(&self, io: Io, to: usize, length: usize) -> Result {
        self.receive(io.no_wait, to, length)
    }

    fn write(&self, io: Io, from: usize, length: usize) -> Result {
        self.send(io.no_wait, true, from, length)
    }

    fn events(&self) -> Events {
        let (room, gone) = {
            let inbox = self.peers().lock();
            (inbox.bytes < CAPACITY && inbox.messages.len() < MOST_MESSAGES, inbox.closed)
        };
        let mut events = Events::empty();
        events.set(Events::IN, gone || !self.own().lock().messages.is_empty());
        events.set(Events::OUT, room || gone);
        events.set(Events::HUP, gone);
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.pair.changed)
    }

    fn socket(&self) -> Option<&Socket> {
        Some(self)
    }
}
