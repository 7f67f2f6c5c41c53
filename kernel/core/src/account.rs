// SPDX-License-Identifier: MIT OR Apache-2.0
//! What threads have done, counted for /proc and getrusage. What io_uring does for a program is not counted as its reads and writes.

use core::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Event {
    /// A page fault that a page was found or made for.
    Fault,
    /// A switch to another task because the thread waited.
    Wait,
    /// A switch to another task although it could have gone on.
    Preemption,
    /// A call that reads.
    Read,
    /// A call that writes.
    Write,
    /// A byte that was read.
    ByteRead,
    /// A byte that was written.
    ByteWritten,
    /// A byte that came from a disk.
    DiskByteRead,
    /// A byte that went to a disk.
    DiskByteWritten,
}

const KINDS: usize = Event::DiskByteWritten as usize + 1;

/// Counts at one time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts([u64; KINDS]);

impl Counts {
    /// How often that happened.
    pub fn get(&self, what: Event) -> u64 {
        self.0[what as usize]
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        for (sum, more) in self.0.iter_mut().zip(others.0) {
            *sum = sum.wrapping_add(more);
        }
    }
}

/// Counts that go on.
#[derive(Debug, Default)]
pub struct Account([AtomicU64; KINDS]);

impl Account {
    /// Counts; only the thread itself does.
    #[inline(always)]
    pub fn count(&self, what: Event, count: u64) {
        let counter = &self.0[what as usize];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Counts a call that has read so many bytes.
    #[inline(always)]
    pub fn read(&self, bytes: usize) {
        self.count(Event::Read, 1);
        self.count(Event::ByteRead, bytes as u64);
    }

    /// Counts a call that has written so many bytes.
    #[inline(always)]
    pub fn wrote(&self, bytes: usize) {
        self.count(Event::Write, 1);
        self.count(Event::ByteWritten, bytes as u64);
    }

    /// The counts now.
    pub fn get(&self) -> Counts {
        Counts(core::array::from_fn(|kind| self.0[kind].load(Ordering::Relaxed)))
    }

    /// Adds those of a thread that ends; several may at a time.
    pub fn add(&self, ended: &Counts) {
        for (sum, more) in self.0.iter().zip(ended.0) {
            sum.fetch_add(more, Ordering::Relaxed);
        }
    }
}
