// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ioctls of `/dev/procmon`: what they say, what they refuse, and 32-bit programs.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use procmon::abi::ioctl::{
    EVENTS_LOST, EVENTS_SKIP, GET_COUNT, GET_STATS, GET_STATS_32, QUERY_PID, QUERY_PID_32, RESET, SET_FILTER,
    SNAPSHOT,
};
use procmon::abi::process::state;
use procmon::{Monitor, name};
use rustix::io::Errno;

use super::machine::{open, own_pid, pid_of, shell, soon};
use crate::harness::arguments::PROBE;
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};
use crate::raw::{Access, Memory, PAGE, Place, Probe, ioctl, ioctl32};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("get_count_is_the_length_of_the_message", get_count),
        Test::new("stats_count_every_call_exactly", stats_count_every_call_exactly),
        Test::new("reset_keeps_the_filter_and_the_message", reset_keeps_the_filter_and_the_message),
        Test::new("reset_loses_no_call_that_is_made_meanwhile", reset_loses_no_call),
        Test::new("a_query_tells_what_proc_tells", a_query_tells_what_proc_tells),
        Test::new("a_query_knows_stopped_and_dead_processes", a_query_knows_stopped_and_dead_processes),
        Test::new("a_query_for_nobody_is_empty", a_query_for_nobody_is_empty),
        Test::new("a_name_cannot_speak_to_the_terminal", a_name_cannot_speak_to_the_terminal),
        Test::new("answers_hold_nothing_but_themselves", answers_hold_nothing_but_themselves),
        Test::new("every_wrong_pointer_gives_efault", every_wrong_pointer_gives_efault),
        Test::new("every_wrong_size_gives_enotty", every_wrong_size_gives_enotty),
        Test::new("a_filter_that_is_no_process_is_refused", a_filter_that_is_no_process_is_refused),
        Test::new("a_32_bit_program_has_its_own_structures", a_32_bit_program_has_its_own_structures),
        Test::new("a_32_bit_program_gets_the_same_errors", a_32_bit_program_gets_the_same_errors),
    ]
}

/// Commands with an argument, and its size.
const WITH_ARGUMENT: [(&str, u32, usize); 5] = [
    ("GET_COUNT", GET_COUNT, 4),
    ("GET_STATS", GET_STATS, 40),
    ("SET_FILTER", SET_FILTER, 4),
    ("QUERY_PID", QUERY_PID, 32),
    ("SNAPSHOT", SNAPSHOT, 16),
];

const SIZE_SHIFT: u32 = 16;

fn get_count(_: &Options) -> Result<(), Stop> {
    let monitor = Monitor::open()?;
    for length in [0, 1, 13, 1024] {
        open()?.write_all(&vec![b'x'; length])?;
        if length == 0 {
            monitor.set_message(b"")?;
        }
        assert_eq!(usize::try_from(monitor.message_length()?)?, length);
    }
    Ok(())
}

fn stats_count_every_call_exactly(_: &Options) -> Result<(), Stop> {
    let monitor = Monitor::open()?;
    monitor.reset()?;
    let stats = monitor.stats()?;
    assert_eq!(
        (stats.total_opens, stats.total_reads, stats.total_writes, stats.total_ioctls),
        (0, 0, 0, 1),
        "after RESET, with this very call"
    );
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| call_often(250))).collect();
        callers.into_iter().try_for_each(|caller| {
            caller.join().map_err(|_| Stop::Failed("a caller has panicked".to_owned()))?
        })
    })?;
    let stats = monitor.stats()?;
    assert_eq!(
        (stats.total_opens, stats.total_reads, stats.total_writes, stats.total_ioctls),
        (1000, 2000, 1000, 1000 + 2),
    );
    Ok(())
}

/// Opens, writes, reads twice, and calls an ioctl, so often.
fn call_often(times: u32) -> Result<(), Stop> {
    for _ in 0..times {
        let mut file = open()?;
        file.write_all(b"x")?;
        let mut buffer = [0; 8];
        assert_eq!((file.read(&mut buffer)?, file.read(&mut buffer)?), (1, 0));
        let memory = Memory::new(Access::Full)?;
        assert_eq!(ioctl(&file, GET_COUNT, Place::In(&memory, 0)), Ok(0));
    }
    Ok(())
}

fn reset_keeps_the_filter_and_the_message(_: &Options) -> Result<(), Stop> {
    let monitor = Monitor::open()?;
    monitor.set_message(b"stays")?;
    monitor.set_filter(own_pid()?)?;
    assert_eq!(monitor.stats()?.current_filter_pid, own_pid()?);
    monitor.reset()?;
    assert_eq!(monitor.stats()?.current_filter_pid, own_pid()?, "RESET has forgotten the filter");
    assert_eq!(monitor.message()?, b"stays", "RESET has forgotten the message");
    monitor.set_filter(0)?;
    assert_eq!(monitor.stats()?.current_filter_pid, 0);
    Ok(())
}

