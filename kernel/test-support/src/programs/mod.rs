// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs: processes whose code is closures.
//!
//! [`machine::machine`] runs a test as the child of a first program, in an empty directory that is gone afterwards. It does
//! system calls with [`call!`](crate::call), which answers as the C library does; what the other modules have are such calls with a name.
//! [`user`] is user mode.

pub mod calls;
pub mod image;
pub mod machine;
pub mod memory;
pub mod user;

pub use exo_core::errno::Errno;
pub use linux_raw_sys::general as abi;

pub use calls::*;
pub use machine::machine;
pub use memory::{get, get_bytes, put, put_bytes, reserve};
