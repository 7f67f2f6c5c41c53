// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients of the control socket that say anything, many at a time: requests as they should be, nearly so, and not at all, whole and in
//! pieces, with descriptors of every kind, answers that are not read. The program is a process of its own, with its sandbox, and a
//! machine has its first device all the while.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use my_rng_abi::registers::RAND32;
use my_rng_device::control::protocol::{LimitChange, LogLevel, MAX_REQUEST, Request, Which, parse_limit};
use my_rng_device::limiter::Limits;
use rustix::process::Signal;
use serde_json::Value;

use super::campaign::{Attack, Effects, resident};
use super::common::client::Client;
use super::common::control::{Line, Setup};
use super::common::lingering;
use super::descriptors::Descriptors;
use super::random::Random;

/// Connections at a time; a few more come and go. The program drops nobody up to 16.
const LINES: usize = 10;
/// Requests of a connection that are sent before their answers are read.
const BATCH: usize = 8;
/// Most bytes that are sent to a connection before its answers are read: fewer than a socket takes when nobody reads.
const UNREAD_MAX: usize = 64 << 10;
/// How long a client may be silent, less what a look may take.
const SILENCE: Duration = Duration::from_secs(9);
/// Most devices that the program may have, the other machine's among them.
const DEVICES: &str = "6";
/// Most descriptors that the program may have open: its own, and those that are about to be closed.
const DESCRIPTORS_MAX: u64 = 800;

/// What must be the answer to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// An object with this one member.
    Member(&'static str),
    /// This, or an error that depends on what has become of the devices.
    MemberOrError(&'static str),
    /// That this level is set.
    Level(LogLevel),
    /// An error, after which the connection is closed.
    Last,
}

impl Expected {
    fn of(line: &[u8]) -> Self {
        match serde_json::from_slice(line.trim_ascii()) {
            Ok(Request::Status {}) => Self::Member("status"),
            Ok(Request::Limit(change)) if change.apply(Limits::default()).is_err() => Self::Member("error"),
            Ok(Request::Limit(LimitChange { device: None | Some(0), .. })) => Self::Member("limits"),
            Ok(Request::Limit(_)) => Self::MemberOrError("limits"),
            Ok(Request::Log { level }) => Self::Level(level),
            Ok(Request::NewGeneration {}) => Self::Member("generation"),
            Ok(Request::Add {}) => Self::MemberOrError("added"),
            Ok(Request::Remove(_)) => Self::MemberOrError("removed"),
            Err(_) => Self::Member("error"),
        }
    }

    #[track_caller]
    fn judge(self, answer: &Value) {
        let members = answer.as_object().expect("an object");
        let is = |name: &str| members.len() == 1 && members.contains_key(name);
        let right = match self {
            Self::Member(name) => is(name),
            Self::MemberOrError(name) => is(name) || is("error"),
            Self::Level(level) => answer["log"] == serde_json::to_value(level).unwrap(),
            Self::Last => is("error"),
        };
        assert!(right, "{self:?} was expected: {answer}");
        let error = members.get("error");
        assert!(error.is_none_or(|error| error.as_str().is_some_and(|text| !text.is_empty())), "{answer}");
    }
}

/// A connection, and what is to come of it.
struct Connection {
    line: Line,
    /// The beginning of a request whose end was not sent.
    begun: Vec<u8>,
    expected: VecDeque<Expected>,
    unread: usize,
    /// Descriptors that were sent: with a second one that waits for its request the connection is closed.
    descriptors: usize,
    /// More connections were made than there may be.
    may_be_pushed_out: bool,
    /// The end of what the program reads of it.
    is_over: bool,
    heard: Instant,
}

impl Connection {
    fn new(setup: &Setup) -> Self {
        Self {
            line: setup.connect(),
            begun: Vec::new(),
            expected: VecDeque::new(),
            unread: 0,
            descriptors: 0,
            may_be_pushed_out: false,
            is_over: false,
            heard: Instant::now(),
        }
    }

    /// Whether the program may have closed it.
    fn may_close(&self) -> bool {
        self.is_over || self.may_be_pushed_out || self.descriptors > 1 || self.heard.elapsed() >= SILENCE
    }

    /// Notes what bytes will be answered with.
    fn foresee(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.begun.push(byte);
            if byte == b'\n' {
                self.expected.push_back(Expected::of(&self.begun));
                self.begun.clear();
            } else if self.begun.len() == MAX_REQUEST {
                self.expected.push_back(Expected::Last);
                self.is_over = true;
                return;
            }
        }
    }
}