fn reset_loses_no_call(_: &Options) -> Result<(), Stop> {
    const READS: u64 = 20_000;
    let (monitor, done) = (Monitor::open()?, AtomicBool::new(false));
    monitor.reset()?;
    thread::scope(|scope| {
        let resetter = scope.spawn(|| -> Result<u64, procmon::Error> {
            let mut largest = 0;
            while !done.load(Ordering::Relaxed) {
                monitor.reset()?;
                largest = largest.max(monitor.stats()?.total_reads);
            }
            Ok(largest)
        });
        let reads = [0; 2].map(|_| {
            scope.spawn(|| -> Result<(), Stop> {
                let mut file = open()?;
                (0..READS).try_for_each(|_| Ok(file.read(&mut [0; 8]).map(drop)?))
            })
        });
        let ended =
            reads.map(|reader| reader.join().map_err(|_| Stop::Failed("a reader has panicked".to_owned())));
        done.store(true, Ordering::Relaxed);
        let largest = resetter.join().map_err(|_| Stop::Failed("the resetter has panicked".to_owned()))??;
        for end in ended {
            end??;
        }
        // A counter that fell below what was taken off would show as a huge number.
        assert!(largest <= 2 * READS, "between two resets there were {largest} reads");
        Ok::<_, Stop>(())
    })?;
    monitor.reset()?;
    let mut file = open()?;
    for _ in 0..100 {
        file.read(&mut [0; 8]).map(drop)?;
    }
    assert_eq!(monitor.stats()?.total_reads, 100);
    Ok(())
}

fn a_query_tells_what_proc_tells(_: &Options) -> Result<(), Stop> {
    let monitor = Monitor::open()?;
    let mut sleeper = Command::new("sleep").arg("60").spawn()?;
    let pid = pid_of(&sleeper)?;
    let slept = soon(|| monitor.query(pid).is_ok_and(|found| found.is_some_and(|found| found.state == 1)));
    let found = monitor.query(pid)?;
    let told = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    sleeper.kill()?;
    sleeper.wait()?;
    assert!(slept, "it does not sleep");
    let Some(found) = found else { return fail("it was not found") };
    assert_eq!(name(&found.comm), "sleep");
    assert_eq!(found.pid, pid);
    // The 23rd field, the 21st after the name in parentheses.
    let vsize = told.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(20)).unwrap_or_default();
    assert_eq!(found.vsize.to_string(), vsize, "vsize; /proc says {told}");

    let Some(own) = monitor.query(own_pid()?)? else { return fail("we were not found") };
    assert_eq!(own.state, 0, "we run");
    if is_exo_kernel() {
        return Ok(());
    }
    // kthreadd, a thread of the kernel.
    let Some(kernel) = monitor.query(2)? else { return fail("kthreadd was not found") };
    assert_eq!((name(&kernel.comm), kernel.vsize), ("kthreadd".to_owned(), 0));
    Ok(())
}

fn a_query_knows_stopped_and_dead_processes(_: &Options) -> Result<(), Stop> {
    let monitor = Monitor::open()?;
    let is = |pid: i32, expected: u32| {
        soon(|| {
            let found = monitor.query(pid).ok().flatten();
            found.is_some_and(|found| u32::try_from(found.state) == Ok(expected))
        })
    };
    let mut child = shell("kill -STOP $$; exit 0").spawn()?;
    let pid = pid_of(&child)?;
    assert!(is(pid, state::STOPPED), "stopped: {:?}", monitor.query(pid)?);
    child.kill()?;
    assert!(is(pid, state::ZOMBIE), "a zombie: {:?}", monitor.query(pid)?);
    assert_eq!(monitor.query(pid)?.map(|found| found.vsize), Some(0), "a zombie has no memory");
    child.wait()?;
    assert_eq!(monitor.query(pid)?, None, "after it was waited for");
    Ok(())
}

