// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc: the files that busybox and the C library look for, made when they are read.

use core::{fmt::Write, sync::atomic::Ordering};

use alloc::{boxed::Box, format, string::String, sync::Arc, vec, vec::Vec};

use exo_hal::{
    PAGE_SIZE, cpu,
    cpu::percpu::{counters, cpu_count},
    dev::acpi,
    mm::{dma, frame, heap},
    time, tlb,
};
use exo_logic::areas::Flags;

use super::{
    mount,
    node::{Body, DynamicDirectory, FileSystem, Generate, Node, kind},
};
use crate::{
    drivers::network,
    errno::{Errno, Result},
    mm::Backing,
    sched,
    task::{Name, Process, Status, current, table},
};

/// Clock ticks a second in /proc/stat and PID/stat (USER_HZ).
const TICK_NS: u64 = 10_000_000;
const LINK: u32 = kind::LINK | 0o777;
const TEXT: u32 = kind::REGULAR | 0o444;
const SETTING: u32 = kind::REGULAR | 0o644;
const DIRECTORY: u32 = kind::DIRECTORY | 0o555;

/// What writes itself into a string.
type Writer = fn(&mut String) -> core::fmt::Result;

const FILES: [(&str, Writer); 12] = [
    ("cmdline", |out| writeln!(out, "{}", exo_hal::boot::info().command_line)),
    ("cpuinfo", cpuinfo),
    ("exo", exo),
    ("filesystems", |out| {
        out.write_str("nodev\tproc\nnodev\ttmpfs\nnodev\tdevtmpfs\nnodev\tsysfs\nnodev\tramfs\n")
    }),
    ("loadavg", loadavg),
    ("locks", super::locks::write_list),
    ("meminfo", meminfo),
    ("mounts", mounts),
    ("stat", stat),
    ("uptime", uptime),
    ("version", |out| writeln!(out, "Exo-Kernel version {} (x86_64)", crate::syscall::info::RELEASE)),
    ("vmstat", |out| writeln!(out, "nr_free_pages {}", frame::totals().1)),
];

/// The directory itself.
struct Root;

/// The root of a new mount of it.
pub fn root() -> Arc<Node> {
    Node::new(FileSystem::Processes, DIRECTORY, Body::Dynamic(Box::new(Root)))
}

fn text(generate: Generate) -> Arc<Node> {
    Node::new(FileSystem::Processes, TEXT, Body::Text(generate))
}

fn link(generate: Generate) -> Arc<Node> {
    Node::new(FileSystem::Processes, LINK, Body::DynamicLink(generate))
}

fn written(write: Writer) -> Generate {
    Box::new(move || {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = write(&mut out);
        Ok(out.into_bytes())
    })
}

fn number(name: &[u8]) -> Option<u32> {
    core::str::from_utf8(name).ok()?.parse().ok()
}

impl DynamicDirectory for Root {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        match name {
            b"self" => return Ok(link(Box::new(|| Ok(format!("{}", current().pid).into_bytes())))),
            b"thread-self" => {
                return Ok(link(Box::new(|| {
                    Ok(format!("{}/task/{}", current().pid, current().tid).into_bytes())
                })));
            }
            _ => {}
        }
        if name == b"net" {
            return Ok(Node::new(FileSystem::Processes, DIRECTORY, Body::Dynamic(Box::new(Net))));
        }
        if let Some((_, write)) = FILES.iter().find(|(n, _)| n.as_bytes() == name) {
            return Ok(text(written(*write)));
        }
        let process = number(name).and_then(table::process).ok_or(Errno::ENOENT)?;
        Ok(Node::new(FileSystem::Processes, DIRECTORY, Body::Dynamic(Box::new(Of(process.pid)))))
    }

    fn list(&self) -> Vec<(Vec<u8>, u32)> {
        let mut out: Vec<_> = FILES.iter().map(|(n, _)| (n.as_bytes().to_vec(), kind::REGULAR)).collect();
        out.push((b"self".to_vec(), kind::LINK));
        out.push((b"net".to_vec(), kind::DIRECTORY));
        out.extend(table::processes().iter().map(|p| (format!("{}", p.pid).into_bytes(), kind::DIRECTORY)));
        out
    }
}

/// /proc/net.
struct Net;

const NET_FILES: [&[u8]; 4] = [b"addresses", b"dev", b"ping", b"rates"];

