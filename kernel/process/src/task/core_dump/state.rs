// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process keeps for its core file.

use alloc::vec::Vec;

use exo_logic::core_file::ThreadStatus;

/// Which memory is written unless a program changes /proc/PID/coredump_filter, as on Linux; the bits for huge pages and DAX mean nothing here.
pub const DEFAULT_FILTER: u32 = 0x33;

/// The registers of a thread that has ended for a core file.
pub struct ThreadState {
    pub(super) status: ThreadStatus,
    pub(super) floating_point: Vec<u8>,
}

/// A process's part in a core file.
#[derive(Default)]
pub struct CoreDump {
    /// A core file is about to be written: threads that end leave their registers here.
    pub(super) threads: Option<Vec<ThreadState>>,
}
