// SPDX-License-Identifier: MIT OR Apache-2.0
//! The master's end of a pseudo-terminal, which /dev/ptmx opens.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use exo_logic::line_discipline::Signal;
use exo_vfs::open::open_path;
use linux_raw_sys::{general as abi, ioctl};

use super::{SLAVES, make};
use crate::{
    devpts::{self, SlaveName},
    errno::{Errno, Result},
    events::Events,
    file::{File, Io},
    io_buf::{IoBuf, IoSource},
    line::Line,
    sched::{
        spans,
        wait::{WaitQueue, wait_for},
    },
    signal::number,
    task::current,
    tty::{End, Terminal, flow},
    user,
};

/// Bytes that are moved between two looks at whether the task is to end.
const CHUNK: usize = 256;

struct Master {
    line: Arc<Line>,
    terminal: Arc<Terminal>,
    /// Its slave's name.
    slave_name: SlaveName,
}

/// Opens the master of a new pair, whose slave gets its name in the devpts that the running program sees.
///
/// # Errors
/// ENODEV if it sees none, ENOSPC for too many pairs, ENOMEM.
pub(crate) fn open_master() -> Result<Box<dyn File>> {
    let instance = devpts::seen()?.1;
    // Their names stay as long as something is mounted on them, and so do their numbers.
    let mut taken = Vec::new();
    loop {
        let (terminal, line) = make()?;
        match instance.add(line.index) {
            Err(Errno::EEXIST) if !spans::point() => taken.push(terminal),
            slave_name => {
                let slave_name = slave_name?;
                SLAVES.lock().insert(line.index, Arc::downgrade(&terminal));
                return Ok(Box::new(Master { line, terminal, slave_name }));
            }
        }
    }
}

impl Master {
    /// Reads what there is; an error once the slave is closed and all is read.
    fn take(&self, to: &mut [u8]) -> Option<Result> {
        let mut state = self.line.state.lock();
        let mut from = 0;
        if state.tells_packets {
            let status = core::mem::take(&mut state.status);
            *to.first_mut()? = status;
            if status != 0 {
                return Some(Ok(1));
            }
            from = 1;
        }
        let count = state.to_master.pop(to.get_mut(from..)?);
        match (count, state.is_left) {
            (0, true) => Some(Err(Errno::EIO)),
            (0, false) => None,
            _ => Some(Ok(from + count)),
        }
    }

    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        if to.is_empty() {
            return Ok(0);
        }
        let mut bytes = [0; CHUNK];
        let mut done = 0;
        loop {
            let part = bytes.get_mut(..to.left().min(CHUNK)).unwrap_or_default();
            let size = match self.take(part) {
                Some(Err(_)) | None if done > 0 => return Ok(done),
                Some(size) => size?,
                None if io.no_wait => return Err(Errno::EAGAIN),
                None => wait_for(&self.line.changed, || self.take(part)).map_err(|_| Errno::RESTART)??,
            };
            if let Err(error) = to.put_all(bytes.get(..size).unwrap_or_default()) {
                return if done > 0 { Ok(done) } else { Err(error) };
            }
            done += size;
            // The slave has room again.
            self.terminal.look();
            let is_packet = self.line.state.lock().tells_packets;
            if is_packet || size < CHUNK || to.is_empty() || spans::point() {
                return Ok(done);
            }
        }
    }

    fn push(&self, bytes: &[u8]) -> Option<usize> {
        let mut state = self.line.state.lock();
        if state.is_stopped {
            return None;
        }
        let count = state.to_slave.push(bytes);
        (count > 0).then_some(count)
    }

    /// Sends all of `bytes`, or what there is room for; an error only if that is nothing.
    fn send(&self, bytes: &[u8], no_wait: bool) -> Result {
        let mut sent = 0;
        while sent < bytes.len() {
            let rest = bytes.get(sent..).unwrap_or_default();
            let pushed = match self.push(rest) {
                Some(count) => Ok(count),
                None if no_wait => Err(Errno::EAGAIN),
                None => wait_for(&self.line.changed, || self.push(rest)).map_err(|_| Errno::RESTART),
            };
            match pushed {
                Ok(count) => sent += count,
                Err(error) => return if sent > 0 { Ok(sent) } else { Err(error) },
            }
            self.terminal.look();
        }
        Ok(sent)
    }

    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        let mut bytes = [0; CHUNK];
        let mut done = 0;
        while !from.is_empty() {
            let part = bytes.get_mut(..from.left().min(CHUNK)).unwrap_or_default();
            match from.take_all(part).and_then(|()| self.send(part, io.no_wait)) {
                Ok(sent) => {
                    done += sent;
                    if sent < part.len() || spans::point() {
                        break;
                    }
                }
                Err(error) => return if done > 0 { Ok(done) } else { Err(error) },
            }
        }
        Ok(done)
    }

    /// TIOCGPTPEER: a descriptor of the slave, whatever its name leads to.
    fn open_peer(&self, flags: u32) -> Result {
        let (root, instance) = devpts::seen()?;
        let path = root.with(self.slave_name.dentry_in(&instance, &root.dentry)?);
        let file = open_path(&path, flags & !abi::O_CLOEXEC)?;
        current().files.arc().add(file, flags & abi::O_CLOEXEC != 0, 0)
    }

    /// TCXONC: what the master writes waits or goes on, or the slave is to wait, as if that was typed.
    fn control_flow(&self, action: usize) -> Result {
        let typed = match action {
            flow::OUTPUT_OFF | flow::OUTPUT_ON => {
                self.line.state.lock().is_stopped = action == flow::OUTPUT_OFF;
                self.line.changed.wake_all();
                return Ok(0);
            }
            // The characters that a master has as on Linux: nobody can change them.
            flow::INPUT_OFF => 19,
            flow::INPUT_ON => 17,
            _ => return Err(Errno::EINVAL),
        };
        self.line.state.lock().to_slave.push(&[typed]);
        self.terminal.look();
        Ok(0)
    }

    fn send_signal(&self, signal: usize) -> Result {
        let signal = match signal as u32 {
            number::SIGINT => Signal::Interrupt,
            number::SIGQUIT => Signal::Quit,
            number::SIGTSTP => Signal::Suspend,
            _ => return Err(Errno::EINVAL),
        };
        self.terminal.send_signal(signal);
        Ok(0)
    }
}

