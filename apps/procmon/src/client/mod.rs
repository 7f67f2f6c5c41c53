// SPDX-License-Identifier: MIT OR Apache-2.0
//! The nodes, with a safe face.

mod error;
mod events;
mod monitor;
mod rings;

pub use error::Error;
pub use events::Events;
pub use monitor::Monitor;
pub use rings::{RingReader, Rings, Taken};

/// A process's name as text on one line, as ps(1) and ls(1) show names on a terminal: what is no UTF-8, or would move the cursor, change
/// colours or turn the direction of writing, shows as a question mark. A process chooses its name itself, from any bytes but zero.
#[must_use]
pub fn name(comm: &[u8; 16]) -> String {
    printable(without_end(comm))
}

/// As [`name`], but all of the name of a thread of the kernel, as ps(1) shows it: the module tells the 15 characters that every
/// process has, `/proc` knows what a worker works at. For threads of the kernel, which have no memory (`mapped` bytes), that costs
/// reading a file; if it is another's by now, the short name is returned.
#[must_use]
pub fn full_name(pid: i32, comm: &[u8; 16], mapped: u64) -> String {
    let short = without_end(comm);
    if mapped != 0 || short.is_empty() {
        return printable(short);
    }
    match std::fs::read(format!("/proc/{pid}/comm")) {
        Ok(long) if long.starts_with(short) => printable(long.strip_suffix(b"\n").unwrap_or(&long)),
        _ => printable(short),
    }
}

fn without_end(comm: &[u8; 16]) -> &[u8] {
    let length = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
    comm.get(..length).unwrap_or_default()
}

fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().map(|c| if is_printable(c) { c } else { '?' }).collect()
}

fn is_printable(c: char) -> bool {
    let breaks_line = matches!(c, '\u{2028}' | '\u{2029}');
    // The formatting characters of Unicode's bidirectional algorithm (UAX #9, section 2).
    let turns =
        matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !(c.is_control() || breaks_line || turns || c == char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::{full_name, name};

    #[test]
    fn a_name_ends_at_its_first_zero() {
        assert_eq!(name(b"sh\0garbage\0\0\0\0\0\0"), "sh");
        assert_eq!(name(&[0; 16]), "");
        assert_eq!(name(b"sixteen bytes..!"), "sixteen bytes..!");
    }

    #[test]
    fn a_name_cannot_speak_to_the_terminal() {
        assert_eq!(name(b"\x1b[2J\n\0\0\0\0\0\0\0\0\0\0\0"), "?[2J?");
        assert_eq!(name(b"\x7f\t\r\x08\xff\xc2\x9b1m\0\0\0\0\0\0\0"), "??????1m");
        assert_eq!(name("a\u{202e}b\u{2028}c\0\0\0\0\0\0\0".as_bytes().try_into().unwrap()), "a?b?c");
        assert_eq!(name("k\u{f6}ln\0\0\0\0\0\0\0\0\0\0\0".as_bytes().try_into().unwrap()), "k\u{f6}ln");
    }

    #[test]
    fn a_longer_name_is_that_of_the_same_process_only() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(full_name(own, b"somebody else\0\0\0", 0), "somebody else");
        assert_eq!(full_name(own, &[0; 16], 0), "");
        assert_eq!(full_name(-1, b"kworker/0:1\0\0\0\0\0", 0), "kworker/0:1");
        let told = std::fs::read_to_string("/proc/self/comm").unwrap();
        let mut start = [0; 16];
        start[0] = told.as_bytes()[0];
        assert_eq!(full_name(own, &start, 0), told.trim_end());
        assert_eq!(full_name(own, &start, 4096), name(&start), "a program, which has memory");
    }
}
