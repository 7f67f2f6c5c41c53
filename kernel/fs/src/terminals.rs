// SPDX-License-Identifier: MIT OR Apache-2.0
//! The terminals that there are, and the devices that stand for one of them: /dev/tty, /dev/console and /dev/ptmx.

use alloc::boxed::Box;

use linux_raw_sys::general as abi;

use crate::{
    device::{self, major},
    devpts::PTMX_MINOR,
    errno::{Errno, Result},
    file::File,
    pty,
    task::current,
    tty,
};

/// Makes the terminals.
pub fn init() {
    tty::init();
    pty::init();
    device::register(major::CONSOLE, open);
}

/// Opens /dev/tty, the terminal of the process, /dev/console, or /dev/ptmx.
fn open(_major: u32, minor: u32, flags: u32) -> Result<Box<dyn File>> {
    match minor {
        0 => {
            let terminal = current().process.terminal.lock().clone();
            Ok(terminal.ok_or(Errno::ENXIO)?.open())
        }
        // As on Linux, the console does not become anybody's controlling terminal by being opened.
        1 => tty::open(0, flags | abi::O_NOCTTY),
        PTMX_MINOR => pty::open_master(),
        _ => Err(Errno::ENXIO),
    }
}