fn tell(argument: usize, value: impl Into<i32>) -> Result {
    user::write::<i32>(argument, &value.into()).map(|()| 0)
}

impl File for Master {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        Master::read(self, io, to)
    }

    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        Master::write(self, io, from)
    }

    fn events(&self) -> Events {
        let state = self.line.state.lock();
        let mut events = Events::empty();
        let has_news = state.tells_packets && state.status != 0;
        events.set(Events::IN, has_news || !state.to_master.is_empty());
        events.set(Events::PRI, has_news);
        events.set(Events::OUT, !state.is_stopped && state.to_slave.room() > 0);
        events.set(Events::HUP, state.is_left);
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.line.changed)
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        let number = || user::read::<i32>(argument);
        match request {
            ioctl::TIOCGPTN => tell(argument, self.line.index as i32),
            ioctl::TIOCSPTLCK => {
                let is_locked = number()? != 0;
                self.line.state.lock().is_locked = is_locked;
                Ok(0)
            }
            ioctl::TIOCGPTLCK => {
                let is_locked = self.line.state.lock().is_locked;
                tell(argument, is_locked)
            }
            ioctl::TIOCPKT => {
                let on = number()? != 0;
                let mut state = self.line.state.lock();
                if on && !state.tells_packets {
                    state.status = 0;
                }
                state.tells_packets = on;
                Ok(0)
            }
            ioctl::TIOCGPKT => {
                let on = self.line.state.lock().tells_packets;
                tell(argument, on)
            }
            ioctl::TIOCGPTPEER => self.open_peer(argument as u32),
            ioctl::TIOCSIG => self.send_signal(argument),
            ioctl::FIONREAD => {
                let count = self.line.state.lock().to_master.len();
                tell(argument, count as i32)
            }
            ioctl::TIOCOUTQ => tell(argument, 0),
            ioctl::TCFLSH => {
                let mut state = self.line.state.lock();
                let (input, output) = (state.to_master.len(), state.to_slave.len());
                if argument != 1 {
                    state.to_master.consumed(input);
                }
                if argument != 0 {
                    state.to_slave.consumed(output);
                }
                drop(state);
                self.terminal.look();
                Ok(0)
            }
            ioctl::TCXONC => self.control_flow(argument),
            _ => self.terminal.ioctl(End::Master, request, argument),
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.slave_name.remove();
        SLAVES.lock().remove(&self.line.index);
        self.terminal.hang_up();
    }
}
