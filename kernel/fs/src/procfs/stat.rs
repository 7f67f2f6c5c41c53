// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/stat, /proc/PID/stat and /proc/PID/task/TID/stat.

use core::{fmt::Write, sync::atomic::Ordering};

use exo_hal::{cpu::percpu::cpu_count, time};

use super::{
    TICK_NS,
    accounts::counts,
    status::{Signals, name},
    subject::{Subject, state},
};
use crate::{
    sched::{self, policy::Policy},
    task::{Status, account::Event, limits::index, table},
};

/// PF_FORKNOEXEC, PF_SUPERPRIV and others are not kept: this says that it is no kernel thread (PF_RANDOMIZE, as Linux's programs have).
const FLAGS: u32 = 0x40_0000;

pub(super) fn process(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let process = &of.process;
    let memory = process.memory.lock().clone();
    let terminal = process.terminal.lock().clone();
    let (device, foreground) = terminal.map_or((0, -1), |t| (t.device_number(), t.foreground() as i32));
    let (cpu_ns, user_ns) = match &of.thread {
        Some(thread) if of.is_thread => (thread.cpu_ns(), thread.user_ns()),
        _ => (process.cpu_ns(), process.user_ns()),
    };
    write!(out, "{} (", of.number())?;
    name(of, out)?;
    let parent = process.parent.lock().upgrade().map_or(0, |p| p.pid);
    let (group, session) = (process.group.load(Ordering::Relaxed), process.session.load(Ordering::Relaxed));
    write!(out, ") {} {parent} {group} {session} {device} {foreground} {FLAGS}", state(of).0)?;
    let children = *process.children_usage.lock();
    let ticks = |all: u64, user: u64| (user / TICK_NS, all.saturating_sub(user) / TICK_NS);
    let ((user, system), (children_user, children_system)) =
        (ticks(cpu_ns, user_ns), ticks(children.cpu_ns, children.user_ns));
    let threads = process.threads.lock().len();
    let policy = of.thread.as_ref().map_or(Policy::DEFAULT, |thread| thread.schedule.policy());
    let (faults, children_faults) = (counts(of).get(Event::Fault), children.counts.get(Event::Fault));
    write!(out, " {faults} {children_faults} 0 0 {user} {system} {children_user} {children_system}")?;
    // As Linux counts here, real-time priorities are below 0.
    let priority = policy.kernel_priority() as i64 - 100;
    write!(out, " {priority} {} {threads} 0", policy.nice)?;
    let rss_limit = process.limits.lock().get(index::RSS).map_or(u64::MAX, |limit| limit.soft);
    let (size, resident) = (memory.mapped_bytes(), memory.resident_pages());
    write!(out, " {} {size} {resident} {rss_limit}", process.started / TICK_NS)?;
    let strings = *process.strings.lock();
    // Where code and stack begin and end, and where the program is just now, is told to nobody.
    let signals = Signals::of(of);
    let low = |set: u64| set & 0x7fff_ffff;
    write!(out, " 0 0 0 0 0 {} {}", low(signals.pending), low(signals.blocked))?;
    write!(out, " {} {} 0 0 0", low(signals.ignored), low(signals.caught))?;
    let exit_signal = if of.is_thread { -1 } else { process.exit_signal.load(Ordering::Relaxed) as i32 };
    let cpu = of.thread.as_ref().map_or(0, |thread| thread.cpu.load(Ordering::Relaxed));
    write!(
        out,
        " {exit_signal} {cpu} {} {} 0 0 0 0 0 {}",
        policy.real_time,
        policy.number,
        memory.heap_start()
    )?;
    let code = match *process.status.lock() {
        Status::Ended(status) => status,
        _ => 0,
    };
    let (start, middle, end) = (strings.arguments, strings.environment, strings.end);
    writeln!(out, " {start} {middle} {middle} {end} {code}")
}

pub(super) fn machine(out: &mut dyn Write) -> core::fmt::Result {
    let now = time::now_ns();
    let of = |cpu| {
        let idle = sched::statistics(cpu).1.min(now);
        ((now - idle) / TICK_NS, idle / TICK_NS)
    };
    let sum = (0..cpu_count()).map(of).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    writeln!(out, "cpu  {} 0 0 {} 0 0 0 0 0 0", sum.0, sum.1)?;
    for (cpu, (busy, idle)) in (0..cpu_count()).map(of).enumerate() {
        writeln!(out, "cpu{cpu} {busy} 0 0 {idle} 0 0 0 0 0 0")?;
    }
    let switches: u64 = (0..cpu_count()).map(|cpu| sched::statistics(cpu).0).sum();
    writeln!(out, "intr 0\nctxt {switches}\nbtime {}", (time::wall_ns() - now) / 1_000_000_000)?;
    writeln!(out, "processes {}", table::FORKS.load(Ordering::Relaxed))?;
    writeln!(out, "procs_running {}\nprocs_blocked 0", sched::runnable_count())
}
