// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/PID/io and sched: what a process or thread has done.

use core::fmt::{Result, Write};

use super::subject::Subject;
use crate::task::account::{Counts, Event};

/// Those of the thread, or of all threads of the process.
pub(super) fn counts(of: &Subject) -> Counts {
    match &of.thread {
        Some(thread) if of.is_thread => thread.account.get(),
        _ => of.process.counts(),
    }
}

pub(super) fn io(of: &Subject, out: &mut dyn Write) -> Result {
    let counts = counts(of);
    for (name, what) in [
        ("rchar", Event::ByteRead),
        ("wchar", Event::ByteWritten),
        ("syscr", Event::Read),
        ("syscw", Event::Write),
        ("read_bytes", Event::DiskByteRead),
        ("write_bytes", Event::DiskByteWritten),
    ] {
        writeln!(out, "{name}: {}", counts.get(what))?;
    }
    // What is written to a disk goes there at once.
    writeln!(out, "cancelled_write_bytes: 0")
}

/// The fields of Linux's that have a meaning here, each in its column.
pub(super) fn sched(of: &Subject, out: &mut dyn Write) -> Result {
    let Some(thread) = &of.thread else { return Ok(()) };
    super::status::name(of, out)?;
    writeln!(out, " ({}, #threads: {})", of.number(), of.process.threads.lock().len())?;
    writeln!(out, "{:-<67}", "")?;
    let (counts, policy, ran) = (thread.account.get(), thread.schedule.policy(), thread.cpu_ns());
    let (waits, preemptions) = (counts.get(Event::Wait), counts.get(Event::Preemption));
    writeln!(out, "{:<45}:{:>14}.{:06}", "se.sum_exec_runtime", ran / 1_000_000, ran % 1_000_000)?;
    for (name, value) in [
        ("nr_switches", waits + preemptions),
        ("nr_voluntary_switches", waits),
        ("nr_involuntary_switches", preemptions),
        ("policy", u64::from(policy.number)),
        ("prio", policy.kernel_priority()),
    ] {
        writeln!(out, "{name:<45}:{value:>21}")?;
    }
    Ok(())
}
