// SPDX-License-Identifier: MIT OR Apache-2.0
//! A terminal's line discipline: from received bytes to lines, echo and signals, and output processing. Source: POSIX
//! chapter 11, "General Terminal Interface"; the bits have Linux's values.

use alloc::{collections::VecDeque, vec::Vec};

/// Number of control characters in the kernel's `struct termios`.
pub const CONTROL_CHARACTERS: usize = 19;

/// Indices of control characters.
pub mod cc {
    #![expect(missing_docs, reason = "the names are POSIX's")]
    pub const INTR: usize = 0;
    pub const QUIT: usize = 1;
    pub const ERASE: usize = 2;
    pub const KILL: usize = 3;
    pub const EOF: usize = 4;
    pub const TIME: usize = 5;
    pub const MIN: usize = 6;
    pub const START: usize = 8;
    pub const STOP: usize = 9;
    pub const SUSP: usize = 10;
    pub const EOL: usize = 11;
    pub const WERASE: usize = 14;
    pub const LNEXT: usize = 15;
    pub const EOL2: usize = 16;
}

/// Mode bits.
pub mod mode {
    #![expect(missing_docs, reason = "the names are POSIX's")]
    pub const ISTRIP: u32 = 0o40;
    pub const INLCR: u32 = 0o100;
    pub const IGNCR: u32 = 0o200;
    pub const ICRNL: u32 = 0o400;
    pub const IXON: u32 = 0o2000;
    pub const IXANY: u32 = 0o4000;
    pub const IXOFF: u32 = 0o10000;
    pub const OPOST: u32 = 0o1;
    pub const ONLCR: u32 = 0o4;
    pub const OCRNL: u32 = 0o10;
    pub const ISIG: u32 = 0o1;
    pub const ICANON: u32 = 0o2;
    pub const ECHO: u32 = 0o10;
    pub const ECHOE: u32 = 0o20;
    pub const ECHOK: u32 = 0o40;
    pub const ECHONL: u32 = 0o100;
    pub const NOFLSH: u32 = 0o200;
    pub const ECHOCTL: u32 = 0o1000;
    pub const ECHOKE: u32 = 0o4000;
    pub const IEXTEN: u32 = 0o100000;
    pub const TOSTOP: u32 = 0o400;
}

const CTRL_Q: u8 = 17;
const CTRL_S: u8 = 19;
/// A control character of this value is switched off.
const DISABLED: u8 = 0;
/// A line, or all unread input in raw mode, is at most this long, as on Linux.
pub const MAX_INPUT: usize = 4096;
/// Echo that waits while output is stopped is at most this long; the oldest is lost.
const MOST_HELD: usize = 4096;
/// With so little room left, the other side is to send no more, and with so little unread it may again (IXOFF), as on Linux.
const THROTTLE: usize = 128;

/// A terminal's settings, as `struct termios` of the kernel interface has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Input modes.
    pub input: u32,
    /// Output modes.
    pub output: u32,
    /// Control modes: kept, not interpreted.
    pub control: u32,
    /// Local modes.
    pub local: u32,
    /// Control characters.
    pub characters: [u8; CONTROL_CHARACTERS],
}

impl Default for Settings {
    /// A terminal as Linux opens it.
    fn default() -> Self {
        let mut characters = [0; CONTROL_CHARACTERS];
        for (index, value) in [
            (cc::INTR, 3),
            (cc::QUIT, 28),
            (cc::ERASE, 127),
            (cc::KILL, 21),
            (cc::EOF, 4),
            (cc::MIN, 1),
            (cc::START, 17),
            (cc::STOP, 19),
            (cc::SUSP, 26),
            (12, 18),
            (13, 15),
            (cc::WERASE, 23),
            (cc::LNEXT, 22),
        ] {
            characters[index] = value;
        }
        Self { input: 0o2400, output: 0o5, control: 0o2277, local: 0o105073, characters }
    }
}

impl Settings {
    /// Whether ^S stops output and ^Q starts it: what the other side of a pseudo-terminal can do itself then.
    pub fn stops_output(&self) -> bool {
        self.input & mode::IXON != 0
            && self.characters[cc::START] == CTRL_Q
            && self.characters[cc::STOP] == CTRL_S
    }
}

/// What a received byte asks for besides being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTSTP.
    Suspend,
}

