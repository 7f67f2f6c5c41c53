// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client that says anything: messages as they should be, nearly so, and not at all.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use my_rng_device::stream::PowerOn;
use vfio_user_server::Limits;

use super::campaign::{Attack, Effects};
use super::common::Served;
use super::common::client::{
    BAR0, Client, DMA_MAP, DMA_UNMAP, ERROR, GET_INFO, NO_REPLY, REGION_READ, REGION_WRITE, REPLY, RESET,
    SET_IRQS, VERSION, access, dma_map, dma_unmap, header,
};
use super::descriptors::Descriptors;
use super::random::Random;

/// Messages that are sent before their answers are read.
const BATCH: usize = 16;

/// How long the server waits for us. Short, because we do not answer on purpose now and then. That a busy host keeps us from
/// reading for longer is no failure: see [`Attacker::dropped`].
const REPLY_PATIENCE: Duration = Duration::from_millis(200);

/// How long the server may take to count that it has dropped us.
const REASON_PATIENCE: Duration = Duration::from_secs(5);

/// A message without its header.
#[derive(Debug, Clone, Default)]
struct Message {
    command: u16,
    flags: u32,
    payload: Vec<u8>,
    /// Letters of [`Descriptors`].
    fds: String,
}

impl Message {
    fn new(command: u16, payload: Vec<u8>, fds: &str) -> Self {
        Self { command, flags: 0, payload, fds: fds.to_owned() }
    }

    /// Reads a line of the corpus: command, flags, letters of descriptors or `-`, payload; numbers in hexadecimal.
    fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().collect();
        let [command, flags, fds, payload @ ..] = &words[..] else { panic!("{line:?} is no message") };
        let payload = payload.concat();
        let payload =
            (0..payload.len()).step_by(2).map(|at| u8::from_str_radix(&payload[at..at + 2], 16).unwrap());
        Self {
            command: u16::from_str_radix(command, 16).unwrap(),
            flags: u32::from_str_radix(flags, 16).unwrap(),
            payload: payload.collect(),
            fds: fds.replace('-', ""),
        }
    }

    /// As the specification has it: to a command that does not say otherwise.
    fn wants_reply(&self) -> bool {
        self.flags & NO_REPLY == 0 && self.flags & 0xf != REPLY
    }
}

pub(crate) struct Attacker {
    served: Served,
    client: Client,
    descriptors: Descriptors,
    /// Answers that are to come, in order: name and command.
    awaited: VecDeque<(u16, u16)>,
    sent: usize,
    next_id: u16,
    /// Every message of the corpus, to start from.
    known: Vec<Message>,
    /// [`Attacker::drops_for_waiting`] when this client connected.
    excused: u64,
    /// For answers to the device's own requests.
    choices: Random,
}

impl Attacker {
    pub(crate) fn new() -> Self {
        Self::with_patience(REPLY_PATIENCE)
    }

    /// One whose server waits for so long.
    pub(crate) fn with_patience(patience: Duration) -> Self {
        let limits = Limits::default().with_reply(patience);
        let served = Served::start(PowerOn::default(), 2, limits);
        Self {
            client: served.connect(),
            served,
            descriptors: Descriptors::new(),
            awaited: VecDeque::new(),
            sent: 0,
            next_id: 0,
            known: Vec::new(),
            excused: 0,
            choices: Random::new(99),
        }
    }

    fn send(&mut self, message: &Message) {
        self.next_id = self.next_id.wrapping_add(1);
        let head = header(self.next_id, message.command, message.payload.len(), message.flags, 0);
        let fds: Vec<_> = message.fds.chars().map(|letter| self.descriptors.get(letter)).collect();
        if !self.client.send_bytes(&[&head[..], &message.payload].concat(), &fds) {
            return self.dropped();
        }
        if message.wants_reply() {
            self.awaited.push_back((self.next_id, message.command));
        }
        self.sent += 1;
        if self.sent % BATCH == 0 {
            self.collect();
        }
    }

    /// Reads all answers.
    fn collect(&mut self) {
        while let Some(&(id, command)) = self.awaited.front() {
            let Some(message) = self.client.receive() else { return self.dropped() };
            if !message.is_reply() {
                self.answer(&message);
                continue;
            }
            assert_eq!((message.id, message.command), (id, command), "not the answer that was due");
            let failed = message.flags & ERROR != 0;
            assert_eq!(message.flags & !ERROR, REPLY);
            assert_eq!(failed, message.error != 0, "an error has a number, and a success none: {message:?}");
            assert!(!failed || message.payload.is_empty());
            self.awaited.pop_front();
        }
    }

    /// Answers a request for guest memory: rightly, wrongly, or not at all.
    fn answer(&mut self, request: &super::common::client::Message) {
        let (_, count) = request.dma_range();
        match self.choices.below(100) {
            0 => {}
            1..20 => {
                let errno = self.choices.u32();
                self.client.refuse(request, errno);
            }
            20..30 => {
                let length = self.choices.below(64);
                let data = self.choices.bytes(length);
                self.client.answer(request, &data);
            }
            _ => {
                let length = if request.command == super::common::client::DMA_READ { count } else { 0 };
                let data = self.choices.bytes(length);
                self.client.answer(request, &data);
            }
        }
    }

