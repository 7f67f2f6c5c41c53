// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thread that closes what clients of the control socket sent, which may take as long as they like.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use rustix::net::sockopt::set_socket_linger;

/// From so many descriptors on that wait to be closed no client is served: one message can bring 253 more.
const MOST_WAITING: usize = 256;

/// Most descriptors that can wait at a time, with those of the message that was taken last.
pub const MOST_DESCRIPTORS: usize = 2 * MOST_WAITING;

/// The thread's mailbox. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Closer {
    to: Sender<OwnedFd>,
    waiting: Arc<AtomicUsize>,
}

impl Closer {
    pub(super) fn start() -> io::Result<Self> {
        Self::start_with(close)
    }

    fn start_with(close: impl Fn(OwnedFd) + Send + 'static) -> io::Result<Self> {
        let (to, from) = mpsc::channel();
        let waiting = Arc::<AtomicUsize>::default();
        let closed = waiting.clone();
        let run = move || {
            for descriptor in from {
                close(descriptor);
                closed.fetch_sub(1, Ordering::Relaxed);
            }
        };
        thread::Builder::new().name("closer".to_owned()).spawn(run)?;
        Ok(Self { to, waiting })
    }

    /// Has it closed there.
    pub(super) fn close(&self, descriptor: OwnedFd) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The thread is there as long as this is.
        let _ = self.to.send(descriptor);
    }

    /// Whether a message may be taken, with all that it may bring.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < MOST_WAITING
    }
}

/// A socket without lingering, unless its owner asks for that again in the same moment.
fn close(descriptor: OwnedFd) {
    let _ = set_socket_linger(&descriptor, None); // ENOTSOCK for all else.
    drop(descriptor);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    #[test]
    fn who_closes_slowly_leaves_no_room_until_it_is_done() {
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let waits = gate.clone();
        let closer = Closer::start_with(move |descriptor| {
            drop(waits.lock());
            drop(descriptor);
        })
        .unwrap();
        for _ in 0..MOST_WAITING {
            assert!(closer.has_room());
            closer.close(std::fs::File::open("/dev/null").unwrap().into());
        }
        assert!(!closer.has_room());
        drop(closed);
        let start = Instant::now();
        while !closer.has_room() {
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    }
}
