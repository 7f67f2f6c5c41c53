// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: frames, the kernel heap, page tables, kernel stacks, and copies to and from user memory.

pub(crate) mod device_map;
pub(crate) mod direct_map;
pub mod dma;
pub mod frame;
pub mod heap;
pub(crate) mod image;
pub(crate) mod kernel_stack;
pub(crate) mod magazines;
pub mod paging;
pub mod user;

pub use exo_logic::device::NoMemory;
