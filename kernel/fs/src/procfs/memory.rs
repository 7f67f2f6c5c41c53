// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process's memory: maps, smaps, statm, its lines of status, and what it counts when memory is out.

use core::{fmt::Write, sync::atomic::Ordering};

use alloc::{format, vec::Vec};

use exo_hal::PAGE_SIZE;
use exo_logic::{
    areas::{Area, Flags},
    credentials::capability,
};

use super::subject::Subject;
use crate::{
    errno::{Errno, Result},
    mm::{AddressSpace, Backing},
    sched::spans,
    task::credentials::capable,
    task::oom,
};

pub(super) fn oom_adjust(of: &Subject) -> Result<Vec<u8>> {
    Ok(format!("{}\n", of.process.oom_adjust.load(Ordering::Relaxed)).into_bytes())
}

pub(super) fn set_oom_adjust(of: &Subject, value: &[u8]) -> Result<()> {
    let value = core::str::from_utf8(value).ok().and_then(|v| v.trim().parse().ok());
    let value = value.filter(|v| (oom::NEVER..=1000).contains(v)).ok_or(Errno::EINVAL)?;
    adjust(of, value)
}

/// A process may always be made likelier to be ended, and less likely by the privileged alone.
fn adjust(of: &Subject, value: i32) -> Result<()> {
    if value < of.process.oom_adjust.load(Ordering::Relaxed) && !capable(capability::SYS_RESOURCE) {
        return Err(Errno::EACCES);
    }
    of.process.oom_adjust.store(value, Ordering::Relaxed);
    Ok(())
}

/// What `oom_score_adj` was before: -16 to 15, and -17 for never, which are as far from 0 as 1000 thousandths are.
mod old_adjustment {
    pub(super) const NEVER: i32 = -17;
    pub(super) const MOST: i32 = 15;
}

pub(super) fn oom_adjust_old(of: &Subject) -> Result<Vec<u8>> {
    let value = match of.process.oom_adjust.load(Ordering::Relaxed) {
        1000 => old_adjustment::MOST,
        value => value * -old_adjustment::NEVER / 1000,
    };
    Ok(format!("{value}\n").into_bytes())
}

pub(super) fn set_oom_adjust_old(of: &Subject, value: &[u8]) -> Result<()> {
    let value = core::str::from_utf8(value).ok().and_then(|v| v.trim().parse().ok());
    let known = old_adjustment::NEVER..=old_adjustment::MOST;
    let value: i32 = value.filter(|v| known.contains(v)).ok_or(Errno::EINVAL)?;
    let value = if value == old_adjustment::MOST { 1000 } else { value * 1000 / -old_adjustment::NEVER };
    adjust(of, value)
}

pub(super) fn dump_filter(of: &Subject) -> Result<Vec<u8>> {
    Ok(format!("{:08x}\n", of.process.dump_filter.load(Ordering::Relaxed)).into_bytes())
}

pub(super) fn set_dump_filter(of: &Subject, value: &[u8]) -> Result<()> {
    /// Bits that Linux has.
    const KNOWN: u32 = 0x1ff;
    of.process.dump_filter.store(number(value)? as u32 & KNOWN, Ordering::Relaxed);
    Ok(())
}

/// An unsigned number as Linux's settings take it: decimal, hexadecimal behind `0x`, octal behind `0`.
fn number(value: &[u8]) -> Result<u64> {
    let text = core::str::from_utf8(value).map_err(|_| Errno::EINVAL)?.trim();
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    u64::from_str_radix(digits, radix).map_err(|_| Errno::EINVAL)
}

/// The auxiliary vector.
pub(super) fn auxiliary(of: &Subject) -> Result<Vec<u8>> {
    Ok(of.process.auxiliary.lock().to_vec())
}

pub(super) fn statm(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let memory = of.process.memory.lock().clone();
    let usage = memory.usage();
    let pages = |bytes: usize| bytes / PAGE_SIZE;
    let (size, resident) = (pages(usage.mapped), pages(usage.resident));
    let (shared, code, data) =
        (pages(memory.resident_shared()), pages(usage.code), pages(usage.data + usage.stack));
    writeln!(out, "{size} {resident} {shared} {code} 0 {data} 0")
}

