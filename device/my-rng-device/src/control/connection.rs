// SPDX-License-Identifier: MIT OR Apache-2.0
//! One client of the control socket: requests as lines, descriptors that come with them, and answers, some of which take time.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};

use super::closer::Closer;
use super::protocol::{Answer, MAX_REQUEST};

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most descriptors that come at once (the kernel's `SCM_MAX_FD`). What there is no room for the kernel closes on this thread.
const MOST_FDS: usize = 253;

/// A client, and what is on its way from and to it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixStream,
    request: Vec<u8>,
    /// Those that no request has taken yet.
    descriptors: VecDeque<OwnedFd>,
    answer: Vec<u8>,
    /// The answer that somebody else will give.
    pending: Option<Receiver<Answer>>,
    last_heard: Instant,
}

/// What became of a look at a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Waits,
    Worked,
    Gone,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Answered {
    Now(Answer),
    /// It comes when it is done.
    Later(Receiver<Answer>),
}

impl Connection {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            request: Vec::new(),
            descriptors: VecDeque::new(),
            answer: Vec::new(),
            pending: None,
            last_heard: Instant::now(),
        }
    }

    /// Hands over what must not be closed on a thread that serves others.
    pub(super) fn close(self, closer: &Closer) {
        for descriptor in self.descriptors.into_iter().chain([self.socket.into()]) {
            closer.close(descriptor);
        }
    }

    /// When it was last heard of.
    pub(super) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// How long nothing needs to be done for it, as long as its socket says nothing. `None`: as long as nobody answers.
    pub(super) fn patience(&self) -> Option<Duration> {
        if self.pending.is_some() {
            return None;
        }
        if self.answer.is_empty() && self.request.contains(&b'\n') {
            return Some(Duration::ZERO); // It sent several requests at once.
        }
        Some(PATIENCE.saturating_sub(self.last_heard.elapsed()))
    }

    /// What its socket is to be asked for. `None`: nothing, not even whether it is still there.
    pub(super) fn awaited(&self) -> Option<(&UnixStream, PollFlags)> {
        let flags = if self.answer.is_empty() { PollFlags::IN } else { PollFlags::OUT };
        self.pending.is_none().then_some((&self.socket, flags))
    }

    /// Sends what is left of an answer, or reads at most one request and begins to answer it. `answer` may take the
    /// descriptors that came with it.
    pub(super) fn turn(&mut self, answer: impl FnOnce(&[u8], &mut VecDeque<OwnedFd>) -> Answered) -> Outcome {
        if let Some(pending) = &self.pending {
            match pending.try_recv() {
                Ok(answer) => self.begin(&answer),
                Err(TryRecvError::Empty) => return Outcome::Waits,
                Err(TryRecvError::Disconnected) => return Outcome::Gone, // Which does not happen: see `Reply`.
            }
            self.pending = None;
            self.last_heard = Instant::now();
        }
        if self.last_heard.elapsed() >= PATIENCE {
            return Outcome::Gone;
        }
        if !self.answer.is_empty() {
            return self.send();
        }
        if !self.request.contains(&b'\n') {
            match self.read() {
                Outcome::Worked => {}
                other => return other,
            }
        }
        if self.descriptors.len() > 1 {
            return self.refuse("more than one descriptor");
        }
        let Some(end) = self.request.iter().position(|&byte| byte == b'\n') else {
            // What is longer is no request, and where the next one would begin nobody knows.
            let is_short = self.request.len() < MAX_REQUEST;
            return if is_short {
                Outcome::Worked
            } else {
                self.refuse(&format!("longer than {MAX_REQUEST} bytes"))
            };
        };
        let rest = self.request.split_off(end.saturating_add(1));
        let line = std::mem::replace(&mut self.request, rest);
        match answer(line.trim_ascii(), &mut self.descriptors) {
            Answered::Now(answer) => self.begin(&answer),
            Answered::Later(pending) => {
                self.pending = Some(pending);
                return Outcome::Worked;
            }
        }
        self.send()
    }

    fn read(&mut self) -> Outcome {
        let mut bytes = [0; MAX_REQUEST];
        let room = MAX_REQUEST.saturating_sub(self.request.len());
        let Some(space) = bytes.get_mut(..room) else { return Outcome::Gone };
        let mut ancillary = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut ancillary);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(self.socket.as_fd(), &mut [IoSliceMut::new(space)], &mut ancillary, flags);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        match received.map(|received| received.bytes) {
            Ok(0) => Outcome::Gone,
            Ok(count) => {
                self.request.extend_from_slice(bytes.get(..count).unwrap_or_default());
                self.last_heard = Instant::now();
                Outcome::Worked
            }
            Err(Errno::AGAIN | Errno::INTR) => Outcome::Waits,
            Err(_) => Outcome::Gone,
        }
    }

    fn begin(&mut self, answer: &Answer) {
        // Strings and numbers can always be written.
        self.answer = serde_json::to_vec(answer).unwrap_or_default();
        self.answer.push(b'\n');
    }

    fn refuse(&mut self, what: &str) -> Outcome {
        self.begin(&Answer::Error(format!("no request: {what}")));
        self.send();
        Outcome::Gone
    }

    fn send(&mut self) -> Outcome {
        match send(self.socket.as_fd(), &self.answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => {
                self.answer.drain(..count.min(self.answer.len()));
                self.last_heard = Instant::now();
                Outcome::Worked
            }
            Err(Errno::AGAIN | Errno::INTR) => Outcome::Waits,
            Err(_) => Outcome::Gone,
        }
    }
}
