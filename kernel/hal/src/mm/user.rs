// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies to and from the memory of the running program. An address that is not the program's, or that no fault handler can
//! provide, gives [`BadAddress`], never a crash.

use core::arch::{asm, global_asm};

use super::frame::Frame;
use crate::{PAGE_SIZE, USER_END, cpu, sync};

global_asm!(include_str!("copy.S"));

/// The program handed over an address that it cannot use itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

unsafe extern "C" {
    fn user_copy(to: *mut u8, from: *const u8, bytes: usize) -> u64;
    fn user_zero(to: *mut u8, bytes: usize) -> u64;
    fn user_load32(from: *const u32, to: *mut u32) -> u64;
    fn user_exchange32(at: *mut u32, expected: u32, new: u32, old: *mut u32) -> u64;
    static user_copy_start: u8;
    static user_copy_end: u8;
    static user_fault: u8;
}

/// Where to go on after a fault at `rip` that could not be resolved, if `rip` is one of the routines above.
pub(crate) fn recovery(rip: u64) -> Option<u64> {
    (&raw const user_copy_start as u64..&raw const user_copy_end as u64)
        .contains(&rip)
        .then_some(&raw const user_fault as u64)
}

/// Checks that `bytes` bytes from `address` are in the user's half.
#[inline]
fn check(address: usize, bytes: usize) -> Result<(), BadAddress> {
    match address.checked_add(bytes) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(BadAddress),
    }
}

#[inline(always)]
fn open<T>(access: impl FnOnce() -> T) -> T {
    sync::may_fault();
    if cpu::has_smap() {
        // SAFETY: the CPU has SMAP, hence STAC and CLAC; only the routines above run in between.
        unsafe { asm!("stac", options(nomem, nostack)) };
        let value = access();
        // SAFETY: as above.
        unsafe { asm!("clac", options(nomem, nostack)) };
        value
    } else {
        access()
    }
}

#[inline]
fn done(left: u64) -> Result<(), BadAddress> {
    if left == 0 { Ok(()) } else { Err(BadAddress) }
}

/// Copies `out.len()` bytes from the program.
#[inline]
pub fn copy_in(out: &mut [u8], from: usize) -> Result<(), BadAddress> {
    check(from, out.len())?;
    // SAFETY: the source is in the user's half and faults there are handled; the destination is a slice.
    done(open(|| unsafe { user_copy(out.as_mut_ptr(), from as *const u8, out.len()) }))
}

/// Copies `bytes` to the program.
#[inline]
pub fn copy_out(to: usize, bytes: &[u8]) -> Result<(), BadAddress> {
    check(to, bytes.len())?;
    // SAFETY: the destination is in the user's half and faults there are handled; the source is a slice.
    done(open(|| unsafe { user_copy(to as *mut u8, bytes.as_ptr(), bytes.len()) }))
}

/// Writes `bytes` zeros to the program.
#[inline]
pub fn zero(to: usize, bytes: usize) -> Result<(), BadAddress> {
    check(to, bytes)?;
    // SAFETY: the destination is in the user's half and faults there are handled.
    done(open(|| unsafe { user_zero(to as *mut u8, bytes) }))
}

/// Copies from a frame to the program; the range must lie within the frame.
pub fn frame_to_user(frame: &Frame, offset: usize, to: usize, bytes: usize) -> Result<(), BadAddress> {
    check(to, bytes)?;
    check_frame(offset, bytes)?;
    // SAFETY: as in `copy_out`; the source lies within the frame.
    done(open(|| unsafe { user_copy(to as *mut u8, frame.pointer().add(offset), bytes) }))
}

/// Copies from the program to a frame; the range must lie within the frame.
pub fn user_to_frame(frame: &Frame, offset: usize, from: usize, bytes: usize) -> Result<(), BadAddress> {
    check(from, bytes)?;
    check_frame(offset, bytes)?;
    // SAFETY: as in `copy_in`; the destination lies within the frame.
    done(open(|| unsafe { user_copy(frame.pointer().add(offset), from as *const u8, bytes) }))
}

fn check_frame(offset: usize, bytes: usize) -> Result<(), BadAddress> {
    if offset.checked_add(bytes).is_some_and(|end| end <= PAGE_SIZE) { Ok(()) } else { Err(BadAddress) }
}

/// Reads a word that other threads of the program may change; `address` must be a multiple of 4.
#[inline]
pub fn load_u32(address: usize) -> Result<u32, BadAddress> {
    check(address, 4)?;
    if address % 4 != 0 {
        return Err(BadAddress);
    }
    let mut value = 0;
    // SAFETY: the source is in the user's half and faults there are handled; the destination is a local.
    done(open(|| unsafe { user_load32(address as *const u32, &mut value) }))?;
    Ok(value)
}

/// Atomically replaces `expected` by `new` in a word of the program; gives the word as it was.
pub fn compare_exchange_u32(address: usize, expected: u32, new: u32) -> Result<u32, BadAddress> {
    check(address, 4)?;
    if address % 4 != 0 {
        return Err(BadAddress);
    }
    let mut old = 0;
    // SAFETY: the word is in the user's half and faults there are handled; the result goes to a local.
    done(open(|| unsafe { user_exchange32(address as *mut u32, expected, new, &mut old) }))?;
    Ok(old)
}
