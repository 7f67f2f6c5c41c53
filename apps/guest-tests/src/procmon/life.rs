// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading and unloading, in use and not.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procmon::{Events, Monitor};
use rustix::io::Errno;

use super::machine::{CLASS, EVENTS, MODULE, NODE, STATS, load, needs_the_module_file, open, soon, unload};
use crate::harness::{Options, Stop, Test, fail, modules};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_module_with_an_open_file_stays", a_module_with_an_open_file_stays),
        Test::new("an_open_file_works_until_it_is_closed", an_open_file_works_until_it_is_closed),
        Test::new("the_thread_ends_at_once", the_thread_ends_at_once),
        Test::new("attributes_are_there_when_the_node_is", attributes_are_there_when_the_node_is),
        Test::long("the_module_comes_and_goes_and_leaves_nothing", comes_and_goes),
        Test::long("the_module_may_come_and_go_while_programs_use_it", comes_and_goes_in_use),
    ]
}

fn a_module_with_an_open_file_stays(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    for node in [NODE, EVENTS] {
        let file = File::open(node)?;
        let refused = modules::try_unload(MODULE);
        assert!(matches!(refused, Err(Errno::WOULDBLOCK | Errno::BUSY)), "with {node} open: {refused:?}");
        drop(file);
    }
    unload()?;
    load(options, c"")
}

fn an_open_file_works_until_it_is_closed(_: &Options) -> Result<(), Stop> {
    let mut file = open()?;
    for _ in 0..50 {
        assert!(modules::try_unload(MODULE).is_err());
        file.write_all(b"still here")?;
    }
    assert_eq!(Monitor::open()?.message()?, b"still here");
    Ok(())
}

/// Not after the rest of its minute.
fn the_thread_ends_at_once(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    unload()?;
    load(options, c"interval_ms=60000")?;
    thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    unload()?;
    let took = begun.elapsed();
    load(options, c"")?;
    if took < Duration::from_secs(5) { Ok(()) } else { fail(format!("unloading took {took:?}")) }
}

/// Whoever sees the node must find the files.
fn attributes_are_there_when_the_node_is(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    for _ in 0..options.loops {
        unload()?;
        let done = AtomicBool::new(false);
        let found = thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !Path::new(NODE).exists() {
                    if done.load(Ordering::Relaxed) {
                        return Path::new(NODE).exists();
                    }
                }
                Path::new(STATS).exists()
            });
            let loaded = load(options, c"");
            done.store(true, Ordering::Relaxed);
            loaded.map(|()| watcher.join().unwrap_or(false))
        })?;
        assert!(found, "the node was there before {STATS}");
    }
    Ok(())
}

fn comes_and_goes(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    for round in 0..options.loops {
        unload()?;
        for left in [NODE, EVENTS, CLASS] {
            assert!(!Path::new(left).exists(), "round {round}: {left} is left");
        }
        assert!(
            !fs::read_to_string("/proc/devices")?.contains(MODULE),
            "round {round}: the major number is left"
        );
        load(options, c"")?;
        Monitor::open()?.set_message(b"works")?;
        assert_eq!(Monitor::open()?.message()?, b"works");
    }
    Ok(())
}

fn comes_and_goes_in_use(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    let (done, uses) = (AtomicBool::new(false), AtomicU64::new(0));
    let users: [fn() -> Result<(), Stop>; 5] = [use_message, use_attributes, use_snapshot, use_events, fork];
    thread::scope(|scope| {
        let users = users.map(|user| {
            let (done, uses) = (&done, &uses);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    // That it is gone is no failure: what is tested is that nothing breaks.
                    if user().is_ok() {
                        uses.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        let moved = (0..options.loops).try_for_each(|_| {
            let before = uses.load(Ordering::Relaxed);
            // Somebody has it open nearly always; between two of them there is a gap.
            if !soon(|| modules::try_unload(MODULE).is_ok()) {
                return fail("the module is in use all the time");
            }
            load(options, c"ring_events=64")?;
            if soon(|| uses.load(Ordering::Relaxed) > before) {
                Ok(())
            } else {
                fail("nobody could use the module")
            }
        });
        done.store(true, Ordering::Relaxed);
        for user in users {
            user.join().map_err(|_| Stop::Failed("a user has panicked".to_owned()))?;
        }
        moved
    })?;
    unload()?;
    load(options, c"")
}

fn pause() {
    thread::sleep(Duration::from_micros(500));
}

fn use_message() -> Result<(), Stop> {
    pause();
    let mut file = open()?;
    file.write_all(b"message")?;
    Ok(file.read(&mut [0; 64]).map(drop)?)
}

fn use_attributes() -> Result<(), Stop> {
    pause();
    Ok(fs::read_to_string(STATS).map(drop)?)
}

fn use_snapshot() -> Result<(), Stop> {
    pause();
    Ok(Monitor::open()?.snapshot().map(drop)?)
}

fn use_events() -> Result<(), Stop> {
    pause();
    let mut events = Events::open()?;
    let rings = events.map()?;
    let _ = rings.reader().take();
    Ok(events.read().map(drop)?)
}

fn fork() -> Result<(), Stop> {
    Command::new("true").status()?;
    fail("forking is no use of the module")
}
