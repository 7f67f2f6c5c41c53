// SPDX-License-Identifier: MIT OR Apache-2.0
//! Closes what a peer sent, on a thread of its own.
//!
//! The last `close` of a file can take as long as whoever made the file likes: a socket that lingers, a file of a FUSE
//! daemon that does not answer, a connection in whose queue such descriptors lie. So no thread that serves anybody
//! closes, writes or reads a descriptor of a peer; it hands it to the [`Reaper`] of its server, which may wait for ever.
//! Each server has one, so that a peer can only hold up the closing of what came over its own socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

use crate::counters::Counters;

/// Most descriptors that come with one `sendmsg` (the kernel's `SCM_MAX_FD`). All of them must be taken: those for which
/// there is no room the kernel closes at once, on the thread that receives.
pub(crate) const MOST_FDS_OF_A_MESSAGE: usize = 253;

/// How long the end of a server waits for the closing of what its peers sent. What takes longer is left to the end of the
/// process.
const GRACE: Duration = Duration::from_millis(100);

/// What the thread does, each of which may block.
#[derive(Debug)]
enum Job {
    Close(OwnedFd),
    /// The same of a connection to a peer.
    HangUp(OwnedFd),
    /// Adds one to an eventfd where asynchronous I/O is not to be had.
    Signal(Arc<PeerFd>),
}

/// The thread that closes a server's descriptors. Clones are the same; when the last one is gone, the thread ends.
#[derive(Debug, Clone)]
pub(crate) struct Reaper(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    max_pending: usize,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Since when the thread has been at its job.
    busy_since: Option<Instant>,
    ended: bool,
}

impl State {
    /// Descriptors that are not closed yet.
    fn pending(&self) -> usize {
        self.jobs.len().saturating_add(usize::from(self.busy_since.is_some()))
    }
}

impl Reaper {
    /// Starts the thread. `max_pending`: from how many descriptors on that are not closed yet [`Self::has_room`] says no.
    pub(crate) fn start(max_pending: usize, counters: Arc<Counters>) -> io::Result<Self> {
        Self::start_with(max_pending, counters, close)
    }

