// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies from a pipe to a serial line that the kernel makes by itself (Exo-Kernel's `/sys/class/tty/LINE/source`). What the command
//! wrote reaches the host then even if the kernel crashes right afterwards.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a pipe may stay open and silent after everything that could write to it was killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A copy that the kernel makes.
pub(crate) struct KernelRelay(PathBuf);

/// What the kernel tells of it.
#[derive(Debug, PartialEq, Eq)]
struct State {
    moved: u64,
    waiting: u64,
    open: bool,
}

impl KernelRelay {
    /// Has the kernel copy from `from` to the serial line with this name; none if it has no such service.
    pub(crate) fn start(line: &str, from: &File) -> Option<Self> {
        let path = PathBuf::from(format!("/sys/class/tty/{line}/source"));
        // Never made where the kernel has no such file.
        let mut file = fs::OpenOptions::new().write(true).open(&path).ok()?;
        std::io::Write::write_all(&mut file, from.as_raw_fd().to_string().as_bytes()).ok()?;
        Some(Self(path))
    }

    /// Waits until the sending side has ended and all was sent; returns the number of bytes. A sending side that neither ends nor sends
    /// is given up.
    pub(crate) fn finish(self) -> u64 {
        let mut seen = self.state();
        let mut silent_since = Instant::now();
        while seen.open && silent_since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
            let now = self.state();
            // A host that takes its time is waited for without limit.
            if now != seen || now.waiting > 0 {
                silent_since = Instant::now();
            }
            seen = now;
        }
        seen.moved
    }

    fn state(&self) -> State {
        parse(&fs::read_to_string(&self.0).unwrap_or_default())
    }
}

fn parse(text: &str) -> State {
    let mut words = text.split_whitespace();
    let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let (moved, waiting) = (number(), number());
    State { moved, waiting, open: words.next() == Some("open") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(parse("12 3 open\n"), State { moved: 12, waiting: 3, open: true });
        assert_eq!(parse("12 0 none\n"), State { moved: 12, waiting: 0, open: false });
        assert_eq!(parse(""), State { moved: 0, waiting: 0, open: false });
    }

    #[test]
    fn a_kernel_without_the_service_has_none() {
        assert!(KernelRelay::start("no-such-line", &File::open("/dev/null").unwrap()).is_none());
    }
}
