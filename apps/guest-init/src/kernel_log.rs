// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log (`/dev/kmsg`): notes go there rather than into the command's output, and the kernel's own words about
//! a module that did not load come from there.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};

use rustix::fs::{Mode, OFlags};

const KMSG: &str = "/dev/kmsg";

/// Longest record that the kernel hands out in one read (`PRINTKRB_RECORD_MAX`, 1024, with room for its dictionary).
const LONGEST_RECORD: usize = 8192;

/// Writes a line of level "info" into the kernel's log, or onto the console where there is no log to write to.
pub(crate) fn note(text: &str) {
    let line = format!("<6>guest-init: {text}\n");
    let logged = OpenOptions::new().write(true).open(KMSG).and_then(|mut log| log.write_all(line.as_bytes()));
    if logged.is_err() {
        eprintln!("guest-init: {text}");
    }
}

/// A place in the kernel's log: what comes after it can be read later.
pub(crate) struct Mark(Option<File>);

impl Mark {
    /// The present end of the log.
    pub(crate) fn here() -> Self {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let log = rustix::fs::open(KMSG, flags, Mode::empty()).ok().map(File::from);
        Self(log.and_then(|mut log| log.seek(SeekFrom::End(0)).ok().map(|_| log)))
    }

    /// The lines that the kernel has logged since, without their time stamps.
    pub(crate) fn lines_since(self) -> Vec<String> {
        let Some(mut log) = self.0 else { return Vec::new() };
        let mut lines = Vec::new();
        let mut record = [0; LONGEST_RECORD];
        // The end of the log is EAGAIN, and a record that was overwritten meanwhile EPIPE: either way, that is all.
        while let Ok(length @ 1..) = log.read(&mut record) {
            let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default()).into_owned();
            lines.extend(message_of(&text).map(str::to_owned));
        }
        lines
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
        let record = "3,1186,2000123,-;my_rng: disagrees about version; of symbol x\n SUBSYSTEM=pci\n";
        assert_eq!(message_of(record), Some("my_rng: disagrees about version; of symbol x"));
        assert_eq!(message_of("no record"), None);
        assert_eq!(message_of(""), None);
    }
}
