// SPDX-License-Identifier: MIT OR Apache-2.0
//! What sessions need of their terminals.

use alloc::{boxed::Box, sync::Arc};

use crate::fs::file::File;

/// A terminal that can be a session's.
pub trait ControllingTty: Send + Sync {
    /// Its device number, as /proc/PID/stat has it.
    fn device_number(&self) -> u32;
    /// The process group in the foreground; 0 for none.
    fn foreground(&self) -> u32;
    /// It is not the terminal of this session any more, if it was.
    fn release(&self, session: u32);
    /// Opens it, as /dev/tty.
    fn open(self: Arc<Self>) -> Box<dyn File>;
}