impl DynamicDirectory for Net {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        Ok(match name {
            b"addresses" => text(written(network::addresses)),
            b"dev" => text(written(network::devices)),
            b"rates" => text(written(network::rates)),
            b"ping" => {
                let body = Body::Setting(written(network::pings), Box::new(network::ping));
                Node::new(FileSystem::Processes, SETTING, body)
            }
            _ => return Err(Errno::ENOENT),
        })
    }

    fn list(&self) -> Vec<(Vec<u8>, u32)> {
        NET_FILES.iter().map(|name| (name.to_vec(), kind::REGULAR)).collect()
    }
}

/// /proc/PID.
struct Of(u32);

fn find(pid: u32) -> Result<Arc<Process>> {
    table::process(pid).ok_or(Errno::ESRCH)
}

impl DynamicDirectory for Of {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let pid = self.0;
        find(pid).map_err(|_| Errno::ENOENT)?;
        let write: fn(&Arc<Process>, &mut String) -> core::fmt::Result = match name {
            b"stat" => process_stat,
            b"status" => process_status,
            b"statm" => |p, out| {
                let memory = p.memory.lock().clone();
                let (size, resident) = (memory.mapped_bytes() / PAGE_SIZE, memory.resident_pages());
                writeln!(out, "{size} {resident} 0 0 0 {size} 0")
            },
            b"maps" => process_maps,
            b"mounts" => |_, out| mounts(out),
            b"comm" => {
                let show = Box::new(move || Ok(format!("{}\n", name_of(&*find(pid)?)).into_bytes()));
                let store = Box::new(move |name: &[u8]| {
                    let thread = find(pid)?.any_thread().ok_or(Errno::ESRCH)?;
                    thread.rename(Name::new(name));
                    Ok(())
                });
                return Ok(Node::new(FileSystem::Processes, SETTING, Body::Setting(show, store)));
            }
            b"cmdline" => return Ok(text(Box::new(move || Ok(command_line(&*find(pid)?))))),
            b"exe" => return Ok(link(Box::new(move || Ok(find(pid)?.program.lock().clone())))),
            b"cwd" => return Ok(link(Box::new(move || Ok(find(pid)?.fs.directory.lock().clone().path())))),
            b"root" => return Ok(link(Box::new(|| Ok(b"/".to_vec())))),
            b"fd" => {
                return Ok(Node::new(
                    FileSystem::Processes,
                    DIRECTORY,
                    Body::Dynamic(Box::new(Descriptors(pid))),
                ));
            }
            b"task" => {
                return Ok(Node::new(
                    FileSystem::Processes,
                    DIRECTORY,
                    Body::Dynamic(Box::new(Threads(pid))),
                ));
            }
            _ => return Err(Errno::ENOENT),
        };
        Ok(text(Box::new(move || {
            let mut out = String::new();
            // Writing to a string cannot fail.
            let _ = write(&find(pid)?, &mut out);
            Ok(out.into_bytes())
        })))
    }

    fn list(&self) -> Vec<(Vec<u8>, u32)> {
        let texts = ["cmdline", "comm", "maps", "mounts", "stat", "statm", "status"];
        let mut out: Vec<_> = texts.iter().map(|n| (n.as_bytes().to_vec(), kind::REGULAR)).collect();
        out.extend(["cwd", "exe", "root"].iter().map(|n| (n.as_bytes().to_vec(), kind::LINK)));
        out.extend(["fd", "task"].iter().map(|n| (n.as_bytes().to_vec(), kind::DIRECTORY)));
        out
    }
}

/// /proc/PID/fd.
struct Descriptors(u32);

impl DynamicDirectory for Descriptors {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let process = find(self.0).map_err(|_| Errno::ENOENT)?;
        let fd = number(name).and_then(|n| i32::try_from(n).ok()).ok_or(Errno::ENOENT)?;
        let file = process.files().and_then(|files| files.get(fd).ok()).ok_or(Errno::ENOENT)?;
        // Its permissions tell what the file was opened for.
        let access = if file.can_read() { 0o500 } else { 0 } | if file.can_write() { 0o300 } else { 0 };
        Ok(Node::new(FileSystem::Processes, kind::LINK | access, Body::DescriptorLink(file)))
    }

    fn list(&self) -> Vec<(Vec<u8>, u32)> {
        let Ok(process) = find(self.0) else { return Vec::new() };
        process
            .files()
            .map(|files| files.list())
            .unwrap_or_default()
            .iter()
            .map(|fd| (format!("{fd}").into_bytes(), kind::LINK))
            .collect()
    }
}

/// /proc/PID/task: each thread looks like the process.
struct Threads(u32);

