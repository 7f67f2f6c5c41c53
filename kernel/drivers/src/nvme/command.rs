// SPDX-License-Identifier: MIT OR Apache-2.0
//! Submission and completion queue entries. Sources: NVM Express Base Specification 2.0, sections 3.3.3 and 5; NVM Command
//! Set Specification 1.0, section 3.2.

use crate::block::Cause;

/// Bytes of a submission queue entry.
pub(super) const SUBMISSION_BYTES: usize = 64;
/// Bytes of a completion queue entry.
pub(super) const COMPLETION_BYTES: usize = 16;
/// Bytes of one range of a Dataset Management command.
pub(super) const RANGE_BYTES: usize = 16;

/// Opcodes of admin commands (Base, figure 138).
mod admin {
    pub(super) const CREATE_SUBMISSION_QUEUE: u8 = 0x01;
    pub(super) const CREATE_COMPLETION_QUEUE: u8 = 0x05;
    pub(super) const IDENTIFY: u8 = 0x06;
    pub(super) const ABORT: u8 = 0x08;
    pub(super) const SET_FEATURES: u8 = 0x09;
    pub(super) const DOORBELL_BUFFER_CONFIG: u8 = 0x7c;
}

/// Opcodes of NVM commands (NVM Command Set, figure 16).
mod nvm {
    pub(super) const FLUSH: u8 = 0x00;
    pub(super) const WRITE: u8 = 0x01;
    pub(super) const READ: u8 = 0x02;
    pub(super) const DATASET_MANAGEMENT: u8 = 0x09;
}

/// Feature identifier "Number of Queues" (Base, 5.27.1.5).
const NUMBER_OF_QUEUES: u32 = 0x07;
/// The queue's memory is contiguous, and a completion queue interrupts.
const CONTIGUOUS: u32 = 1;
const INTERRUPTS: u32 = 2;
/// Dataset Management, "deallocate" (NVM, 3.2.3).
const DEALLOCATE: u32 = 1 << 2;

/// What Identify is to tell (Base, figure 273).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identify {
    /// One namespace.
    Namespace(u32),
    /// The controller.
    Controller,
    /// The numbers of the active namespaces above one.
    NamespacesAbove(u32),
}

/// The two PRP entries of a command: where its data is (Base, 4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DataPointer {
    /// The first page, perhaps from the middle.
    pub(super) first: u64,
    /// The second page, or a list of all pages after the first.
    pub(super) second: u64,
}

/// A command as the controller reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command([u32; 16]);

impl Command {
    fn new(opcode: u8, namespace: u32) -> Self {
        let mut words = [0; 16];
        words[0] = u32::from(opcode);
        words[1] = namespace;
        Self(words)
    }

    fn with_data(mut self, data: DataPointer) -> Self {
        (self.0[6], self.0[7]) = (data.first as u32, (data.first >> 32) as u32);
        (self.0[8], self.0[9]) = (data.second as u32, (data.second >> 32) as u32);
        self
    }

    /// Words 10, 11 and 12, whose meaning is the opcode's.
    fn with_words(mut self, words: [u32; 3]) -> Self {
        self.0[10..13].copy_from_slice(&words);
        self
    }

    /// Identify into the 4096 bytes at `to`.
    pub(super) fn identify(what: Identify, to: u64) -> Self {
        let (namespace, structure) = match what {
            Identify::Namespace(namespace) => (namespace, 0),
            Identify::Controller => (0, 1),
            Identify::NamespacesAbove(namespace) => (namespace, 2),
        };
        Self::new(admin::IDENTIFY, namespace)
            .with_data(DataPointer { first: to, second: 0 })
            .with_words([structure, 0, 0])
    }

    /// Asks for `pairs` I/O submission and completion queues each.
    pub(super) fn set_number_of_queues(pairs: u16) -> Self {
        let less_one = u32::from(pairs.saturating_sub(1));
        Self::new(admin::SET_FEATURES, 0).with_words([NUMBER_OF_QUEUES, (less_one << 16) | less_one, 0])
    }

