// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events: what known programs do, exactly.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procmon::abi::event::{COMM, EVENT_SIZE, EXEC, EXIT, Event, FORK, LOST};
use procmon::abi::ioctl::{EVENTS_LOST, EVENTS_SKIP, GET_STATS, RESET};
use procmon::{Events, Monitor, name};
use rustix::io::Errno;

use super::machine::{EVENTS, own_pid, pid_of, shell, soon, with_small_rings, with_usual_rings};
use crate::harness::{Options, Stop, Test, beside_a_page_fault, fail, skip};
use crate::raw::{Access, Memory, PAGE, Place, ioctl, read};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_program_forks_execs_and_exits_in_this_order", a_program_in_order),
        Test::new("exit_codes_and_signals_are_told", exit_codes_and_signals_are_told),
        Test::new("a_new_name_is_an_event_and_one_by_exec_is_not", a_new_name_is_an_event),
        Test::new("threads_are_no_processes", threads_are_no_processes),
        Test::new("the_filter_follows_a_process_and_its_descendants", the_filter_follows),
        Test::new("the_filter_finds_descendants_that_are_there_already", the_filter_finds_descendants),
        Test::new("the_filter_does_not_follow_who_gets_the_number_of_a_zombie", the_filter_forgets),
        Test::new("a_file_starts_with_what_happens_after_it_was_opened", a_file_starts_when_opened),
        Test::new("reading_waits_unless_it_must_not", reading_waits_unless_it_must_not),
        Test::new("poll_tells_when_there_is_something", poll_tells),
        Test::new("a_buffer_without_room_for_an_event_is_refused", a_small_buffer_is_refused),
        Test::new("ioctls_of_events_refuse_the_wrong_ones", ioctls_refuse),
        Test::new("a_reader_whose_memory_is_missing_holds_up_nobody", a_stuck_reader_holds_up_nobody),
        Test::long("a_slow_reader_is_told_exactly_what_it_lost", a_slow_reader_is_told),
        Test::long("a_reader_in_time_loses_nothing", a_reader_in_time_loses_nothing),
    ]
}

/// The events of one process.
pub(super) fn of(events: &[Event], pid: i32) -> Vec<Event> {
    events.iter().filter(|event| event.tgid == pid).copied().collect()
}

fn kinds(events: &[Event]) -> Vec<u32> {
    events.iter().map(|event| event.kind).collect()
}

/// Collects events until this process has exited.
fn until_exit(events: &mut Events, pid: i32) -> Result<Vec<Event>, Stop> {
    let mut all = Vec::new();
    let ended = soon(|| {
        let _ = events.wait(Duration::from_millis(100));
        if let Ok(read) = events.read() {
            all.extend(read);
        }
        all.iter().any(|event: &Event| event.kind == EXIT && event.tgid == pid)
    });
    if ended { Ok(all) } else { fail(format!("no exit of {pid} in {all:?}")) }
}

/// Runs it to its end and returns its number.
fn run(command: &mut Command) -> Result<i32, Stop> {
    let mut child = command.spawn()?;
    child.wait()?;
    pid_of(&child)
}

fn a_program_in_order(_: &Options) -> Result<(), Stop> {
    let mut events = Events::open()?;
    let (before, parent) = (monotonic(), own_pid()?);
    let pid = run(&mut Command::new("true"))?;
    let all = until_exit(&mut events, pid)?;
    assert!(all.is_sorted_by_key(|event| event.time), "not in order: {all:?}");
    let own = of(&all, pid);
    assert_eq!(kinds(&own), [FORK, EXEC, EXIT], "{own:?}");
    let [fork, exec, exit] = own[..] else { return fail("three events") };
    assert!(own.iter().all(|event| event.pid == pid && event.ppid == parent && event.uid == 0));
    assert!(own.iter().all(|event| event.time >= before && event.time <= monotonic()), "times: {own:?}");
    assert_eq!(name(&fork.comm), own_name()?, "a child is called as its parent");
    assert_eq!((name(&exec.comm), name(&exit.comm)), ("true".to_owned(), "true".to_owned()));
    assert_eq!(exec.detail, u64::try_from(pid)?, "which thread called execve");
    assert_eq!(exit.detail, 0, "its status");
    Ok(())
}

fn own_name() -> Result<String, Stop> {
    Ok(std::fs::read_to_string("/proc/self/comm")?.trim().to_owned())
}

fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

fn exit_codes_and_signals_are_told(_: &Options) -> Result<(), Stop> {
    let mut events = Events::open()?;
    for (script, status) in
        [("exit 0", 0), ("exit 3", 3 << 8), ("exit 255", 255 << 8), ("kill -9 $$", 9), ("kill -TERM $$", 15)]
    {
        let pid = run(&mut shell(script))?;
        let exit = until_exit(&mut events, pid)?.into_iter().rfind(|event| event.tgid == pid);
        assert_eq!(exit.map(|exit| exit.detail), Some(status), "{script}");
    }
    Ok(())
}

