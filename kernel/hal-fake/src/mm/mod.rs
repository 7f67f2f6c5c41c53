// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: a number of frames, allocations that may fail, and a program's memory.

pub mod frame;
pub mod heap;
pub mod paging;
pub mod user;

pub use exo_logic::device::NoMemory;