    /// Makes a completion queue of `entries` at `address` that interrupts by `vector`.
    pub(super) fn create_completion_queue(queue: u16, entries: u16, address: u64, vector: u16) -> Self {
        let size = u32::from(entries.saturating_sub(1)) << 16;
        Self::new(admin::CREATE_COMPLETION_QUEUE, 0)
            .with_data(DataPointer { first: address, second: 0 })
            .with_words([size | u32::from(queue), (u32::from(vector) << 16) | INTERRUPTS | CONTIGUOUS, 0])
    }

    /// Makes a submission queue of `entries` at `address`; its completions go to the completion queue of the same number.
    pub(super) fn create_submission_queue(queue: u16, entries: u16, address: u64) -> Self {
        let size = u32::from(entries.saturating_sub(1)) << 16;
        Self::new(admin::CREATE_SUBMISSION_QUEUE, 0)
            .with_data(DataPointer { first: address, second: 0 })
            .with_words([size | u32::from(queue), (u32::from(queue) << 16) | CONTIGUOUS, 0])
    }

    /// Says where doorbells are in memory, and the values that the controller waits for.
    pub(super) fn configure_doorbell_buffer((doorbells, events): (u64, u64)) -> Self {
        Self::new(admin::DOORBELL_BUFFER_CONFIG, 0)
            .with_data(DataPointer { first: doorbells, second: events })
    }

    /// Asks to end command `identifier` of submission queue `queue`.
    pub(super) fn abort(queue: u16, identifier: u16) -> Self {
        Self::new(admin::ABORT, 0).with_words([(u32::from(identifier) << 16) | u32::from(queue), 0, 0])
    }

    /// Reads `blocks` logical blocks, at least one, from `start`.
    pub(super) fn read(namespace: u32, start: u64, blocks: u16, data: DataPointer) -> Self {
        Self::transfer(nvm::READ, namespace, start, blocks, data)
    }

    /// Writes `blocks` logical blocks, at least one, from `start`.
    pub(super) fn write(namespace: u32, start: u64, blocks: u16, data: DataPointer) -> Self {
        Self::transfer(nvm::WRITE, namespace, start, blocks, data)
    }

    #[inline]
    fn transfer(opcode: u8, namespace: u32, start: u64, blocks: u16, data: DataPointer) -> Self {
        let less_one = u32::from(blocks.saturating_sub(1));
        Self::new(opcode, namespace).with_data(data).with_words([
            start as u32,
            (start >> 32) as u32,
            less_one,
        ])
    }

    /// Makes all that was written, and is complete, permanent.
    pub(super) fn flush(namespace: u32) -> Self {
        Self::new(nvm::FLUSH, namespace)
    }

    /// Says that the one range described at `range` is needed no more.
    pub(super) fn deallocate(namespace: u32, range: u64) -> Self {
        Self::new(nvm::DATASET_MANAGEMENT, namespace)
            .with_data(DataPointer { first: range, second: 0 })
            .with_words([0, DEALLOCATE, 0])
    }

    /// The entry's bytes, under command identifier `identifier`.
    #[inline]
    pub(super) fn bytes(mut self, identifier: u16) -> [u8; SUBMISSION_BYTES] {
        self.0[0] = (self.0[0] & 0xffff) | (u32::from(identifier) << 16);
        let mut bytes = [0; SUBMISSION_BYTES];
        for (to, word) in bytes.chunks_exact_mut(4).zip(self.0) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// A range for [`Command::deallocate`]: no context, `blocks` logical blocks from `start`.
pub(super) fn range(start: u64, blocks: u32) -> [u8; RANGE_BYTES] {
    let mut bytes = [0; RANGE_BYTES];
    bytes[4..8].copy_from_slice(&blocks.to_le_bytes());
    bytes[8..].copy_from_slice(&start.to_le_bytes());
    bytes
}

/// A completion queue entry (Base, 3.3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    /// What the command answers (dword 0).
    pub(super) result: u32,
    /// The submission queue of the command.
    pub(super) queue: u16,
    /// The command's identifier.
    pub(super) identifier: u16,
    /// How the command ended.
    pub(super) status: CommandStatus,
}

impl Completion {
    /// From the entry's two halves.
    #[inline]
    pub(super) fn from_words(low: u64, high: u64) -> Self {
        Self {
            result: low as u32,
            queue: (high >> 16) as u16,
            identifier: (high >> 32) as u16,
            status: CommandStatus((high >> 49) as u16 & 0x7fff),
        }
    }
}

/// The phase tag in the upper half of a completion queue entry: inverted each time the controller passes through the queue.
#[inline]
pub(super) fn phase_of(high: u64) -> bool {
    high & (1 << 48) != 0
}

/// The status field without the phase tag: status code in bits 0 to 7, status code type in bits 8 to 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommandStatus(pub(super) u16);

impl CommandStatus {
    /// Whether the command did what it should.
    pub(super) fn is_success(self) -> bool {
        self.0 & 0x7ff == 0
    }