/// A terminal's state between the wire and the programs.
#[derive(Debug, Default)]
pub struct LineDiscipline {
    /// Its settings; may be changed at any time.
    pub settings: Settings,
    /// What programs can read. In canonical mode, whole lines.
    ready: VecDeque<u8>,
    /// Lengths of the lines in `ready`, ends included; an end-of-file mark has no byte of its own.
    lines: VecDeque<usize>,
    /// The line that is being typed.
    typing: Vec<u8>,
    literal: bool,
    /// Nothing is sent.
    is_stopped: bool,
    /// A program has stopped it: only a program starts it.
    is_stopped_by_program: bool,
    /// What is to be echoed once output goes on.
    held: Vec<u8>,
    /// The other side was asked to send no more.
    is_throttled: bool,
}

impl LineDiscipline {
    fn is(&self, index: usize, byte: u8) -> bool {
        byte != DISABLED && self.settings.characters.get(index) == Some(&byte)
    }

    fn local(&self, bit: u32) -> bool {
        self.settings.local & bit != 0
    }

    fn echo(&self, byte: u8, out: &mut Vec<u8>) {
        let newline_alone = byte == b'\n' && self.local(mode::ECHONL) && self.local(mode::ICANON);
        if !self.local(mode::ECHO) && !newline_alone {
            return;
        }
        match byte {
            b'\n' | b'\t' => self.process_output(&[byte], out),
            0..32 | 127 if self.local(mode::ECHOCTL) => out.extend([b'^', byte ^ 0x40]),
            _ => out.push(byte),
        }
    }

    fn erase(&mut self, out: &mut Vec<u8>) -> bool {
        // A UTF-8 character is several bytes on the line but one on the screen.
        let Some(mut byte) = self.typing.pop() else { return false };
        while byte & 0xc0 == 0x80 {
            match self.typing.pop() {
                Some(previous) => byte = previous,
                None => break,
            }
        }
        if self.local(mode::ECHO) && self.local(mode::ECHOE) {
            let width = if byte < 32 || byte == 127 { 2 } else { 1 };
            for _ in 0..width {
                out.extend(b"\x08 \x08");
            }
        }
        true
    }

    fn finish_line(&mut self, end: Option<u8>) {
        self.typing.extend(end);
        self.lines.push_back(self.typing.len());
        self.ready.extend(self.typing.drain(..));
    }

    /// Whether nothing is sent.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Stops output, or lets it go on, for a program (TCOOFF, TCOON). Whether that changed anything.
    pub fn stop_for_program(&mut self, stop: bool) -> bool {
        let was_stopped = self.is_stopped;
        if stop != self.is_stopped_by_program {
            self.is_stopped_by_program = stop;
            self.is_stopped = stop;
        }
        self.is_stopped != was_stopped
    }

    fn start(&mut self) {
        self.is_stopped = self.is_stopped_by_program;
    }

    /// What was to be echoed while output was stopped, if it goes on.
    pub fn take_held(&mut self) -> Vec<u8> {
        if self.is_stopped { Vec::new() } else { core::mem::take(&mut self.held) }
    }

    /// The character that asks the other side to send no more (IXOFF), or to go on, if that is due.
    pub fn throttle(&mut self) -> Option<u8> {
        let held = self.ready.len() + self.typing.len();
        // A line that has no end yet is nothing that could be read.
        let is_full = held + THROTTLE > MAX_INPUT && (!self.local(mode::ICANON) || !self.lines.is_empty());
        let index = match self.is_throttled {
            false if is_full && self.settings.input & mode::IXOFF != 0 => cc::STOP,
            true if held <= THROTTLE => cc::START,
            _ => return None,
        };
        self.is_throttled = index == cc::STOP;
        Some(self.settings.characters[index]).filter(|byte| *byte != DISABLED)
    }

    /// Takes a received byte. What to send back is appended to `echo`.
    pub fn receive(&mut self, byte: u8, echo: &mut Vec<u8>) -> Option<Signal> {
        let before = echo.len();
        let signal = self.process_input(byte, echo);
        if self.is_stopped {
            self.held.extend(echo.drain(before..));
            let excess = self.held.len().saturating_sub(MOST_HELD);
            self.held.drain(..excess);
        } else if !self.held.is_empty() {
            echo.splice(before..before, self.held.drain(..));
        }
        signal
    }

    /// Whether a byte stops or starts output; it does nothing else then.
    fn controls_flow(&mut self, byte: u8) -> bool {
        if self.settings.input & mode::IXON == 0 {
            false
        } else if self.is(cc::START, byte) {
            self.start();
            true
        } else if self.is(cc::STOP, byte) {
            self.is_stopped = true;
            true
        } else {
            false
        }
    }

