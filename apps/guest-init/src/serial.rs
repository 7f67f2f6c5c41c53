// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serial lines as the way to the host. A line has no end, so the host tells the length of the input on the line that
//! otherwise carries stderr, as a decimal number and a newline, as soon as it knows it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{ControlModes, OptionalActions, speed, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// A copying thread needs its chunk and little else.
const STACK: usize = 128 * 1024;
const CHUNK: usize = 4096;

/// Opens the line at `path` and makes it raw; `None` where the machine lacks it.
pub(crate) fn open(path: &str) -> Option<File> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let line = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    // Linux has nodes for lines that the machine lacks; their settings cannot be read.
    make_raw(&line).ok().map(|()| line)
}

fn make_raw(line: impl AsFd) -> rustix::io::Result<()> {
    let mut modes = tcgetattr(&line)?;
    modes.make_raw();
    modes.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    modes.set_speed(speed::B115200)?;
    tcsetattr(&line, OptionalActions::Now, &modes)
}

/// Starts a thread that copies from `line` into `to`, until as many bytes as `length` tells are through, or the command
/// has closed its end.
pub(crate) fn start_input(line: File, length: Option<File>, to: File) -> Result<(), Failure> {
    let thread = std::thread::Builder::new().name("stdin".to_owned()).stack_size(STACK);
    let started = thread.spawn(move || copy(line, length, to));
    started.map(drop).map_err(|error| Failure::new(format!("cannot start the thread stdin: {error}")))
}

fn copy(mut line: File, mut length_line: Option<File>, mut to: File) {
    let mut chunk = vec![0; CHUNK];
    let mut length = Length::default();
    let mut copied: u64 = 0;
    while length.known().is_none_or(|length| copied < length) {
        let Some(ready) = wait(&line, length_line.as_ref()) else { return };
        if ready.length {
            let told = length_line.as_mut().map_or(0, |line| read(line, &mut chunk));
            if !length.told(chunk.get(..told).unwrap_or_default()) {
                length_line = None;
            }
        }
        if ready.data {
            let count = read(&mut line, &mut chunk);
            if count == 0 || to.write_all(chunk.get(..count).unwrap_or_default()).is_err() {
                return;
            }
            copied = copied.saturating_add(count as u64);
        }
    }
}

/// Bytes read; 0 at the end or on an error.
fn read(line: &mut File, chunk: &mut [u8]) -> usize {
    loop {
        match line.read(chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other.unwrap_or(0),
        }
    }
}

struct Ready {
    data: bool,
    length: bool,
}

/// Waits until one of the lines has something; `None` when that cannot be.
fn wait(line: &File, length: Option<&File>) -> Option<Ready> {
    let mut watched = vec![PollFd::new(line, PollFlags::IN)];
    watched.extend(length.map(|line| PollFd::new(line, PollFlags::IN)));
    loop {
        match poll(&mut watched, None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    let ready = |index: usize| watched.get(index).is_some_and(|fd| !fd.revents().is_empty());
    Some(Ready { data: ready(0), length: ready(1) })
}

/// The length of the input, as its digits come in.
#[derive(Debug, Default)]
struct Length {
    digits: Vec<u8>,
    known: Option<u64>,
}

impl Length {
    fn known(&self) -> Option<u64> {
        self.known
    }

    /// Takes more bytes in; false when nothing more is to be expected. Text that is no number ends the input at once: it
    /// could only ever wait.
    fn told(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if byte == b'\n' {
                let text = std::str::from_utf8(&self.digits).unwrap_or_default();
                self.known = Some(text.parse().unwrap_or(0));
                return false;
            }
            self.digits.push(byte);
        }
        !bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (File, File) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (reader.into(), writer.into())
    }

    #[test]
    fn input_ends_after_as_many_bytes_as_the_host_says() {
        let (line, mut data) = pipe();
        let (length_line, mut length) = pipe();
        let (mut out, to) = pipe();
        start_input(line, Some(length_line), to).unwrap();
        data.write_all(b"abcdef").unwrap();
        length.write_all(b"1").unwrap();
        length.write_all(b"0\n").unwrap();
        data.write_all(b"ghij").unwrap();
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcdefghij");
    }

    #[test]
    fn an_empty_input_ends_though_its_line_stays_open() {
        let ((line, _data), (length_line, mut length), (mut out, to)) = (pipe(), pipe(), pipe());
        start_input(line, Some(length_line), to).unwrap();
        length.write_all(b"0\n").unwrap();
        assert_eq!(out.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn a_length_may_come_in_parts() {
        let mut length = Length::default();
        assert!(length.told(b"12") && length.known().is_none());
        assert!(!length.told(b"3\n") && length.known() == Some(123));
        let mut wrong = Length::default();
        assert!(!wrong.told(b"x\n") && wrong.known() == Some(0));
    }
}
