// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an IPC endpoint hands to a task.

/// Words of a message.
pub const WORDS: usize = 3;

/// A message, and who waits for the answer.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// The words.
    pub words: [u64; WORDS],
    /// Number of the task that waits for an answer, or 0.
    pub caller: u32,
}
