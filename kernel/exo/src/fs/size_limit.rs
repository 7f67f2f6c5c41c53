// SPDX-License-Identifier: MIT OR Apache-2.0
//! RLIMIT_FSIZE: the largest file that a process may write.

use crate::{
    errno::{Errno, Result},
    signal::{self, Info},
    task::{current, limits::index},
};

fn soft() -> u64 {
    current().process.limits.lock().get(index::FSIZE).map_or(u64::MAX, |limit| limit.soft)
}

fn refuse() -> Errno {
    // A signal of the kernel's always finds room.
    let _ = signal::send_to_task(&current().arc(), Info::kernel(signal::number::SIGXFSZ));
    Errno::EFBIG
}

/// How many of `length` bytes may be written at `offset`: at least one, else SIGXFSZ and EFBIG.
pub fn clip(offset: u64, length: usize) -> Result {
    let limit = soft();
    if length > 0 && offset >= limit {
        return Err(refuse());
    }
    Ok(length.min(usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX)))
}

/// Whether a file may grow to `size` bytes, else SIGXFSZ and EFBIG.
pub fn check_end(size: u64) -> Result<()> {
    if size > soft() { Err(refuse()) } else { Ok(()) }
}
