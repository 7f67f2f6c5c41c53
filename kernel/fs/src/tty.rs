// SPDX-License-Identifier: MIT OR Apache-2.0
//! Terminals: the serial ports with a line discipline, sessions and foreground groups.

mod ioctl;
mod source;

use core::{
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use exo_drivers::character::{ByteListener, CharDevice};
use exo_hal::{dev::serial, log, once::Once, sync::SpinLock, time};
use exo_logic::line_discipline::{LineDiscipline, Signal, cc, mode};
use linux_raw_sys::general as abi;

pub use self::source::last_words;
use self::{ioctl::WindowSize, source::Source};
use super::{
    device::{self, SERIAL_MINOR, major},
    events::Events,
    file::{File, Io},
};
use crate::{
    errno::{Errno, Result},
    io_buf::{IoBuf, IoSource},
    sched::wait::{Ended, WaitQueue, wait_on},
    signal::{IGNORE, Info, number},
    task::{controlling_tty::ControllingTty, current, session, table},
};

/// Bytes that one round of output moves.
const CHUNK: usize = 256;

/// A terminal.
pub struct Terminal {
    index: usize,
    discipline: SpinLock<LineDiscipline>,
    input: WaitQueue,
    /// Its port, once that has a driver.
    port: SpinLock<Option<Arc<dyn CharDevice>>>,
    /// Who waits for room to write.
    room: WaitQueue,
    /// The bytes of a port are taken by one CPU at a time, so that they stay in their order.
    taking: SpinLock<()>,
    /// Somebody writes a chunk.
    is_written: AtomicBool,
    /// Who waits for that to end.
    turn: WaitQueue,
    size: SpinLock<WindowSize>,
    session: AtomicU32,
    foreground: AtomicU32,
    /// The pipe whose content it sends.
    source: SpinLock<Option<Source>>,
    /// Bytes that came from pipes.
    from_pipes: AtomicU64,
}

static TERMINALS: Once<Vec<Arc<Terminal>>> = Once::new();

/// The port that the log is written to.
static CONSOLE: Once<Arc<dyn CharDevice>> = Once::new();

/// Makes the terminals.
pub fn init() {
    device::register(major::TTY, open_serial);
    device::register(major::CONSOLE, open_console);
    let make = |index| {
        Arc::new(Terminal {
            index,
            discipline: SpinLock::new(LineDiscipline::default()),
            input: WaitQueue::new(),
            port: SpinLock::new(None),
            room: WaitQueue::new(),
            taking: SpinLock::new(()),
            is_written: AtomicBool::new(false),
            turn: WaitQueue::new(),
            size: SpinLock::new(WindowSize { rows: 24, columns: 80, width: 0, height: 0 }),
            session: AtomicU32::new(0),
            foreground: AtomicU32::new(0),
            source: SpinLock::new(None),
            from_pipes: AtomicU64::new(0),
        })
    };
    TERMINALS.set((0..serial::PORTS.len()).map(make).collect());
}

/// A port has its driver: its terminal can be used from now on, and the first is the log's.
pub fn add(port: &Arc<dyn CharDevice>) -> Result<()> {
    let terminal = TERMINALS.get().and_then(|t| t.get(port.unit())).ok_or(Errno::ENXIO)?;
    *terminal.port.lock() = Some(port.clone());
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
        *terminal.port.lock() = None;
        terminal.happened();
    }
}

/// The port has bytes, or room for some.
impl ByteListener for Terminal {
    fn happened(&self) {
        self.take_received();
        self.send_from_source();
        // Who polls waits here for room too.
        self.input.wake_all();
        self.room.wake_all();
    }
}

/// Opens the terminal of a serial port.
fn open(index: usize, flags: u32) -> Result<Box<dyn File>> {
    let terminal = TERMINALS.get().and_then(|t| t.get(index)).ok_or(Errno::ENXIO)?;
    terminal.port().ok_or(Errno::ENXIO)?;
    let task = current();
    let leader = task.process.session.load(Ordering::Relaxed) == task.pid;
    if flags & abi::O_NOCTTY == 0
        && leader
        && task.process.terminal.lock().is_none()
        && terminal.session.load(Ordering::Relaxed) == 0
    {
        terminal.make_controlling();
    }
    Ok(Box::new(Handle(terminal.clone())))
}

fn open_serial(_major: u32, minor: u32, flags: u32) -> Result<Box<dyn File>> {
    open(minor.checked_sub(SERIAL_MINOR).ok_or(Errno::ENXIO)? as usize, flags)
}

/// Opens /dev/tty, the terminal of the process, or /dev/console.
fn open_console(_major: u32, minor: u32, flags: u32) -> Result<Box<dyn File>> {
    match minor {
        0 => {
            let terminal = current().process.terminal.lock().clone();
            Ok(terminal.ok_or(Errno::ENXIO)?.open())
        }
        // As on Linux, the console does not become anybody's controlling terminal by being opened.
        1 => open(0, flags | abi::O_NOCTTY),
        _ => Err(Errno::ENXIO),
    }
}

impl ControllingTty for Terminal {
    fn device_number(&self) -> u32 {
        (major::TTY << 8) | (SERIAL_MINOR + self.index as u32)
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
        Box::new(Handle(self))
    }
}

impl Terminal {
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

    fn port(&self) -> Option<Arc<dyn CharDevice>> {
        self.port.lock().clone()
    }

    /// Sends all of `bytes`, waiting for room; how many, if a signal comes or the port goes.
    fn send(&self, bytes: &[u8], no_wait: bool) -> Result {
        let mut done = 0;
        loop {
            let port = self.port().ok_or(Errno::EIO)?;
            done += port.send(bytes.get(done..).unwrap_or_default());
            if done == bytes.len() || no_wait {
                return Ok(done);
            }
            let has_room = || self.port().is_none_or(|port| port.has_room()).then_some(());
            if wait_on(&[&self.room], None, true, has_room).is_err() {
                return Ok(done);
            }
        }
    }

