// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/procmon` and `/dev/procmon_events`: questions about processes, and events as they happen. `abi/procmon-abi` is the
//! contract; programs find what the Linux module in `linux/procmon` gives them, by the same names.
//!
//! ```text
//!  fork, exec, exit, rename ──▶ counters ──▶ sampler (once a second) ──▶ /sys/class/procmon/procmon/stats
//!   (the process waits)    └──▶ filter ──▶ ring of this CPU ──▶ read, mmap
//! ```
//!
//! Linux's module has a thread that samples; this kernel has no threads of its own, so a timer does it.

mod bytes;
mod events;
mod filter;
mod ioctl;
mod message;
mod operations;
mod sampler;
mod settings;
mod snapshot;
mod sysfs_files;

use alloc::{boxed::Box, sync::Arc};

use exo_hal::log;

use crate::{
    errno::Result,
    fs::{
        device::{self, Opener},
        file::File,
        inode::kind,
    },
    task::observer,
};

/// Permissions of the nodes. What they tell is told by /proc too, but not so cheaply; and the message and the filter are one for
/// all.
const NODE_MODE: u32 = 0o600;

/// Opens `/dev/procmon`.
struct Monitor;

impl Opener for Monitor {
    fn open(&self, _flags: u32) -> Result<Box<dyn File>> {
        operations::count(operations::Operation::Open);
        Ok(Box::new(message::MessageFile))
    }
}

/// Makes the nodes and files. Without memory for them, this kernel has none.
pub fn start() {
    if let Err(error) = make() {
        log!("procmon: error {}", error.0);
    }
}

fn make() -> Result<()> {
    events::init()?;
    observer::set(&events::Recorder);
    device::announce("procmon", kind::CHARACTER, NODE_MODE, Arc::new(Monitor))?;
    device::announce("procmon_events", kind::CHARACTER, NODE_MODE, Arc::new(events::Inode))?;
    sysfs_files::add();
    sampler::start();
    Ok(())
}