/// The lines of status about memory.
pub(super) fn status(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let memory = of.process.memory.lock().clone();
    let usage = memory.usage();
    let shared = memory.resident_shared().min(usage.resident);
    for (name, bytes) in [
        ("VmPeak", usage.peak),
        ("VmSize", usage.mapped),
        ("VmLck", usage.locked),
        ("VmPin", 0),
        ("VmHWM", usage.resident_peak.max(usage.resident)),
        ("VmRSS", usage.resident),
        ("RssAnon", usage.resident - shared),
        ("RssFile", shared),
        ("RssShmem", 0),
        ("VmData", usage.data),
        ("VmStk", usage.stack),
        ("VmExe", usage.code),
        ("VmLib", 0),
        ("VmPTE", usage.tables),
        ("VmSwap", 0),
    ] {
        writeln!(out, "{name}:\t{:8} kB", bytes / 1024)?;
    }
    Ok(())
}

fn line(area: &Area<Backing>, out: &mut dyn Write) -> core::fmt::Result {
    let letter = |flag, letter| if area.flags.contains(flag) { letter } else { '-' };
    let (mut offset, mut device, mut inode) = (0, 0, 0);
    let mut name = Vec::new();
    if let Backing::File { offset: from, file, .. } = &area.backing {
        offset = *from;
        match file {
            Some(file) => {
                (device, inode) = file.numbers();
                name = file.path();
            }
            None => name.extend(b"/dev/zero (deleted)"),
        }
    } else if area.flags.contains(Flags::HEAP) {
        name.extend(b"[heap]");
    } else if area.flags.contains(Flags::GROWS_DOWN) {
        name.extend(b"[stack]");
    }
    let mut written = Counted { out, bytes: 0 };
    write!(
        written,
        "{:08x}-{:08x} {}{}{}{} {offset:08x} {:02x}:{:02x} {inode} ",
        area.start,
        area.end,
        letter(Flags::READ, 'r'),
        letter(Flags::WRITE, 'w'),
        letter(Flags::EXECUTE, 'x'),
        if area.flags.contains(Flags::SHARED) { 's' } else { 'p' },
        device >> 8,
        device & 0xff,
    )?;
    if !name.is_empty() {
        // Names stand below each other.
        let gap = 73usize.saturating_sub(written.bytes);
        write!(written, "{:gap$}", "")?;
        for chunk in name.utf8_chunks() {
            written.write_str(&chunk.valid().replace('\n', "\\012"))?;
        }
    }
    writeln!(written)
}

/// Counts what is written.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.bytes += text.len();
        self.out.write_str(text)
    }
}

fn each(
    of: &Subject,
    mut with: impl FnMut(&AddressSpace, &Area<Backing>) -> core::fmt::Result,
) -> core::fmt::Result {
    let memory = of.process.memory.lock().clone();
    let mut at = 0;
    while let Some(area) = memory.area_above(at) {
        at = area.end;
        with(&memory, &area)?;
        // Who is to end reads nothing any more.
        if spans::point() {
            return Err(core::fmt::Error);
        }
    }
    Ok(())
}

pub(super) fn maps(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    each(of, |_, area| line(area, out))
}

pub(super) fn smaps(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    each(of, |memory, area| {
        line(area, out)?;
        let kib = (area.end - area.start) / 1024;
        let resident = memory.resident_in(area.start, area.end) / 1024;
        let locked = if area.flags.contains(Flags::LOCKED) { resident } else { 0 };
        let anonymous = if matches!(area.backing, Backing::Anonymous) { resident } else { 0 };
        for (name, value) in [
            ("Size:", kib),
            ("KernelPageSize:", PAGE_SIZE / 1024),
            ("MMUPageSize:", PAGE_SIZE / 1024),
            ("Rss:", resident),
            ("Anonymous:", anonymous),
            ("Swap:", 0),
            ("Locked:", locked),
        ] {
            writeln!(out, "{name:<16}{value:8} kB")?;
        }
        flags(area.flags, out)
    })
}

/// The letters that Linux has for what an area may do and become.
fn flags(flags: Flags, out: &mut dyn Write) -> core::fmt::Result {
    out.write_str("VmFlags:")?;
    for (flag, name) in [
        (Flags::READ, "rd"),
        (Flags::WRITE, "wr"),
        (Flags::EXECUTE, "ex"),
        (Flags::SHARED, "sh"),
        (Flags::empty(), "mr"),
        (Flags::MAY_WRITE, "mw"),
        (Flags::MAY_EXECUTE, "me"),
        (Flags::SHARED, "ms"),
        (Flags::GROWS_DOWN, "gd"),
        (Flags::LOCKED, "lo"),
        (Flags::DONT_FORK, "dc"),
        (Flags::WIPE_ON_FORK, "wf"),
        (Flags::DONT_DUMP, "dd"),
    ] {
        if flags.contains(flag) {
            write!(out, " {name}")?;
        }
    }
    writeln!(out, " ")
}
