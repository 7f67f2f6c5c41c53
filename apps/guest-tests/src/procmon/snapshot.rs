// SPDX-License-Identifier: MIT OR Apache-2.0
//! The snapshot, against `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use procmon::abi::ioctl::SNAPSHOT;
use procmon::abi::process::{Record, state};
use procmon::{Monitor, full_name, name};
use rustix::io::Errno;

use super::machine::{open, own_pid, pid_of, soon};
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};
use crate::raw::{Access, Memory, Place, ioctl};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_snapshot_has_the_processes_that_proc_has", the_same_processes),
        Test::new("a_snapshot_tells_what_proc_tells", the_same_facts),
        Test::new("a_frozen_process_is_d_as_in_proc", a_frozen_process_is_d),
        Test::new("a_worker_of_the_kernel_is_called_as_in_proc", a_worker_is_called_as_in_proc),
        Test::new("too_small_an_array_is_not_touched", too_small_an_array_is_not_touched),
        Test::new("a_bad_array_gives_efault", a_bad_array_gives_efault),
        Test::long("a_snapshot_has_nobody_twice_while_processes_come_and_go", nobody_twice),
    ]
}

fn the_same_processes(_: &Options) -> Result<(), Stop> {
    // Some come and go between the two looks: then once more.
    let same = soon(|| {
        let Ok(listed) = listed() else { return false };
        let Ok(records) = Monitor::open().and_then(|monitor| monitor.snapshot()) else { return false };
        let seen: BTreeSet<i32> = records.iter().map(|record| record.pid).collect();
        seen == listed
    });
    if same { Ok(()) } else { fail(format!("/proc has {:?}", listed()?)) }
}

fn listed() -> Result<BTreeSet<i32>, Stop> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn the_same_facts(_: &Options) -> Result<(), Stop> {
    let mut child = Command::new("sleep").arg("60").spawn()?;
    let pid = pid_of(&child)?;
    let monitor = Monitor::open()?;
    let find = |pid| monitor.snapshot().ok()?.into_iter().find(|record| record.pid == pid);
    let sleeps = soon(|| find(pid).is_some_and(|record: Record| record.state == state::INTERRUPTIBLE));
    let record = find(pid);
    let told = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    child.kill()?;
    child.wait()?;
    let Some(record) = record else { return fail("it is not in the snapshot") };
    assert!(sleeps, "it does not sleep");

    let fields: Vec<&str> =
        told.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
    // The third field of proc_pid_stat(5) is the first of these.
    let field = |number: usize| fields[number - 3];
    assert_eq!(name(&record.comm), "sleep");
    assert_eq!((record.tgid, record.ppid, record.uid), (pid, own_pid()?, 0));
    assert_eq!(state::letter(record.state).to_string(), field(3));
    assert_eq!(record.threads.to_string(), field(20));
    assert_eq!(record.vsize.to_string(), field(23));
    assert_eq!((record.rss / 4096).to_string(), field(24));
    // In hundredths of a second.
    assert_eq!((record.start / 10_000_000).to_string(), field(22));
    let ticks: u64 = field(14).parse::<u64>()? + field(15).parse::<u64>()?;
    let own = (record.utime + record.stime) / 10_000_000;
    assert!(own.abs_diff(ticks) <= 2, "it ran for {own} ticks, /proc says {ticks}");
    Ok(())
}

/// The freezer of the first generation of control groups; that of the second leaves the state as it is.
fn a_frozen_process_is_d(_: &Options) -> Result<(), Stop> {
    let folder = "/tmp/freezer";
    fs::create_dir_all(folder)?;
    let mounted =
        Command::new("mount").args(["-t", "cgroup", "-o", "freezer", "freezer", folder]).output()?.status;
    if !mounted.success() {
        return skip("this kernel has no freezer");
    }
    let group = format!("{folder}/group");
    fs::create_dir(&group)?;
    let mut child = Command::new("sleep").arg("60").spawn()?;
    let pid = pid_of(&child)?;
    fs::write(format!("{group}/cgroup.procs"), pid.to_string())?;
    fs::write(format!("{group}/freezer.state"), "FROZEN")?;
    let frozen = soon(|| {
        fs::read_to_string(format!("{group}/freezer.state")).is_ok_and(|state| state.trim() == "FROZEN")
    });
    let record = Monitor::open()?.snapshot()?.into_iter().find(|record| record.pid == pid);
    let told = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    fs::write(format!("{group}/freezer.state"), "THAWED")?;
    child.kill()?;
    child.wait()?;
    let gone = soon(|| fs::remove_dir(&group).is_ok());
    Command::new("umount").arg(folder).status()?;
    assert!(frozen && gone, "frozen: {frozen}, group removed: {gone}");
    assert!(told.contains(") D "), "/proc says {told}");
    assert_eq!(record.map(|record| state::letter(record.state)), Some('D'));
    Ok(())
}

