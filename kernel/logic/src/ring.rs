// SPDX-License-Identifier: MIT OR Apache-2.0
//! A byte queue of fixed capacity: what a pipe and a terminal hold.

use alloc::{boxed::Box, vec};

/// Bytes in order, at most as many as it was made for.
#[derive(Debug)]
pub struct Ring {
    bytes: Box<[u8]>,
    head: usize,
    length: usize,
}

impl Ring {
    /// A queue for `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into_boxed_slice(), head: 0, length: 0 }
    }

    /// Bytes in the queue.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many more fit.
    pub fn room(&self) -> usize {
        self.bytes.len() - self.length
    }

    /// How many bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room for `capacity` bytes in all.
    pub fn grow(&mut self, capacity: usize) {
        if capacity > self.bytes.len() {
            let mut bigger = Self::new(capacity);
            while !self.is_empty() {
                let count = bigger.push(self.used_run());
                self.consumed(count);
            }
            *self = bigger;
        }
    }

    /// The longest run of free bytes; what is written there counts after [`filled`](Self::filled).
    pub fn free_run(&mut self) -> &mut [u8] {
        let tail = (self.head + self.length) % self.bytes.len().max(1);
        let end = if tail < self.head || self.room() == 0 { tail + self.room() } else { self.bytes.len() };
        &mut self.bytes[tail..end]
    }

    /// Adds the first `count` bytes of [`free_run`](Self::free_run).
    pub fn filled(&mut self, count: usize) {
        self.length += count.min(self.room());
    }

    /// The longest run of bytes at the front.
    pub fn used_run(&self) -> &[u8] {
        let end = (self.head + self.length).min(self.bytes.len());
        &self.bytes[self.head..end]
    }

    /// Drops `count` bytes from the front.
    pub fn consumed(&mut self, count: usize) {
        let count = count.min(self.length);
        self.length -= count;
        // An empty queue starts again at the front: its next bytes are one run.
        self.head = if self.length == 0 { 0 } else { (self.head + count) % self.bytes.len() };
    }

    /// Adds what fits of `bytes`; how many did.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() && self.room() > 0 {
            let run = self.free_run();
            let count = run.len().min(bytes.len() - done);
            run[..count].copy_from_slice(&bytes[done..done + count]);
            self.filled(count);
            done += count;
        }
        done
    }

    /// Puts bytes back that were taken from the front, as far as there is room: the last of them; how many.
    pub fn unpop(&mut self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        while let Some((&last, rest)) = left.split_last().filter(|_| self.room() > 0) {
            self.head = (self.head + self.bytes.len() - 1) % self.bytes.len();
            self.bytes[self.head] = last;
            self.length += 1;
            left = rest;
        }
        bytes.len() - left.len()
    }

    /// Copies bytes from `skip` bytes behind the front, and leaves them; how many.
    pub fn peek(&self, skip: usize, out: &mut [u8]) -> usize {
        let count = self.length.saturating_sub(skip).min(out.len());
        let start = self.head + skip;
        for (at, byte) in out.iter_mut().take(count).enumerate() {
            *byte = self.bytes[(start + at) % self.bytes.len()];
        }
        count
    }

    /// Takes up to `out.len()` bytes; how many.
    pub fn pop(&mut self, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() && !self.is_empty() {
            let run = self.used_run();
            let count = run.len().min(out.len() - done);
            out[done..done + count].copy_from_slice(&run[..count]);
            self.consumed(count);
            done += count;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_around_the_end() {
        let mut ring = Ring::new(7);
        let (mut next_in, mut next_out) = (0u8, 0u8);
        for step in 0..1000 {
            let bytes: Vec<u8> = (0..step % 9).map(|i| next_in.wrapping_add(i as u8)).collect();
            next_in = next_in.wrapping_add(ring.push(&bytes) as u8);
            let mut out = [0; 5];
            let count = ring.pop(&mut out[..step % 6]);
            for &byte in &out[..count] {
                assert_eq!(byte, next_out);
                next_out = next_out.wrapping_add(1);
            }
            assert_eq!(ring.len() + ring.room(), 7);
        }
        assert!(next_out > 0);
    }

    #[test]
    fn growing_keeps_the_content() {
        let mut ring = Ring::new(0);
        assert_eq!(ring.push(b"a"), 0);
        ring.grow(4);
        ring.push(b"abcd");
        ring.consumed(2);
        ring.push(b"ef");
        ring.grow(8);
        assert_eq!(ring.push(b"ghijkl"), 4);
        let mut out = [0; 9];
        assert_eq!(ring.pop(&mut out), 8);
        assert_eq!(&out[..8], b"cdefghij");
    }

    #[test]
    fn what_was_taken_can_be_put_back_and_looked_at() {
        let mut ring = Ring::new(6);
        ring.push(b"abcdef");
        let mut out = [0; 4];
        ring.pop(&mut out);
        ring.push(b"gh");
        assert_eq!(ring.unpop(&out), 2);
        let mut all = [0; 9];
        assert_eq!(ring.peek(0, &mut all), 6);
        assert_eq!(&all[..6], b"cdefgh");
        assert_eq!(ring.peek(5, &mut all), 1);
        assert_eq!(all[0], b'h');
        assert_eq!(ring.peek(7, &mut all), 0);
        assert_eq!(ring.pop(&mut all), 6);
    }

    #[test]
    fn full_takes_nothing() {
        let mut ring = Ring::new(4);
        assert_eq!(ring.push(b"abcdef"), 4);
        assert!(ring.free_run().is_empty());
        assert_eq!(ring.push(b"x"), 0);
        ring.consumed(1);
        assert_eq!(ring.push(b"xy"), 1);
        let mut out = [0; 8];
        assert_eq!(ring.pop(&mut out), 4);
        assert_eq!(&out[..4], b"bcdx");
    }
}
