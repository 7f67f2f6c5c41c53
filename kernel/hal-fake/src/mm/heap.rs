// SPDX-License-Identifier: MIT OR Apache-2.0
//! Constructors that may fail: when too few frames are left ([`frame::set_free`](super::frame::set_free)), or when a test wants it.

use std::sync::Arc;

use super::{
    NoMemory,
    frame::{available, refuses},
};
use crate::PAGE_SIZE;

/// `Arc::new`, if there is memory for it.
pub fn try_arc<T>(value: T) -> Result<Arc<T>, NoMemory> {
    try_arc_with(|| value)
}

/// An `Arc` of what `make` makes once there is memory for it.
pub fn try_arc_with<T>(make: impl FnOnce() -> T) -> Result<Arc<T>, NoMemory> {
    may_keep(size_of::<T>())?;
    Ok(Arc::new(make()))
}

/// Whether an `Arc<T>` may be made, by something that cannot say that it failed.
pub fn room_for_arc<T>() -> Result<(), NoMemory> {
    may_keep(size_of::<T>())
}

/// Bytes of the kernel's heap: the host's is not counted.
pub fn heap_bytes() -> usize {
    0
}

/// `Box::new`, if there is memory for it.
pub fn try_box<T>(value: T) -> Result<Box<T>, NoMemory> {
    may_keep(size_of::<T>())?;
    Ok(Box::new(value))
}

/// An empty list with room for `count` elements.
pub fn try_list<T>(count: usize) -> Result<Vec<T>, NoMemory> {
    may_have(count.checked_mul(size_of::<T>()).ok_or(NoMemory)?)?;
    Ok(Vec::with_capacity(count))
}

/// Whether `bytes` bytes may be taken; less than a page may come from the reserve, which is never empty here.
pub fn may_have(bytes: usize) -> Result<(), NoMemory> {
    let frames = bytes / PAGE_SIZE;
    if frames > 0 && !available(frames) || refuses() { Err(NoMemory) } else { Ok(()) }
}

/// The same for what outlives the call: never from the reserve.
pub fn may_keep(bytes: usize) -> Result<(), NoMemory> {
    if !available(bytes / PAGE_SIZE) || refuses() { Err(NoMemory) } else { Ok(()) }
}