/// What the campaign has seen.
#[derive(Debug, Default)]
struct Seen {
    answers: u64,
    errors: u64,
    added: u64,
    removed: u64,
    too_long: u64,
    too_many_descriptors: u64,
    pushed_out: u64,
    left: u64,
    silent: u64,
    floods: u64,
    reads_of_the_other_machine: u64,
}

pub(crate) struct Attacker {
    setup: Setup,
    other: Client,
    connections: Vec<Connection>,
    descriptors: Descriptors,
    /// Listening sockets that were offered.
    listeners: VecDeque<UnixListener>,
    sockets: u64,
    known: Vec<(String, Vec<u8>)>,
    sent: usize,
    seen: Seen,
}

impl Attacker {
    pub(crate) fn new() -> Self {
        let setup = Setup::with_room_for(DEVICES, &["--workers", "1"]);
        Self {
            other: Client::connect(&setup.a),
            connections: (0..LINES).map(|_| Connection::new(&setup)).collect(),
            descriptors: Descriptors::new(),
            listeners: VecDeque::new(),
            sockets: 0,
            known: Vec::new(),
            sent: 0,
            seen: Seen::default(),
            setup,
        }
    }

    /// Sends bytes and the descriptors that the letters mean, and reads answers now and then.
    fn send(&mut self, place: usize, letters: &str, bytes: &[u8]) {
        let fds: Vec<OwnedFd> = letters.chars().map(|letter| self.descriptor(letter)).collect();
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let connection = &mut self.connections[place];
        // Nothing that comes with no byte arrives.
        if bytes.is_empty() || connection.is_over {
            return self.collect(place);
        }
        connection.descriptors += fds.len();
        connection.foresee(bytes);
        connection.unread += bytes.len();
        connection.heard = Instant::now();
        let sent = connection.line.send_with(bytes, &borrowed);
        assert!(
            sent == bytes.len() || connection.may_close(),
            "{sent} bytes were taken: it was closed without a reason"
        );
        drop(fds); // From here on the program may have the last.
        self.sent += 1;
        let connection = &self.connections[place];
        if connection.is_over || connection.expected.len() >= BATCH || connection.unread > UNREAD_MAX {
            self.collect(place);
        }
        if self.sent % 64 == 0 {
            self.other.read_register(RAND32);
            self.seen.reads_of_the_other_machine += 1;
        }
    }

    /// Reads every answer that is to come.
    fn collect(&mut self, place: usize) {
        let Self { setup, connections, seen, .. } = self;
        let connection = &mut connections[place];
        while let Some(expected) = connection.expected.front().copied() {
            let Some(answer) = connection.line.try_receive() else {
                assert!(connection.may_close(), "it was closed without a reason, {expected:?} was to come");
                seen.pushed_out += u64::from(connection.may_be_pushed_out);
                seen.silent += u64::from(!connection.may_be_pushed_out && connection.descriptors < 2);
                *connection = Connection::new(setup);
                return;
            };
            connection.heard = Instant::now();
            let error = answer["error"].as_str();
            if connection.descriptors > 1
                && error.is_some_and(|error| error.ends_with("more than one descriptor"))
            {
                assert!(connection.line.is_closed());
                seen.too_many_descriptors += 1;
                *connection = Connection::new(setup);
                return;
            }
            expected.judge(&answer);
            connection.expected.pop_front();
            seen.answers += 1;
            seen.errors += u64::from(error.is_some());
            seen.added += u64::from(answer["added"].is_object());
            seen.removed += u64::from(answer["removed"].is_object());
        }
        connection.unread = 0;
        if connection.is_over {
            assert!(connection.line.is_closed(), "the next request would begin nobody knows where");
            seen.too_long += 1;
            *connection = Connection::new(setup);
        }
    }

    fn collect_all(&mut self) {
        (0..LINES).for_each(|place| self.collect(place));
    }

