// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot loader handed over: a command line that a test sets.

use parking_lot::Mutex;

/// What the boot loader handed over.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// The kernel's command line.
    pub command_line: &'static str,
}

static INFO: Mutex<BootInfo> = Mutex::new(BootInfo { command_line: "" });

/// The boot information.
pub fn info() -> BootInfo {
    *INFO.lock()
}

/// For tests: the machine was started with this command line.
pub fn set_command_line(command_line: &'static str) {
    INFO.lock().command_line = command_line;
}
