// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/PID/status and /proc/PID/limits.

use core::{
    fmt::{Result, Write},
    sync::atomic::Ordering,
};

use exo_hal::cpu::percpu::cpu_count;
use exo_logic::credentials::{Capabilities, Ids};

use super::subject::{Subject, state};
use crate::{
    signal::{SignalSet, number},
    task::{
        account::{Counts, Event},
        limits::{INFINITY, index},
    },
};

/// Sets of signals, bit n - 1 for signal n.
pub(super) struct Signals {
    pub(super) pending: u64,
    pub(super) shared_pending: u64,
    pub(super) blocked: u64,
    pub(super) ignored: u64,
    pub(super) caught: u64,
}

impl Signals {
    pub(super) fn of(of: &Subject) -> Self {
        let (mut ignored, mut caught) = (0, 0);
        let actions = of.process.actions();
        for signal in 1..=number::LAST {
            match actions.get(signal).handler {
                0 => {}
                1 => ignored |= SignalSet::of(signal).0,
                _ => caught |= SignalSet::of(signal).0,
            }
        }
        let thread = of.thread.as_ref();
        Self {
            pending: thread.map_or(0, |t| t.pending.lock().set().0),
            shared_pending: of.process.pending.lock().set().0,
            blocked: thread.map_or(0, |t| t.blocked.load(Ordering::Relaxed)),
            ignored,
            caught,
        }
    }
}

/// Writes the name; what is no text in it is replaced.
pub(super) fn name(of: &Subject, out: &mut dyn Write) -> Result {
    for chunk in of.name().bytes().utf8_chunks() {
        out.write_str(chunk.valid())?;
        if !chunk.invalid().is_empty() {
            out.write_char('\u{fffd}')?;
        }
    }
    Ok(())
}

pub(super) fn status(of: &Subject, out: &mut dyn Write) -> Result {
    let process = &of.process;
    out.write_str("Name:\t")?;
    name(of, out)?;
    let (letter, word) = state(of);
    writeln!(out, "\nUmask:\t{:04o}\nState:\t{letter} ({word})", process.fs.umask.load(Ordering::Relaxed))?;
    let parent = process.parent.lock().upgrade().map_or(0, |p| p.pid);
    writeln!(out, "Tgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{parent}", process.pid, of.number())?;
    let credentials = of.thread.as_ref().map(|thread| thread.credentials.get());
    out.write_str("TracerPid:\t0")?;
    let credentials = credentials.as_deref();
    for (name, ids) in [("Uid", credentials.map(|c| c.users)), ("Gid", credentials.map(|c| c.groups))] {
        let Ids { real, effective, saved, fs } = ids.unwrap_or_default();
        write!(out, "\n{name}:\t{real}\t{effective}\t{saved}\t{fs}")?;
    }
    write!(out, "\nFDSize:\t{}\nGroups:\t", of.files().map_or(0, |files| files.size()))?;
    for group in credentials.iter().flat_map(|c| c.supplementary.iter()) {
        write!(out, "{group} ")?;
    }
    // Linux has a space at the end of the line.
    out.write_str(if credentials.is_none_or(|c| c.supplementary.is_empty()) { " \n" } else { "\n" })?;
    let (group, session) = (process.group.load(Ordering::Relaxed), process.session.load(Ordering::Relaxed));
    writeln!(out, "NStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{group}\nNSsid:\t{session}", process.pid, of.number())?;
    writeln!(out, "Kthread:\t0")?;
    if !process.has_ended() {
        super::memory::status(of, out)?;
    }
    writeln!(out, "Threads:\t{}", process.threads.lock().len())?;
    let queued = credentials.map_or(0, |c| c.user.signals.load(Ordering::Relaxed));
    let limit = process.limits.lock().get(index::SIGPENDING).map_or(0, |limit| limit.soft);
    writeln!(out, "SigQ:\t{queued}/{limit}")?;
    signals(of, out)?;
    let sets = credentials.map_or(Capabilities::default(), |c| c.capabilities);
    for (name, set) in [
        ("CapInh", sets.inheritable),
        ("CapPrm", sets.permitted),
        ("CapEff", sets.effective),
        ("CapBnd", sets.bounding),
        ("CapAmb", sets.ambient),
    ] {
        writeln!(out, "{name}:\t{set:016x}")?;
    }
    let is_limited = of.thread.as_ref().is_some_and(|t| t.no_new_privileges.load(Ordering::Relaxed));
    writeln!(out, "NoNewPrivs:\t{}\nSeccomp:\t0\nSeccomp_filters:\t0", u32::from(is_limited))?;
    let all = u64::MAX >> (64 - cpu_count().clamp(1, 64));
    let allowed = of.thread.as_ref().map_or(all, |t| t.affinity.load(Ordering::Relaxed) & all);
    write!(out, "Cpus_allowed:\t{allowed:x}\nCpus_allowed_list:\t")?;
    ranges(allowed, out)?;
    writeln!(out, "\nMems_allowed:\t1\nMems_allowed_list:\t0")?;
    // Linux shows those of the first thread here.
    let counts = of.thread.as_ref().map_or(Counts::default(), |thread| thread.account.get());
    writeln!(out, "voluntary_ctxt_switches:\t{}", counts.get(Event::Wait))?;
    writeln!(out, "nonvoluntary_ctxt_switches:\t{}", counts.get(Event::Preemption))
}

fn signals(of: &Subject, out: &mut dyn Write) -> Result {
    let signals = Signals::of(of);
    let sets = [
        ("SigPnd", signals.pending),
        ("ShdPnd", signals.shared_pending),
        ("SigBlk", signals.blocked),
        ("SigIgn", signals.ignored),
        ("SigCgt", signals.caught),
    ];
    sets.iter().try_for_each(|(name, set)| writeln!(out, "{name}:\t{set:016x}"))
}

/// Writes a set as a list of ranges: `0-2,5`.
pub(super) fn ranges(mut set: u64, out: &mut dyn Write) -> Result {
    let mut at = 0;
    let mut first = true;
    while set != 0 {
        let start = at + set.trailing_zeros();
        set >>= set.trailing_zeros();
        let length = set.trailing_ones();
        set = set.checked_shr(length).unwrap_or(0);
        at = start + length;
        if !first {
            out.write_char(',')?;
        }
        first = false;
        if length == 1 { write!(out, "{start}")? } else { write!(out, "{start}-{}", at - 1)? }
    }
    Ok(())
}

pub(super) fn limits(of: &Subject, out: &mut dyn Write) -> Result {
    /// Names and units, in the order of their numbers.
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    writeln!(out, "{:<25} {:<20} {:<20} {:<10}", "Limit", "Soft Limit", "Hard Limit", "Units")?;
    let limits = *of.process.limits.lock();
    let value = |out: &mut dyn Write, value: u64| match value {
        INFINITY => write!(out, "{:<20} ", "unlimited"),
        value => write!(out, "{value:<20} "),
    };
    for ((name, unit), limit) in NAMES.iter().zip(&limits) {
        write!(out, "{name:<25} ")?;
        value(out, limit.soft)?;
        value(out, limit.hard)?;
        if unit.is_empty() { writeln!(out)? } else { writeln!(out, "{unit:<10}")? }
    }
    Ok(())
}
