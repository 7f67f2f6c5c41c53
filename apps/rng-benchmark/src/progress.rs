// SPDX-License-Identifier: MIT OR Apache-2.0
//! One line on standard error that tells how far the measurement is; only where a person watches it.

use std::io::{self, IsTerminal, Write};

/// Back to the start of the line, and clear it (ECMA-48 EL).
const CLEAR: &str = "\r\x1b[K";

pub(crate) struct Progress {
    runs: u32,
    visible: bool,
}

impl Progress {
    pub(crate) fn start(runs: u32) -> Self {
        Self { runs, visible: io::stderr().is_terminal() }
    }

    /// Shows that run number `run` (from 0) draws numbers of this width. Between runs, never within one.
    pub(crate) fn show(&mut self, run: u32, width: &str) {
        if self.visible {
            let number = run.saturating_add(1);
            // A terminal that is gone is no reason to stop.
            let _ = write!(io::stderr(), "{CLEAR}run {number} of {}: {width}", self.runs);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.visible {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}
