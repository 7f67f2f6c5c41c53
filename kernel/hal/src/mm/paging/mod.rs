// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page tables: [`entry`] has the format, [`kernel`] the part that all address spaces share, [`user_table`] what programs have mapped, and
//! [`space`] loads it on CPUs.

pub(crate) mod entry;
pub(crate) mod kernel;
pub(crate) mod space;
pub(crate) mod user_table;

pub use super::NoMemory;
pub use entry::{Access, Marks};
pub use kernel::count_writable_and_executable;
pub use space::{SpaceHandle, enter_lazy_tlb};
pub use user_table::{Page, PageEntry, UserTable};