    /// Waits until everything is sent.
    fn drain(&self) -> Result {
        let is_sent = || self.port().is_none_or(|port| port.pending() == 0).then_some(());
        wait_on(&[&self.room], None, true, is_sent).map(|()| 0).map_err(|_| Errno::RESTART)
    }

    /// Takes what the port has received, as far as there is room. What is left stays in the port, which holds the sender
    /// back; the next reader fetches it. True if anything was taken.
    fn take_received(&self) -> bool {
        let Some(port) = self.port() else { return false };
        let _one_taker = self.taking.lock();
        let mut any = false;
        while self.discipline.lock().has_room() {
            let Some(byte) = port.receive() else { break };
            any = true;
            self.receive(byte);
        }
        any
    }

    fn receive(&self, byte: u8) {
        let mut echo = Vec::new();
        let signal = self.discipline.lock().receive(byte, &mut echo);
        // An echo that there is no room for is lost, as on Linux.
        if let Some(port) = self.port().filter(|_| !echo.is_empty()) {
            port.send(&echo);
        }
        if let Some(signal) = signal {
            let number = match signal {
                Signal::Interrupt => number::SIGINT,
                Signal::Quit => number::SIGQUIT,
                Signal::Suspend => number::SIGTSTP,
            };
            self.signal_foreground(number);
        }
    }

    fn signal_foreground(&self, number: u32) {
        let group = self.foreground();
        if group != 0 {
            for process in table::group(group) {
                process.signal(Info::kernel(number));
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
        }
        Err(Errno::RESTART)
    }

    fn read(self: &Arc<Self>, io: Io, to: &mut IoBuf<'_>) -> Result {
        self.check_foreground(number::SIGTTIN)?;
        let length = to.left();
        if length == 0 {
            return Ok(0);
        }
        let settings = self.discipline.lock().settings;
        let timed = settings.local & mode::ICANON == 0
            && settings.characters[cc::MIN] == 0
            && settings.characters[cc::TIME] > 0;
        let deadline = timed.then(|| time::now_ns() + u64::from(settings.characters[cc::TIME]) * 100_000_000);
        let mut bytes = Vec::new();
        let ready = || {
            let mut discipline = self.discipline.lock();
            let ready = discipline.can_read(length) && (!timed || discipline.readable() > 0);
            ready.then(|| {
                bytes.resize(discipline.readable().min(length), 0);
                discipline.read(&mut bytes);
            })
        };
        let mut ready = ready;
        let waited = if io.no_wait {
            ready().ok_or(Errno::EAGAIN)
        } else {
            match wait_on(&[&self.input], deadline, true, &mut ready) {
                Ok(()) | Err(Ended::TimedOut) => Ok(()),
                Err(Ended::Interrupted) => Err(Errno::RESTART),
            }
        };
        waited?;
        if self.take_received() {
            self.input.wake_all();
        }
        to.put_all(&bytes)?;
        Ok(bytes.len())
    }

    fn write(self: &Arc<Self>, io: Io, from: &mut IoSource<'_>) -> Result {
        if self.discipline.lock().settings.local & mode::TOSTOP != 0 {
            self.check_foreground(number::SIGTTOU)?;
        }
        let (mut done, length) = (0, from.left());
        let mut out = Vec::with_capacity(2 * CHUNK);
        let mut bytes = [0; CHUNK];
        while done < length {
            // What is taken from the program is sent whole, so there is to be room before.
            if io.no_wait && self.port().is_some_and(|port| !port.has_room()) {
                return if done > 0 { Ok(done) } else { Err(Errno::EAGAIN) };
            }
            let count = CHUNK.min(length - done);
            let part = bytes.get_mut(..count).unwrap_or_default();
            if let Err(error) = from.take_all(part) {
                return if done > 0 { Ok(done) } else { Err(error) };
            }
            out.clear();
            self.discipline.lock().process_output(part, &mut out);
            match self.writing().and_then(|_one_chunk| self.send(&out, false)) {
                Ok(sent) if sent == out.len() => done += count,
                // Which bytes of the program's the last ones were is known only without processing: as many at most.
                Ok(sent) => {
                    done += sent.min(count);
                    return if done > 0 { Ok(done) } else { Err(Errno::RESTART) };
                }
                Err(error) => return if done > 0 { Ok(done) } else { Err(error) },
            }
            if current().is_killed() {
                break;
            }
            exo_hal::cpu::interrupt_window();
        }
        Ok(done)
    }

    /// Waits for one's turn to write: chunks of several writers do not mix.
    fn writing(&self) -> Result<Turn<'_>> {
        let free = || (!self.is_written.swap(true, Ordering::Acquire)).then_some(());
        wait_on(&[&self.turn], None, true, free).map_err(|_| Errno::RESTART)?;
        Ok(Turn(self))
    }
}

/// The right to write a chunk.
struct Turn<'a>(&'a Terminal);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.is_written.store(false, Ordering::Release);
        self.0.turn.wake_all();
    }
}

/// An opened terminal.
struct Handle(Arc<Terminal>);

impl File for Handle {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        self.0.read(io, to)
    }

    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        self.0.write(io, from)
    }

    fn events(&self) -> Events {
        let mut events = Events::empty();
        match self.0.port() {
            Some(port) => events.set(Events::OUT, port.has_room()),
            None => events |= Events::HUP,
        }
        events.set(Events::IN, self.0.discipline.lock().can_read(1));
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.input)
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        self.0.ioctl(request, argument)
    }
}