    fn start_with(max_pending: usize, counters: Arc<Counters>, close: fn(OwnedFd)) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            state: Mutex::default(),
            changed: Condvar::new(),
            max_pending: max_pending.max(MOST_FDS_OF_A_MESSAGE + 1),
            counters,
        });
        let thread = inner.clone();
        thread::Builder::new().name("reaper".to_owned()).spawn(move || thread.run(close))?;
        Ok(Self(Arc::new(Handle(inner))))
    }

    /// Closes a descriptor, later. Never fails and never waits.
    pub(crate) fn close(&self, fd: OwnedFd) {
        self.0.0.push(Job::Close(fd));
    }

    /// Adds one to an eventfd, later. `false`: too much is waiting already.
    pub(crate) fn signal(&self, eventfd: Arc<PeerFd>) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.0.0.push(Job::Signal(eventfd));
        }
        has_room
    }

    /// Whether another message's descriptors can be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.0.0.has_room(&self.0.0.state())
    }

    /// Waits until there is room, at most for `patience`, and gives whether there is.
    pub(crate) fn wait_for_room(&self, patience: Duration, give_up: impl Fn() -> bool) -> bool {
        /// How often to look whether to give up.
        const LOOK: Duration = Duration::from_millis(20);
        let inner = &self.0.0;
        let start = Instant::now();
        let mut state = inner.state();
        while !inner.has_room(&state) {
            if start.elapsed() >= patience || give_up() {
                return false;
            }
            state = inner.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits for a moment, so that in the ordinary case everything is closed when a server has ended.
    pub(crate) fn settle(&self) {
        let inner = &self.0.0;
        let start = Instant::now();
        let mut state = inner.state();
        while state.pending() > 0 && start.elapsed() < GRACE {
            state = inner.changed.wait_timeout(state, GRACE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_all();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: &State) -> bool {
        state.pending().saturating_add(MOST_FDS_OF_A_MESSAGE) < self.max_pending
    }

    fn push(&self, job: Job) {
        let mut state = self.state();
        state.jobs.push_back(job);
        self.note(&state);
        self.changed.notify_all();
    }

    /// Shows others what is waiting.
    fn note(&self, state: &State) {
        self.counters.unclosed.store(state.pending() as u64, Ordering::Relaxed);
        self.counters.set_closing_since(state.busy_since);
    }

    fn run(&self, close: fn(OwnedFd)) {
        let mut state = self.state();
        loop {
            let Some(job) = state.jobs.pop_front() else {
                if state.ended {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.busy_since = Some(Instant::now());
            self.note(&state);
            drop(state);
            match job {
                Job::Close(fd) => close(fd),
                Job::HangUp(connection) => {
                    read_what_is_left(&connection);
                    close(connection);
                }
                Job::Signal(eventfd) => {
                    let _ = rustix::io::write(&*eventfd, &1_u64.to_ne_bytes());
                }
            }
            state = self.state();
            state.busy_since = None;
            self.note(&state);
            self.changed.notify_all();
        }
    }
}

/// Ends a connection such that its peer sees an end and no error: Linux resets one that is closed with something unread, and
/// QEMU 11.1 aborts when that happens to it. What the peer sent is dropped, with the descriptors in it.
fn read_what_is_left(connection: &OwnedFd) {
    let _ = shutdown(connection, Shutdown::Both); // From here on nothing more comes.
    let mut waste = [0; 4096];
    while recv(connection, &mut waste, RecvFlags::DONTWAIT).is_ok_and(|(_, count)| count > 0) {}
}

/// Closes a descriptor of a peer; a socket without lingering, unless its owner asks for that again in the same moment.
fn close(fd: OwnedFd) {
    let _ = set_socket_linger(&fd, None); // ENOTSOCK for all else.
    drop(fd);
}

/// A descriptor that a peer sent, or the connection to it. However it is dropped, a [`Reaper`] closes it.
#[derive(Debug)]
pub(crate) struct PeerFd {
    /// There until it is dropped.
    fd: Option<OwnedFd>,
    /// Whether it is the connection to the peer.
    is_connection: bool,
    /// `None`: it is the process's own, in a device's tests.
    reaper: Option<Reaper>,
}

impl PeerFd {
    pub(crate) fn new(fd: OwnedFd, reaper: &Reaper) -> Self {
        Self { fd: Some(fd), is_connection: false, reaper: Some(reaper.clone()) }
    }

    /// The connection to the peer.
    pub(crate) fn connection(fd: OwnedFd, reaper: &Reaper) -> Self {
        Self { fd: Some(fd), is_connection: true, reaper: Some(reaper.clone()) }
    }

    /// A descriptor of this process itself, which is closed where it is dropped.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn own(fd: OwnedFd) -> Self {
        Self { fd: Some(fd), is_connection: false, reaper: None }
    }

    /// Who closes it.
    pub(crate) fn reaper(&self) -> Option<&Reaper> {
        self.reaper.as_ref()
    }
}

impl AsFd for PeerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            // Only `drop` takes it, and nobody borrows after that.
            None => rustix::stdio::stderr(),
        }
    }
}

impl Drop for PeerFd {
    fn drop(&mut self) {
        match (self.fd.take(), &self.reaper) {
            (Some(fd), Some(reaper)) if self.is_connection => reaper.0.0.push(Job::HangUp(fd)),
            (Some(fd), Some(reaper)) => reaper.close(fd),
            (fd, _) => drop(fd),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicBool;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    fn close_when_allowed(fd: OwnedFd) {
        while !GO_ON.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        drop(fd);
    }

    #[test]
    fn nobody_waits_for_a_close_that_blocks_and_the_backlog_is_bounded_and_seen() {
        let counters = Arc::<Counters>::default();
        let reaper = Reaper::start_with(300, counters.clone(), close_when_allowed).unwrap();
        assert!(reaper.has_room());
        for _ in 0..60 {
            drop(PeerFd::new(UnixStream::pair().unwrap().0.into(), &reaper));
        }
        assert!(!reaper.has_room(), "60 and a message's 253 are more than 300");
        assert!(!reaper.wait_for_room(Duration::from_millis(30), || false));
        assert!(!reaper.wait_for_room(Duration::MAX, || true));
        assert_eq!(counters.unclosed_descriptors(), 60);
        assert!(counters.closing_for().is_some());
        reaper.settle(); // Comes back, although nothing is closed.
        GO_ON.store(true, Ordering::SeqCst);
        assert!(reaper.wait_for_room(Duration::from_secs(20), || false));
        while counters.unclosed_descriptors() > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn what_is_given_is_closed_even_if_the_server_has_ended() {
        let reaper = Reaper::start(0, Arc::default()).unwrap();
        let (mine, theirs) = UnixStream::pair().unwrap();
        let fd = PeerFd::new(theirs.into(), &reaper);
        drop(reaper);
        drop(fd);
        assert_eq!(io::Read::read(&mut &mine, &mut [0]).unwrap(), 0);
    }
}
