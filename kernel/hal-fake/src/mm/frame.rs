// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames: only how many there are is known.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::hooks;

/// As many as nobody asks for by mistake.
const PLENTY: usize = 1 << 20;

static FREE: AtomicUsize = AtomicUsize::new(PLENTY);
static MAY_FAIL: AtomicBool = AtomicBool::new(false);

/// Whether programs may have another `frames` frames.
pub fn available(frames: usize) -> bool {
    FREE.load(Ordering::Relaxed) > frames
}

/// From now on the kernel is asked at each allocation that may fail whether it does.
pub fn let_allocations_fail() {
    MAY_FAIL.store(true, Ordering::Relaxed);
}

/// For tests: programs may have `frames` frames, whatever is allocated; 2^20 when a machine starts.
pub fn set_free(frames: usize) {
    // As on the real machine, the last one is not given away.
    FREE.store(frames + 1, Ordering::Relaxed);
}

pub(crate) fn reset() {
    set_free(PLENTY);
    MAY_FAIL.store(false, Ordering::Relaxed);
}

pub(super) fn refuses() -> bool {
    MAY_FAIL.load(Ordering::Relaxed) && (hooks::get().refuses_allocation)()
}