fn a_new_name_is_an_event(_: &Options) -> Result<(), Stop> {
    let mut events = Events::open()?;
    let pid = run(&mut shell("printf 'a name that is too long' > /proc/$$/comm; exit 0"))?;
    let own = of(&until_exit(&mut events, pid)?, pid);
    assert_eq!(kinds(&own), [FORK, EXEC, COMM, EXIT], "{own:?}");
    assert_eq!(name(&own[2].comm), "a name that is ");
    assert_eq!(own[2].comm[15], 0);
    assert_eq!(own[3].comm, own[2].comm);
    Ok(())
}

fn threads_are_no_processes(_: &Options) -> Result<(), Stop> {
    let mut events = Events::open()?;
    for _ in 0..10 {
        thread::spawn(|| ()).join().map_err(|_| Stop::Failed("a thread has panicked".to_owned()))?;
    }
    let pid = run(&mut Command::new("true"))?;
    let own = of(&until_exit(&mut events, pid)?, own_pid()?);
    let others: Vec<_> = own.iter().filter(|event| event.kind != COMM).collect();
    assert!(others.is_empty(), "{others:?}");
    Ok(())
}

/// A shell that waits for its stdin to close and then starts a program of its own in a shell of its own.
fn nest() -> Result<Child, Stop> {
    let mut command = Command::new("sh");
    command.args(["-c", "read line; sh -c '/bin/true; exit 5'; exit 6"]).stdin(std::process::Stdio::piped());
    Ok(command.spawn()?)
}

fn the_filter_follows(_: &Options) -> Result<(), Stop> {
    let (mut events, monitor) = (Events::open()?, Monitor::open()?);
    let mut followed = nest()?;
    let pid = pid_of(&followed)?;
    // Until it waits, it is busy becoming a shell.
    assert!(soon(|| monitor.query(pid).is_ok_and(|found| found.is_some_and(|found| found.state == 1))));
    monitor.set_filter(pid)?;
    assert_eq!(monitor.stats()?.current_filter_pid, pid);
    events.skip()?;
    run(&mut Command::new("true"))?;
    drop(followed.stdin.take());
    run(&mut Command::new("true"))?;
    followed.wait()?;
    let all = until_exit(&mut events, pid)?;
    let forks: Vec<_> = all.iter().filter(|event| event.kind == FORK).collect();
    let [inner, innermost] = forks[..] else { return fail(format!("two forks were expected: {all:?}")) };
    assert_eq!((inner.ppid, innermost.ppid), (pid, inner.tgid));
    assert!(all.iter().all(|event| [pid, inner.tgid, innermost.tgid].contains(&event.tgid)), "{all:?}");
    // Some shells give what they start another name.
    let lives = |pid| kinds(&of(&all, pid)).into_iter().filter(|&kind| kind != COMM).collect::<Vec<_>>();
    assert_eq!(lives(innermost.tgid), [FORK, EXEC, EXIT]);
    assert_eq!(lives(inner.tgid), [FORK, EXEC, EXIT]);
    assert_eq!(lives(pid), [EXIT]);
    // The number of the process that is gone is still told.
    assert_eq!(monitor.stats()?.current_filter_pid, pid);
    Ok(())
}

fn the_filter_finds_descendants(_: &Options) -> Result<(), Stop> {
    let (mut events, monitor) = (Events::open()?, Monitor::open()?);
    // The grandchild is there before the filter, and outlives its parent.
    let mut child = shell("(sleep 1; /bin/true) & (sleep 60) & wait").spawn()?;
    let pid = pid_of(&child)?;
    let grown = soon(|| {
        let children = monitor.snapshot().map(|all| all.iter().filter(|one| one.ppid == pid).count());
        children.is_ok_and(|count| count >= 2)
    });
    assert!(grown, "the shell has no children");
    monitor.set_filter(pid)?;
    child.kill()?;
    child.wait()?;
    let mut all = Vec::new();
    let seen = soon(|| {
        all.extend(events.read().into_iter().flatten());
        all.iter().any(|event: &Event| event.kind == EXEC && name(&event.comm) == "true")
    });
    let sleeper = monitor.snapshot()?.into_iter().find(|one| &one.comm == b"sleep\0\0\0\0\0\0\0\0\0\0\0");
    if let Some(pid) = sleeper.and_then(|one| rustix::process::Pid::from_raw(one.pid)) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    }
    if seen { Ok(()) } else { fail(format!("the grandchild's child is not followed: {all:?}")) }
}

