// SPDX-License-Identifier: MIT OR Apache-2.0
//! Floating-point and vector state. The kernel itself uses no such register (its target is soft-float).
//!
//! A thread gets its state when it first uses such a register after a switch: until then CR0.TS makes the use trap. A thread that
//! used it in each of its last [`EAGER_AFTER`] turns gets it at once. It is saved at the switch away, if it was loaded, so
//! that a thread can go on on any CPU. Saving and loading cost microseconds in an emulator, and threads that only
//! pass messages need neither.

use core::{
    arch::{
        asm,
        x86_64::{_fxrstor64, _fxsave64, _xrstor64, _xsave64},
    },
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use alloc::alloc::{Layout, alloc_zeroed, dealloc};

use x86_64::registers::control::{Cr0, Cr0Flags};

use super::cpuid;
use crate::mm::{NoMemory, heap};

/// Turns in a row with floating point after which a thread's state is loaded without waiting for a trap.
pub(crate) const EAGER_AFTER: u8 = 5;
/// Components that programs get: x87, SSE, AVX, AVX-512 (three parts).
const WANTED: u64 = 0b1110_0111;
/// x87 and SSE: the part that FXSAVE knows.
const LEGACY: u64 = 0b11;
/// Bytes of the legacy area and the XSAVE header behind it.
const LEGACY_SIZE: usize = 512;
const HEADER_SIZE: usize = 64;
/// MXCSR after reset: all exceptions masked.
const MXCSR: u32 = 0x1f80;
/// x87 control word after FNINIT.
const CONTROL_WORD: u16 = 0x037f;

/// The components in use; 0 where the CPU has no XSAVE.
static MASK: AtomicU64 = AtomicU64::new(0);
/// Bytes of a saved state.
static SIZE: AtomicUsize = AtomicUsize::new(LEGACY_SIZE);
/// The bits of MXCSR that this CPU has: setting another one faults.
static MXCSR_MASK: AtomicU32 = AtomicU32::new(0);
/// What MXCSR_MASK is where FXSAVE says 0 (Intel SDM volume 1, 11.6.6).
const MXCSR_MASK_DEFAULT: u32 = 0xffbf;
/// Restoring leaves the pointers of the last x87 instruction as they are unless an error is pending, as it is on AMD's CPUs before Zen 2:
/// one program could read where another one was (CVE-2006-1056).
static KEEPS_POINTERS: AtomicBool = AtomicBool::new(false);

#[target_feature(enable = "xsave")]
unsafe fn set_xcr0(mask: u64) {
    // SAFETY: the caller passes bits that CPUID reports.
    unsafe { core::arch::x86_64::_xsetbv(0, mask) };
}

/// Where FXSAVE puts the state, to look at.
#[repr(C, align(16))]
struct Legacy([u8; LEGACY_SIZE]);

fn find_peculiarities() {
    let mut area = Legacy([0; LEGACY_SIZE]);
    // SAFETY: the area is aligned and large enough; CR4.OSFXSR is set.
    unsafe { fxsave(area.0.as_mut_ptr()) };
    let mask = u32::from_le_bytes([area.0[28], area.0[29], area.0[30], area.0[31]]);
    MXCSR_MASK.store(if mask == 0 { MXCSR_MASK_DEFAULT } else { mask & 0xffff }, Ordering::Relaxed);
    let [_, b, c, d] = cpuid(0, 0);
    let vendor = [b, d, c].map(u32::to_le_bytes);
    let is_amd =
        [b"AuthenticAMD", b"HygonGenuine"].contains(&vendor.as_flattened().first_chunk().unwrap_or(&[0; 12]));
    let restores_pointers =
        cpuid(0x8000_0000, 0)[0] >= 0x8000_0008 && cpuid(0x8000_0008, 0)[1] & (1 << 2) != 0;
    KEEPS_POINTERS.store(is_amd && !restores_pointers, Ordering::Relaxed);
}

pub(super) fn init() {
    find_peculiarities();
    if cpuid(1, 0)[2] & (1 << 26) == 0 {
        return;
    }
    let supported = cpuid(0xd, 0);
    let mask = (u64::from(supported[0]) | (u64::from(supported[3]) << 32)) & WANTED;
    // SAFETY: CR4.OSXSAVE is set and the bits are among those that the CPU reports; x87 is always there.
    unsafe { set_xcr0(mask) };
    MASK.store(mask, Ordering::Relaxed);
    SIZE.store(cpuid(0xd, 0)[1] as usize, Ordering::Relaxed);
}

/// Bytes of a saved state.
pub fn state_size() -> usize {
    SIZE.load(Ordering::Relaxed)
}

/// A thread's saved state.
pub(crate) struct State {
    area: *mut u8,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for State {}
// SAFETY: changed only by `save`, which `Thread` calls for the running thread alone.
unsafe impl Sync for State {}

fn layout() -> Layout {
    Layout::from_size_align(state_size(), 64).expect("sizes from CPUID are small")
}

#[target_feature(enable = "xsave")]
unsafe fn xsave(area: *mut u8, mask: u64) {
    // SAFETY: the caller vouches for the area.
    unsafe { _xsave64(area, mask) };
}

#[target_feature(enable = "xsave")]
unsafe fn xrstor(area: *const u8, mask: u64) {
    // SAFETY: the caller vouches for the area.
    unsafe { _xrstor64(area, mask) };
}

#[target_feature(enable = "fxsr")]
unsafe fn fxsave(area: *mut u8) {
    // SAFETY: the caller vouches for the area.
    unsafe { _fxsave64(area) };
}

#[target_feature(enable = "fxsr")]
unsafe fn fxrstor(area: *const u8) {
    // SAFETY: the caller vouches for the area.
    unsafe { _fxrstor64(area) };
}

impl State {
    /// The state in which a program starts.
    pub(crate) fn new() -> Result<Self, NoMemory> {
        heap::may_have(state_size())?;
        // SAFETY: the layout is not empty.
        let area = unsafe { alloc_zeroed(layout()) };
        if area.is_null() {
            return Err(NoMemory);
        }
        let state = Self { area };
        state.reset();
        Ok(state)
    }

    /// Back to the state in which a program starts.
    pub(crate) fn reset(&self) {
        // SAFETY: the area has `state_size` bytes, at least 512.
        unsafe {
            self.area.write_bytes(0, state_size());
            self.area.cast::<u16>().write(CONTROL_WORD);
            self.area.add(24).cast::<u32>().write(MXCSR);
        }
    }

    /// Saves the CPU's state here.
    #[inline]
    pub(crate) fn save(&self) {
        let mask = MASK.load(Ordering::Relaxed);
        // SAFETY: the area is 64-aligned and large enough for every enabled component.
        unsafe { if mask == 0 { fxsave(self.area) } else { xsave(self.area, mask) } }
    }

    /// Loads the CPU's state from here.
    #[inline]
    pub(crate) fn load(&self) {
        if KEEPS_POINTERS.load(Ordering::Relaxed) {
            static ZERO: u32 = 0;
            // SAFETY: changes x87 registers, which are loaded next. No error may be pending before FILD, which sets the pointers.
            unsafe {
                asm!("fnclex", "emms", "fild dword ptr [{}]", in(reg) &raw const ZERO, options(nostack))
            };
        }
        let mask = MASK.load(Ordering::Relaxed);
        // SAFETY: the area holds what `save` wrote, the initial state, or what `set_bytes` has checked.
        unsafe { if mask == 0 { fxrstor(self.area) } else { xrstor(self.area, mask) } }
    }

    /// The saved state as a signal frame has it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the area has this many bytes and outlives the borrow.
        unsafe { core::slice::from_raw_parts(self.area, state_size()) }
    }

    /// Copies another thread's saved state.
    pub(crate) fn copy_from(&self, other: &State) {
        // SAFETY: both areas have this many bytes and differ.
        unsafe { self.area.copy_from_nonoverlapping(other.area, state_size()) };
    }

    /// Takes over a state that a program made. Bits that would make the CPU fault on loading it are cleared.
    pub(crate) fn set_bytes(&self, bytes: &[u8]) {
        let size = bytes.len().min(state_size());
        self.reset();
        if size < LEGACY_SIZE {
            return;
        }
        // SAFETY: `size` bytes fit both; the fields written afterwards are inside the area.
        unsafe {
            self.area.copy_from_nonoverlapping(bytes.as_ptr(), size);
            let mxcsr = self.area.add(24).cast::<u32>();
            mxcsr.write(mxcsr.read() & MXCSR_MASK.load(Ordering::Relaxed));
            if state_size() >= LEGACY_SIZE + HEADER_SIZE {
                let header = self.area.add(LEGACY_SIZE).cast::<u64>();
                let present = if size < LEGACY_SIZE + HEADER_SIZE { LEGACY } else { header.read() };
                header.write(present & MASK.load(Ordering::Relaxed));
                // XCOMP_BV and the reserved words must be 0 for the standard form.
                for word in 1..8 {
                    header.add(word).write(0);
                }
            }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.area, layout()) };
    }
}

/// Makes sure that a pending x87 error of the last program does not surface in the kernel.
pub(crate) fn clear_exceptions() {
    // SAFETY: clears status flags only.
    unsafe { asm!("fnclex", options(nomem, nostack)) };
}

/// The components that a saved state can have, as XCR0 numbers them.
pub fn features() -> u64 {
    MASK.load(Ordering::Relaxed)
}

/// Lets the CPU use floating-point registers without a trap.
#[inline]
pub(crate) fn allow() {
    // SAFETY: clears CR0.TS.
    unsafe { asm!("clts", options(nomem, nostack, preserves_flags)) };
}

/// Makes the next use of a floating-point register trap.
#[inline]
pub(crate) fn forbid() {
    // SAFETY: sets CR0.TS; the kernel uses no such register.
    unsafe { Cr0::update(|flags| flags.insert(Cr0Flags::TASK_SWITCHED)) };
}