    fn process_input(&mut self, mut byte: u8, echo: &mut Vec<u8>) -> Option<Signal> {
        let input = self.settings.input;
        if input & mode::ISTRIP != 0 {
            byte &= 0x7f;
        }
        if self.literal {
            self.literal = false;
            self.keep(byte, echo);
            return None;
        }
        if self.controls_flow(byte) {
            return None;
        }
        match byte {
            b'\r' if input & mode::IGNCR != 0 => return None,
            b'\r' if input & mode::ICRNL != 0 => byte = b'\n',
            b'\n' if input & mode::INLCR != 0 => byte = b'\r',
            _ => {}
        }
        if self.local(mode::ISIG) {
            for (index, signal) in
                [(cc::INTR, Signal::Interrupt), (cc::QUIT, Signal::Quit), (cc::SUSP, Signal::Suspend)]
            {
                if self.is(index, byte) {
                    if !self.local(mode::NOFLSH) {
                        self.flush_input();
                        self.held.clear();
                    }
                    if input & mode::IXON != 0 {
                        self.start();
                    }
                    self.echo(byte, echo);
                    return Some(signal);
                }
            }
        }
        if input & mode::IXON != 0 && input & mode::IXANY != 0 {
            self.start();
        }
        if self.local(mode::ICANON) {
            self.receive_canonical(byte, echo);
        } else {
            self.keep(byte, echo);
        }
        None
    }

    fn keep(&mut self, byte: u8, echo: &mut Vec<u8>) {
        let canonical = self.local(mode::ICANON);
        let held = self.ready.len() + self.typing.len();
        // The last place is for the end of the line.
        if held + usize::from(canonical) >= MAX_INPUT {
            return;
        }
        self.echo(byte, echo);
        if canonical {
            self.typing.push(byte);
        } else {
            self.ready.push_back(byte);
        }
    }

    fn receive_canonical(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.is(cc::ERASE, byte) || byte == 8 && self.is(cc::ERASE, 127) {
            self.erase(echo);
        } else if self.is(cc::KILL, byte) {
            while self.erase(echo) {}
        } else if self.local(mode::IEXTEN) && self.is(cc::WERASE, byte) {
            while self.typing.last().is_some_and(|b| *b == b' ') {
                self.erase(echo);
            }
            while self.typing.last().is_some_and(|b| *b != b' ') {
                self.erase(echo);
            }
        } else if self.local(mode::IEXTEN) && self.is(cc::LNEXT, byte) {
            self.literal = true;
        } else if self.is(cc::EOF, byte) {
            self.finish_line(None);
        } else if byte == b'\n' || self.is(cc::EOL, byte) || self.is(cc::EOL2, byte) {
            self.echo(byte, echo);
            self.finish_line(Some(byte));
        } else {
            self.keep(byte, echo);
        }
    }

    /// Whether a received byte would be kept or have an effect. A person's terminal always takes more, since a signal or an
    /// end of line may come, or what starts stopped output; a raw line that is full had better leave the rest where it is.
    pub fn has_room(&self) -> bool {
        let takes_all = self.local(mode::ICANON) || self.local(mode::ISIG) || self.is_stopped;
        takes_all || self.ready.len() + self.typing.len() < MAX_INPUT
    }

    /// Forgets what nobody has read.
    pub fn flush_input(&mut self) {
        self.ready.clear();
        self.lines.clear();
        self.typing.clear();
    }

    /// Bytes that a read can have now.
    pub fn readable(&self) -> usize {
        if self.local(mode::ICANON) { self.lines.front().copied().unwrap_or(0) } else { self.ready.len() }
    }

    /// Bytes that reads can have now, one after the other: in canonical mode those of all lines.
    pub fn waiting(&self) -> usize {
        if self.local(mode::ICANON) { self.lines.iter().sum() } else { self.ready.len() }
    }

    /// Whether a read has an answer now: in canonical mode a line or an end of file, otherwise MIN bytes (of `wanted`).
    pub fn can_read(&self, wanted: usize) -> bool {
        if self.local(mode::ICANON) {
            !self.lines.is_empty()
        } else {
            let minimum = usize::from(self.settings.characters[cc::MIN]);
            self.ready.len() >= minimum.min(wanted)
        }
    }

