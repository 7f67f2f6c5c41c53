// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the process uses of its host, by files that are opened before the sandbox closes.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

/// More than `/proc/self/stat` can have.
const LINE: usize = 1024;

/// The files, and the limit of descriptors.
#[derive(Debug)]
pub struct Usage {
    /// Its size is the number of descriptors, since Linux 6.2.
    descriptors: Option<OwnedFd>,
    stat: Option<File>,
    max_descriptors: u64,
}

/// What is used at the moment; 0 where the kernel does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageSnapshot {
    /// Descriptors that are open.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Addresses, in bytes; with those of guests' memory.
    pub virtual_bytes: u64,
    /// Memory, in bytes; with what the device has touched of guests' memory.
    pub resident_bytes: u64,
}

impl Usage {
    /// Opens the files. `max_descriptors` is the process's limit.
    pub fn open(max_descriptors: u64) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self {
            descriptors: rustix::fs::open("/proc/self/fd", flags, Mode::empty()).ok(),
            stat: File::open("/proc/self/stat").ok(),
            max_descriptors,
        }
    }

    /// Most descriptors that the process may have.
    pub fn max_descriptors(&self) -> u64 {
        self.max_descriptors
    }

    /// What is used now.
    pub fn snapshot(&self) -> UsageSnapshot {
        let size = |directory| rustix::fs::fstat(directory).map(|found| found.st_size).unwrap_or_default();
        let descriptors = self.descriptors.as_ref().map_or(0, size);
        let descriptors = u64::try_from(descriptors).unwrap_or_default();
        UsageSnapshot { descriptors, ..self.of_stat().unwrap_or_default() }
    }

    fn of_stat(&self) -> Option<UsageSnapshot> {
        let mut line = [0; LINE];
        let length = rustix::io::pread(self.stat.as_ref()?, &mut line, 0).ok()?;
        parse(std::str::from_utf8(line.get(..length)?).ok()?)
    }
}

/// Reads a line as proc_pid_stat(5) describes it.
fn parse(line: &str) -> Option<UsageSnapshot> {
    // The name, which ends with the last parenthesis, may have anything in it. What follows begins with field 3.
    let (_, fields) = line.rsplit_once(')')?;
    let field = |number: usize| fields.split_whitespace().nth(number.checked_sub(3)?)?.parse::<u64>().ok();
    let page = rustix::param::page_size() as u64;
    Some(UsageSnapshot {
        descriptors: 0,
        threads: field(20)?,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)?.checked_mul(page)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::open(7);
        let before = usage.snapshot();
        assert!(before.threads >= 1 && before.resident_bytes > 1 << 20);
        assert!(before.virtual_bytes > before.resident_bytes);
        if before.descriptors > 0 {
            let _more: Vec<_> = (0..100).map(|_| File::open("/dev/null").unwrap()).collect();
            assert!(usage.snapshot().descriptors >= before.descriptors + 50, "other tests close some");
        }
    }

    #[test]
    fn a_name_with_anything_in_it_does_not_matter() {
        let page = rustix::param::page_size() as u64;
        let line = "1 (a) b) (c) S 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5 0 0 4096 3 0\n";
        let expected =
            UsageSnapshot { descriptors: 0, threads: 5, virtual_bytes: 4096, resident_bytes: 3 * page };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("1 (a) S 0"), None);
    }
}
