// SPDX-License-Identifier: MIT OR Apache-2.0
//! A terminal that a program has open.

use alloc::sync::Arc;

use super::{End, Terminal};
use crate::{
    errno::{Errno, Result},
    events::Events,
    file::{File, Io},
    io_buf::{IoBuf, IoSource},
    line::Line,
    sched::wait::WaitQueue,
};

/// An opened terminal.
pub(super) struct Handle {
    terminal: Arc<Terminal>,
    /// Of a slave; also when its master is closed.
    line: Option<Arc<Line>>,
}

impl Handle {
    pub(super) fn new(terminal: Arc<Terminal>) -> Self {
        let line = terminal.line();
        if let Some(line) = &line {
            line.join();
        }
        Self { terminal, line }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.leave();
        }
    }
}

impl File for Handle {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        self.terminal.read(io, to)
    }

    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        self.terminal.write(io, from)
    }

    fn events(&self) -> Events {
        if self.terminal.is_hung_up() {
            return Events::IN | Events::OUT | Events::ERR | Events::HUP;
        }
        let mut events = Events::empty();
        match self.terminal.back_end() {
            Some(line) => events.set(Events::OUT, self.terminal.may_send(&line)),
            None => events |= Events::HUP,
        }
        events.set(Events::IN, self.terminal.discipline.lock().can_read(1));
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.terminal.input)
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        if self.terminal.is_hung_up() {
            let is_group = request == linux_raw_sys::ioctl::TIOCSPGRP;
            return Err(if is_group { Errno::ENOTTY } else { Errno::EIO });
        }
        self.terminal.ioctl(End::Slave, request, argument)
    }
}
