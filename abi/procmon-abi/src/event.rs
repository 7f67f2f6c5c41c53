// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events of processes, as `read(2)` on `/dev/procmon_events` and its mapped rings give them.

/// Something that happened to a process. Numbers of processes and users are those of the initial namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Which event of this CPU it is, counted from 0 when the module was loaded.
    pub sequence: u64,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`. What `read` gives is in this order.
    pub time: u64,
    /// The thread that it happened to; the process for all kinds but [`COMM`].
    pub pid: i32,
    /// The process.
    pub tgid: i32,
    /// The parent process.
    pub ppid: i32,
    /// The real user of the process.
    pub uid: u32,
    /// The name, after the event; filled up with zeros, of which there is at least one.
    pub comm: [u8; 16],
    /// What happened.
    pub kind: u32,
    /// The CPU on which it was recorded.
    pub cpu: u32,
    /// More about it, see the kinds.
    pub detail: u64,
}

/// Size of an [`Event`] in bytes. A cache line: events of two CPUs never share one.
pub const EVENT_SIZE: usize = 64;
const _: () = assert!(size_of::<Event>() == EVENT_SIZE);

/// Events are missing here: the reader was too slow, and they were overwritten. `detail` is how many. Only `read` makes
/// these; `sequence` is that of the first that is missing, and everything about a process is zero.
pub const LOST: u32 = 0;
/// A process was made. `detail` is the thread that made it, of the process `ppid` (unless it was made as a sibling).
pub const FORK: u32 = 1;
/// A process runs another program from here on. `detail` is the thread that asked for it.
pub const EXEC: u32 = 2;
/// The last thread of a process has ended. `detail` is its status as `wait(2)` tells it: the signal that killed it in
/// bits 6–0, 0x80 if a core was dumped, the exit code in bits 15–8. [`STATUS_HIDDEN`] if the reader may not know.
pub const EXIT: u32 = 3;
/// A thread was given another name (other than by [`EXEC`]).
pub const COMM: u32 = 4;

/// In place of an exit status: it is another user's process, whose status `/proc/PID/stat` would not show either.
pub const STATUS_HIDDEN: u64 = u64::MAX;

/// How many 64-bit words an event is.
pub const EVENT_WORDS: usize = EVENT_SIZE / size_of::<u64>();

impl Event {
    /// The event as words of memory, in the order of its bytes.
    #[must_use]
    pub fn to_words(&self) -> [u64; EVENT_WORDS] {
        let [first, second] = halves(self.comm);
        [
            self.sequence,
            self.time,
            pair(self.pid.to_ne_bytes(), self.tgid.to_ne_bytes()),
            pair(self.ppid.to_ne_bytes(), self.uid.to_ne_bytes()),
            first,
            second,
            pair(self.kind.to_ne_bytes(), self.cpu.to_ne_bytes()),
            self.detail,
        ]
    }

    /// The event that these words are.
    #[must_use]
    pub fn from_words(words: &[u64; EVENT_WORDS]) -> Self {
        let [sequence, time, ids, owner, name, rest_of_name, kind, detail] = *words;
        let ((pid, tgid), (ppid, uid), (kind, cpu)) = (split(ids), split(owner), split(kind));
        let mut comm = [0; 16];
        let bytes = name.to_ne_bytes().into_iter().chain(rest_of_name.to_ne_bytes());
        comm.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        Self {
            sequence,
            time,
            pid: i32::from_ne_bytes(pid),
            tgid: i32::from_ne_bytes(tgid),
            ppid: i32::from_ne_bytes(ppid),
            uid: u32::from_ne_bytes(uid),
            comm,
            kind: u32::from_ne_bytes(kind),
            cpu: u32::from_ne_bytes(cpu),
            detail,
        }
    }

    /// The event that these bytes are, as `read` gives them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; EVENT_SIZE]) -> Self {
        let mut words = [0; EVENT_WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(size_of::<u64>())) {
            *word = chunk.try_into().map_or(0, u64::from_ne_bytes);
        }
        Self::from_words(&words)
    }
}

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
}

fn pair([a, b, c, d]: [u8; 4], [e, f, g, h]: [u8; 4]) -> u64 {
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn split(word: u64) -> ([u8; 4], [u8; 4]) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    ([a, b, c, d], [e, f, g, h])
}
