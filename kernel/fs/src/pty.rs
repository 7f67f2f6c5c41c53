// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pseudo-terminals: a terminal (the slave) whose line leads to a program that has the other end, the master.
//!
//! ```text
//! master: write ──▶ Line ──▶ Terminal (line discipline) ──▶ read: slave
//! master: read  ◀── Line ◀── Terminal (echo, output)    ◀── write: slave
//! ```

mod master;

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use exo_hal::sync::SpinLock;
use linux_raw_sys::general as abi;

pub(crate) use self::master::open_master;
use crate::{
    device::{self, major},
    errno::{Errno, Result},
    file::File,
    line::Line,
    room,
    tty::Terminal,
};

/// Page frames that a pair needs.
const FRAMES: usize = 8;

/// The terminals of slaves whose master is open, by number.
static SLAVES: SpinLock<BTreeMap<u32, Weak<Terminal>>> = SpinLock::new(BTreeMap::new());

/// Makes the numbers of slaves known.
pub(crate) fn init() {
    device::register(major::PTS, open_slave);
}

fn open_slave(_major: u32, minor: u32, flags: u32) -> Result<Box<dyn File>> {
    let terminal = SLAVES.lock().get(&minor).and_then(Weak::upgrade).ok_or(Errno::EIO)?;
    let line = terminal.line().ok_or(Errno::EIO)?;
    if line.state.lock().is_locked {
        return Err(Errno::EIO);
    }
    terminal.open(flags & abi::O_NOCTTY != 0, flags & abi::O_ACCMODE != abi::O_WRONLY)
}

/// Makes a pair: the slave's terminal and its line.
fn make() -> Result<(Arc<Terminal>, Arc<Line>)> {
    if !room::has_room(FRAMES) {
        return Err(Errno::ENOMEM);
    }
    let line = Arc::new(Line::new()?);
    Ok((Terminal::of_line(&line), line))
}