    /// Leaves, perhaps in the middle of everything, and comes again.
    fn leave(&mut self, place: usize, random: &mut Random) {
        // Who waits for a change of the devices keeps its place, so that another might be pushed out.
        let waits = |expected: &Expected| matches!(expected, Expected::MemberOrError("added" | "removed"));
        if self.connections[place].expected.iter().any(waits) {
            self.collect(place);
        }
        let connection = &mut self.connections[place];
        if random.once_in(4) {
            let _ = connection.line.0.get_ref().shutdown(random.choose(&[
                std::net::Shutdown::Read,
                std::net::Shutdown::Write,
                std::net::Shutdown::Both,
            ]));
        }
        self.connections[place] = Connection::new(&self.setup);
        self.seen.left += 1;
        // Those that left are gone before more of them do.
        self.collect_all();
        self.connections[place].foresee(b"\n");
        self.connections[place].line.send(b"\n");
        self.collect(place);
    }

    /// More connections than there may be, some of which ask and never read.
    fn flood(&mut self, random: &mut Random) {
        self.collect_all();
        self.connections.iter_mut().for_each(|connection| connection.may_be_pushed_out = true);
        let request = b"{\"command\":\"status\"}\n".repeat(1 + random.below(200));
        let flood: Vec<_> = (0..8 + random.below(30)).map(|_| self.setup.connect()).collect();
        for line in &flood {
            if random.once_in(2) {
                let null = self.descriptors.get('n');
                line.send_with(&request, &[null][..random.below(2)]);
            }
        }
        // Who was pushed out sees it.
        for place in 0..LINES {
            self.send(place, "", b"\n");
            self.collect(place);
        }
        drop(flood);
        // Whoever comes after them is accepted when they have gone.
        self.connections.clear();
        for _ in 0..LINES {
            let mut connection = Connection::new(&self.setup);
            connection.line.ask(&serde_json::json!({"command": "new_generation"}));
            connection.heard = Instant::now();
            self.connections.push(connection);
        }
        self.seen.floods += 1;
    }

    fn descriptor(&mut self, letter: char) -> OwnedFd {
        let path = self.setup.directory.path().join(format!("fuzz-{}.sock", self.sockets));
        self.sockets += u64::from("LDG".contains(letter));
        let again = |fd: &UnixListener| fd.as_fd().try_clone_to_owned().unwrap();
        match letter {
            // A listening socket, as it should be.
            'L' => {
                let listener = UnixListener::bind(path).unwrap();
                let copy = again(&listener);
                self.listeners.push_back(listener);
                if self.listeners.len() > 4 {
                    self.forget_listener();
                }
                copy
            }
            // One that was offered before, and may be served.
            'A' if !self.listeners.is_empty() => again(&self.listeners[0]),
            // One that does not listen, one whose path is gone, a pair, one whose close takes a second.
            'D' => {
                let socket = UnixDatagram::bind(&path).unwrap();
                std::fs::remove_file(path).unwrap();
                socket.into()
            }
            'G' | 'A' => {
                let listener = UnixListener::bind(&path).unwrap();
                let _ = std::fs::remove_file(path);
                listener.into()
            }
            'P' => UnixStream::pair().unwrap().0.into(),
            'S' => lingering(Duration::from_secs(1)).0.into(),
            letter => self.descriptors.get(letter).try_clone_to_owned().unwrap(),
        }
    }

    /// The file of one that was refused stays; that of one that is served is the program's.
    fn forget_listener(&mut self) {
        drop(self.listeners.pop_front());
    }

    fn line(&mut self, random: &mut Random) -> (String, Vec<u8>) {
        if !self.known.is_empty() && random.once_in(8) {
            return self.known[random.below(self.known.len())].clone();
        }
        let request = request(random);
        let letters = match &request {
            Request::Add {} => {
                random.choose(&["L", "L", "L", "", "A", "D", "G", "P", "n", "l", "u", "e", "p", "LL", "mnf"])
            }
            _ if random.once_in(40) => random.choose(&["L", "n", "s", "i", "w", "ee", "nfublwpi"]),
            _ => "",
        };
        // Which takes a second.
        let letters = if letters == "l" && random.once_in(50) { "S" } else { letters };
        let mut line = serde_json::to_vec(&request).unwrap();
        dress(&mut line, random);
        if random.once_in(4) {
            spoil(&mut line, random);
        }
        (letters.to_owned(), line)
    }
}

