// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine for tests on the host: the part of `exo-hal` that the crates above it use, with the same names and signatures.
//!
//! - A **task** is a thread of the host that runs only while it has a CPU: [`thread::switch`] gives the CPU to the next task's thread and
//!   waits until somebody gives one back. With one CPU, everything happens in the same order in each run.
//! - **Time** stands still while code runs. It moves when all CPUs wait, to the next timer, and when a test says so
//!   ([`time::advance`], [`time::compute`]). A cycle is a nanosecond. There is one clock: what a task computes passes on all CPUs.
//! - **Interrupts** are taken where the kernel takes them: when an idle CPU waits, and in [`cpu::interrupt_window`].
//! - **Frames** are pages of the host's memory, as many as a test allows, and counted, so that it sees whether one is lost.
//! - **A program's memory** is what the page tables show that its CPU has loaded; without any, what a test maps with [`mm::user::map`].
//! - **Registers** of a program are the real type ([`trap::Regs`]), set by a test as its program would. User mode itself is what a test makes
//!   of them; see `exo-test-support`.
//! - The **log** is the real one too, on serial ports that a test reads ([`dev::serial`]).
//! - [`sync::SpinLock`] finds out who sleeps, lets interrupts in or touches a program's memory with one held.
//!
//! What belongs to tests alone is in [`machine`], [`hooks`], [`time`], [`mm`], [`thread`], [`trap`], [`boot`] and [`dev::serial`]. The CPUs start with the first
//! machine that has them and stay as long as the process, since what the core knows of them is in statics; so machines run one after another.
#![deny(unsafe_code)]

pub mod boot;
pub mod cpu;
pub mod dev;
pub mod hooks;
#[expect(dead_code, reason = "no crash here takes the console back from a driver")]
#[path = "../../hal/src/log.rs"]
pub mod log;
pub mod machine;
pub mod mm;
pub mod once;
pub mod power;
pub mod replaceable;
pub mod sync;
pub mod thread;
pub mod time;
pub mod tlb;
pub mod trap;

/// One past the highest user address, as on the real machine.
pub const USER_END: usize = 0x7fff_ffff_f000;
/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;
/// The largest number of CPUs; one bit each in a CPU mask.
pub const MAX_CPUS: usize = 64;