impl DynamicDirectory for Threads {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let process = find(self.0).map_err(|_| Errno::ENOENT)?;
        let tid = number(name).ok_or(Errno::ENOENT)?;
        let known = process.threads.lock().iter().any(|t| t.tid == tid);
        if !known {
            return Err(Errno::ENOENT);
        }
        Ok(Node::new(FileSystem::Processes, DIRECTORY, Body::Dynamic(Box::new(Of(self.0)))))
    }

    fn list(&self) -> Vec<(Vec<u8>, u32)> {
        let Ok(process) = find(self.0) else { return Vec::new() };
        process.threads.lock().iter().map(|t| (format!("{}", t.tid).into_bytes(), kind::DIRECTORY)).collect()
    }
}

fn name_of(process: &Process) -> String {
    String::from_utf8_lossy(process.name().bytes()).into_owned()
}

fn command_line(process: &Process) -> Vec<u8> {
    let (start, end) = *process.arguments.lock();
    let mut out = vec![0; end.saturating_sub(start).min(PAGE_SIZE)];
    let memory = process.memory.lock().clone();
    let count = memory.read(start, &mut out);
    out.truncate(count);
    out
}

fn state_of(process: &Process) -> (char, &'static str) {
    match *process.status.lock() {
        Status::Ended(_) => ('Z', "zombie"),
        Status::Stopped { .. } => ('T', "stopped"),
        _ => {
            let threads = process.threads.lock();
            let runs = threads.iter().any(|t| t.state.load(Ordering::Relaxed) == sched::state::RUNNABLE);
            if runs { ('R', "running") } else { ('S', "sleeping") }
        }
    }
}

fn parent_of(process: &Process) -> u32 {
    process.parent.lock().upgrade().map_or(0, |p| p.pid)
}

fn process_stat(process: &Arc<Process>, out: &mut String) -> core::fmt::Result {
    let (state, _) = state_of(process);
    let memory = process.memory.lock().clone();
    let terminal = process.terminal.lock().clone();
    let (device, foreground) = terminal.map_or((0, -1), |t| (t.device_number(), t.foreground() as i32));
    let children = process.children_usage.lock().cpu_ns / TICK_NS;
    let threads = process.threads.lock().len();
    writeln!(
        out,
        "{} ({}) {state} {} {} {} {device} {foreground} 4194304 0 0 0 0 {} 0 {children} 0 20 0 {threads} 0 {} {} {} 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
        process.pid,
        name_of(process),
        parent_of(process),
        process.group.load(Ordering::Relaxed),
        process.session.load(Ordering::Relaxed),
        process.cpu_ns() / TICK_NS,
        process.started / TICK_NS,
        memory.mapped_bytes(),
        memory.resident_pages(),
    )
}

fn process_status(process: &Arc<Process>, out: &mut String) -> core::fmt::Result {
    let (letter, word) = state_of(process);
    let memory = process.memory.lock().clone();
    writeln!(out, "Name:\t{}", name_of(process))?;
    writeln!(out, "Umask:\t{:04o}", process.fs.umask.load(Ordering::Relaxed))?;
    writeln!(out, "State:\t{letter} ({word})")?;
    writeln!(out, "Tgid:\t{0}\nNgid:\t0\nPid:\t{0}\nPPid:\t{1}", process.pid, parent_of(process))?;
    writeln!(out, "TracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0")?;
    writeln!(
        out,
        "VmSize:\t{:8} kB\nVmRSS:\t{:8} kB",
        memory.mapped_bytes() / 1024,
        memory.resident_pages() * 4
    )?;
    writeln!(out, "Threads:\t{}", process.threads.lock().len())
}

fn process_maps(process: &Arc<Process>, out: &mut String) -> core::fmt::Result {
    let memory = process.memory.lock().clone();
    let mut result = Ok(());
    memory.each_area(|area| {
        let letter = |flag, letter| if area.flags.contains(flag) { letter } else { '-' };
        let offset = match &area.backing {
            Backing::Anonymous => 0,
            Backing::File { offset, .. } => *offset,
        };
        let name = if area.flags.contains(Flags::HEAP) {
            "[heap]"
        } else if area.flags.contains(Flags::GROWS_DOWN) {
            "[stack]"
        } else {
            ""
        };
        result = result.and(writeln!(
            out,
            "{:x}-{:x} {}{}{}{} {offset:08x} 00:00 0 {name}",
            area.start,
            area.end,
            letter(Flags::READ, 'r'),
            letter(Flags::WRITE, 'w'),
            letter(Flags::EXECUTE, 'x'),
            if area.flags.contains(Flags::SHARED) { 's' } else { 'p' },
        ));
    });
    result
}