impl Attack for Attacker {
    /// Lines of letters of descriptors, or `-`, and a request.
    fn play(&mut self, text: &str) {
        for (number, line) in
            text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).enumerate()
        {
            let (letters, request) = line.split_once(' ').unwrap_or((line, ""));
            let known = (letters.replace('-', ""), request.as_bytes().to_vec());
            self.send(number % LINES, &known.0, &[&known.1[..], b"\n"].concat());
            self.known.push(known);
        }
        self.collect_all();
    }

    fn input(&mut self, random: &mut Random) {
        let place = random.below(LINES);
        if random.once_in(20_000) {
            return self.flood(random);
        }
        if random.once_in(500) {
            return self.leave(place, random);
        }
        if random.once_in(1000) {
            // Longer than a request may be, or just not.
            let length = MAX_REQUEST - 2 + random.below(4) + random.choose(&[0, 0, 5000]);
            let filler = random.choose(b"x{[\"\\ \0");
            let rest = length.saturating_sub(self.connections[place].begun.len());
            let bytes = [vec![filler; rest], b"\n".to_vec()].concat();
            return self.send(place, "", &bytes);
        }
        let (letters, mut line) = self.line(random);
        // Nobody may take the other machine's device.
        let begun = &self.connections[place].begun;
        if takes_first_device(&[&begun[..], &line].concat()) {
            line = b"\"".to_vec();
        }
        line.push(b'\n');
        if random.once_in(8) {
            // In pieces, of which the last comes with a later input.
            let cut = random.below(line.len());
            line.truncate(cut);
            if takes_first_device(&[&self.connections[place].begun[..], &line].concat()) {
                line.clear();
            }
        }
        self.send(place, &letters, &line);
    }

    fn check(&mut self) {
        self.collect_all();
        self.other.read_register(RAND32);
        self.seen.reads_of_the_other_machine += 1;
        assert!(self.setup.program.child.try_wait().unwrap().is_none(), "the program has ended");
        let status = self.setup.status();
        assert_eq!(status.devices[0].counters.draws32, self.seen.reads_of_the_other_machine);
        assert_eq!(status.devices[0].server.clients, 1, "the other machine was disconnected");
        let descriptors = status.usage.descriptors;
        assert!(descriptors < DESCRIPTORS_MAX, "{descriptors} descriptors are open");
    }

    fn resident(&self) -> usize {
        resident(self.setup.program.child.id())
    }

    fn effects(&self) -> Effects {
        let Seen { answers, errors, added, removed, too_long, .. } = self.seen;
        let Seen {
            too_many_descriptors, pushed_out, left, silent, floods, reads_of_the_other_machine, ..
        } = self.seen;
        vec![
            ("answers", answers),
            ("errors", errors),
            ("added", added),
            ("removed", removed),
            ("too_long", too_long),
            ("too_many_descriptors", too_many_descriptors),
            ("pushed_out", pushed_out),
            ("left", left),
            ("silent", silent),
            ("floods", floods),
            ("reads_of_the_other_machine", reads_of_the_other_machine),
        ]
    }

    fn end(mut self) {
        self.setup.program.signal(Signal::TERM);
        let end = self.setup.program.end();
        assert_eq!(end.code, Some(0), "{}", end.error);
    }
}

/// Whether a line, with what was sent of it before, would end the other machine's device.
fn takes_first_device(line: &[u8]) -> bool {
    match serde_json::from_slice(line.trim_ascii()) {
        Ok(Request::Remove(Which { device: Some(0), socket: None })) => true,
        Ok(Request::Remove(Which { device: None, socket: Some(path) })) => {
            path.file_name().is_some_and(|name| name == "a.sock")
        }
        _ => false,
    }
}

