// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory of one queue pair, and how far both sides have come in it. Source: NVM Express Base Specification 2.0,
//! section 3.3.1.

use exo_platform::{Dma, NoMemory, Registers};

use super::{
    command::{COMPLETION_BYTES, Command, Completion, SUBMISSION_BYTES, phase_of},
    shadow::Shadow,
};

/// Queues begin at a page.
const ALIGNMENT: usize = 4096;

/// A submission queue and the completion queue of the same number.
///
/// Whoever pushes makes sure that never more commands are under way than the submission queue has entries, less one; so the
/// submission queue never overflows. The completion queue is at least as long.
pub(super) struct Rings {
    registers: Registers,
    submission_doorbell: usize,
    completion_doorbell: usize,
    submissions: Dma,
    completions: Dma,
    submission_entries: u16,
    completion_entries: u16,
    /// Where the next command goes, and what the device was told of that.
    tail: u16,
    told_tail: u16,
    /// Where the next completion comes, what the device was told of that, and the phase tag that makes it a new one.
    head: u16,
    told_head: u16,
    phase: bool,
    /// How many completions may stay unacknowledged. A doorbell is a slow access, so it is worth to save some; the
    /// completion queue has that many entries more than there are commands.
    lazy: u16,
    /// Both doorbells in memory, if the controller looks there.
    shadows: Option<(Shadow, Shadow)>,
}

impl Rings {
    /// Makes the memory, on NUMA node `node`. The queues are empty.
    pub(super) fn new(
        registers: Registers,
        doorbells: (usize, usize),
        entries: (u16, u16),
        node: Option<u32>,
    ) -> Result<Self, NoMemory> {
        let (submission_entries, completion_entries) = entries;
        Ok(Self {
            registers,
            submission_doorbell: doorbells.0,
            completion_doorbell: doorbells.1,
            submissions: Dma::new(usize::from(submission_entries) * SUBMISSION_BYTES, ALIGNMENT, node)?,
            completions: Dma::new(usize::from(completion_entries) * COMPLETION_BYTES, ALIGNMENT, node)?,
            submission_entries,
            completion_entries,
            tail: 0,
            told_tail: 0,
            head: 0,
            told_head: 0,
            phase: true,
            lazy: 0,
            shadows: None,
        })
    }

    /// Lets completions go unacknowledged for a while, which a device that interrupts by messages does not mind. One with an
    /// interrupt line keeps it up until all is acknowledged.
    pub(super) fn acknowledge_lazily(&mut self) {
        self.lazy = self.completion_entries.saturating_sub(self.submission_entries);
    }

    /// Has the doorbells in memory from now on, or no more.
    pub(super) fn set_shadows(&mut self, shadows: Option<(Shadow, Shadow)>) {
        self.shadows = shadows;
    }

    /// Bus addresses of both queues.
    pub(super) fn addresses(&self) -> (u64, u64) {
        (self.submissions.address(), self.completions.address())
    }

    /// Entries of both queues.
    pub(super) fn entries(&self) -> (u16, u16) {
        (self.submission_entries, self.completion_entries)
    }

    /// Empties both queues, as the device sees them after it was reset.
    pub(super) fn reset(&mut self) {
        for entry in 0..usize::from(self.completion_entries) {
            self.completions.write64(entry * COMPLETION_BYTES + 8, 0);
        }
        (self.tail, self.told_tail, self.head, self.told_head, self.phase) = (0, 0, 0, 0, true);
    }

    /// Puts a command into the queue; the device does not look before [`ring`](Self::ring).
    #[inline]
    pub(super) fn push(&mut self, command: Command, identifier: u16) {
        self.submissions.write_bytes(usize::from(self.tail) * SUBMISSION_BYTES, &command.bytes(identifier));
        self.tail = self.next_submission(self.tail);
    }

    #[inline]
    fn next_submission(&self, entry: u16) -> u16 {
        if entry + 1 >= self.submission_entries { 0 } else { entry + 1 }
    }

    /// Takes a command back that the device was not told of; whether it was there.
    pub(super) fn withdraw(&mut self, identifier: u16) -> bool {
        let mut entry = self.told_tail;
        let mut is_found = false;
        while entry != self.tail {
            let next = self.next_submission(entry);
            is_found |= self.submissions.read16(usize::from(entry) * SUBMISSION_BYTES + 2) == identifier;
            // What comes after it moves up.
            if is_found && next != self.tail {
                let mut bytes = [0; SUBMISSION_BYTES];
                self.submissions.read_bytes(usize::from(next) * SUBMISSION_BYTES, &mut bytes);
                self.submissions.write_bytes(usize::from(entry) * SUBMISSION_BYTES, &bytes);
            }
            if is_found && next == self.tail {
                self.tail = entry;
                break;
            }
            entry = next;
        }
        is_found
    }

    /// Tells the device of the commands that it does not know of yet.
    #[inline]
    pub(super) fn ring(&mut self) {
        if self.tail != self.told_tail {
            let is_awaited = match &self.shadows {
                Some((submission, _)) => submission.ring(self.told_tail, self.tail),
                None => true,
            };
            if is_awaited {
                self.registers.write32(self.submission_doorbell, u32::from(self.tail));
            }
            self.told_tail = self.tail;
        }
    }

    /// Rings again, in the register, in case the controller has missed a doorbell in memory.
    pub(super) fn ring_again(&mut self) {
        if self.shadows.is_some() {
            self.registers.write32(self.submission_doorbell, u32::from(self.told_tail));
        }
    }

    /// Takes the next completion.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Completion> {
        let at = usize::from(self.head) * COMPLETION_BYTES;
        let high = self.completions.read64(at + 8);
        if phase_of(high) != self.phase {
            return None;
        }
        let low = self.completions.read64(at);
        self.head += 1;
        if self.head >= self.completion_entries {
            (self.head, self.phase) = (0, !self.phase);
        }
        Some(Completion::from_words(low, high))
    }

    /// Tells the device which completions were taken: at once in memory, else once there are enough of them.
    #[inline]
    pub(super) fn acknowledge(&mut self) {
        let untold = match self.head.checked_sub(self.told_head) {
            Some(count) => count,
            None => self.head + self.completion_entries - self.told_head,
        };
        let is_due = match &self.shadows {
            _ if untold == 0 => return,
            Some((_, completion)) => {
                let is_awaited = completion.ring(self.told_head, self.head);
                self.told_head = self.head;
                is_awaited
            }
            None => untold > self.lazy,
        };
        if is_due {
            self.registers.write32(self.completion_doorbell, u32::from(self.head));
            self.told_head = self.head;
        }
    }
}