    /// Reads up to `out.len()` bytes, no further than the end of a line in canonical mode.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        let canonical = self.local(mode::ICANON);
        let limit = if canonical { self.lines.front().copied().unwrap_or(0) } else { self.ready.len() };
        let count = limit.min(out.len());
        for (to, from) in out.iter_mut().zip(self.ready.drain(..count)) {
            *to = from;
        }
        match self.lines.front_mut() {
            Some(line) if canonical && *line > count => *line -= count,
            Some(_) if canonical => {
                self.lines.pop_front();
            }
            // Raw reads eat lines that were typed before the mode changed.
            _ => self.lines.clear(),
        }
        count
    }

    /// Takes over new settings. What was typed stays readable across a change of mode.
    pub fn set(&mut self, settings: Settings) {
        let was_canonical = self.local(mode::ICANON);
        if self.settings.input & !settings.input & mode::IXON != 0 {
            // Nothing that is typed could start it any more.
            self.start();
        }
        self.settings = settings;
        match (was_canonical, self.local(mode::ICANON)) {
            (true, false) => {
                self.ready.extend(self.typing.drain(..));
                self.lines.clear();
            }
            (false, true) if !self.ready.is_empty() => self.lines.push_back(self.ready.len()),
            _ => {}
        }
    }

    /// Output as it goes over the wire.
    pub fn process_output(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.settings.output & mode::OPOST == 0 {
            out.extend(bytes);
            return;
        }
        for &byte in bytes {
            match byte {
                b'\n' if self.settings.output & mode::ONLCR != 0 => out.extend(b"\r\n"),
                b'\r' if self.settings.output & mode::OCRNL != 0 => out.push(b'\n'),
                _ => out.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_in(tty: &mut LineDiscipline, bytes: &[u8]) -> (Vec<u8>, Vec<Signal>) {
        let mut echo = Vec::new();
        let signals = bytes.iter().filter_map(|&b| tty.receive(b, &mut echo)).collect();
        (echo, signals)
    }

    fn read(tty: &mut LineDiscipline) -> Vec<u8> {
        let mut out = [0; 64];
        let count = tty.read(&mut out);
        out[..count].to_vec()
    }

    #[test]
    fn only_a_raw_line_that_is_full_has_no_room() {
        let mut line = LineDiscipline::default();
        let mut echo = Vec::new();
        let mut fill = |line: &mut LineDiscipline| {
            for _ in 0..MAX_INPUT {
                assert!(line.receive(b'x', &mut echo).is_none());
            }
        };
        fill(&mut line);
        assert!(line.has_room());
        line.flush_input();
        line.settings.local = 0;
        fill(&mut line);
        assert!(!line.has_room());
        let mut taken = [0; 10];
        line.read(&mut taken);
        assert!(line.has_room() && line.readable() == MAX_INPUT - 10);
    }

    #[test]
    fn only_the_usual_characters_stop_output_elsewhere() {
        let mut settings = Settings::default();
        assert!(settings.stops_output());
        settings.characters[cc::STOP] = 1;
        assert!(!settings.stops_output());
        settings = Settings { input: 0, ..Settings::default() };
        assert!(!settings.stops_output());
    }

    #[test]
    fn output_stops_and_goes_on_as_it_is_typed() {
        let mut tty = LineDiscipline::default();
        assert_eq!(type_in(&mut tty, b"a\x13b\x16\x11").0, b"a");
        assert!(tty.is_stopped());
        assert_eq!(type_in(&mut tty, b"c\x11d").0, b"b^Qcd", "the echo has waited");
        assert!(!tty.is_stopped());
        type_in(&mut tty, b"\n");
        assert_eq!(read(&mut tty), b"ab\x11cd\n");
        assert_eq!(
            type_in(&mut tty, b"\x13lost\x03").0,
            b"^C",
            "a signal starts it, and what was typed is forgotten"
        );
        tty.settings.input |= mode::IXANY;
        assert_eq!(type_in(&mut tty, b"\x13e").0, b"e");
    }

    #[test]
    fn what_a_program_has_stopped_a_program_starts() {
        let mut tty = LineDiscipline::default();
        assert!(tty.stop_for_program(true) && !tty.stop_for_program(true));
        type_in(&mut tty, b"\x11x");
        assert!(tty.is_stopped() && tty.take_held().is_empty());
        tty.set(Settings { input: 0, ..tty.settings });
        assert!(tty.is_stopped());
        assert!(tty.stop_for_program(false) && !tty.is_stopped());
        assert_eq!(tty.take_held(), b"x");
    }

    #[test]
    fn output_goes_on_when_nothing_could_start_it() {
        let mut tty = LineDiscipline::default();
        type_in(&mut tty, b"\x13");
        tty.set(Settings { input: 0, ..tty.settings });
        assert!(!tty.is_stopped());
        assert_eq!(type_in(&mut tty, b"\x13").0, b"^S", "it is like any other now");
    }

    #[test]
    fn echo_that_waits_is_bounded() {
        let mut tty = LineDiscipline::default();
        type_in(&mut tty, b"\x13");
        for _ in 0..3 * MOST_HELD {
            type_in(&mut tty, b"x\x7f");
        }
        assert_eq!(type_in(&mut tty, b"\x11").0.len(), MOST_HELD);
    }

    #[test]
    fn the_other_side_is_asked_to_wait_when_there_is_little_room() {
        let mut tty = LineDiscipline::default();
        tty.settings.local = 0;
        type_in(&mut tty, &[b'x'; MAX_INPUT]);
        assert_eq!(tty.throttle(), None, "unless that is not wanted");
        tty.settings.input |= mode::IXOFF;
        assert_eq!((tty.throttle(), tty.throttle()), (Some(CTRL_S), None));
        tty.read(&mut [0; MAX_INPUT - THROTTLE - 1]);
        assert_eq!(tty.throttle(), None);
        tty.read(&mut [0; 1]);
        assert_eq!((tty.throttle(), tty.throttle()), (Some(CTRL_Q), None));
    }

    #[test]
    fn a_line_is_read_whole_and_alone() {
        let mut tty = LineDiscipline::default();
        let (echo, _) = type_in(&mut tty, b"one\rtw");
        assert_eq!(echo, b"one\r\ntw");
        assert!(tty.can_read(1));
        assert_eq!(read(&mut tty), b"one\n");
        assert!(!tty.can_read(1));
        type_in(&mut tty, b"o\rthree\r");
        assert_eq!(read(&mut tty), b"two\n");
        assert_eq!(read(&mut tty), b"three\n");
    }

    #[test]
    fn erase_kill_word_and_literal() {
        let mut tty = LineDiscipline::default();
        type_in(&mut tty, "ab\u{e4}\x7f\x7fc d\x17e\x16\x03\n".as_bytes());
        assert_eq!(read(&mut tty), b"ac e\x03\n");
        let (echo, _) = type_in(&mut tty, b"x\x15y\n");
        assert_eq!(echo, b"x\x08 \x08y\r\n");
        assert_eq!(read(&mut tty), b"y\n");
    }

    #[test]
    fn end_of_file_is_a_read_of_nothing() {
        let mut tty = LineDiscipline::default();
        type_in(&mut tty, b"ab\x04\x04");
        assert_eq!(read(&mut tty), b"ab");
        assert!(tty.can_read(1));
        assert_eq!(read(&mut tty), b"");
        assert!(!tty.can_read(1));
    }

    #[test]
    fn signals_flush_the_line() {
        let mut tty = LineDiscipline::default();
        let (echo, signals) = type_in(&mut tty, b"abc\x03d\x1c\x1a");
        assert_eq!(signals, [Signal::Interrupt, Signal::Quit, Signal::Suspend]);
        assert_eq!(echo, b"abc^Cd^\\^Z");
        type_in(&mut tty, b"\n");
        assert_eq!(read(&mut tty), b"\n");
    }

    #[test]
    fn raw_mode_passes_bytes_and_waits_for_min() {
        let mut tty = LineDiscipline::default();
        type_in(&mut tty, b"half");
        let mut raw = tty.settings;
        raw.local &= !(mode::ICANON | mode::ECHO | mode::ISIG);
        raw.input &= !mode::ICRNL;
        raw.characters[cc::MIN] = 3;
        tty.set(raw);
        assert_eq!(read(&mut tty), b"half");
        assert_eq!(type_in(&mut tty, b"\x03\r"), (vec![], vec![]));
        assert!(!tty.can_read(10) && tty.can_read(2));
        type_in(&mut tty, b"z");
        assert!(tty.can_read(10));
        assert_eq!(read(&mut tty), b"\x03\rz");
    }

    #[test]
    fn partial_reads_keep_the_rest() {
        let mut tty = LineDiscipline::default();
        type_in(&mut tty, b"hello\n");
        let mut two = [0; 2];
        assert_eq!(tty.read(&mut two), 2);
        assert_eq!(read(&mut tty), b"llo\n");
    }

    #[test]
    fn output_gets_carriage_returns_only_when_asked() {
        let mut tty = LineDiscipline::default();
        let mut out = Vec::new();
        tty.process_output(b"a\n", &mut out);
        tty.settings.output = 0;
        tty.process_output(b"b\n", &mut out);
        assert_eq!(out, b"a\r\nb\n");
    }

    #[test]
    fn input_without_a_reader_is_bounded() {
        let mut tty = LineDiscipline::default();
        type_in(&mut tty, &[b'x'; 3 * MAX_INPUT]);
        type_in(&mut tty, b"\n");
        assert_eq!(tty.readable(), MAX_INPUT);
    }
}
