// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs ask terminals by ioctl, with Linux's numbers and structures.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use exo_logic::{
    credentials::capability,
    line_discipline::{CONTROL_CHARACTERS, Settings, cc},
};
use linux_raw_sys::ioctl;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Terminal, back_end::BackEnd};
use crate::{
    errno::{Errno, Result},
    line::packet,
    signal::number,
    task::{Process, controlling_tty::ControllingTty as _, credentials::capable, current, session, table},
    user,
};

/// `struct termios` of the kernel interface.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Termios {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [u8; CONTROL_CHARACTERS],
}

/// `struct winsize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct WindowSize {
    pub(super) rows: u16,
    pub(super) columns: u16,
    pub(super) width: u16,
    pub(super) height: u16,
}

/// What TCXONC is asked for (`TCOOFF`, `TCOON`, `TCIOFF`, `TCION`).
pub(crate) mod flow {
    pub(crate) const OUTPUT_OFF: usize = 0;
    pub(crate) const OUTPUT_ON: usize = 1;
    pub(crate) const INPUT_OFF: usize = 2;
    pub(crate) const INPUT_ON: usize = 3;
}

/// Through which end of a pseudo-terminal it is asked; a port has a slave's end alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The one of the programs that run in the terminal.
    Slave,
    /// The one of the program that shows it.
    Master,
}

impl Terminal {
    fn set(&self, argument: usize, flush: bool) -> Result {
        let new: Termios = user::read(argument)?;
        let mut discipline = self.discipline.lock();
        if flush {
            discipline.flush_input();
        }
        let could_stop = discipline.settings.stops_output();
        let settings = Settings {
            input: new.input,
            output: new.output,
            control: new.control,
            local: new.local,
            characters: new.characters,
        };
        let was_stopped = discipline.is_stopped();
        discipline.set(settings);
        let goes_on = was_stopped && !discipline.is_stopped();
        drop(discipline);
        if goes_on {
            self.flow_changed();
        }
        if let Some(line) = self.line() {
            if flush {
                line.tell(packet::FLUSH_READ, 0);
            }
            match (could_stop, settings.stops_output()) {
                (false, true) => line.tell(packet::DO_STOP, packet::NO_STOP),
                (true, false) => line.tell(packet::NO_STOP, packet::DO_STOP),
                _ => {}
            }
        }
        self.take_received();
        self.input.wake_all();
        Ok(0)
    }