fn mounts(out: &mut String) -> core::fmt::Result {
    for mount in mount::list() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        writeln!(out, "{} {} {} rw 0 0", text(&mount.source), text(&mount.target), text(&mount.kind))?;
    }
    Ok(())
}

fn uptime(out: &mut String) -> core::fmt::Result {
    let hundredths = |ns: u64| (ns / 1_000_000_000, ns / TICK_NS % 100);
    let idle = (0..cpu_count()).map(|cpu| sched::statistics(cpu).1).sum();
    let ((s, h), (i, j)) = (hundredths(time::now_ns()), hundredths(idle));
    writeln!(out, "{s}.{h:02} {i}.{j:02}")
}

fn loadavg(out: &mut String) -> core::fmt::Result {
    // Averages are not kept; the number of runnable tasks is exact.
    let last = table::processes().last().map_or(0, |p| p.pid);
    writeln!(
        out,
        "0.00 0.00 0.00 {}/{} {last}",
        sched::runnable_count(),
        table::TASKS.load(Ordering::Relaxed)
    )
}

fn meminfo(out: &mut String) -> core::fmt::Result {
    let (total, free) = frame::totals();
    let line =
        |out: &mut String, name: &str, kb: usize| writeln!(out, "{:<16}{kb:>8} kB", format!("{name}:"));
    line(out, "MemTotal", total * 4)?;
    line(out, "MemFree", free * 4)?;
    line(out, "MemAvailable", free * 4)?;
    for name in [
        "Buffers",
        "Cached",
        "SwapCached",
        "Active",
        "Inactive",
        "SwapTotal",
        "SwapFree",
        "Dirty",
        "Mapped",
        "Shmem",
        "SReclaimable",
    ] {
        line(out, name, 0)?;
    }
    line(out, "Slab", heap::heap_bytes() / 1024)
}

fn stat(out: &mut String) -> core::fmt::Result {
    let now = time::now_ns();
    let all: Vec<(u64, u64)> = (0..cpu_count())
        .map(|cpu| {
            let idle = sched::statistics(cpu).1.min(now);
            ((now - idle) / TICK_NS, idle / TICK_NS)
        })
        .collect();
    let sum = all.iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    writeln!(out, "cpu  {} 0 0 {} 0 0 0 0 0 0", sum.0, sum.1)?;
    for (cpu, (busy, idle)) in all.iter().enumerate() {
        writeln!(out, "cpu{cpu} {busy} 0 0 {idle} 0 0 0 0 0 0")?;
    }
    let switches: u64 = (0..cpu_count()).map(|cpu| sched::statistics(cpu).0).sum();
    writeln!(out, "intr 0\nctxt {switches}\nbtime {}", (time::wall_ns() - now) / 1_000_000_000)?;
    writeln!(out, "processes {}", table::FORKS.load(Ordering::Relaxed))?;
    writeln!(out, "procs_running {}\nprocs_blocked 0", sched::runnable_count())
}

fn cpuinfo(out: &mut String) -> core::fmt::Result {
    let brand = cpu::brand();
    let name = core::str::from_utf8(&brand).unwrap_or("").trim_matches(['\0', ' ']);
    let khz = time::cycles_khz();
    for cpu in 0..cpu_count() {
        writeln!(
            out,
            "processor\t: {cpu}\nmodel name\t: {name}\ncpu MHz\t\t: {}.{:03}\n",
            khz / 1000,
            khz % 1000
        )?;
    }
    Ok(())
}

/// Counters of this kernel's own; the tests of the lean system calls read them.
fn exo(out: &mut String) -> core::fmt::Result {
    let (locks, allocations) = counters();
    writeln!(out, "locks {locks}\nallocations {allocations}\nshootdowns {}", tlb::shootdowns())?;
    writeln!(out, "random_fed {}", crate::random::fed())?;
    let (from_node, from_elsewhere) = dma::node_statistics();
    for node in acpi::nodes() {
        let count = from_node.get(node as usize).copied().unwrap_or(0);
        writeln!(out, "dma_from_node{node} {count}")?;
    }
    writeln!(out, "dma_from_elsewhere {from_elsewhere}")?;
    writeln!(
        out,
        "heap {}\nwritable_and_executable {}",
        heap::heap_bytes(),
        exo_hal::mm::paging::count_writable_and_executable()
    )
}
