// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page tables, of which there are none here.

pub use super::NoMemory;

/// An idle CPU needs no shoot-downs of programs' pages.
pub fn enter_lazy_tlb() {}