/// A rescuer always has the same name, and one that is longer than what the module tells of it.
fn a_worker_is_called_as_in_proc(_: &Options) -> Result<(), Stop> {
    if is_exo_kernel() {
        return skip("this kernel does not show its threads");
    }
    let mut longer = Vec::new();
    for record in Monitor::open()?.snapshot()? {
        if record.comm.starts_with(b"kworker/R-") {
            let told = fs::read_to_string(format!("/proc/{}/comm", record.pid))?;
            let shown = full_name(record.pid, &record.comm, record.vsize);
            assert_eq!(shown, told.trim_end(), "{}", record.pid);
            if shown.len() > name(&record.comm).len() {
                longer.push((record.pid, shown));
            }
        }
    }
    let Some((pid, shown)) = longer.pop() else {
        return fail("no worker's name is longer than 15 characters");
    };
    let queried = Command::new("procmon").args(["query", &pid.to_string()]).output()?.stdout;
    let queried = String::from_utf8_lossy(&queried).into_owned();
    assert!(queried.starts_with(&format!("{pid}: {shown} state ")), "{queried}");
    Ok(())
}

fn too_small_an_array_is_not_touched(_: &Options) -> Result<(), Stop> {
    let file = open()?;
    let memory = Memory::new(Access::Full)?;
    // Address 0: would anything be written there, it would be EFAULT.
    memory.write_u32(8, 1);
    assert_eq!(ioctl(&file, SNAPSHOT, Place::In(&memory, 0)), Err(Errno::NOSPC));
    let needed = usize::try_from(memory.read_u32(12).unwrap_or(0))?;
    let there_are = listed()?.len();
    assert!(needed.abs_diff(there_are) <= 5, "{needed} are needed, /proc has {there_are}");
    assert_eq!((memory.read_u64(0), memory.read_u32(8)), (Some(0), Some(1)), "the request was changed");
    Ok(())
}

fn a_bad_array_gives_efault(_: &Options) -> Result<(), Stop> {
    let file = open()?;
    let memory = Memory::new(Access::Full)?;
    for (low, high) in [(0, 0), (0x1000, 0xffff_8880), (0, 0x8000_0000), (u32::MAX, u32::MAX)] {
        memory.write_u32(0, low);
        memory.write_u32(4, high);
        memory.write_u32(8, u32::MAX);
        let refused = ioctl(&file, SNAPSHOT, Place::In(&memory, 0));
        assert_eq!(refused, Err(Errno::FAULT), "{high:08x}{low:08x}");
    }
    Ok(())
}

fn nobody_twice(options: &Options) -> Result<(), Stop> {
    let monitor = Monitor::open()?;
    let mut storm = super::machine::shell("while :; do /bin/true & /bin/true; done").spawn()?;
    let shell = pid_of(&storm)?;
    let looks = (0..options.loops * 50).try_for_each(|_| {
        let records = monitor.snapshot()?;
        let pids: BTreeSet<i32> = records.iter().map(|record| record.pid).collect();
        assert_eq!(pids.len(), records.len(), "somebody is there twice");
        let of_the_kernel = is_exo_kernel() || pids.contains(&2);
        assert!(pids.contains(&shell) && pids.contains(&1) && of_the_kernel, "somebody is missing");
        Ok::<_, Stop>(())
    });
    storm.kill()?;
    storm.wait()?;
    looks
}
