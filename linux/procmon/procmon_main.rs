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
    Registration, //
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
/// Fields are dropped as they are declared, and each needs only what is below it: first the nodes go,
/// so that no program comes any more; then the thread has ended; then nobody calls us when a process
/// forks; and then what all of them used can go.
struct Procmon {
    _event_node: Registration<events::Node>,
    _node: Registration<Monitor>,
    _thread: Kthread<Sampler>,
    _probes: ProcessProbes<Events>,
}

impl kernel::Module for Procmon {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let events = Events::new()?;
        let probes = ProcessProbes::new(events.clone())?;
        let sampler = Sampler::new(events.clone())?;
        let thread = Kthread::spawn(c"procmon_monitor", sampler.clone())?;

        let region = Region::new(NAME, MINORS)?;
        let class = Class::new(NAME)?;
        let node = Registration::new::<files::Files>(
            &class,
            region.reserve(0)?,
            fmt!("procmon"),
            Options {
                mode: files::NODE_MODE,
                attributes: Some(attributes::of_monitor()),
                ..Options::DEFAULT
            },
            Monitor::new(events.clone(), sampler),
        )?;
        let event_node = Registration::new::<events::files::Files>(
            &class,
            region.reserve(0)?,
            fmt!("procmon_events"),
            Options {
                mode: files::NODE_MODE,
                ..Options::DEFAULT
            },
            Ok(events::Node::new(events)),
        )?;

        let major = region.major();
        pr_info!("/dev/procmon is {major}:0, /dev/procmon_events is {major}:1\n");
        Ok(Self {
            _event_node: event_node,
            _node: node,
            _thread: thread,
            _probes: probes,
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

/// What `modinfo` shows as the version; `module!` has no field for it.
#[cfg(MODULE)]
#[link_section = ".modinfo"]
#[used(compiler)]
static VERSION: [u8; 14] = *b"version=0.1.0\0";
