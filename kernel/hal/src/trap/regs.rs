// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program's registers while it is in the kernel, and the faults that bring it there.

use core::ops::{Deref, DerefMut};

use super::vector;
use crate::{USER_END, cpu::gdt};

/// Flags that a program may set by itself; the rest of what it hands over is ignored. CF PF AF ZF SF TF DF OF RF AC ID.
const USER_FLAGS: u64 = 0x0025_0dd5;
/// Flags that are always set in user mode: IF and the one that reads as 1.
const FIXED_FLAGS: u64 = 0x202;

/// The registers that a program may have any value in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names are the CPU's")]
pub struct General {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
}

/// A program's registers, as the entries save them. The general ones are fields of [`General`]. The rest can only be set to what user
/// mode may be entered with, so that whatever safe code leaves here, IRET and SYSRET neither fault in the kernel nor stay in it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Regs {
    pub(super) general: General,
    /// The exception or interrupt, or one of the two numbers beyond them.
    pub(super) vector: u64,
    /// The CPU's error code; for a system call its number, which has 32 bits.
    pub(super) error: u64,
    pub(super) rip: u64,
    pub(super) cs: u64,
    pub(super) rflags: u64,
    pub(super) rsp: u64,
    pub(super) ss: u64,
}

impl Deref for Regs {
    type Target = General;

    #[inline(always)]
    fn deref(&self) -> &General {
        &self.general
    }
}

impl DerefMut for Regs {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut General {
        &mut self.general
    }
}

impl Regs {
    /// The registers of a program that starts at `rip` with stack pointer `rsp`.
    pub fn at_start(rip: u64, rsp: u64) -> Self {
        let mut regs = Self {
            general: General::default(),
            vector: 0,
            error: 0,
            rip: 0,
            cs: gdt::USER_CODE.into(),
            rflags: FIXED_FLAGS,
            rsp,
            ss: gdt::USER_DATA.into(),
        };
        regs.set_rip(rip);
        regs
    }

    /// The registers of a thread that begins in the kernel. Should it come to user mode without others, it faults there.
    pub fn in_kernel() -> Self {
        Self { vector: vector::IN_KERNEL, ..Self::at_start(u64::MAX, 0) }
    }

    /// Whether these are still those of [`in_kernel`](Self::in_kernel).
    pub fn begins_in_kernel(&self) -> bool {
        self.vector == vector::IN_KERNEL
    }

    /// The instruction pointer.
    #[inline]
    pub fn rip(&self) -> u64 {
        self.rip
    }

    /// Sets the instruction pointer. This is the one place where a program's address to go on at is checked: IRET and SYSRET to one
    /// that is not canonical fault in the kernel on some CPUs. Any address outside the user's half becomes [`USER_END`], where nothing is
    /// ever mapped, so that the program gets a SIGSEGV.
    #[inline]
    pub fn set_rip(&mut self, rip: u64) {
        self.rip = rip.min(USER_END as u64);
    }

    /// The stack pointer.
    #[inline]
    pub fn rsp(&self) -> u64 {
        self.rsp
    }

    /// Sets the stack pointer, to anything: neither IRET to 64-bit mode nor SYSRET looks at it, and the entries do not use it.
    #[inline]
    pub fn set_rsp(&mut self, rsp: u64) {
        self.rsp = rsp;
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> u64 {
        self.rflags
    }

    /// Sets the flags that a program may set by itself; the rest are as they must be in user mode.
    #[inline]
    pub fn set_flags(&mut self, flags: u64) {
        self.rflags = flags & USER_FLAGS | FIXED_FLAGS;
    }

    /// The code and stack segments' selectors.
    pub fn selectors(&self) -> (u64, u64) {
        (self.cs, self.ss)
    }

    /// What the program entered the kernel by: a vector, or [`vector::SYSCALL`].
    #[inline]
    pub fn vector(&self) -> u64 {
        self.vector
    }

    /// The exception's error code, or the number of the system call.
    #[inline]
    pub fn error(&self) -> u64 {
        self.error
    }

    /// Whether they are those of a system call whose result is not settled.
    #[inline]
    pub fn is_system_call(&self) -> bool {
        self.vector == vector::SYSCALL
    }

    /// They are to be restored as they are: neither a result nor a restart of a system call changes them.
    #[inline]
    pub fn settle(&mut self) {
        self.vector = 0;
    }
}

/// A fault in user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A page fault.
    Page {
        /// The address.
        address: usize,
        /// It was a write.
        write: bool,
        /// It was an instruction fetch.
        execute: bool,
    },
    /// Any other exception, by number.
    Exception {
        /// The vector.
        vector: u8,
        /// The CPU's error code.
        error: u64,
    },
}
