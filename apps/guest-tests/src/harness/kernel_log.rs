// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log (`/dev/kmsg`), from a mark on.

use std::fs::File;
use std::io::{self, ErrorKind, Read};

use rustix::fs::{Mode, OFlags, SeekFrom, seek};

use super::is_exo_kernel;

/// Longer than any record that the kernel hands out in one read.
const LONGEST_RECORD: usize = 8192;

/// A place in the kernel's log: what comes after it can be read. Exo-Kernel keeps none that programs could read: what it has to
/// report ends the machine.
pub(crate) struct Mark(Option<File>);

impl Mark {
    /// The present end of the log.
    ///
    /// # Errors
    /// As of opening `/dev/kmsg`, which only root may.
    pub(crate) fn here() -> io::Result<Self> {
        Self::at(SeekFrom::End(0))
    }

    /// The log's beginning, or where it was cleared last (`dmesg -c`).
    ///
    /// # Errors
    /// As [`Mark::here`].
    pub(super) fn at_last_clearing() -> io::Result<Self> {
        Self::at(SeekFrom::Data(0))
    }

    fn at(place: SeekFrom) -> io::Result<Self> {
        if is_exo_kernel() {
            return Ok(Self(None));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let log = rustix::fs::open("/dev/kmsg", flags, Mode::empty())?;
        seek(&log, place)?;
        Ok(Self(Some(log.into())))
    }

    /// The lines since the mark, which moves behind them; each with its device's or subsystem's prefix as `dmesg` shows
    /// it, without time stamp.
    ///
    /// # Errors
    /// As of reading `/dev/kmsg`.
    pub(crate) fn lines(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let Some(log) = &mut self.0 else { return Ok(lines) };
        let mut record = [0; LONGEST_RECORD];
        loop {
            match log.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                    lines.extend(message_of(&text).map(str::to_owned));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The log was faster than we are and has dropped lines: they are lost, the next are not.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    lines.push("(lines of the kernel's log are lost here)".to_owned());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(lines)
    }
}

/// The text of a record "priority,sequence,time,flags;text\n KEY=value…".
fn message_of(record: &str) -> Option<&str> {
    record.lines().next()?.split_once(';').map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_its_text_alone() {
        let record =
            "6,339,5140900,-;my_rng 0000:00:03.0: BAR 0; at x\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:03.0\n";
        assert_eq!(message_of(record), Some("my_rng 0000:00:03.0: BAR 0; at x"));
        assert_eq!(message_of("none"), None);
    }
}
