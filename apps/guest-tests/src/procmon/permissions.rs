// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a reader of events is not told: how processes ended that it may not look into.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use procmon::Events;
use procmon::abi::event::{EXIT, STATUS_HIDDEN};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::machine::{pid_of, shell, soon};
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("exit_statuses_of_others_are_hidden_as_in_proc", exit_statuses_of_others_are_hidden)]
}

/// Set in the process that lets nobody look into it.
const INSIDE: &str = "GUEST_TESTS_NOT_DUMPABLE";
/// How all processes of this test end, as `wait(2)` tells it.
const STATUS: u64 = 7 << 8;

fn exit_statuses_of_others_are_hidden(_: &Options) -> Result<(), Stop> {
    if std::env::var_os(INSIDE).is_some() {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        std::process::exit(7);
    }
    if is_exo_kernel() {
        return skip("this kernel tells everybody who may open the node");
    }
    let mut privileged = Events::open()?;
    let mut sets = capabilities(None)?;
    sets.effective.remove(CapabilitySet::SYS_PTRACE);
    set_capabilities(None, sets)?;
    let mut plain = Events::open()?;

    // The reader is root, of the group root.
    let mut not_dumpable = Command::new(std::env::current_exe()?);
    not_dumpable
        .args(["--run-one", "procmon::exit_statuses_of_others_are_hidden_as_in_proc"])
        .env(INSIDE, "1");
    let mut of_user = shell("exit 7");
    of_user.uid(1000).gid(1000);
    let mut of_group = shell("exit 7");
    of_group.gid(1000);
    let processes = [
        ("the reader's own", shell("exit 7"), STATUS),
        ("another user's", of_user, STATUS_HIDDEN),
        ("another group's", of_group, STATUS_HIDDEN),
        ("one that is not dumpable", not_dumpable, STATUS_HIDDEN),
    ];
    let mut pids = Vec::new();
    for (what, mut command, expected) in processes {
        let mut child = match command.spawn() {
            Err(error) if error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => {
                return skip("this kernel knows one user only");
            }
            child => child?,
        };
        let status = child.wait()?;
        assert_eq!(status.code(), Some(7), "{what}");
        pids.push((what, pid_of(&child)?, expected));
    }

    let last = pids.last().map_or(0, |(_, pid, _)| *pid);
    let (all, told) = (ends(&mut privileged, last)?, ends(&mut plain, last)?);
    for (what, pid, expected) in pids {
        assert_eq!(all.get(&pid), Some(&STATUS), "{what}, with CAP_SYS_PTRACE");
        assert_eq!(told.get(&pid), Some(&expected), "{what}, without");
    }
    // Rings cannot hide anything.
    let mapped = plain.map().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(mapped.contains("mmap: Operation not permitted"), "mapping the rings: {mapped:?}");
    Ok(())
}

/// How processes ended, by their numbers, until that of `last`.
fn ends(events: &mut Events, last: i32) -> Result<BTreeMap<i32, u64>, Stop> {
    let mut ends = BTreeMap::new();
    let seen = soon(|| {
        let _ = events.wait(Duration::from_millis(100));
        if let Ok(read) = events.read() {
            ends.extend(read.filter(|event| event.kind == EXIT).map(|event| (event.tgid, event.detail)));
        }
        ends.contains_key(&last)
    });
    if seen { Ok(ends) } else { fail(format!("no exit of {last} in {ends:?}")) }
}
