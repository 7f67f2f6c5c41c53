// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies between the process's memory and memory that the guest, the client and other threads change at any time.
//!
//! Guest memory is only ever touched with relaxed atomic accesses, eight bytes at a time where it is aligned, or by the
//! processor's instruction for copies: whatever happens to it meanwhile, the worst outcome is a mixture of old and new bytes. (Atomic accesses of different sizes may
//! meet when a guest gives two queues the same buffer. The language has no word for that yet; every processor that Linux
//! runs on has, and the compiler does not look through it.)

#[cfg(target_arch = "x86_64")]
use std::arch::asm;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

const WORD: usize = size_of::<u64>();

/// From so many bytes on, the processor's instruction for copies is worth its start. It writes whole cache lines at a time, where
/// words wait for one after the other to arrive: a third of the time where the guest's memory is not in the cache.
#[cfg(target_arch = "x86_64")]
const STRING: usize = 1024;

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Copies `to.len()` bytes out of guest memory.
///
/// # Safety
/// `from` must be the start of at least `to.len()` bytes of mapped, readable memory that stays mapped during the call,
/// and that this process touches by no other means than atomic accesses.
pub(super) unsafe fn from_guest(from: *const u8, to: &mut [u8]) {
    let (head, body) = to.split_at_mut(from.align_offset(align_of::<u64>()).min(to.len()));
    let mut from = from;
    let bytes = |from: &mut *const u8, to: &mut [u8]| {
        for byte in to {
            // SAFETY: the caller vouches for the memory; `from` advances once for each byte of `to`.
            *byte = unsafe { (*from.cast::<AtomicU8>()).load(Relaxed) };
            *from = from.wrapping_add(1);
        }
    };
    bytes(&mut from, head);
    let mut words = body.chunks_exact_mut(WORD);
    for word in &mut words {
        // SAFETY: as above, and `from` is aligned since it passed the head.
        let value = unsafe { (*from.cast::<AtomicU64>()).load(Relaxed) };
        word.copy_from_slice(&value.to_ne_bytes());
        from = from.wrapping_add(WORD);
    }
    bytes(&mut from, words.into_remainder());
}

/// Copies `from` into guest memory.
///
/// # Safety
/// `to` must be the start of at least `from.len()` bytes of mapped, writable memory that stays mapped during the call,
/// and that this process touches by no other means than atomic accesses and this.
pub(super) unsafe fn to_guest(to: *mut u8, from: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if from.len() >= STRING {
        // SAFETY: the caller vouches for the memory, `from` is as long as the count, and the direction flag is clear, as it is
        // wherever functions begin. What another thread or the guest does to the memory meanwhile concerns bytes alone, of
        // which the language sees none. A fault in the middle goes on where it was.
        unsafe {
            asm!("rep movsb", inout("rcx") from.len() => _, inout("rsi") from.as_ptr() => _, inout("rdi") to => _,
                options(nostack, preserves_flags));
        }
        return;
    }
    let (head, body) = from.split_at(to.align_offset(align_of::<u64>()).min(from.len()));
    let mut to = to;
    let bytes = |to: &mut *mut u8, from: &[u8]| {
        for byte in from {
            // SAFETY: the caller vouches for the memory; `to` advances once for each byte of `from`.
            unsafe { (*to.cast::<AtomicU8>()).store(*byte, Relaxed) };
            *to = to.wrapping_add(1);
        }
    };
    bytes(&mut to, head);
    let mut words = body.chunks_exact(WORD);
    for word in &mut words {
        let value = word.first_chunk::<WORD>().map_or(0, |word| u64::from_ne_bytes(*word));
        // SAFETY: as above, and `to` is aligned since it passed the head.
        unsafe { (*to.cast::<AtomicU64>()).store(value, Relaxed) };
        to = to.wrapping_add(WORD);
    }
    bytes(&mut to, words.remainder());
}

/// Has the processor fetch memory that [`to_guest`] will write, while it computes something else.
pub(super) fn prefetch(start: *const u8, length: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..length).step_by(LINE) {
        // SAFETY: a prefetch of any address is allowed, and one that cannot be reached is ignored.
        unsafe {
            asm!("prefetchw [{}]", in(reg) start.wrapping_add(line), options(nostack, preserves_flags, readonly));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;

    #[test]
    fn long_copies_of_every_alignment_are_exact() {
        for (offset, length) in [(0, 1024), (1, 1024), (7, 1025), (8, 4095), (9, 4096), (63, 5000)] {
            let guest: Vec<UnsafeCell<u64>> = (0..1024).map(|_| UnsafeCell::new(u64::MAX)).collect();
            let start = guest.as_ptr().cast_mut().cast::<u8>();
            let sent: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            prefetch(start, 8192);
            // SAFETY: `guest` has 8192 bytes, more than the largest offset and length together, and is ours alone.
            unsafe { to_guest(start.wrapping_add(offset), &sent) };
            let mut all = [0; 8192];
            // SAFETY: as above.
            unsafe { from_guest(start, &mut all) };
            assert_eq!(all[offset..offset + length], sent, "offset {offset}");
            let around = all[..offset].iter().chain(&all[offset + length..]);
            assert!(around.copied().all(|byte| byte == 0xff), "offset {offset}");
        }
    }

    #[test]
    fn every_alignment_and_length_is_copied_exactly() {
        for offset in 0..9 {
            for length in 0..40 {
                let guest: [UnsafeCell<u64>; 8] = std::array::from_fn(|_| UnsafeCell::new(u64::MAX));
                let start = guest.as_ptr().cast_mut().cast::<u8>().wrapping_add(offset);
                let sent: Vec<u8> = (1..=length).collect();
                // SAFETY: `guest` has 64 bytes, more than the largest offset and length together, and is ours alone.
                unsafe { to_guest(start, &sent) };
                let mut received = vec![0; usize::from(length)];
                // SAFETY: as above.
                unsafe { from_guest(start, &mut received) };
                assert_eq!(received, sent, "offset {offset}");
                let mut all = [0; 64];
                // SAFETY: as above.
                unsafe { from_guest(guest.as_ptr().cast(), &mut all) };
                let touched = offset..offset + usize::from(length);
                for (place, byte) in all.iter().enumerate() {
                    assert_eq!(*byte == 0xff, !touched.contains(&place), "byte {place} of {touched:?}");
                }
            }
        }
    }
}
