// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies to and from the memory of the running program. An address that is not the program's, or that no fault handler can
//! provide, gives [`BadAddress`], never a crash.
//!
//! A page that is touched may have to come from a disk first, so these sleep until it is there or the task is killed: nothing that spins
//! may be held, and what is this CPU's own may be another's afterwards. Who can do neither takes those of [`now`], or copies by others'
//! functions [`without_waiting`].

use core::arch::{asm, global_asm};

use super::frame::Frame;
use crate::{
    PAGE_SIZE, USER_END,
    cpu::{self, percpu},
    sync,
};

global_asm!(include_str!("copy.S"));

/// The program handed over an address that it cannot use itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

unsafe extern "C" {
    fn user_waiting_copy(to: *mut u8, from: *const u8, bytes: usize) -> u64;
    fn user_waiting_zero(to: *mut u8, bytes: usize) -> u64;
    fn user_waiting_load32(from: *const u32, to: *mut u32) -> u64;
    fn user_waiting_exchange32(at: *mut u32, expected: u32, new: u32, old: *mut u32) -> u64;
    fn user_now_copy(to: *mut u8, from: *const u8, bytes: usize) -> u64;
    fn user_now_zero(to: *mut u8, bytes: usize) -> u64;
    fn user_now_load32(from: *const u32, to: *mut u32) -> u64;
    fn user_now_exchange32(at: *mut u32, expected: u32, new: u32, old: *mut u32) -> u64;
    static user_waiting_start: u8;
    static user_waiting_end: u8;
    static user_now_start: u8;
    static user_now_end: u8;
    static user_fault: u8;
}

/// What to do about a fault in one of the routines above.
pub(crate) struct Recovery {
    /// Where to go on if it cannot be resolved.
    pub(crate) at: u64,
    /// Whether it may sleep.
    pub(crate) may_wait: bool,
}

/// For a fault at `rip`, if that is in one of the routines above.
pub(crate) fn recovery(rip: u64) -> Option<Recovery> {
    let at = &raw const user_fault as u64;
    if (&raw const user_waiting_start as u64..&raw const user_waiting_end as u64).contains(&rip) {
        Some(Recovery { at, may_wait: may_wait() })
    } else if (&raw const user_now_start as u64..&raw const user_now_end as u64).contains(&rip) {
        Some(Recovery { at, may_wait: false })
    } else {
        None
    }
}

/// Checks that `bytes` bytes from `address` are in the user's half.
#[inline]
fn check(address: usize, bytes: usize) -> Result<(), BadAddress> {
    match address.checked_add(bytes) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(BadAddress),
    }
}

/// Whether a fault on this CPU may sleep.
#[inline]
fn may_wait() -> bool {
    // SAFETY: this CPU's own flag; interrupts are off.
    unsafe { !(*percpu::area()).may_not_wait.get() }
}

/// Does `copy`, in which each copy that would have to wait for a page gives [`BadAddress`], as in [`now`]. It does not sleep otherwise either:
/// it is for who holds a lock.
#[inline]
pub fn without_waiting<T>(copy: impl FnOnce() -> T) -> T {
    // SAFETY: this CPU's own flag; interrupts are off, and the thread stays on this CPU since it does not sleep.
    let before = unsafe { (*percpu::area()).may_not_wait.replace(true) };
    let result = copy();
    // SAFETY: as above.
    unsafe { (*percpu::area()).may_not_wait.set(before) };
    result
}

#[inline(always)]
fn open<T>(access: impl FnOnce() -> T) -> T {
    if cfg!(feature = "lock-checks") && may_wait() {
        sync::may_fault_and_wait();
    }
    open_now(access)
}

#[inline(always)]
fn open_now<T>(access: impl FnOnce() -> T) -> T {
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

/// The functions that are there with either set of routines.
macro_rules! accesses {
    ($open:ident, $copy:ident, $zero:ident, $load32:ident, $exchange32:ident) => {
        /// Copies `out.len()` bytes from the program.
        #[inline]
        pub fn copy_in(out: &mut [u8], from: usize) -> Result<(), BadAddress> {
            check(from, out.len())?;
            // SAFETY: the source is in the user's half and faults there are handled; the destination is a slice.
            done($open(|| unsafe { $copy(out.as_mut_ptr(), from as *const u8, out.len()) }))
        }

        /// Copies `bytes` to the program.
        #[inline]
        pub fn copy_out(to: usize, bytes: &[u8]) -> Result<(), BadAddress> {
            check(to, bytes.len())?;
            // SAFETY: the destination is in the user's half and faults there are handled; the source is a slice.
            done($open(|| unsafe { $copy(to as *mut u8, bytes.as_ptr(), bytes.len()) }))
        }

        /// Writes `bytes` zeros to the program.
        #[inline]
        pub fn zero(to: usize, bytes: usize) -> Result<(), BadAddress> {
            check(to, bytes)?;
            // SAFETY: the destination is in the user's half and faults there are handled.
            done($open(|| unsafe { $zero(to as *mut u8, bytes) }))
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
            done($open(|| unsafe { $load32(address as *const u32, &mut value) }))?;
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
            done($open(|| unsafe { $exchange32(address as *mut u32, expected, new, &mut old) }))?;
            Ok(old)
        }
    };
}

accesses!(open, user_waiting_copy, user_waiting_zero, user_waiting_load32, user_waiting_exchange32);

/// Copies from a frame to the program; the range must lie within the frame.
pub fn frame_to_user(frame: &Frame, offset: usize, to: usize, bytes: usize) -> Result<(), BadAddress> {
    check(to, bytes)?;
    check_frame(offset, bytes)?;
    // SAFETY: as in `copy_out`; the source lies within the frame.
    done(open(|| unsafe { user_waiting_copy(to as *mut u8, frame.pointer().add(offset), bytes) }))
}

/// Copies from the program to a frame; the range must lie within the frame.
pub fn user_to_frame(frame: &Frame, offset: usize, from: usize, bytes: usize) -> Result<(), BadAddress> {
    check(from, bytes)?;
    check_frame(offset, bytes)?;
    // SAFETY: as in `copy_in`; the destination lies within the frame.
    done(open(|| unsafe { user_waiting_copy(frame.pointer().add(offset), from as *const u8, bytes) }))
}

fn check_frame(offset: usize, bytes: usize) -> Result<(), BadAddress> {
    if offset.checked_add(bytes).is_some_and(|end| end <= PAGE_SIZE) { Ok(()) } else { Err(BadAddress) }
}

/// The same for who holds a lock, or is in a call that takes the short path: what would have to wait for a page is [`BadAddress`]. So the
/// caller lets go of what it holds then, touches the page by the functions above, which know better, and tries again.
pub mod now {
    use super::{
        BadAddress, check, done, open_now, user_now_copy, user_now_exchange32, user_now_load32, user_now_zero,
    };

    accesses!(open_now, user_now_copy, user_now_zero, user_now_load32, user_now_exchange32);
}