    /// A stream that is out of step, which costs us the connection and nobody else anything.
    fn break_stream(&mut self, random: &mut Random) {
        self.collect();
        let head = match random.below(4) {
            0 => random.bytes(16),
            1 => header(1, random.u32() as u16, random.below(1 << 25), 0, 0),
            2 => [&header(1, GET_INFO, 0, 0, 0)[..4], &(random.below(16) as u32).to_ne_bytes(), &[0; 8]]
                .concat(),
            _ => header(1, REGION_WRITE, 100, 0, 0),
        };
        let cut = random.below(head.len() + 1);
        let more = random.below(2000);
        let _ = self.client.send_bytes(&[&head[..cut], &random.bytes(more)].concat(), &[]);
        self.reconnect();
        if random.once_in(4) {
            // Nobody but VERSION comes first.
            drop(self.replace(UnixStream::pair().unwrap().0));
            let socket = UnixStream::connect(self.served.directory.path().join("socket")).unwrap();
            drop(self.replace(socket));
            let message = self.message(random);
            let head = header(1, message.command, message.payload.len(), message.flags, 0);
            self.client.send_bytes(&[&head[..], &message.payload].concat(), &[]);
            self.reconnect();
        }
    }

    fn replace(&mut self, socket: UnixStream) -> UnixStream {
        std::mem::replace(&mut self.client.socket, socket)
    }

    /// Leaves, and comes back as another client.
    fn reconnect(&mut self) {
        // Gone before the next one knocks, which would else be turned away.
        drop(self.replace(UnixStream::pair().unwrap().0));
        self.client = self.served.connect();
        self.awaited.clear();
        self.excused = self.drops_for_waiting();
    }

    /// The connection was closed although every message was whole. The server may do that only because it waited for us in
    /// vain, which it counts; on a busy host we may see the end before the count.
    fn dropped(&mut self) {
        let deadline = Instant::now() + REASON_PATIENCE;
        while self.drops_for_waiting() <= self.excused {
            assert!(Instant::now() < deadline, "the connection was closed without a reason");
            thread::sleep(Duration::from_millis(1));
        }
        self.reconnect();
    }

    /// Clients that took no answer in time, or whose descriptors were not closed in time.
    fn drops_for_waiting(&self) -> u64 {
        let counters = self.served.counters.snapshot();
        counters.clients_not_reading + counters.clients_unclosed
    }

    /// Has the server wait for us in vain.
    pub(crate) fn stop_reading(&mut self) {
        let read = header(1, REGION_READ, 16, 0, 0);
        let read = [&read[..], &access(BAR0, 0, 4096)].concat();
        while self.client.send_bytes(&read, &[]) {}
    }

    /// Closes the connection, which the server has no reason to do.
    pub(crate) fn hang_up(&mut self) {
        self.client.socket.shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Part of the corpus in its order, with a mistake in it now and then.
    fn excerpt(&mut self, random: &mut Random) {
        let start = random.below(self.known.len());
        let end = self.known.len().min(start + 1 + random.below(20));
        for place in start..end {
            let mut message = self.known[place].clone();
            if random.once_in(20) {
                mutate(&mut message, random);
            }
            self.send(&message);
        }
    }

    fn message(&mut self, random: &mut Random) -> Message {
        if !self.known.is_empty() && random.once_in(4) {
            let place = random.below(self.known.len());
            return self.known[place].clone();
        }
        valid(random)
    }
}

impl Attack for Attacker {
    fn play(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let message = Message::parse(line);
            self.send(&message);
            self.known.push(message);
        }
    }

    fn input(&mut self, random: &mut Random) {
        if random.once_in(500) {
            return self.break_stream(random);
        }
        if random.once_in(64) && !self.known.is_empty() {
            return self.excerpt(random);
        }
        let mut message = self.message(random);
        if random.once_in(3) {
            mutate(&mut message, random);
        }
        // An answer of our own making may be to a question that the device has asked; it may not be a lost one.
        self.send(&message);
    }

    fn check(&mut self) {
        self.collect();
        assert!(!self.served.has_failed());
        let info = Message::new(GET_INFO, [&16_u32.to_ne_bytes()[..], &[0; 12]].concat(), "");
        self.send(&info);
        self.collect();
    }

    fn effects(&self) -> Effects {
        self.served.effects()
    }
}

