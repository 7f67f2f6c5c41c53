// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring's rings and requests, as Linux has them (`io_uring.h`), without anything of a machine: where things lie in the
//! shared memory, how indices move, and what an entry asks for.
//!
//! The memory is shared with a program that may write to it at any time, wrongly or on purpose. So the kernel keeps its own copy
//! of all that it decides by, reads each field of the program's once, and checks it there.

pub mod entry;
pub mod layout;
pub mod queues;

pub use entry::{Entry, Operation};
pub use layout::Layout;
pub use queues::{Completions, Posted, Shared, Submissions, Taken};
