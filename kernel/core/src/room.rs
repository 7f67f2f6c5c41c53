// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a call may have more of the kernel's memory. Who is ended if there is none is decided where processes are known.

use core::sync::atomic::Ordering;

use exo_hal::mm::frame;

use crate::thread::{running, work};

/// Whether there is room for `frames` more frames of the kernel's memory on behalf of the running task. If not, and memory is out, somebody is
/// ended when the call is done: else who holds it all would hold it while everybody else is refused. If the call fails with ENOMEM, it is done
/// again then. May be called with locks held.
#[inline]
pub fn has_room(frames: usize) -> bool {
    frame::available(frames) || refuse(frames)
}

/// Notes that the running call was refused `frames` frames. Always false, for [`has_room`].
#[cold]
pub fn refuse(frames: usize) -> bool {
    let task = running();
    task.frames_wanted.fetch_max(frames, Ordering::Relaxed);
    task.work.fetch_or(work::OUT_OF_MEMORY, Ordering::AcqRel);
    false
}
