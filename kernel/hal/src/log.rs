// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log: lines on the console (COM1), whole lines at a time even when several CPUs write.

use core::fmt::{self, Write};

use crate::{boot::spin_once::Once, dev::serial, panic, sync::SpinLock, time};

static LINE: SpinLock<()> = SpinLock::new(());
/// Who writes to the console, once a driver has its port.
static WRITER: Once<fn(&[u8])> = Once::new();

/// From now on `writer` writes to the console: a driver has the port. A crash is reported without it.
pub fn hand_over(writer: fn(&[u8])) {
    WRITER.set(writer);
}

/// Writes to the console with nothing in between.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let writer = WRITER.get().filter(|_| !panic::is_crashing());
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

/// Writes one line with the time since boot; use [`log!`](crate::log!).
pub fn line(args: fmt::Arguments<'_>) {
    let _one_line = LINE.lock();
    let now = time::now_ns();
    // A console that fails has no one to tell.
    let _ = writeln!(Console, "[{:5}.{:06}] {args}", now / 1_000_000_000, now / 1000 % 1_000_000);
}

/// Writes a line to the kernel's log.
#[macro_export]
macro_rules! log {
    ($($arg:tt)*) => { $crate::log::line(format_args!($($arg)*)) };
}
