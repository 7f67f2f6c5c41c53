// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log in memory: the last records, in a ring of bytes. A reader keeps its cursor, and learns when records that it has
//! not read were overwritten.

/// The longest text of a record in bytes; what is longer is cut.
pub const LONGEST: usize = 960;
/// Bytes before a record's text: its length (2), priority (1), and time (8).
const HEADER: usize = 11;

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Bytes that were written before, since the start.
    position: u64,
    /// Records that were written before, which is the next one's number.
    pub sequence: u64,
}

impl Cursor {
    /// Before the first record.
    pub const START: Self = Self { position: 0, sequence: 0 };
}

/// A record, without its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Level and facility as syslog has them: the facility times 8, plus the level.
    pub priority: u8,
    /// When it was written, in nanoseconds since boot.
    pub time_ns: u64,
    /// Bytes of the text.
    pub length: usize,
    /// Where the next one is.
    pub next: Cursor,
}

/// Records that a reader has not read are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overwritten;

/// A log of `N` bytes, which must be more than the longest record.
pub struct LogRing<const N: usize> {
    bytes: [u8; N],
    first: Cursor,
    end: Cursor,
}

impl<const N: usize> Default for LogRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> LogRing<N> {
    /// An empty log.
    pub const fn new() -> Self {
        Self { bytes: [0; N], first: Cursor::START, end: Cursor::START }
    }

    /// The oldest record, to begin to read at.
    pub fn first(&self) -> Cursor {
        self.first
    }

    /// Where the next record will be.
    pub fn end(&self) -> Cursor {
        self.end
    }

    /// Adds a record; the oldest make room for it.
    pub fn push(&mut self, priority: u8, time_ns: u64, text: &[u8]) {
        let text = text.get(..text.len().min(LONGEST)).unwrap_or_default();
        let size = HEADER + text.len();
        while (self.end.position - self.first.position) as usize + size > N {
            self.first = self.header(self.first).next;
        }
        let mut header = [0; HEADER];
        let (length, rest) = header.split_at_mut(2);
        length.copy_from_slice(&(text.len() as u16).to_le_bytes());
        let (level, time) = rest.split_at_mut(1);
        level.copy_from_slice(&[priority]);
        time.copy_from_slice(&time_ns.to_le_bytes());
        let at = self.end.position;
        self.store(at, &header);
        self.store(at + HEADER as u64, text);
        self.end = Cursor { position: at + size as u64, sequence: self.end.sequence + 1 };
    }

    /// The record at `at` and its text in `out` (as much as that takes), or none at the end.
    ///
    /// # Errors
    /// [`Overwritten`]; reading goes on at [`first`](Self::first).
    pub fn get(&self, at: Cursor, out: &mut [u8]) -> Result<Option<Record>, Overwritten> {
        if at.position < self.first.position {
            return Err(Overwritten);
        }
        if at.position >= self.end.position {
            return Ok(None);
        }
        let record = self.header(at);
        let length = record.length.min(out.len());
        self.load(at.position + HEADER as u64, out.get_mut(..length).unwrap_or_default());
        Ok(Some(record))
    }

    fn header(&self, at: Cursor) -> Record {
        let (mut length, mut priority, mut time) = ([0; 2], [0; 1], [0; 8]);
        self.load(at.position, &mut length);
        self.load(at.position + 2, &mut priority);
        self.load(at.position + 3, &mut time);
        let length = usize::from(u16::from_le_bytes(length));
        let next = Cursor {
            position: at.position + (HEADER + length) as u64,
            sequence: at.sequence.wrapping_add(1),
        };
        Record { priority: u8::from_le_bytes(priority), time_ns: u64::from_le_bytes(time), length, next }
    }

    fn index(position: u64) -> usize {
        (position % N as u64) as usize
    }

    fn store(&mut self, position: u64, bytes: &[u8]) {
        for (position, byte) in (position..).zip(bytes) {
            if let Some(slot) = self.bytes.get_mut(Self::index(position)) {
                *slot = *byte;
            }
        }
    }

    fn load(&self, position: u64, out: &mut [u8]) {
        for (position, byte) in (position..).zip(out) {
            *byte = self.bytes.get(Self::index(position)).copied().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::String, vec::Vec};

    fn texts<const N: usize>(ring: &LogRing<N>) -> Vec<String> {
        let (mut at, mut out, mut buffer) = (ring.first(), Vec::new(), [0; LONGEST]);
        while let Ok(Some(record)) = ring.get(at, &mut buffer) {
            out.push(String::from_utf8(buffer[..record.length].to_vec()).unwrap());
            at = record.next;
        }
        out
    }

    #[test]
    fn records_come_back_with_their_numbers() {
        let mut ring = LogRing::<2000>::new();
        ring.push(6, 1_500_000_000, b"one");
        ring.push(3, 2_000_000_000, b"");
        let mut text = [0; LONGEST];
        let one = ring.get(ring.first(), &mut text).unwrap().unwrap();
        assert_eq!((one.priority, one.time_ns, &text[..one.length]), (6, 1_500_000_000, &b"one"[..]));
        assert_eq!((ring.first().sequence, one.next.sequence, ring.end().sequence), (0, 1, 2));
        let two = ring.get(one.next, &mut text).unwrap().unwrap();
        assert_eq!((two.priority, two.length), (3, 0));
        assert_eq!(ring.get(two.next, &mut text), Ok(None));
    }

    #[test]
    fn the_oldest_make_room_and_readers_are_told() {
        let mut ring = LogRing::<1000>::new();
        let start = ring.first();
        for number in 0..500 {
            ring.push(6, number, format!("record {number}").as_bytes());
        }
        assert_eq!(ring.get(start, &mut [0; 9]), Err(Overwritten));
        let kept = texts(&ring);
        assert!(kept.len() > 40 && kept.last().unwrap() == "record 499", "{kept:?}");
        assert_eq!(ring.first().sequence, 500 - kept.len() as u64);
    }

    #[test]
    fn a_long_text_is_cut() {
        let mut ring = LogRing::<1000>::new();
        ring.push(6, 0, &[b'x'; 5000]);
        ring.push(6, 0, &[b'y'; 5000]);
        assert_eq!(texts(&ring), [String::from_utf8(Vec::from([b'y'; LONGEST])).unwrap()]);
    }
}
