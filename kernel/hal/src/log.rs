// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log: lines on the console (COM1), whole lines at a time even when several CPUs write.

use core::fmt::{self, Write};

use crate::{dev::serial, sync::SpinLock, time};

static LINE: SpinLock<()> = SpinLock::new(());

/// Writes to the console with nothing in between.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                serial::CONSOLE.put(b'\r');
            }
            serial::CONSOLE.put(byte);
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