/// A request that makes sense.
fn request(random: &mut Random) -> Request {
    match random.below(16) {
        0..=3 => Request::Status {},
        4..=9 => Request::Limit(LimitChange {
            device: random.choose(&[None, Some(0), Some(0), Some(1), Some(5), Some(usize::MAX)]),
            bytes_per_second: rate(random),
            operations_per_second: rate(random),
        }),
        10 | 11 => Request::Log {
            level: random.choose(&[
                LogLevel::Error,
                LogLevel::Warn,
                LogLevel::Info,
                LogLevel::Debug,
                LogLevel::Trace,
            ]),
        },
        12 | 13 => Request::NewGeneration {},
        14 if random.once_in(4) => Request::Add {},
        15 if random.once_in(2) => {
            let socket = random.once_in(4).then(|| {
                random.choose(&["fuzz-0.sock", "", "/", "../control", "control", "\u{1f3b2}"]).into()
            });
            let device = socket.is_none().then(|| 1 + random.below(6));
            Request::Remove(Which { device, socket })
        }
        _ => Request::Status {},
    }
}

/// A limit that can be read, mostly.
fn rate(random: &mut Random) -> Option<String> {
    let number = random.edge();
    let text = match random.below(8) {
        0 | 1 => return None,
        2 => "none".to_owned(),
        3 => format!("{number}:{}", random.edge()),
        4 => format!("{}{}", number % 1000, random.choose(&["k", "M", "G", "T", "Ki", "Ti", "i", "x", ":"])),
        5 => random
            .choose(&["", ":", "0", "-1", "+1", "1:0", "1e9", "18446744073709551616", "٣", "1:1:1"])
            .to_owned(),
        _ => number.to_string(),
    };
    // Most of the time something that is a limit.
    if parse_limit(&text).is_err() && random.once_in(2) { Some("1k".to_owned()) } else { Some(text) }
}

/// Writes the same in another way.
fn dress(line: &mut Vec<u8>, random: &mut Random) {
    match random.below(10) {
        0 => line.insert(0, random.choose(b" \t\r")),
        1 => line.extend(b" \r"),
        2 => {
            let text = String::from_utf8_lossy(line).replace("command", "\\u0063ommand");
            *line = text.into_bytes();
        }
        3 => {
            let text = String::from_utf8_lossy(line).replace(':', " : ").replace(',', " ,\t");
            *line = text.into_bytes();
        }
        _ => {}
    }
}

/// Makes it into what nobody can understand, or something else.
fn spoil(line: &mut Vec<u8>, random: &mut Random) {
    const NUMBERS: [&str; 14] = [
        "-1",
        "00",
        "0x10",
        "1e999",
        "-1e-999",
        "0.5",
        "-0",
        "18446744073709551615",
        "18446744073709551616",
        "NaN",
        "null",
        "true",
        "{}",
        "\"1\"",
    ];
    for _ in 0..=random.below(3) {
        let length = line.len();
        match random.below(12) {
            0 => line.truncate(random.below(length + 1)),
            1 if length > 0 => line[random.below(length)] ^= 1 << random.below(8),
            2 => line.insert(random.below(length + 1), random.u32() as u8),
            3 if length > 0 => {
                let at = random.below(length);
                let more = line[at..].to_vec();
                line.extend(more);
            }
            4 => *line = random.choose(b"[{\"").to_string().into_bytes(),
            5 => *line = [random.choose(b"[{"), b'"'][..1].repeat(1 + random.below(3000)),
            6 => {
                *line =
                    format!("{{\"command\":\"limit\",\"device\":{}}}", random.choose(&NUMBERS)).into_bytes()
            }
            7 => {
                *line = format!("{{\"command\":\"limit\",\"device\":{}}}", "9".repeat(1 + random.below(2000)))
                    .into_bytes()
            }
            8 => {
                let text = String::from_utf8_lossy(line)
                    .replace("\"command\"", "\"command\":\"status\",\"command\"");
                *line = text.into_bytes();
            }
            9 => {
                let text = String::from_utf8_lossy(line).replace('}', ",\"more\":[1,{\"a\":null}]}");
                *line = text.into_bytes();
            }
            10 => {
                let end = random.choose(&["\\ud800\"}", "\\", "\\u00", "\u{0}\"}", "\u{feff}\"}", "\"}}}"]);
                *line = format!("{{\"command\":\"{end}").into_bytes();
            }
            _ => {
                let length = random.below(200);
                *line = random.bytes(length);
            }
        }
    }
    // One line.
    line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
}
