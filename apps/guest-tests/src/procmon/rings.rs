// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mapped rings.

use std::process::Command;
use std::time::Duration;

use procmon::abi::event::{EXEC, EXIT, Event, FORK};
use procmon::{Events, Taken};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::machine::{pid_of, with_small_rings, with_usual_rings};
use crate::harness::{Options, Stop, Test, fail};
use crate::raw::try_map_for;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("mapped_rings_hold_what_read_gives", mapped_rings_hold_what_read_gives),
        Test::new("poll_wakes_a_reader_of_the_mapping_after_skip", poll_wakes_after_skip),
        Test::new("a_mapping_cannot_be_written_private_or_elsewhere", wrong_mappings_are_refused),
        Test::new("a_mapping_outlives_its_file", a_mapping_outlives_its_file),
        Test::long("a_slow_reader_of_the_mapping_knows_what_it_lost", a_slow_reader_knows),
    ]
}

fn run() -> Result<i32, Stop> {
    let mut child = Command::new("true").spawn()?;
    child.wait()?;
    pid_of(&child)
}

fn mapped_rings_hold_what_read_gives(_: &Options) -> Result<(), Stop> {
    let mut events = Events::open()?;
    let rings = events.map()?;
    let mut reader = rings.reader();
    events.skip()?;
    let pid = run()?;
    let is_own = |event: &Event| event.tgid == pid;
    let mut taken: Vec<Event> = std::iter::from_fn(|| reader.take())
        .filter_map(|taken| if let Taken::Event(event) = taken { Some(event) } else { None })
        .filter(is_own)
        .collect();
    taken.sort_by_key(|event| event.time);
    let read: Vec<Event> = events.read()?.filter(is_own).collect();
    assert_eq!(taken.iter().map(|event| event.kind).collect::<Vec<_>>(), [FORK, EXEC, EXIT]);
    assert_eq!(taken, read);
    Ok(())
}

fn poll_wakes_after_skip(_: &Options) -> Result<(), Stop> {
    let events = Events::open()?;
    let rings = events.map()?;
    let mut reader = rings.reader();
    for _ in 0..20 {
        events.skip()?;
        while reader.take().is_some() {}
        let pid = run()?;
        assert!(events.wait(Duration::from_secs(5))?, "poll was not woken");
        let exits = std::iter::from_fn(|| reader.take())
            .any(|taken| matches!(taken, Taken::Event(event) if event.tgid == pid && event.kind == EXIT));
        assert!(exits, "the exit of {pid} is not in the rings");
    }
    Ok(())
}

fn wrong_mappings_are_refused(_: &Options) -> Result<(), Stop> {
    let events = Events::open()?;
    let (page, shared) = (4096, MapFlags::SHARED);
    assert_eq!(try_map_for(&events, page, ProtFlags::READ, shared, 0), Ok(()));
    let writable = try_map_for(&events, page, ProtFlags::READ | ProtFlags::WRITE, shared, 0);
    assert_eq!(writable, Err(Errno::ACCESS), "writable, of a file that is open for reading");
    let both = std::fs::File::options().read(true).write(true).open(super::machine::EVENTS)?;
    assert_eq!(
        try_map_for(&both, page, ProtFlags::READ | ProtFlags::WRITE, shared, 0),
        Err(Errno::ACCESS),
        "writable"
    );
    assert_eq!(
        try_map_for(&events, page, ProtFlags::READ | ProtFlags::EXEC, shared, 0),
        Err(Errno::ACCESS),
        "executable"
    );
    assert_eq!(
        try_map_for(&events, page, ProtFlags::READ, MapFlags::PRIVATE, 0),
        Err(Errno::INVAL),
        "private"
    );
    assert_eq!(try_map_for(&events, page, ProtFlags::READ, shared, 4096), Err(Errno::INVAL), "at an offset");
    assert_eq!(
        try_map_for(&events, 1 << 32, ProtFlags::READ, shared, 0),
        Err(Errno::INVAL),
        "more than there is"
    );
    Ok(())
}

fn a_mapping_outlives_its_file(_: &Options) -> Result<(), Stop> {
    let events = Events::open()?;
    let rings = events.map()?;
    drop(events);
    // The mapping keeps the file, so recording goes on and the module stays.
    let mut reader = rings.reader();
    let pid = run()?;
    let exits = std::iter::from_fn(|| reader.take())
        .any(|taken| matches!(taken, Taken::Event(event) if event.tgid == pid && event.kind == EXIT));
    assert!(exits, "the exit of {pid} is not in the rings");
    let refused = crate::harness::modules::try_unload(super::machine::MODULE);
    if refused.is_ok() { fail("the module of mapped memory was unloaded") } else { Ok(()) }
}

fn a_slow_reader_knows(options: &Options) -> Result<(), Stop> {
    let before = with_small_rings(options)?;
    {
        let events = Events::open()?;
        let rings = events.map()?;
        let mut reader = rings.reader();
        for _ in 0..60 {
            run()?;
        }
        let (mut read, mut lost) = (0, 0);
        while let Some(taken) = reader.take() {
            match taken {
                Taken::Event(_) => read += 1,
                Taken::Lost(count) => lost += count,
            }
        }
        let recorded = super::machine::stat("events")?.parse::<u64>()? - before;
        assert!(lost > 0, "nothing was lost");
        assert!(recorded.abs_diff(read + lost) <= 6, "{recorded} were recorded, {read} read, {lost} lost");
    }
    with_usual_rings(options)
}
