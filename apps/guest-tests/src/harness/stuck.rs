// SPDX-License-Identifier: MIT OR Apache-2.0
//! A call that waits for the program's own memory, as for a page that a slow disk or another program serves.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Stop, fail, skip};
use crate::raw::{Access, Memory, hold_page_faults};

/// How long what must not wait may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Calls `stuck` with memory that is not there; while it waits for that, `others`, which must not. Then the memory comes. Returns what
/// both have returned.
pub(crate) fn beside_a_page_fault<R: Send, S: Send>(
    stuck: impl FnOnce(&Memory) -> R + Send,
    others: impl FnOnce() -> Result<S, Stop> + Send,
) -> Result<(R, S), Stop> {
    let (give_faults, faults) = mpsc::channel();
    thread::scope(|scope| {
        let stuck = scope.spawn(move || {
            let prepared = Memory::new(Access::Full)
                .and_then(|memory| hold_page_faults(&memory).map(|faults| (memory, faults)));
            match prepared {
                Ok((memory, faults)) => give_faults.send(Ok(faults)).ok().map(|()| stuck(&memory)),
                Err(errno) => give_faults.send(Err(errno)).err().and(None),
            }
        });
        let faults = match faults.recv() {
            Ok(Err(Errno::NOSYS)) => return skip("this kernel has no userfaultfd"),
            Ok(faults) => faults?,
            Err(_) => return fail("a thread has panicked"),
        };
        let mut waits = [PollFd::new(&faults, PollFlags::IN)];
        assert_eq!(poll(&mut waits, Some(&Timespec::try_from(PATIENCE)?))?, 1, "it did not touch the memory");

        let (tell, told) = mpsc::channel();
        scope.spawn(move || tell.send(others()));
        let answer = told.recv_timeout(PATIENCE);
        // Also lets go on who waits although it must not.
        drop(faults);
        let stuck = stuck.join().ok().flatten();
        match (stuck, answer) {
            (Some(stuck), Ok(others)) => Ok((stuck, others?)),
            (None, _) => fail("a thread has panicked"),
            (_, Err(_)) => fail("the other calls have waited for a page fault of this one"),
        }
    })
}
