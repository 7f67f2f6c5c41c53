// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring: requests through rings in shared memory, with Linux's layout, numbers and meaning.
//!
//! ```text
//! calls ──▶ Ring ── submit ──▶ Job ── perform ──▶ done at once ─────────────▶ finish ──▶ completion
//!                                        ├──────▶ park ── worker: retries ──▶   │
//!                                        └──────▶ a block device's queue ──────▶│
//!                                                     next of a link ◀──────────┘
//! ```
//!
//! * What can be done at once is done by whoever submits, without another thread.
//! * What has to wait for a file or a time is parked; the ring's worker, a kernel thread that is started when it is first needed,
//!   sleeps on all that is parked and tries again. It has the submitter's memory loaded.
//! * Reads and writes of block devices go straight into the device's queue, to and from the program's own pages. The device's
//!   completion writes the ring's.
//! * With `IORING_SETUP_SQPOLL` the worker takes submissions from the ring by itself.
//!
//! A ring's file is not taken by rings, as a registered file or to be polled: two that hold each other would live for ever.

mod calls;
mod disk;
mod file;
mod flights;
mod job;
mod memory;
mod parked;
mod perform;
mod resources;
mod ring;
mod submit;
mod worker;

pub use calls::{enter, register, setup};
