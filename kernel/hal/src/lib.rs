// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exo-Kernel's hardware layer: everything that needs `unsafe`, behind a safe face.
//!
//! One rule makes most of this crate simple: **interrupts are off in the kernel.** They are taken in user mode, in the idle
//! loop and at explicit preemption points ([`cpu::interrupt_window`]), so per-CPU data needs no guard and no lock is ever
//! taken by an interrupt handler while the same CPU holds it. A CPU that waits for a lock keeps answering the one request
//! that cannot wait, TLB shoot-downs (see [`sync`] and [`tlb`]).
//!
//! The kernel proper plugs in through the functions declared in [`hooks`].
#![no_std]

extern crate alloc;

pub mod boot;
pub mod cpu;
pub mod dev;
pub mod hooks;
pub mod log;
pub mod mm;
pub mod panic;
pub mod power;
pub mod replaceable;
pub mod smp;
pub mod sync;
pub mod thread;
pub mod time;
pub mod tlb;
pub mod trap;

/// Where the kernel image is linked: physical address plus this.
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Where all physical memory is mapped, never executable.
pub const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
/// Where kernel stacks and device registers are mapped.
pub const KERNEL_MAPPINGS: u64 = 0xffff_c900_0000_0000;
/// One past the highest user address. The last page of the lower half stays unmapped for ever, so that the address after a
/// `syscall` instruction is always canonical and `sysret` cannot fault in kernel mode.
pub const USER_END: usize = 0x7fff_ffff_f000;
/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;
/// The largest number of CPUs; one bit each in a CPU mask.
pub const MAX_CPUS: usize = 64;
