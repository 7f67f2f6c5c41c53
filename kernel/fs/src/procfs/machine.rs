// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files in the root of /proc: the machine as a whole.

use core::{
    fmt::{Result, Write},
    sync::atomic::Ordering,
};

use exo_core::names::{RELEASE, VERSION};
use exo_drivers::block::registry::registry;
use exo_hal::{
    boot, cpu,
    cpu::percpu::cpu_count,
    mm::{frame, heap},
    time,
};
use exo_logic::credentials::capability;

use super::TICK_NS;
use crate::{
    disk,
    errno::{self, Errno},
    fs::{device, mounting},
    memory_devices, power, sched,
    task::{credentials::capable, table},
};

pub(super) fn command_line(out: &mut dyn Write) -> Result {
    writeln!(out, "{}", boot::info().command_line)
}

pub(super) fn filesystems(out: &mut dyn Write) -> Result {
    let mut result = Ok(());
    mounting::each(|system| result = result.and_then(|()| writeln!(out, "nodev\t{}", system.name())));
    result
}

pub(super) fn devices(out: &mut dyn Write) -> Result {
    out.write_str("Character devices:\n")?;
    memory_devices::MAJORS.iter().try_for_each(|(major, name)| writeln!(out, "{major:3} {name}"))?;
    out.write_str("\nBlock devices:\n")?;
    writeln!(out, "{:3} disk", device::major::LOCAL)
}

pub(super) fn partitions(out: &mut dyn Write) -> Result {
    out.write_str("major minor  #blocks  name\n\n")?;
    for disk in registry().list() {
        let geometry = disk.device.geometry();
        let Some((major, minor)) = device::block_number(&disk.name) else { continue };
        let kib = geometry.sectors.saturating_mul(geometry.sector_size.into()) / 1024;
        writeln!(out, "{major:4}  {minor:7} {kib:10} {}", disk.name)?;
    }
    Ok(())
}

pub(super) fn version(out: &mut dyn Write) -> Result {
    writeln!(out, "Linux version {} (exo@exo) (rustc) {}", RELEASE, VERSION)
}

pub(super) fn vmstat(out: &mut dyn Write) -> Result {
    let switches: u64 = (0..cpu_count()).map(|cpu| sched::statistics(cpu).0).sum();
    writeln!(out, "nr_free_pages {}\nexo_context_switches {switches}", frame::totals().1)
}

pub(super) fn uptime(out: &mut dyn Write) -> Result {
    let hundredths = |ns: u64| (ns / 1_000_000_000, ns / TICK_NS % 100);
    let idle = (0..cpu_count()).map(|cpu| sched::statistics(cpu).1).sum();
    let ((s, h), (i, j)) = (hundredths(time::now_ns()), hundredths(idle));
    writeln!(out, "{s}.{h:02} {i}.{j:02}")
}

pub(super) fn loadavg(out: &mut dyn Write) -> Result {
    // Averages are not kept; the number of runnable tasks is exact.
    let (runnable, all) = (sched::runnable_count(), table::TASKS.load(Ordering::Relaxed));
    writeln!(out, "0.00 0.00 0.00 {runnable}/{all} {}", table::last_number())
}

pub(super) fn meminfo(out: &mut dyn Write) -> Result {
    let (total, free) = frame::totals();
    let line = |out: &mut dyn Write, name: &str, kib: usize| {
        // The colon belongs to the name, and the numbers stand in a column.
        writeln!(out, "{name}:{:>1$} kB", kib, 23_usize.saturating_sub(name.len()))
    };
    line(out, "MemTotal", total * 4)?;
    line(out, "MemFree", free * 4)?;
    line(out, "MemAvailable", frame::free_for_programs() * 4)?;
    for name in ["Buffers", "Cached", "SwapCached", "Active", "Inactive", "SwapTotal", "SwapFree", "Dirty"] {
        line(out, name, 0)?;
    }
    for name in ["Writeback", "Mapped", "Shmem", "SReclaimable"] {
        line(out, name, 0)?;
    }
    let heap = heap::heap_bytes() / 1024;
    line(out, "Slab", heap)?;
    line(out, "SUnreclaim", heap)
}

pub(super) fn cpuinfo(out: &mut dyn Write) -> Result {
    let brand = cpu::brand();
    let name = core::str::from_utf8(&brand).unwrap_or("").trim_matches(['\0', ' ']);
    let [_, b, c, d] = cpu::cpuid(0, 0);
    let vendor = [b.to_le_bytes(), d.to_le_bytes(), c.to_le_bytes()].concat();
    let signature = cpu::cpuid(1, 0)[0];
    let (khz, count) = (time::cycles_khz(), cpu_count());
    for cpu in 0..count {
        writeln!(out, "processor\t: {cpu}\nvendor_id\t: {}", vendor.escape_ascii())?;
        let (family, model) = family_and_model(signature);
        writeln!(out, "cpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {name}")?;
        writeln!(out, "stepping\t: {}", signature & 15)?;
        writeln!(out, "cpu MHz\t\t: {}.{:03}", khz / 1000, khz % 1000)?;
        writeln!(out, "physical id\t: 0\nsiblings\t: {count}\ncore id\t\t: {cpu}\ncpu cores\t: {count}")?;
        writeln!(out, "apicid\t\t: {cpu}\ninitial apicid\t: {cpu}\nfpu\t\t: yes\nfpu_exception\t: yes")?;
        writeln!(out, "bogomips\t: {}.{:02}", khz / 500, khz / 5 % 100)?;
        writeln!(out, "clflush size\t: 64\ncache_alignment\t: 64\n")?;
    }
    Ok(())
}

/// The display family and model of a processor's signature (Intel SDM, CPUID leaf 1).
fn family_and_model(signature: u32) -> (u32, u32) {
    let (family, model) = ((signature >> 8) & 15, (signature >> 4) & 15);
    let extended = (signature >> 16) & 15;
    let display = if family == 15 { family + ((signature >> 20) & 255) } else { family };
    (display, if matches!(family, 6 | 15) { (extended << 4) | model } else { model })
}

/// Magic keys, as far as they mean something here: `c` crashes, `b` resets, `o` switches off, `s` writes disks' caches back.
pub(super) fn sysrq(keys: &[u8]) -> errno::Result<()> {
    if !capable(capability::SYS_BOOT) {
        return Err(Errno::EPERM);
    }
    match keys.first() {
        Some(b'c') => panic!("asked for by /proc/sysrq-trigger"),
        // At once: whoever asks for that has no use for devices at rest.
        Some(b'b') => exo_hal::power::reset(),
        Some(b'o') => power::switch_off(),
        Some(b's') => {
            disk::flush_all();
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    }
}