fn the_filter_forgets(_: &Options) -> Result<(), Stop> {
    /// As `QUERY_PID` tells a process that has ended and was not waited for (`EXIT_ZOMBIE` in `linux/sched.h`).
    const ZOMBIE: i32 = 0x20;
    /// The last number that was given out in this namespace; the next process gets the next one.
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    if !Path::new(LAST_PID).exists() {
        return skip("this kernel lets nobody choose a process's number");
    }
    let (mut events, monitor) = (Events::open()?, Monitor::open()?);
    let mut zombie = Command::new("true").spawn()?;
    let pid = pid_of(&zombie)?;
    assert!(soon(|| monitor.query(pid).is_ok_and(|found| found.is_some_and(|found| found.state == ZOMBIE))));
    monitor.set_filter(pid)?;
    zombie.wait()?;
    events.skip()?;
    // Somebody else may be faster.
    let mut tries = 0;
    while {
        std::fs::write(LAST_PID, (pid - 1).to_string())?;
        run(&mut Command::new("true"))? != pid
    } {
        tries += 1;
        assert!(tries < 100, "nobody gets the number {pid} again");
    }
    monitor.set_filter(0)?;
    let last = run(&mut Command::new("true"))?;
    let all = until_exit(&mut events, last)?;
    assert!(of(&all, pid).is_empty(), "{all:?}");
    Ok(())
}

fn a_file_starts_when_opened(_: &Options) -> Result<(), Stop> {
    let _keeps_recording = Events::open()?;
    let earlier = run(&mut Command::new("true"))?;
    let mut events = Events::open()?;
    let later = run(&mut Command::new("true"))?;
    let all = until_exit(&mut events, later)?;
    assert!(of(&all, earlier).is_empty(), "{all:?}");
    events.skip()?;
    assert_eq!(events.read()?.count(), 0, "after EVENTS_SKIP");
    Ok(())
}

fn reading_waits_unless_it_must_not(_: &Options) -> Result<(), Stop> {
    let monitor = Monitor::open()?;
    // Nobody else shall disturb: a process that does nothing.
    let mut quiet = Command::new("sleep").arg("60").spawn()?;
    let pid = pid_of(&quiet)?;
    assert!(soon(|| monitor.query(pid).is_ok_and(|found| found.is_some_and(|found| found.state == 1))));
    monitor.set_filter(pid)?;

    let events = Events::open()?;
    assert_eq!(rustix::io::read(&events, &mut [0; EVENT_SIZE]), Err(Errno::AGAIN));

    let mut blocking = File::open(EVENTS)?;
    let (woken, begun) = (AtomicBool::new(false), Instant::now());
    let event = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut bytes = [0; EVENT_SIZE];
            let read = blocking.read_exact(&mut bytes);
            woken.store(true, Ordering::Relaxed);
            read.map(|()| Event::from_bytes(&bytes))
        });
        thread::sleep(Duration::from_millis(300));
        assert!(!woken.load(Ordering::Relaxed), "it did not wait");
        quiet.kill()?;
        quiet.wait()?;
        Ok::<_, Stop>(reader.join().map_err(|_| Stop::Failed("the reader has panicked".to_owned()))??)
    })?;
    assert_eq!((event.kind, event.pid, event.detail), (EXIT, pid, 9));
    assert!(begun.elapsed() < Duration::from_secs(20));
    Ok(())
}

fn poll_tells(_: &Options) -> Result<(), Stop> {
    let monitor = Monitor::open()?;
    let mut quiet = Command::new("sleep").arg("60").spawn()?;
    let pid = pid_of(&quiet)?;
    assert!(soon(|| monitor.query(pid).is_ok_and(|found| found.is_some_and(|found| found.state == 1))));
    monitor.set_filter(pid)?;
    let mut events = Events::open()?;
    assert!(!events.wait(Duration::from_millis(100))?, "there is nothing");
    let ready = thread::scope(|scope| {
        let waiter = scope.spawn(|| events.wait(Duration::from_secs(20)));
        thread::sleep(Duration::from_millis(100));
        quiet.kill()?;
        quiet.wait()?;
        Ok::<_, Stop>(waiter.join().map_err(|_| Stop::Failed("the waiter has panicked".to_owned()))??)
    })?;
    assert!(ready, "poll was not woken");
    assert_eq!(events.read()?.count(), 1);
    assert!(!events.wait(Duration::ZERO)?, "after all was read");
    Ok(())
}

fn a_small_buffer_is_refused(_: &Options) -> Result<(), Stop> {
    let events = Events::open()?;
    assert_eq!(rustix::io::read(&events, &mut [0; EVENT_SIZE - 1]), Err(Errno::INVAL));
    assert!(rustix::io::write(&events, &[0; EVENT_SIZE]).is_err(), "events cannot be written");
    Ok(())
}