/// Every command that prints names prints this one on one line and without the escape.
fn a_name_cannot_speak_to_the_terminal(_: &Options) -> Result<(), Stop> {
    const NAME: &str = "\x1b[2J\n";
    // The shell gives itself the name, forks and waits, so that there are events to see.
    let script = format!("printf '{NAME}' > /proc/$$/comm; (sleep 0.2); read -r line");
    let mut child = shell(&script).stdin(Stdio::piped()).spawn()?;
    let pid = pid_of(&child)?;
    let events = output("procmon", &["events", "--pid", &pid.to_string(), "--timeout", "0.6"])?;
    let events_json = "sleep 0.1; procmon events --json --count 2 --timeout 2";
    let queried = output("procmon", &["query", &pid.to_string()])?;
    let table = output("procmon", &["snapshot"])?;
    let json = output("procmon", &["snapshot", "--json"])?;
    let more = output(
        "sh",
        &[
            "-c",
            &format!("({events_json}) & sh -c \"printf '{NAME}' > /proc/self/comm; (true); true\"; wait"),
        ],
    )?;
    child.kill()?;
    child.wait()?;
    for (command, said) in [
        ("events", events),
        ("query", queried.clone()),
        ("snapshot", table.clone()),
        ("snapshot --json", json.clone()),
        ("events --json", more),
    ] {
        let bad = said.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(bad, None, "{command} printed a control character: {said:?}");
    }
    assert!(queried.lines().count() == 1 && queried.contains("?[2J?"), "{queried:?}");
    let row = table.lines().find(|line| line.contains("?[2J?"));
    assert!(row.is_some_and(|row| row.contains(&pid.to_string())), "{table}");
    assert!(json.contains("\"?[2J?\""), "{json}");
    Ok(())
}

