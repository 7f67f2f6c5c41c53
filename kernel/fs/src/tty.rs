// SPDX-License-Identifier: MIT OR Apache-2.0
//! Terminals: a line discipline, sessions and foreground groups, before a serial port or the master of a pseudo-terminal.

mod back_end;
mod handle;
mod ioctl;
mod source;
mod transfer;

use core::{
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use exo_drivers::character::{ByteListener, CharDevice};
use exo_hal::{dev::serial, log, once::Once, sync::SpinLock};
use exo_logic::line_discipline::{LineDiscipline, Settings};
use linux_raw_sys::general as abi;

pub(crate) use self::ioctl::{End, flow};
pub use self::source::last_words;
use self::{back_end::BackEnd, handle::Handle, ioctl::WindowSize, source::Source};
use super::{
    device::{self, SERIAL_MINOR, major},
    file::File,
    line::Line,
};
use crate::{
    errno::{Errno, Result},
    events::Events,
    sched::{mutex::Mutex, spans, wait::WaitQueue},
    signal::{IGNORE, Info, number},
    task::{controlling_tty::ControllingTty, current, session, table},
};

/// A terminal.
pub struct Terminal {
    /// Its device number.
    major: u32,
    minor: u32,
    discipline: SpinLock<LineDiscipline>,
    input: WaitQueue,
    /// Its port, once that has a driver; or its line to the master, until that is closed.
    back_end: SpinLock<Option<BackEnd>>,
    /// The master was closed.
    is_hung_up: AtomicBool,
    /// Who waits for room to write.
    room: WaitQueue,
    /// The bytes of a port are taken by one CPU at a time, so that they stay in their order.
    taking: SpinLock<()>,
    /// Held by who writes a chunk: those of several writers do not mix.
    writing: Mutex,
    size: SpinLock<WindowSize>,
    session: AtomicU32,
    foreground: AtomicU32,
    /// The pipe whose content it sends.
    source: SpinLock<Option<Source>>,
    /// Bytes that came from pipes.
    from_pipes: AtomicU64,
}

/// Control modes of a slave: as a serial line's, but that nobody hangs up at the last close (Linux's `B38400 | CS8 | CREAD`).
const SLAVE_CONTROL: u32 = 0o277;

static TERMINALS: Once<Vec<Arc<Terminal>>> = Once::new();

/// The port that the log is written to.
static CONSOLE: Once<Arc<dyn CharDevice>> = Once::new();

/// Makes the terminals.
pub(crate) fn init() {
    device::register(major::TTY, open_serial);
    let make = |index| {
        let size = WindowSize { rows: 24, columns: 80, ..WindowSize::default() };
        Arc::new(Terminal::new(major::TTY, SERIAL_MINOR + index as u32, Settings::default(), size))
    };
    TERMINALS.set((0..serial::PORTS.len()).map(make).collect());
}

/// A port has its driver: its terminal can be used from now on, and the first is the log's.
pub fn add(port: &Arc<dyn CharDevice>) -> Result<()> {
    let terminal = TERMINALS.get().and_then(|t| t.get(port.unit())).ok_or(Errno::ENXIO)?;
    *terminal.back_end.lock() = Some(BackEnd::Port(port.clone()));
    port.listen(terminal.clone());
    source::add_setting(terminal);
    if port.unit() == 0 && CONSOLE.get().is_none() {
        CONSOLE.set(port.clone());
        log::hand_over(|bytes| {
            if let Some(port) = CONSOLE.get() {
                port.send_now(bytes);
            }
        });
    }
    Ok(())
}

/// A port has lost its driver.
pub fn remove(port: &Arc<dyn CharDevice>) {
    if let Some(terminal) = TERMINALS.get().and_then(|t| t.get(port.unit())) {
        *terminal.back_end.lock() = None;
        terminal.happened();
    }
}

/// The port has bytes, or room for some.
impl ByteListener for Terminal {
    fn happened(&self) {
        self.take_received();
        self.send_from_source();
        self.wake();
    }
}

/// Opens the terminal of a serial port.
pub(crate) fn open(index: usize, flags: u32) -> Result<Box<dyn File>> {
    let terminal = TERMINALS.get().and_then(|t| t.get(index)).ok_or(Errno::ENXIO)?;
    terminal.back_end().ok_or(Errno::ENXIO)?;
    terminal.clone().open(flags & abi::O_NOCTTY != 0, flags & abi::O_ACCMODE != abi::O_WRONLY)
}

fn open_serial(_major: u32, minor: u32, flags: u32) -> Result<Box<dyn File>> {
    open(minor.checked_sub(SERIAL_MINOR).ok_or(Errno::ENXIO)? as usize, flags)
}

impl ControllingTty for Terminal {
    fn device_number(&self) -> u32 {
        (self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12)
    }

    fn foreground(&self) -> u32 {
        self.foreground.load(Ordering::Relaxed)
    }

    fn release(&self, session: u32) {
        if self.session.compare_exchange(session, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.foreground.store(0, Ordering::Relaxed);
        }
    }

    fn open(self: Arc<Self>) -> Box<dyn File> {
        Box::new(Handle::new(self))
    }
}

impl Terminal {
    fn new(major: u32, minor: u32, settings: Settings, size: WindowSize) -> Self {
        let mut discipline = LineDiscipline::default();
        discipline.settings = settings;
        Self {
            major,
            minor,
            discipline: SpinLock::new(discipline),
            input: WaitQueue::new(),
            back_end: SpinLock::new(None),
            is_hung_up: AtomicBool::new(false),
            room: WaitQueue::new(),
            taking: SpinLock::new(()),
            writing: Mutex::new(),
            size: SpinLock::new(size),
            session: AtomicU32::new(0),
            foreground: AtomicU32::new(0),
            source: SpinLock::new(None),
            from_pipes: AtomicU64::new(0),
        }
    }

    /// The slave's terminal of a pair.
    pub(crate) fn of_line(line: &Arc<Line>) -> Arc<Self> {
        let settings = Settings { control: SLAVE_CONTROL, ..Settings::default() };
        let terminal = Self::new(major::PTS, line.index, settings, WindowSize::default());
        *terminal.back_end.lock() = Some(BackEnd::Master(line.clone()));
        Arc::new(terminal)
    }

    /// Opens it. A leader of a session without a terminal gets it, if no other session has it.
    pub(crate) fn open(self: Arc<Self>, no_control: bool, reads: bool) -> Result<Box<dyn File>> {
        let task = current();
        let process = &task.process;
        if !no_control
            && reads
            && session::is_leader(process)
            && process.terminal.lock().is_none()
            && self.session.load(Ordering::Relaxed) == 0
        {
            self.make_controlling();
        }
        Ok(Box::new(Handle::new(self)))
    }

    /// Whether it is the running process's terminal.
    fn is_own(&self) -> bool {
        let terminal = current().process.terminal.lock().clone();
        terminal.is_some_and(|own| ptr::addr_eq(Arc::as_ptr(&own), self))
    }

    fn make_controlling(self: &Arc<Self>) {
        let task = current();
        let process = &task.process;
        self.session.store(process.session.load(Ordering::Relaxed), Ordering::Relaxed);
        self.foreground.store(process.group.load(Ordering::Relaxed), Ordering::Relaxed);
        *process.terminal.lock() = Some(self.clone());
    }

    fn back_end(&self) -> Option<BackEnd> {
        self.back_end.lock().clone()
    }

    /// The port, if it has one.
    fn port(&self) -> Option<Arc<dyn CharDevice>> {
        self.back_end()?.port().cloned()
    }

    /// The line to its master, if it has one.
    pub(crate) fn line(&self) -> Option<Arc<Line>> {
        self.back_end()?.line().cloned()
    }

    fn is_hung_up(&self) -> bool {
        self.is_hung_up.load(Ordering::Acquire)
    }

    /// Its master has sent something, or made room.
    pub(crate) fn look(&self) {
        self.take_received();
        self.wake();
    }

    fn wake(&self) {
        // Who polls waits here for room too.
        if self.is_hung_up() {
            self.input.wake_all();
        } else {
            let mut events = Events::OUT | Events::WRNORM;
            events.set(Events::IN | Events::RDNORM, self.discipline.lock().can_read(1));
            self.input.wake_for(events.bits());
        }
        self.room.wake_all();
    }

    /// Its master is closed: nothing can be done with it any more, and the session that had it hears of that.
    pub(crate) fn hang_up(&self) {
        self.is_hung_up.store(true, Ordering::Release);
        let old = self.back_end.lock().take();
        drop(old);
        let session = self.session.load(Ordering::Relaxed);
        if session != 0 {
            session::hang_up_session(session, self);
        }
        self.wake();
    }

    fn signal_foreground(&self, number: u32) {
        let group = self.foreground();
        if group != 0 {
            for process in table::group(group) {
                process.signal(Info::kernel(number));
                // All of them, also when the task is to end.
                let _ = self.let_others_in();
            }
        }
    }

    /// A process in the background must not read (or change the terminal): its group is stopped.
    fn check_foreground(self: &Arc<Self>, signal: u32) -> Result<()> {
        let task = current();
        let process = &task.process;
        let group = process.group.load(Ordering::Relaxed);
        let foreground = self.foreground();
        if !self.is_own() || foreground == 0 || group == foreground {
            return Ok(());
        }
        let blocked = crate::signal::SignalSet(task.blocked.load(Ordering::Relaxed)).has(signal);
        if blocked || process.actions().get(signal).handler == IGNORE {
            return if signal == number::SIGTTIN { Err(Errno::EIO) } else { Ok(()) };
        }
        // Nobody could continue it.
        if session::is_orphaned(process) {
            return Err(Errno::EIO);
        }
        for member in table::group(group) {
            member.signal(Info::kernel(signal));
            let _ = spans::point();
        }
        Err(Errno::RESTART)
    }
}
