// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory for what a program chooses the size or number of: every function here gives ENOMEM instead of ending the kernel, and fails on
//! demand for tests (see [`fail_nth`]).
//!
//! What is allocated elsewhere is small, and as much as one call needs; it comes from the reserve that programs' own memory never takes
//! (docs/decisions.md, "Small allocations are paid from a reserve").

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};

use exo_hal::{
    PAGE_SIZE,
    mm::{frame, heap, paging::NoMemory},
    thread,
};

use crate::{
    errno::{Errno, Result},
    thread::{Thread, running},
};

/// Frames that are left for page faults when the kernel refuses a program more of its own memory, stocks of single frames that each CPU may
/// fill meanwhile included: a program whose fault finds none is ended if nobody else can be.
pub const LEFT_FOR_FAULTS: usize = (1 << 20) / PAGE_SIZE;

/// Frames of a list for which somebody is ended rather than that the call fails, as on Linux for up to 8 pages
/// (`PAGE_ALLOC_COSTLY_ORDER`): who asks for so few can hardly do with fewer.
pub const SMALL: usize = 8;

/// An empty list with room for `count` elements. Less than a page is served as all else that a call needs.
///
/// # Errors
/// ENOMEM if there is not as much to spare. Nobody is ended for more than [`SMALL`] frames: the caller is told, and what others need for a
/// page fault is left.
#[inline]
pub fn list<T>(count: usize) -> Result<Vec<T>> {
    let frames = count.saturating_mul(size_of::<T>()) / PAGE_SIZE;
    if frames > SMALL && !frame::available(frames.saturating_add(LEFT_FOR_FAULTS)) {
        return Err(Errno::ENOMEM);
    }
    Ok(heap::try_list(count)?)
}

/// Room for `more` elements.
#[inline]
pub fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<()> {
    if list.capacity() - list.len() < more { grow(list, more) } else { Ok(()) }
}

#[cold]
fn grow<T>(list: &mut Vec<T>, more: usize) -> Result<()> {
    heap::may_have(more.saturating_mul(size_of::<T>()))?;
    list.try_reserve(more).map_err(|_| Errno::ENOMEM)
}

/// Appends an element.
pub fn push<T>(list: &mut Vec<T>, value: T) -> Result<()> {
    if list.len() == list.capacity() {
        heap::may_keep(list.len().saturating_mul(2 * size_of::<T>()))?;
        list.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    }
    list.push(value);
    Ok(())
}

/// Appends an element to a queue.
pub fn push_back<T>(queue: &mut VecDeque<T>, value: T) -> Result<()> {
    if queue.len() == queue.capacity() {
        heap::may_keep(queue.len().saturating_mul(2 * size_of::<T>()))?;
        queue.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    }
    queue.push_back(value);
    Ok(())
}

/// A counted value.
#[inline]
pub fn arc<T>(value: T) -> Result<Arc<T>> {
    Ok(heap::try_arc(value)?)
}

/// A counted value, made once there is memory for it.
#[inline]
pub fn arc_with<T>(make: impl FnOnce() -> T) -> core::result::Result<Arc<T>, NoMemory> {
    heap::try_arc_with(make)
}

/// A boxed value.
#[inline]
pub fn boxed<T>(value: T) -> Result<Box<T>> {
    Ok(heap::try_box(value)?)
}

/// Lets the `nth` of the allocations that may fail, from now on, fail in `task`; 0 for none.
pub fn fail_nth(task: &Thread, nth: u32) {
    task.fail_nth.store(nth, Ordering::Relaxed);
    if nth != 0 {
        frame::let_allocations_fail();
    }
}

/// Counts an allocation of the running task; true if it is the one that is to fail.
pub fn is_nth() -> bool {
    if !thread::has_current() {
        return false;
    }
    let task = running();
    match task.fail_nth.load(Ordering::Relaxed) {
        0 => false,
        left => {
            task.fail_nth.store(left - 1, Ordering::Relaxed);
            left == 1
        }
    }
}
