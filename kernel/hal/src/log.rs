// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log: lines on the console (COM1), whole lines at a time even when several CPUs write, and the last of them in memory.

use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
};

use exo_logic::log_ring::{Cursor, LONGEST, LogRing, Overwritten, Record};

use crate::{dev::serial, once::Once, sync::SpinLock, time};

/// Bytes that the log keeps.
pub const SIZE: usize = 64 << 10;
/// The level of a line that only informs (`KERN_INFO`).
pub const INFO: u8 = 6;
/// The level of an error (`KERN_ERR`).
pub const ERROR: u8 = 3;
/// Bits of a priority that are the level.
const LEVEL: u8 = 7;

/// Held while a line is written, so that lines do not mix.
static LOG: SpinLock<LogRing<SIZE>> = SpinLock::new(LogRing::new());
/// Lines of this level and above stay off the console.
static CONSOLE_LEVEL: AtomicU8 = AtomicU8::new(LEVEL);
/// Who writes to the console, once a driver has its port.
static WRITER: Once<fn(&[u8])> = Once::new();
/// The port is written to directly, although a driver has it.
static WITHOUT_WRITER: AtomicBool = AtomicBool::new(false);

/// From now on `writer` writes to the console: a driver has the port. A crash is reported [without it](take_back).
pub fn hand_over(writer: fn(&[u8])) {
    WRITER.set(writer);
}

/// From now on the console is written to without the driver, which may be what crashed.
pub(crate) fn take_back() {
    WITHOUT_WRITER.store(true, Ordering::Relaxed);
}

/// Which lines the console shows from now on: those with a level below this.
pub fn set_console_level(level: u8) {
    CONSOLE_LEVEL.store(level, Ordering::Relaxed);
}

/// See [`set_console_level`].
pub fn console_level() -> u8 {
    CONSOLE_LEVEL.load(Ordering::Relaxed)
}

/// Where the oldest line is that is kept, and where the next one will be.
pub fn bounds() -> (Cursor, Cursor) {
    let log = LOG.lock();
    (log.first(), log.end())
}

/// The line at a cursor.
///
/// # Errors
/// See [`LogRing::get`].
pub fn get(at: Cursor, text: &mut [u8; LONGEST]) -> Result<Option<Record>, Overwritten> {
    LOG.lock().get(at, text)
}

/// Writes to the console with nothing in between.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let writer = WRITER.get().filter(|_| !WITHOUT_WRITER.load(Ordering::Relaxed));
        for line in text.split_inclusive('\n') {
            let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\r\n"));
            for part in [line, end] {
                match writer {
                    Some(writer) => writer(part.as_bytes()),
                    None => part.bytes().for_each(|byte| serial::CONSOLE.put(byte)),
                }
            }
        }
        Ok(())
    }
}

/// A line's text; what is too long for the log is cut.
struct Line {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if let Some(slot) = self.bytes.get_mut(self.length) {
                *slot = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

/// Writes one line with the time since boot; use [`log!`](crate::log!).
pub fn line(args: fmt::Arguments<'_>) {
    line_at(INFO, args);
}

/// Writes one line of a priority: the level, and 8 times the facility.
pub fn line_at(priority: u8, args: fmt::Arguments<'_>) {
    let mut text = Line { bytes: [0; LONGEST], length: 0 };
    // Neither can fail: what is too long is cut, and a console that fails has no one to tell.
    let _ = write!(text, "{args}");
    let mut log = LOG.lock();
    let now = time::now_ns();
    log.push(priority, now, text.bytes.get(..text.length).unwrap_or_default());
    if priority & LEVEL < console_level() {
        let _ = writeln!(Console, "[{:5}.{:06}] {args}", now / 1_000_000_000, now / 1000 % 1_000_000);
    }
}

/// Writes a line to the kernel's log.
#[macro_export]
macro_rules! log {
    ($($arg:tt)*) => { $crate::log::line(format_args!($($arg)*)) };
}