    /// TCXONC: stops output or lets it go on, or asks the other side to.
    fn control_flow(&self, action: usize) -> Result {
        match action {
            flow::OUTPUT_OFF | flow::OUTPUT_ON => {
                if self.discipline.lock().stop_for_program(action == flow::OUTPUT_OFF) {
                    self.flow_changed();
                }
            }
            flow::INPUT_OFF | flow::INPUT_ON => {
                let index = if action == flow::INPUT_OFF { cc::STOP } else { cc::START };
                let byte = self.discipline.lock().settings.characters[index];
                // It goes out although output is stopped. 0 stands for none.
                if let Some(line) = self.back_end().filter(|_| byte != 0) {
                    line.send(&[byte]);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }

    /// TIOCSPGRP: which group of the session is in the foreground.
    fn set_foreground(self: &Arc<Self>, argument: usize) -> Result {
        self.check_foreground(number::SIGTTOU).map_err(|error| match error {
            Errno::EIO => Errno::ENOTTY,
            other => other,
        })?;
        let group: i32 = user::read(argument)?;
        let group = u32::try_from(group).map_err(|_| Errno::EINVAL)?;
        let session = current().process.session.load(Ordering::Relaxed);
        if !self.is_own() || self.session.load(Ordering::Relaxed) != session {
            return Err(Errno::ENOTTY);
        }
        let is_of_session = |p: Arc<Process>| p.session.load(Ordering::Relaxed) == session;
        if !table::group(group).any(is_of_session) {
            let exists = table::group(group).next().is_some() || table::process(group).is_some();
            return Err(if exists { Errno::EPERM } else { Errno::ESRCH });
        }
        self.foreground.store(group, Ordering::Relaxed);
        Ok(0)
    }

    /// TIOCSCTTY: the session of the running process, its leader, gets the terminal; also another session's, if `by_force`.
    fn claim(self: &Arc<Self>, by_force: bool) -> Result {
        let process = current().process.clone();
        let (own, owner) = (process.session.load(Ordering::Relaxed), self.session.load(Ordering::Relaxed));
        if !session::is_leader(&process) {
            return Err(Errno::EPERM);
        }
        if owner == own {
            return Ok(0);
        }
        if process.terminal.lock().is_some() || owner != 0 && !(by_force && capable(capability::SYS_ADMIN)) {
            return Err(Errno::EPERM);
        }
        if owner != 0 {
            session::take_terminal(owner, &**self);
        }
        self.make_controlling();
        Ok(0)
    }

    /// Who asks through the master may know of other sessions, and is stopped by none.
    pub(crate) fn ioctl(self: &Arc<Self>, end: End, request: u32, argument: usize) -> Result {
        let task = current();
        let process = &task.process;
        let is_known = end == End::Master || self.is_own();
        match request {
            ioctl::TCGETS => {
                let Settings { input, output, control, local, characters } = self.discipline.lock().settings;
                user::write(argument, &Termios { input, output, control, local, line: 0, characters })?;
                Ok(0)
            }
            ioctl::TCSETS | ioctl::TCSETSW | ioctl::TCSETSF => {
                if end == End::Slave {
                    self.check_foreground(number::SIGTTOU)?;
                }
                if request != ioctl::TCSETS {
                    self.drain()?;
                }
                self.set(argument, request == ioctl::TCSETSF)
            }
            ioctl::TIOCGWINSZ => {
                let size = *self.size.lock();
                user::write(argument, &size)?;
                Ok(0)
            }
            ioctl::TIOCSWINSZ => {
                let new: WindowSize = user::read(argument)?;
                let old = core::mem::replace(&mut *self.size.lock(), new);
                if old != new {
                    self.signal_foreground(number::SIGWINCH);
                }
                Ok(0)
            }
            ioctl::TIOCGPGRP if !is_known => Err(Errno::ENOTTY),
            ioctl::TIOCGPGRP => {
                user::write(argument, &self.foreground())?;
                Ok(0)
            }
            ioctl::TIOCSPGRP => self.set_foreground(argument),
            ioctl::TIOCGSID if !is_known => Err(Errno::ENOTTY),
            ioctl::TIOCGSID => match self.session.load(Ordering::Relaxed) {
                0 => Err(Errno::ENOTTY),
                session => user::write(argument, &session).map(|()| 0),
            },
            // Only a master has a peer.
            ioctl::TIOCGPTPEER => Err(Errno::EIO),
            ioctl::TIOCSCTTY => self.claim(argument == 1),
            ioctl::TIOCNOTTY if !self.is_own() => Err(Errno::ENOTTY),
            ioctl::TIOCNOTTY => {
                if session::is_leader(process) {
                    session::give_up_terminal(process, &**self);
                } else {
                    *process.terminal.lock() = None;
                }
                Ok(0)
            }
            ioctl::FIONREAD => {
                let count = self.discipline.lock().waiting() as i32;
                user::write(argument, &count)?;
                Ok(0)
            }
            ioctl::TIOCOUTQ => {
                let count = self.back_end().map_or(0, |line| line.pending()) as i32;
                user::write(argument, &count)?;
                Ok(0)
            }
            ioctl::TCFLSH => {
                let line = self.back_end();
                if argument != 1 {
                    self.discipline.lock().flush_input();
                    self.take_received();
                    if let Some(line) = line.as_ref().and_then(BackEnd::line) {
                        line.tell(packet::FLUSH_READ, 0);
                    }
                }
                if let Some(line) = line.filter(|_| argument != 0) {
                    line.discard();
                    self.room.wake_all();
                }
                Ok(0)
            }
            ioctl::TCSBRK => self.drain(),
            ioctl::TCXONC => {
                self.check_foreground(number::SIGTTOU)?;
                self.control_flow(argument)
            }
            _ => Err(Errno::ENOTTY),
        }
    }
}
