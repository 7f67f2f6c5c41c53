// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pipe whose content goes to a serial line by itself: `/sys/class/tty/ttySN/source`. Who writes the number of a pipe's read end there
//! gives that pipe to the line. No program stands between the writers and the port then, so that what they wrote before a crash of the
//! kernel can still be sent; and nothing is copied on the way.
//!
//! The file reads as `BYTES WAITING STATE`: how many bytes came from pipes so far, how many wait in the present one, and `open` as long
//! as somebody may write to it, or `none`.

use core::sync::atomic::Ordering;

use alloc::{format, string::String, sync::Arc};

use exo_hal::{cpu, time};
use exo_logic::line_discipline::mode;

use super::{SERIAL_MINOR, TERMINALS, Terminal};
use crate::{
    errno::{Errno, Result},
    fs::{
        OpenFile,
        pipe::{Outlet, Pipe, end},
    },
    sched::timer::{self, Action},
    sysfs,
    task::current,
};

/// Bytes that are moved with interrupts off.
const CHUNK: usize = 2048;
/// After how long a line that still takes bytes is served again, when the timer does that.
const PAUSE_NS: u64 = 200_000;

/// A pipe, and its read end, which this is the reader of.
pub(super) struct Source {
    pipe: Arc<Pipe>,
    _end: Arc<OpenFile>,
}

/// Adds the line's file to /sys.
pub(super) fn add_setting(terminal: &Arc<Terminal>) {
    let path = format!("class/tty/ttyS{}/source", terminal.minor - SERIAL_MINOR);
    let (shown, stored) = (terminal.clone(), terminal.clone());
    sysfs::add_setting(&path, move || shown.show_source(), move |text| stored.set_source(text));
}

impl Outlet for Terminal {
    fn filled(&self) {
        while self.send_some() {
            // The writer's own time: interrupts may come in between.
            cpu::interrupt_window();
        }
    }

    fn left(&self) {
        self.send_from_source();
    }
}

impl Terminal {
    fn show_source(&self) -> String {
        let source = self.source.lock();
        let moved = self.from_pipes.load(Ordering::Relaxed);
        match &*source {
            Some(source) => format!("{moved} {} open\n", source.pipe.fill().0),
            None => format!("{moved} 0 none\n"),
        }
    }

    fn set_source(self: &Arc<Self>, text: &str) -> Result<()> {
        let fd = text.parse().map_err(|_| Errno::EINVAL)?;
        let end = current().files.get(fd)?;
        let pipe = end::of(&end).filter(|_| end.can_read()).ok_or(Errno::EINVAL)?.clone();
        if self.discipline.lock().settings.output & mode::OPOST != 0 {
            // Bytes go out as they are.
            return Err(Errno::EINVAL);
        }
        {
            let mut source = self.source.lock();
            if source.is_some() {
                return Err(Errno::EBUSY);
            }
            pipe.set_outlet(self.clone())?;
            *source = Some(Source { pipe, _end: end });
        }
        self.filled();
        Ok(())
    }

    /// Moves a chunk from the pipe to the port; whether there may be more that the port takes.
    fn send_some(&self) -> bool {
        let Some(port) = self.port() else { return false };
        let mut source = self.source.lock();
        let Some(Source { pipe, .. }) = &*source else { return false };
        let moved = pipe.offer(CHUNK, |bytes| port.send(bytes));
        self.from_pipes.fetch_add(moved as u64, Ordering::Relaxed);
        let ended = if pipe.fill() == (0, true) { source.take() } else { None };
        drop(source);
        // Closing the pipe's end wakes others: not with the lock held.
        drop(ended);
        moved == CHUNK
    }

    /// The port has room: a chunk now, and the rest soon, as this may be an interrupt.
    pub(super) fn send_from_source(&self) {
        if self.send_some() {
            timer::add(time::now_ns() + PAUSE_NS, Action::Call(serve_all));
        }
    }
}

fn serve_all() {
    for terminal in TERMINALS.get().into_iter().flatten() {
        terminal.send_from_source();
    }
}

/// The kernel has crashed: sends what ports have accepted and what waits in their pipes. It takes no lock that somebody holds.
pub fn last_words() {
    for terminal in TERMINALS.get().into_iter().flatten() {
        let Some(port) = terminal.back_end.try_lock().and_then(|line| line.as_ref()?.port().cloned()) else {
            continue;
        };
        port.send_in_crash(&[]);
        if let Some(Some(source)) = terminal.source.try_lock().as_deref() {
            source.pipe.show_in_crash(|bytes| port.send_in_crash(bytes));
        }
    }
}