fn output(program: &str, arguments: &[&str]) -> Result<String, Stop> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        return fail(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn a_query_for_nobody_is_empty(_: &Options) -> Result<(), Stop> {
    let file = open()?;
    let memory = Memory::new(Access::Full)?;
    for pid in [0, u32::MAX, 0x8000_0000, 0x7fff_ffff, 4_194_304] {
        fill(&memory, 32);
        memory.write_u32(0, pid);
        assert_eq!(ioctl(&file, QUERY_PID, Place::In(&memory, 0)), Ok(0));
        assert_eq!(words(&memory, 8), [pid, 0, 0, 0, 0, u32::MAX, 0, 0], "pid {pid:#x}");
    }
    Ok(())
}

/// What lay in the program's memory before, and what lies on the kernel's stack, must not be in an answer.
fn answers_hold_nothing_but_themselves(_: &Options) -> Result<(), Stop> {
    let file = open()?;
    let memory = Memory::new(Access::Full)?;
    fill(&memory, 48);
    assert_eq!(ioctl(&file, GET_STATS, Place::In(&memory, 0)), Ok(0));
    assert_eq!(words(&memory, 12)[8..], [0, 0, FILLED, FILLED], "filter, padding, and what is behind");
    fill(&memory, 48);
    memory.write_u32(0, 1);
    assert_eq!(ioctl(&file, QUERY_PID, Place::In(&memory, 0)), Ok(0));
    let answer = words(&memory, 12);
    let comm: Vec<u8> = answer[1..5].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let end = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
    assert!(end > 0 && comm[end..].iter().all(|&byte| byte == 0) && end < 16, "comm is {comm:?}");
    assert_eq!(answer[8..], [FILLED; 4], "behind the answer");
    Ok(())
}

/// A pattern that no answer contains by chance.
const FILLED: u32 = 0xa5a5_5a5a;

fn fill(memory: &Memory, bytes: usize) {
    (0..bytes).step_by(4).for_each(|offset| {
        memory.write_u32(offset, FILLED);
    });
}

fn words(memory: &Memory, count: usize) -> Vec<u32> {
    (0..count).filter_map(|word| memory.read_u32(word * 4)).collect()
}

fn every_wrong_pointer_gives_efault(_: &Options) -> Result<(), Stop> {
    let file = open()?;
    let (closed, full) = (Memory::new(Access::None)?, Memory::new(Access::Full)?);
    for (what, command, size) in WITH_ARGUMENT {
        let half_outside = Place::In(&full, PAGE - size / 2);
        let places = [
            Place::Null,
            Place::Kernel,
            Place::NonCanonical,
            Place::In(&closed, 0),
            Place::In(&full, PAGE),
            half_outside,
        ];
        for place in places {
            assert_eq!(ioctl(&file, command, place), Err(Errno::FAULT), "{what} with {place:x?}");
        }
    }
    let read_only = Memory::new(Access::ReadOnly)?;
    for (what, command) in [("GET_COUNT", GET_COUNT), ("GET_STATS", GET_STATS), ("QUERY_PID", QUERY_PID)] {
        let refused = ioctl(&file, command, Place::In(&read_only, 0));
        assert_eq!(refused, Err(Errno::FAULT), "{what} into a read-only page");
    }
    assert_eq!(ioctl(&file, SET_FILTER, Place::In(&read_only, 0)), Ok(0), "SET_FILTER only reads");
    Ok(())
}

fn every_wrong_size_gives_enotty(_: &Options) -> Result<(), Stop> {
    let file = open()?;
    let memory = Memory::new(Access::Full)?;
    let place = Place::In(&memory, 0);
    let known: Vec<u32> = WITH_ARGUMENT.iter().map(|(_, command, _)| *command).chain([RESET]).collect();
    for (what, command, _) in WITH_ARGUMENT {
        for size in 0..256 {
            let other = command & !(0x3fff << SIZE_SHIFT) | size << SIZE_SHIFT;
            if !known.contains(&other) {
                assert_eq!(ioctl(&file, other, place), Err(Errno::NOTTY), "{what} with {size} bytes");
            }
        }
        for direction in 0..4 {
            let other = command & 0x3fff_ffff | direction << 30;
            if !known.contains(&other) {
                assert_eq!(ioctl(&file, other, place), Err(Errno::NOTTY), "{what}, direction {direction}");
            }
        }
    }
    for other in [0, u32::MAX, 0x5006, 0x5100, RESET | 4 << SIZE_SHIFT, EVENTS_SKIP, EVENTS_LOST] {
        assert_eq!(ioctl(&file, other, place), Err(Errno::NOTTY), "{other:#x}");
    }
    Ok(())
}

fn a_filter_that_is_no_process_is_refused(_: &Options) -> Result<(), Stop> {
    let monitor = Monitor::open()?;
    for pid in [-1, i32::MIN, i32::MAX, 4_194_304] {
        assert_eq!(monitor.set_filter(pid).err().map(|error| error.errno()), Some(Errno::INVAL), "{pid}");
        assert_eq!(monitor.stats()?.current_filter_pid, 0, "a refused filter was set");
    }
    // A number that nobody has (yet) is none of these.
    monitor.set_filter(4_000_000)?;
    assert_eq!(monitor.stats()?.current_filter_pid, 4_000_000);
    Ok(())
}

fn a_32_bit_program_has_its_own_structures(_: &Options) -> Result<(), Stop> {
    needs_32_bit_programs()?;
    let (monitor, file) = (Monitor::open()?, open()?);
    let memory = Memory::new(Access::Full)?;
    let place = Place::In(&memory, 0);

    monitor.set_message(b"13 bytes long")?;
    assert_eq!(ioctl32(&file, GET_COUNT, place), Ok(0));
    assert_eq!(memory.read_u32(0), Some(13));

    memory.write_u32(0, std::process::id());
    assert_eq!(ioctl32(&file, SET_FILTER, place), Ok(0));
    assert_eq!(ioctl32(&file, RESET, Place::Null), Ok(0));
    fill(&memory, 48);
    assert_eq!(ioctl32(&file, GET_STATS_32, place), Ok(0));
    assert_eq!(words(&memory, 6), [0, 0, 0, 1, std::process::id(), FILLED]);

    for pid in [1, 0] {
        fill(&memory, 48);
        memory.write_u32(0, pid);
        assert_eq!(ioctl32(&file, QUERY_PID_32, place), Ok(0));
        let answer = words(&memory, 8);
        let expected = monitor.query(i32::try_from(pid)?)?;
        assert_eq!(answer[7], FILLED, "behind the answer");
        assert_eq!(answer[0], pid);
        match expected {
            Some(expected) => assert_eq!(u64::from(answer[6]), expected.vsize.min(u64::from(u32::MAX))),
            None => assert_eq!(answer[1..7], [0, 0, 0, 0, u32::MAX, 0]),
        }
    }
    // Not even with enough room: it is the same structure for both.
    fill(&memory, 16);
    memory.write_u32(8, 0);
    assert_eq!(ioctl32(&file, SNAPSHOT, place), Err(Errno::NOSPC));
    Ok(())
}

fn a_32_bit_program_gets_the_same_errors(_: &Options) -> Result<(), Stop> {
    needs_32_bit_programs()?;
    let file = open()?;
    let closed = Memory::new(Access::None)?;
    let commands = [GET_COUNT, GET_STATS_32, SET_FILTER, QUERY_PID_32, SNAPSHOT];
    for command in commands {
        assert_eq!(ioctl32(&file, command, Place::Null), Err(Errno::FAULT), "{command:#x}");
        assert_eq!(ioctl32(&file, command, Place::In(&closed, 0)), Err(Errno::FAULT), "{command:#x}");
    }
    let memory = Memory::new(Access::Full)?;
    for other in [GET_STATS, QUERY_PID, 0, u32::MAX] {
        assert_eq!(ioctl32(&file, other, Place::In(&memory, 0)), Err(Errno::NOTTY), "{other:#x}");
    }
    for other in [GET_STATS_32, QUERY_PID_32] {
        assert_eq!(
            ioctl(&file, other, Place::In(&memory, 0)),
            Err(Errno::NOTTY),
            "{other:#x} of a 64-bit program"
        );
    }
    Ok(())
}

fn needs_32_bit_programs() -> Result<(), Stop> {
    let mut probe = Command::new(std::env::current_exe()?);
    probe.arg(format!("--{PROBE}")).arg(Probe::Int80.name()).stdout(Stdio::null()).stderr(Stdio::null());
    if probe.status()?.success() { Ok(()) } else { skip("this kernel runs no 32-bit programs") }
}
