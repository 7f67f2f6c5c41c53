// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: frames, allocations that may fail, page tables, and the running program's memory.

mod contents;
pub mod dma;
pub mod frame;
pub mod heap;
pub mod paging;
pub mod user;

pub use exo_logic::device::NoMemory;
