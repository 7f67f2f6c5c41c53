// SPDX-License-Identifier: MIT OR Apache-2.0
//! RLIMIT_FSIZE: the largest file that a process may write.

use exo_core::{
    limits::index,
    thread::{signal_self, soft_limit},
};
use linux_raw_sys::general as abi;

use crate::errno::{Errno, Result};

fn soft() -> u64 {
    soft_limit(index::FSIZE)
}

fn refuse() -> Errno {
    signal_self(abi::SIGXFSZ);
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
