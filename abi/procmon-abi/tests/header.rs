// SPDX-License-Identifier: MIT OR Apache-2.0
//! `procmon.h` says the same as the crate: a C program is compiled, for 64 bits and for 32 bits where the compiler can,
//! and prints every constant, size and offset.

use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;

use procmon_abi::event::{self, Event};
use procmon_abi::ioctl::{self, Query, Query32, Snapshot, Stats, Stats32};
use procmon_abi::process::{Record, state};
use procmon_abi::ring;

/// Name in C, value in Rust.
type Line = (&'static str, u64);

/// What is the same for all programs.
fn constants() -> Vec<Line> {
    vec![
        ("PROCMON_RESET", ioctl::RESET.into()),
        ("PROCMON_GET_COUNT", ioctl::GET_COUNT.into()),
        ("PROCMON_SET_FILTER", ioctl::SET_FILTER.into()),
        ("PROCMON_SNAPSHOT", ioctl::SNAPSHOT.into()),
        ("PROCMON_EVENTS_SKIP", ioctl::EVENTS_SKIP.into()),
        ("PROCMON_EVENTS_LOST", ioctl::EVENTS_LOST.into()),
        ("PROCMON_STATE_RUNNING", state::RUNNING.into()),
        ("PROCMON_STATE_INTERRUPTIBLE", state::INTERRUPTIBLE.into()),
        ("PROCMON_STATE_UNINTERRUPTIBLE", state::UNINTERRUPTIBLE.into()),
        ("PROCMON_STATE_STOPPED", state::STOPPED.into()),
        ("PROCMON_STATE_TRACED", state::TRACED.into()),
        ("PROCMON_STATE_DEAD", state::DEAD.into()),
        ("PROCMON_STATE_ZOMBIE", state::ZOMBIE.into()),
        ("PROCMON_STATE_PARKED", state::PARKED.into()),
        ("PROCMON_STATE_IDLE", state::IDLE.into()),
        ("PROCMON_EVENT_LOST", event::LOST.into()),
        ("PROCMON_EVENT_FORK", event::FORK.into()),
        ("PROCMON_EVENT_EXEC", event::EXEC.into()),
        ("PROCMON_EVENT_EXIT", event::EXIT.into()),
        ("PROCMON_EVENT_COMM", event::COMM.into()),
        ("PROCMON_STATUS_HIDDEN", event::STATUS_HIDDEN),
        ("PROCMON_RING_MAGIC", ring::MAGIC),
        ("PROCMON_RING_PAGE", ring::PAGE as u64),
        ("PROCMON_HEADER_MAGIC", ring::header::MAGIC as u64),
        ("PROCMON_HEADER_RINGS", ring::header::RINGS as u64),
        ("PROCMON_HEADER_SLOTS", ring::header::SLOTS as u64),
        ("PROCMON_HEADER_SLOT_SIZE", ring::header::SLOT_SIZE as u64),
        ("PROCMON_HEADER_FIRST_RING", ring::header::FIRST_RING as u64),
        ("PROCMON_HEADER_RING_SIZE", ring::header::RING_SIZE as u64),
        ("PROCMON_HEADER_SIZE", ring::header::SIZE as u64),
        ("PROCMON_CONTROL_BEGUN", ring::control::BEGUN as u64),
        ("PROCMON_CONTROL_WRITTEN", ring::control::WRITTEN as u64),
        ("PROCMON_CONTROL_CPU", ring::control::CPU as u64),
        ("sizeof(struct procmon_process)", size_of::<Record>() as u64),
        ("offsetof(struct procmon_process, pid)", offset_of!(Record, pid) as u64),
        ("offsetof(struct procmon_process, tgid)", offset_of!(Record, tgid) as u64),
        ("offsetof(struct procmon_process, ppid)", offset_of!(Record, ppid) as u64),
        ("offsetof(struct procmon_process, uid)", offset_of!(Record, uid) as u64),
        ("offsetof(struct procmon_process, state)", offset_of!(Record, state) as u64),
        ("offsetof(struct procmon_process, threads)", offset_of!(Record, threads) as u64),
        ("offsetof(struct procmon_process, comm)", offset_of!(Record, comm) as u64),
        ("offsetof(struct procmon_process, vsize)", offset_of!(Record, vsize) as u64),
        ("offsetof(struct procmon_process, rss)", offset_of!(Record, rss) as u64),
        ("offsetof(struct procmon_process, utime)", offset_of!(Record, utime) as u64),
        ("offsetof(struct procmon_process, stime)", offset_of!(Record, stime) as u64),
        ("offsetof(struct procmon_process, start)", offset_of!(Record, start) as u64),
        ("sizeof(struct procmon_snapshot)", size_of::<Snapshot>() as u64),
        ("offsetof(struct procmon_snapshot, records)", offset_of!(Snapshot, records) as u64),
        ("offsetof(struct procmon_snapshot, capacity)", offset_of!(Snapshot, capacity) as u64),
        ("offsetof(struct procmon_snapshot, count)", offset_of!(Snapshot, count) as u64),
        ("sizeof(struct procmon_event)", size_of::<Event>() as u64),
        ("offsetof(struct procmon_event, sequence)", offset_of!(Event, sequence) as u64),
        ("offsetof(struct procmon_event, time)", offset_of!(Event, time) as u64),
        ("offsetof(struct procmon_event, pid)", offset_of!(Event, pid) as u64),
        ("offsetof(struct procmon_event, tgid)", offset_of!(Event, tgid) as u64),
        ("offsetof(struct procmon_event, ppid)", offset_of!(Event, ppid) as u64),
        ("offsetof(struct procmon_event, uid)", offset_of!(Event, uid) as u64),
        ("offsetof(struct procmon_event, comm)", offset_of!(Event, comm) as u64),
        ("offsetof(struct procmon_event, kind)", offset_of!(Event, kind) as u64),
        ("offsetof(struct procmon_event, cpu)", offset_of!(Event, cpu) as u64),
        ("offsetof(struct procmon_event, detail)", offset_of!(Event, detail) as u64),
    ]
}

/// What depends on the size of `unsigned long`.
macro_rules! layouts {
    ($stats:ty, $query:ty, $get_stats:expr, $query_pid:expr) => {
        vec![
            ("PROCMON_GET_STATS", u64::from($get_stats)),
            ("PROCMON_QUERY_PID", u64::from($query_pid)),
            ("sizeof(struct procmon_stats)", size_of::<$stats>() as u64),
            ("offsetof(struct procmon_stats, total_opens)", offset_of!($stats, total_opens) as u64),
            ("offsetof(struct procmon_stats, total_reads)", offset_of!($stats, total_reads) as u64),
            ("offsetof(struct procmon_stats, total_writes)", offset_of!($stats, total_writes) as u64),
            ("offsetof(struct procmon_stats, total_ioctls)", offset_of!($stats, total_ioctls) as u64),
            (
                "offsetof(struct procmon_stats, current_filter_pid)",
                offset_of!($stats, current_filter_pid) as u64,
            ),
            ("sizeof(struct procmon_query)", size_of::<$query>() as u64),
            ("offsetof(struct procmon_query, pid)", offset_of!($query, pid) as u64),
            ("offsetof(struct procmon_query, comm)", offset_of!($query, comm) as u64),
            ("offsetof(struct procmon_query, state)", offset_of!($query, state) as u64),
            ("offsetof(struct procmon_query, vsize)", offset_of!($query, vsize) as u64),
        ]
    };
}

#[test]
fn the_header_says_the_same() {
    check("-m64", layouts!(Stats, Query, ioctl::GET_STATS, ioctl::QUERY_PID));
}

/// Checked by the compiler alone, by array sizes, since not every machine can run or link programs of 32 bits.
#[test]
fn the_header_says_the_same_to_32_bit_programs() {
    check("-m32", layouts!(Stats32, Query32, ioctl::GET_STATS_32, ioctl::QUERY_PID_32));
}

/// Each line becomes an assertion that the C compiler checks; nothing is linked or run.
fn check(width: &str, layouts: Vec<Line>) {
    let folder = std::env::temp_dir().join(format!("procmon-header-{}{width}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let source = folder.join("check.c");
    let mut text =
        String::from("#include <procmon.h>\n#define offsetof(type, field) __builtin_offsetof(type, field)\n");
    for (name, value) in constants().into_iter().chain(layouts) {
        writeln!(text, "_Static_assert(({name}) == {value}ULL, \"{name}\");").unwrap();
    }
    std::fs::write(&source, text).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    // With -m32, compilers for one architecture forget where its own headers are; their constants are the same.
    let multiarch = Command::new(&compiler)
        .arg("-print-multiarch")
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let headers = format!("-idirafter/usr/include/{}", String::from_utf8_lossy(&multiarch).trim());
    let compiled = Command::new(compiler)
        .args([width, "-std=gnu11", "-Wall", "-Werror", "-ffreestanding", "-fsyntax-only", "-I"])
        .arg(include)
        .arg(headers)
        .arg(&source)
        .output()
        .expect("a C compiler (cc, or what CC names)");
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{width}:\n{said}");
}
