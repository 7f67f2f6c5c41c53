// SPDX-License-Identifier: MIT OR Apache-2.0
//! The line between the two ends of a pseudo-terminal: bytes in both directions, and what the master is told besides.

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::collections::BTreeSet;

use exo_hal::sync::SpinLock;
use exo_logic::ring::Ring;

use crate::{
    errno::{Errno, Result},
    events::Events,
    sched::wait::WaitQueue,
};

/// Most lines, as Linux has by default (`kernel.pty.max`).
const MOST: usize = 4096;
/// Bytes that are under way in each direction.
const CAPACITY: usize = 4096;

/// Bits of what a master in packet mode is told (`TIOCPKT_`).
pub(crate) mod packet {
    /// What the slave could have read was forgotten.
    pub(crate) const FLUSH_READ: u8 = 1;
    /// What the master could have read was forgotten.
    pub(crate) const FLUSH_WRITE: u8 = 2;
    /// The slave's output is stopped.
    pub(crate) const STOP: u8 = 4;
    /// It goes on.
    pub(crate) const START: u8 = 8;
    /// ^S and ^Q do not stop and start output any more.
    pub(crate) const NO_STOP: u8 = 16;
    /// They do.
    pub(crate) const DO_STOP: u8 = 32;
}

/// What is under way, and what the ends know of each other.
pub(crate) struct State {
    pub(crate) to_slave: Ring,
    pub(crate) to_master: Ring,
    /// The slave cannot be opened yet.
    pub(crate) is_locked: bool,
    /// The slave was open, and is so no more.
    pub(crate) is_left: bool,
    /// Each read of the master begins with a byte that says what it is.
    pub(crate) tells_packets: bool,
    /// What has happened since the master was told, in [`packet`] bits.
    pub(crate) status: u8,
    /// What the master writes waits (TCOOFF by the master).
    pub(crate) is_stopped: bool,
}

/// The numbers of all lines.
static NUMBERS: SpinLock<BTreeSet<u32>> = SpinLock::new(BTreeSet::new());

/// Takes the first number that no line has.
fn take_number() -> Result<u32> {
    let mut numbers = NUMBERS.lock();
    let first = (0..).zip(&*numbers).take_while(|(number, taken)| number == *taken).count();
    if first >= MOST {
        return Err(Errno::ENOSPC);
    }
    numbers.insert(first as u32);
    Ok(first as u32)
}

/// What is between a master and its slave.
pub(crate) struct Line {
    /// Its number, which no other has as long as there is this one.
    pub(crate) index: u32,
    pub(crate) state: SpinLock<State>,
    /// Who reads, writes or polls at the master's end.
    pub(crate) changed: WaitQueue,
    /// How many have the slave open.
    users: AtomicUsize,
}

impl Line {
    /// With nothing under way, and a slave that is locked.
    ///
    /// # Errors
    /// ENOSPC if there are too many.
    pub(crate) fn new() -> Result<Self> {
        let index = take_number()?;
        let state = State {
            to_slave: Ring::new(CAPACITY),
            to_master: Ring::new(CAPACITY),
            is_locked: true,
            is_left: false,
            tells_packets: false,
            status: 0,
            is_stopped: false,
        };
        let (state, changed) = (SpinLock::new(state), WaitQueue::new());
        Ok(Self { index, state, changed, users: AtomicUsize::new(0) })
    }

    /// Takes a byte that the master has written.
    pub(crate) fn receive(&self) -> Option<u8> {
        let mut byte = [0];
        let count = self.state.lock().to_slave.pop(&mut byte);
        if count == 0 {
            return None;
        }
        self.changed.wake_for((Events::OUT | Events::WRNORM).bits());
        Some(byte[0])
    }

    /// Sends to the master what there is room for; how much.
    pub(crate) fn send(&self, bytes: &[u8]) -> usize {
        let count = self.state.lock().to_master.push(bytes);
        if count > 0 {
            self.changed.wake_for((Events::IN | Events::RDNORM).bits());
        }
        count
    }

    /// How many bytes could be sent to the master.
    pub(crate) fn room(&self) -> usize {
        self.state.lock().to_master.room()
    }

    /// Forgets what was sent to the master.
    pub(crate) fn discard(&self) {
        {
            let mut state = self.state.lock();
            let count = state.to_master.len();
            state.to_master.consumed(count);
        }
        self.tell(packet::FLUSH_WRITE, 0);
    }

    /// Tells a master that reads packets what has happened, and takes back what is true no more.
    pub(crate) fn tell(&self, bits: u8, not: u8) {
        {
            let mut state = self.state.lock();
            if state.tells_packets {
                state.status = state.status & !not | bits;
            }
        }
        self.changed.wake_all();
    }

    /// The slave is opened once more.
    pub(crate) fn join(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
        self.state.lock().is_left = false;
        self.changed.wake_all();
    }

    /// One less has the slave open.
    pub(crate) fn leave(&self) {
        if self.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.state.lock().is_left = true;
            self.changed.wake_all();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        NUMBERS.lock().remove(&self.index);
    }
}
