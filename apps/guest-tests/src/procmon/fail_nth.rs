// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each thing that one can do with the module, with the first, second, third … allocation or user copy failing on its way:
//! see [`crate::harness::fail_nth`]. Each run ends in success or with the error of what failed, and leaves a module that
//! works and the state of before.

use std::fs::File;
use std::path::Path;

use procmon::{Events, Monitor};
use rustix::io::Errno;

use super::machine::{self, CLASS, EVENTS, MODULE, NODE, STATS, needs_the_module_file};
use crate::harness::fail_nth::{Arm, Called, Operation, survives};
use crate::harness::{Options, Stop, Test, fail, modules};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::long("fail_nth_load", |options| {
            needs_the_module_file(options)?;
            survives(options, &LOAD)
        }),
        Test::long("fail_nth_unload", |options| {
            needs_the_module_file(options)?;
            survives(options, &UNLOAD)
        }),
        Test::long("fail_nth_write", |options| survives(options, &loaded(write, 2))),
        Test::long("fail_nth_read", |options| survives(options, &loaded(read, 2))),
        Test::long("fail_nth_stats", |options| survives(options, &loaded(stats, 1))),
        Test::long("fail_nth_query", |options| survives(options, &loaded(query, 2))),
        Test::long("fail_nth_set_filter", |options| survives(options, &loaded(set_filter, 2))),
        Test::long("fail_nth_snapshot", |options| survives(options, &loaded(snapshot, 3))),
        Test::long("fail_nth_open_events", |options| survives(options, &loaded(open_events, 3))),
        Test::long("fail_nth_read_events", |options| survives(options, &loaded(read_events, 1))),
        Test::long("fail_nth_map_events", |options| survives(options, &loaded(map_events, 0))),
        Test::long("fail_nth_read_attribute", |options| survives(options, &loaded(read_attribute, 0))),
    ]
}

const LOAD: Operation =
    Operation { before: unloaded, call: load, after: loaded_or_not, also: &[Errno::INVAL], at_least: 10 };

const UNLOAD: Operation =
    Operation { before: super::prepare, call: unload, after: unloaded_or_not, also: &[], at_least: 0 };

/// An operation on the module, which works before and after it.
const fn loaded(call: fn(&Options, Arm) -> Called, at_least: u32) -> Operation {
    Operation { before, call, after, also: &[], at_least }
}

const MESSAGE: &[u8] = &[b'm'; 600];

fn before(options: &Options) -> Result<(), Stop> {
    super::prepare(options)?;
    Ok(Monitor::open()?.set_message(MESSAGE).map(drop)?)
}

/// It works, and the message is the old or the new one.
fn after(_: &Options, result: Result<(), Errno>) -> Result<(), Stop> {
    let message = Monitor::open()?.message()?;
    match message.as_slice() {
        MESSAGE => Ok(()),
        NEW if result.is_ok() => Ok(()),
        _ => fail(format!("after {result:?} the message is {:?}", String::from_utf8_lossy(&message))),
    }
}

const NEW: &[u8] = &[b'n'; 700];

fn errno_of<T>(result: Result<T, procmon::Error>) -> Result<(), Errno> {
    result.map(drop).map_err(|error| error.errno())
}

fn write(_: &Options, arm: Arm) -> Called {
    let monitor = Monitor::open()?;
    arm.now()?;
    Ok(errno_of(monitor.set_message(NEW)))
}

fn read(_: &Options, arm: Arm) -> Called {
    let file = File::open(NODE)?;
    let mut buffer = [0; 1024];
    arm.now()?;
    Ok(rustix::io::read(&file, &mut buffer).map(drop))
}

fn stats(_: &Options, arm: Arm) -> Called {
    let monitor = Monitor::open()?;
    arm.now()?;
    Ok(errno_of(monitor.stats()))
}

fn query(_: &Options, arm: Arm) -> Called {
    let monitor = Monitor::open()?;
    arm.now()?;
    Ok(errno_of(monitor.query(1)))
}

fn set_filter(_: &Options, arm: Arm) -> Called {
    let monitor = Monitor::open()?;
    arm.now()?;
    Ok(errno_of(monitor.set_filter(1)))
}

fn snapshot(_: &Options, arm: Arm) -> Called {
    let monitor = Monitor::open()?;
    // Twice, so that the program's own memory is there the second time: what may fail is the module's.
    let mut records = monitor.snapshot()?;
    arm.now()?;
    Ok(errno_of(monitor.snapshot_into(&mut records)))
}

fn open_events(_: &Options, arm: Arm) -> Called {
    arm.now()?;
    Ok(errno_of(Events::open()))
}

fn read_events(_: &Options, arm: Arm) -> Called {
    let file = File::open(EVENTS)?;
    std::process::Command::new("true").status()?;
    let mut buffer = [0; 4096];
    arm.now()?;
    Ok(rustix::io::read(&file, &mut buffer).map(drop))
}

fn map_events(_: &Options, arm: Arm) -> Called {
    let events = Events::open()?;
    arm.now()?;
    Ok(errno_of(events.map()))
}

fn read_attribute(_: &Options, arm: Arm) -> Called {
    let file = File::open(STATS)?;
    let mut buffer = [0; 4096];
    arm.now()?;
    Ok(rustix::io::read(&file, &mut buffer).map(drop))
}

fn load(options: &Options, arm: Arm) -> Called {
    let file = File::open(machine::module_file(options))?;
    arm.now()?;
    Ok(rustix::system::finit_module(&file, c"ring_events=64", 0))
}

fn unload(_: &Options, arm: Arm) -> Called {
    arm.now()?;
    Ok(modules::try_unload(MODULE))
}

fn unloaded(_: &Options) -> Result<(), Stop> {
    if modules::is_loaded(MODULE) { machine::unload() } else { Ok(()) }
}

fn loaded_or_not(options: &Options, result: Result<(), Errno>) -> Result<(), Stop> {
    match result {
        Ok(()) => before(options).and_then(|()| after(options, result)),
        Err(_) => nothing_is_left(),
    }
}

fn unloaded_or_not(options: &Options, result: Result<(), Errno>) -> Result<(), Stop> {
    if result.is_ok() { nothing_is_left() } else { before(options) }
}

fn nothing_is_left() -> Result<(), Stop> {
    if modules::is_loaded(MODULE) {
        return fail("the module is loaded");
    }
    for path in [NODE, EVENTS, CLASS] {
        if Path::new(path).exists() {
            return fail(format!("{path} is left"));
        }
    }
    if std::fs::read_to_string("/proc/devices")?.contains(MODULE) {
        return fail("the major number is left");
    }
    Ok(())
}
