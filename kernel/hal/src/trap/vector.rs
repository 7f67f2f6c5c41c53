// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupt vectors of the kernel's own.

/// The first line of the IO-APIC.
pub const LINES: u8 = 0x30;
/// The first of the devices' own, which each CPU gives out by itself ...
pub const DEVICES: u8 = 0x50;
/// ... and one past the last.
pub const DEVICES_END: u8 = 0xf0;
/// The APIC timer.
pub const TIMER: u8 = 0xf0;
/// Another CPU asks to look at the run queue or the task's work.
pub const RESCHEDULE: u8 = 0xf1;
/// Another CPU asks to flush translations.
pub const SHOOTDOWN: u8 = 0xf2;
/// Another CPU reports a crash.
pub const STOP: u8 = 0xf3;
/// The APIC withdrew an interrupt; needs no answer.
pub const SPURIOUS: u8 = 0xff;
/// In [`Regs`](super::Regs): not an interrupt but a system call.
pub const SYSCALL: u64 = 256;
/// In [`Regs`](super::Regs): a thread that has not been in user mode.
pub(super) const IN_KERNEL: u64 = 257;