/// A message that makes sense, as far as that can be seen without knowing what came before.
fn valid(random: &mut Random) -> Message {
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_ne_bytes()).collect() };
    match random.below(24) {
        0 => Message::new(VERSION, vec![0, 0, 1, 0], ""),
        1 | 2 => {
            let (address, size) = range(random);
            let offset = random.choose(&[0, 0, 0, 0x1000, 0x8_0000, 100]);
            match random.choose(&["m", "m", "m", "", "", "s", "e", "n", "f", "u", "mm", "w", "l", "b", "i"]) {
                "" => Message::new(DMA_MAP, dma_map(0, address, size), ""),
                fds => Message::new(DMA_MAP, dma_map(offset, address, size), fds),
            }
        }
        3 => {
            let (address, size) = range(random);
            Message::new(DMA_UNMAP, dma_unmap(0, address, size), "")
        }
        4 if random.once_in(8) => Message::new(DMA_UNMAP, dma_unmap(2, 0, 0), ""),
        5 => Message::new(GET_INFO, words(&[16, 0, 0, 0]), ""),
        6 => Message::new(5, words(&[32, 0, random.u32() % 10, 0, 0, 0, 0, 0]), ""),
        7 => Message::new(7, words(&[16, 0, random.u32() % 6, 0]), ""),
        8 | 9 => set_irqs(random),
        10 if random.once_in(8) => Message::new(RESET, Vec::new(), ""),
        11 => Message::new(
            random.choose(&[0, 6, 11, 12, 14, 15, 16, 17, 18, 19, u16::MAX]),
            random.bytes(16),
            "",
        ),
        12..=16 => {
            let (region, offset, count) = place(random);
            Message::new(REGION_READ, access(region, offset, count), "")
        }
        _ => {
            let (region, offset, count) = place(random);
            let data = match (random.below(3), count) {
                (0, 4) => (random.edge() as u32).to_le_bytes().to_vec(),
                (1, 4) => random.choose(&[0_u32, 1, 3, 7, 0x100, 0x1000, 0xffff]).to_le_bytes().to_vec(),
                _ => random.bytes(count as usize % 5000),
            };
            let head = access(region, offset, data.len() as u32);
            let mut message = Message::new(REGION_WRITE, [head, data].concat(), "");
            message.flags = random.choose(&[0, NO_REPLY]);
            message
        }
    }
}

/// A range of guest memory: few different ones, so that they meet.
fn range(random: &mut Random) -> (u64, u64) {
    let address = match random.below(8) {
        0 => random.edge(),
        1 => u64::MAX - 0xfff,
        _ => random.below(64) as u64 * 0x1_0000,
    };
    let size = match random.below(8) {
        0 => random.edge(),
        _ => random.choose(&[0x1000, 0x1_0000, 0x1_0000, 0x8_0000]),
    };
    (address, size)
}

/// Where a region access goes: mostly to a register.
fn place(random: &mut Random) -> (u32, u64, u32) {
    match random.below(16) {
        0 => (random.u32() % 12, random.edge(), random.edge() as u32),
        1 => (7, random.below(64) as u64 * 4, random.choose(&[1, 2, 4, 8])),
        2 => (1, random.below(4096) as u64, random.choose(&[1, 4, 8, 64])),
        3 => (BAR0, random.below(0xa0) as u64, random.choose(&[0, 1, 2, 3, 4, 5, 8, 16, 4096])),
        _ => (BAR0, random.below(0x28) as u64 * 4, random.choose(&[4, 4, 4, 8])),
    }
}

fn set_irqs(random: &mut Random) -> Message {
    let flags = random.choose(&[0x24, 0x21, 0x22, 0x09, 0x11, 0x0a, 0x12, 0x0c, 0x20]);
    let (index, start) =
        (random.choose(&[2, 2, 2, 0, 1, 3, 4, 5]), random.choose(&[0, 0, 1, 31, 32, 33, u32::MAX]));
    let count = random.choose(&[0, 1, 1, 2, 16, 33, u32::MAX]);
    let kind = random.choose(&["e", "e", "e", "b", "b", "p", "l"]);
    let fds =
        if flags & 4 != 0 { kind.repeat(random.choose(&[0, count.min(20) as usize])) } else { String::new() };
    let mut payload: Vec<u8> =
        [20, flags, index, start, count].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
    if flags & 2 != 0 {
        payload.extend(random.bytes(count.min(64) as usize));
    }
    Message::new(SET_IRQS, payload, &fds)
}

/// Makes a message into one that somebody got wrong.
fn mutate(message: &mut Message, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let length = message.payload.len();
        match random.below(8) {
            0 => message.payload.truncate(random.below(length + 1)),
            1 => {
                let more = random.choose(&[1, 4, 16, 4096]);
                message.payload.extend(random.bytes(more));
            }
            2 if random.once_in(50) => message.payload.resize((1 << 20) + random.below(4096), 0),
            3 => message.command = random.choose(&[1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 15]),
            4 => message.flags = random.choose(&[0, NO_REPLY, ERROR, REPLY, REPLY | ERROR, 2, 0xf, u32::MAX]),
            5 => {
                message.fds = random
                    .choose(&[
                        "",
                        "m",
                        "e",
                        "b",
                        "l",
                        "p",
                        "nfu",
                        "blwpi",
                        "eeeeeeeeeeeeeeeee",
                        "smenfublwpismenfublwpi",
                    ])
                    .to_owned()
            }
            6 if length >= 8 => {
                let at = random.below(length / 4) * 4;
                let word = random.edge() as u32;
                message.payload[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            }
            _ if length > 0 => message.payload[random.below(length)] ^= 1 << random.below(8),
            _ => {}
        }
    }
}
