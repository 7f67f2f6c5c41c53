// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a driver needs from a machine: registers, memory for DMA, PCI functions with their interrupts, time and CPUs.
//!
//! The types are the same on both sides, so that a driver is written once, without generics. In the kernel (`target_os = "none"`)
//! they are `exo-hal`'s. On the host they are fakes (see [`fake`]): a device is a Rust object that sees every register
//! access, reaches memory only where the driver has given it some, and may misbehave as it likes.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod metal;
#[cfg(target_os = "none")]
pub use metal::*;

#[cfg(not(target_os = "none"))]
pub mod fake;
#[cfg(not(target_os = "none"))]
pub use fake::{
    ConnectedLine, InterruptLine,
    buffer::{Buffer, Pages},
    cpu::{cpu_count, cpu_index, memory_barrier, node_of_cpu, now_ns, spin_for_ns},
    dma::Dma,
    page::SharedPage,
    pci,
    registers::Registers,
};

pub use exo_logic::device::{InterruptHandler, InterruptKind, NoMemory, Segment};

/// A lock that is held for a short, bounded time, and never while another task is waited for.
#[cfg(not(target_os = "none"))]
pub type SpinLock<T> = parking_lot::Mutex<T>;

/// A free lock that is held while a program's memory is touched: see `exo_hal::sync::SpinLock::held_over_faults`.
#[cfg(not(target_os = "none"))]
pub const fn lock_held_over_faults<T>(value: T) -> SpinLock<T> {
    SpinLock::new(value)
}

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;
/// Most bytes that one request moves: 128 KiB, which may begin anywhere in a page.
pub const MAX_TRANSFER: usize = 128 * 1024;