    /// What that means for a block request (Base, figures 94 and 95; NVM, figure 12 and 13).
    pub(super) fn cause(self) -> Option<Cause> {
        let (kind, code) = ((self.0 >> 8) & 7, self.0 & 0xff);
        Some(match (kind, code) {
            (0, 0) => return None,
            (0, 0x01 | 0x02) => Cause::Unsupported,
            (0, 0x07 | 0x08) => Cause::Cancelled,
            (0, 0x0b) => Cause::Removed,
            (0, 0x20) | (1, 0x82) => Cause::ReadOnly,
            (0, 0x80) => Cause::OutOfRange,
            _ => Cause::Medium(u32::from(self.0 & 0x7ff)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: Command, identifier: u16) -> [u32; 16] {
        let bytes = command.bytes(identifier);
        core::array::from_fn(|i| u32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap()))
    }

    #[test]
    fn a_read_is_laid_out_as_the_specification_has_it() {
        let data = DataPointer { first: 0x1_2345_6000, second: 0x2_0000_1000 };
        let words = words(Command::read(7, 0x1_0000_0002, 8, data), 0xabcd);
        assert_eq!(words[0], 0xabcd_0002);
        assert_eq!(words[1], 7);
        assert_eq!(words[6..10], [0x2345_6000, 1, 0x1000, 2]);
        assert_eq!(words[10..13], [2, 1, 7], "start of 64 bits, number of blocks less one");
    }

    #[test]
    fn queues_are_made_with_sizes_less_one() {
        let completion = words(Command::create_completion_queue(3, 128, 0x5000, 2), 0);
        assert_eq!(completion[0], 5);
        assert_eq!(completion[10..12], [(127 << 16) | 3, (2 << 16) | 3]);
        let submission = words(Command::create_submission_queue(3, 128, 0x6000), 0);
        assert_eq!(submission[0], 1);
        assert_eq!(submission[10..12], [(127 << 16) | 3, (3 << 16) | 1]);
        assert_eq!(words(Command::set_number_of_queues(4), 0)[10..12], [7, 0x3_0003]);
    }

    #[test]
    fn a_deallocated_range_has_its_length_before_its_start() {
        assert_eq!(range(0x11, 0x22), [0, 0, 0, 0, 0x22, 0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(words(Command::deallocate(1, 0x9000), 0)[10..12], [0, 4]);
    }

    #[test]
    fn a_completion_is_read_field_by_field() {
        // Result 5; head 2, queue 1; identifier 9, phase 1, status type 2, code 0x81.
        let high = 0x0503_0009_0001_0002;
        let completion = Completion::from_words(5, high);
        assert_eq!(completion.result, 5);
        assert_eq!((completion.queue, completion.identifier, phase_of(high)), (1, 9, true));
        assert_eq!(completion.status, CommandStatus(0x281));
        assert_eq!(completion.status.cause(), Some(Cause::Medium(0x281)));
    }

    #[test]
    fn statuses_have_the_meaning_that_a_block_request_needs() {
        assert_eq!(CommandStatus(0).cause(), None);
        assert_eq!(CommandStatus(0x80).cause(), Some(Cause::OutOfRange));
        assert_eq!(CommandStatus(0x20).cause(), Some(Cause::ReadOnly));
        assert_eq!(CommandStatus(0x07).cause(), Some(Cause::Cancelled));
        // "Do not retry" changes nothing in the meaning.
        assert_eq!(CommandStatus(0x4080).cause(), Some(Cause::OutOfRange));
    }
}
