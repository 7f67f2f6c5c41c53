// SPDX-License-Identifier: GPL-2.0

//! `procmon`: tells programs about processes.
//!
//! This file is the module: what it is called, what it consists of, and in which order its parts
//! come up. README.md beside it tells how the parts work together.

use kernel::prelude::*;

pub mod abi;
#[path = "../chardev/mod.rs"]
pub mod chardev;
#[path = "../mechanisms/mod.rs"]
pub mod mechanisms;

mod attributes;
mod cpu_time;
mod events;
mod files;
mod ioctl;
mod message;
mod monitor;
mod operations;
mod parameters;
mod sampler;
mod snapshot;
mod time;

use abi::rates;
use chardev::{
    Class,
    Options,
    Region,
    Registration,
    ReleaseBarrier, //
};
use events::Events;
use mechanisms::{
    Kthread,
    ProcessProbes, //
};
use monitor::Monitor;
use sampler::Sampler;

/// The name in `/proc/devices`, `/sys/class` and `/dev`.
const NAME: &CStr = c"procmon";

/// One for `/dev/procmon`, one for `/dev/procmon_events`.
const MINORS: u32 = 2;

/// The loaded module.
///
/// Fields are dropped as they are declared, and each needs only what is below it: first the nodes
/// go, so that no program comes any more; then the thread has ended; then nobody calls us when a
/// process forks; and then what all of them used can go.
struct Procmon {
    _event_node: Registration<events::Node>,
    _node: Registration<Monitor>,
    _thread: Kthread<Sampler>,
    _probes: ProcessProbes<Events>,
    _barrier: ReleaseBarrier,
}

impl kernel::Module for Procmon {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // Dropped in `Self`, which is dropped when the module is unloaded, or on the way out below.
        // That is the reason of each `unsafe` here.
        let barrier = ReleaseBarrier::new();
        // SAFETY: See above.
        let events = unsafe { Events::new() }?;
        // SAFETY: See above.
        let probes = unsafe { ProcessProbes::new(events.clone()) }?;
        let sampler = Sampler::new(events.clone())?;
        // SAFETY: See above.
        let thread = unsafe { Kthread::spawn(c"procmon_monitor", sampler.clone()) }?;

        let region = Region::new(NAME, MINORS)?;
        // SAFETY: See above.
        let class = unsafe { Class::new(NAME) }?;
        // SAFETY: See above.
        let node = unsafe {
            Registration::new::<files::Files>(
                &class,
                region.reserve(0)?,
                fmt!("procmon"),
                Options {
                    mode: files::NODE_MODE,
                    attributes: Some(attributes::of_monitor()),
                    ..Options::DEFAULT
                },
                Monitor::new(events.clone(), sampler),
            )
        }?;
        // SAFETY: See above.
        let event_node = unsafe {
            Registration::new::<events::files::Files>(
                &class,
                region.reserve(0)?,
                fmt!("procmon_events"),
                Options {
                    mode: files::NODE_MODE,
                    ..Options::DEFAULT
                },
                Ok(events::Node::new(events)),
            )
        }?;

        let major = region.major();
        pr_info!("/dev/procmon is {major}:0, /dev/procmon_events is {major}:1\n");
        Ok(Self {
            _event_node: event_node,
            _node: node,
            _thread: thread,
            _probes: probes,
            _barrier: barrier,
        })
    }
}

module! {
    type: Procmon,
    name: "procmon",
    authors: ["The Exo authors"],
    description: "Answers questions about processes, and tells what happens to them",
    license: "GPL",
}

module_version!("0.1.0");
