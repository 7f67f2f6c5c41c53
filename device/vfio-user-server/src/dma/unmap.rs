// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes mappings away, also where that fails at first.
//!
//! The kernel may have merged neighbouring maps of one file. To unmap one of them it must split that, which fails while the
//! process has as many maps as it may (`vm.max_map_count`). Nobody can reach such a range any more; it is tried again
//! when the next mapping is made or taken away.

use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::munmap;

/// Ranges that could not be unmapped.
static LEFT: Mutex<Vec<Range>> = Mutex::new(Vec::new());

#[derive(Debug, Clone, Copy)]
struct Range {
    start: NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: an address range that nobody uses, whichever thread unmaps it.
unsafe impl Send for Range {}

/// Unmaps a range, now or later.
///
/// # Safety
/// The range must be one that `mmap` gave out to the caller and that nobody uses from now on.
pub(super) unsafe fn unmap(start: NonNull<libc::c_void>, length: usize) {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.push(Range { start, length });
    // SAFETY: each range was given here by somebody who vouched for it, and is forgotten once it is unmapped.
    retry_with(&mut left, |range| unsafe { munmap(range.start.as_ptr(), range.length) });
}

/// Tries to unmap what is left.
pub(super) fn retry() {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: as above.
    retry_with(&mut left, |range| unsafe { munmap(range.start.as_ptr(), range.length) });
}

/// Keeps what cannot be unmapped. The newest comes first: as a rule it is the only one, and makes room for the others.
fn retry_with(left: &mut Vec<Range>, mut unmap: impl FnMut(Range) -> Result<(), Errno>) {
    left.reverse();
    left.retain(|&range| unmap(range).is_err());
    left.reverse();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_unmapped_is_kept_and_tried_again() {
        let range = |length| Range { start: NonNull::dangling(), length };
        let mut left = vec![range(1), range(2), range(3)];
        let mut room = 1;
        let mut unmap = |range: Range| {
            if range.length == 2 || room == 0 {
                return Err(Errno::NOMEM);
            }
            room -= 1;
            Ok(())
        };
        retry_with(&mut left, &mut unmap);
        assert_eq!(left.iter().map(|range| range.length).collect::<Vec<_>>(), [1, 2]);
        retry_with(&mut left, |_| Ok(()));
        assert!(left.is_empty());
    }
}
