// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory for bytes on their way. It is filled with zeros once and goes round after that: so a connection at work neither allocates nor fills.

use alloc::vec::Vec;

use arrayvec::ArrayVec;
use exo_hal::sync::SpinLock;

use crate::{errno::Result, fallible};

/// Bytes of a small buffer, which later bytes are added to as long as nobody has read it.
pub(super) const SMALL: usize = 2 << 10;
/// Bytes of a large one, and most that are put into a connection at a time.
pub(super) const LARGE: usize = 32 << 10;
/// From this on a large one is taken rather than one of the size that is wanted.
const NEARLY_LARGE: usize = 24 << 10;
/// What a buffer costs beside its bytes.
const OVERHEAD: usize = 64;

/// Large buffers that nobody uses, of all connections: half a megabyte.
static LARGE_ONES: SpinLock<ArrayVec<Vec<u8>, 16>> = SpinLock::new(ArrayVec::new_const());

/// A buffer for `count` bytes, at most [`LARGE`].
///
/// # Errors
/// ENOMEM.
pub(super) fn take(count: usize) -> Result<Vec<u8>> {
    let size = match count {
        _ if count <= SMALL => SMALL,
        _ if count >= NEARLY_LARGE => {
            if let Some(buffer) = { LARGE_ONES.lock().pop() } {
                return Ok(buffer);
            }
            LARGE
        }
        _ => count,
    };
    let mut buffer = fallible::list(size)?;
    buffer.resize(size, 0);
    Ok(buffer)
}

/// Gives back a buffer that is not small. Not with a lock held.
pub(super) fn give_back(buffer: Vec<u8>) {
    if buffer.len() == LARGE {
        // What there is no room for is freed without the lock.
        let _full = { LARGE_ONES.lock().try_push(buffer) };
    }
}

/// What a buffer is counted as.
pub(super) fn cost(buffer: &[u8]) -> usize {
    buffer.len() + OVERHEAD
}