fn ioctls_refuse(_: &Options) -> Result<(), Stop> {
    let events = Events::open()?;
    let memory = Memory::new(Access::Full)?;
    for command in [RESET, GET_STATS, 0, u32::MAX, EVENTS_LOST ^ 1 << 16, EVENTS_SKIP | 4 << 16] {
        assert_eq!(ioctl(&events, command, Place::In(&memory, 0)), Err(Errno::NOTTY), "{command:#x}");
    }
    for place in [Place::Null, Place::Kernel, Place::NonCanonical] {
        assert_eq!(ioctl(&events, EVENTS_LOST, place), Err(Errno::FAULT), "{place:x?}");
    }
    Ok(())
}

/// On the same open file: it is their turn while the reader waits for its page.
fn a_stuck_reader_holds_up_nobody(_: &Options) -> Result<(), Stop> {
    let events = Events::open()?;
    run(&mut Command::new("true"))?;
    assert!(events.wait(Duration::from_secs(5))?, "there is nothing to read");
    let (count, ()) = beside_a_page_fault(
        |memory| read(&events, Place::In(memory, 0), PAGE),
        || {
            assert!(events.wait(Duration::ZERO)?, "nobody has read it yet");
            assert_eq!(events.lost()?, 0);
            Ok(())
        },
    )?;
    assert!(count.is_ok_and(|count| count >= EVENT_SIZE), "it read {count:?}");
    Ok(())
}

/// In order: each ring's sequence without gaps, but for those that a note about a loss explains.
fn check_sequences(all: &[Event]) -> Result<u64, Stop> {
    let (mut next, mut lost) = (std::collections::BTreeMap::new(), 0);
    for event in all {
        let expected = next.entry(event.cpu).or_insert(event.sequence);
        if *expected != event.sequence {
            return fail(format!("CPU {} goes on with {} instead of {expected}", event.cpu, event.sequence));
        }
        let step = if event.kind == LOST { event.detail } else { 1 };
        *expected += step;
        lost += if event.kind == LOST { event.detail } else { 0 };
    }
    Ok(lost)
}

fn a_slow_reader_is_told(options: &Options) -> Result<(), Stop> {
    let before = with_small_rings(options)?;
    let (mut events, monitor) = (Events::open()?, Monitor::open()?);
    let mut last = 0;
    for _ in 0..60 {
        last = run(&mut Command::new("true"))?;
    }
    // What was recorded, as the module counts it: nothing was before, and what comes after `last` is read, too.
    let all = until_exit(&mut events, last)?;
    let lost = check_sequences(&all)?;
    assert_eq!(events.lost()?, lost, "EVENTS_LOST");
    assert!(lost > 0, "nothing was lost: {} events", all.len());
    let read = u64::try_from(all.iter().filter(|event| event.kind != LOST).count())?;
    assert!(read + lost >= 180, "{read} were read and {lost} lost of at least 180");
    let recorded = super::machine::stat("events")?.parse::<u64>()? - before;
    let rest = u64::try_from(events.read()?.count())?;
    assert!(
        recorded.abs_diff(read + lost + rest) <= 6,
        "{recorded} were recorded, {read} + {rest} read, {lost} lost"
    );
    drop((events, monitor));
    with_usual_rings(options)
}

fn a_reader_in_time_loses_nothing(options: &Options) -> Result<(), Stop> {
    let mut events = Events::open()?;
    let done = AtomicBool::new(false);
    let (pids, all) = thread::scope(|scope| {
        let runners = [0; 2].map(|_| {
            scope.spawn(|| {
                (0..options.loops * 2)
                    .map(|_| run(&mut Command::new("true")))
                    .collect::<Result<Vec<_>, Stop>>()
            })
        });
        let reader = scope.spawn(|| {
            let mut all = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let _ = events.wait(Duration::from_millis(10));
                all.extend(events.read().into_iter().flatten());
            }
            loop {
                let before = all.len();
                all.extend(events.read().into_iter().flatten());
                if all.len() == before {
                    return (all, events.lost());
                }
            }
        });
        let pids =
            runners.map(|runner| runner.join().map_err(|_| Stop::Failed("a runner has panicked".to_owned())));
        done.store(true, Ordering::Relaxed);
        let (all, lost) = reader.join().map_err(|_| Stop::Failed("the reader has panicked".to_owned()))?;
        assert_eq!(lost?, 0, "lost events");
        let mut together = Vec::new();
        for pid in pids {
            together.extend(pid??);
        }
        Ok::<_, Stop>((together, all))
    })?;
    assert_eq!(check_sequences(&all)?, 0);
    assert!(all.is_sorted_by_key(|event: &Event| event.time), "not in order");
    for pid in pids {
        assert_eq!(kinds(&of(&all, pid)), [FORK, EXEC, EXIT], "process {pid}");
    }
    Ok(())
}
