// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process's memory: maps, statm.

use core::{fmt::Write, sync::atomic::Ordering};

use alloc::{format, vec::Vec};

use exo_hal::PAGE_SIZE;
use exo_logic::areas::Flags;

use super::process::Subject;
use crate::{
    errno::{Errno, Result},
    mm::{Backing, oom},
};

pub(super) fn oom_adjust(of: &Subject) -> Result<Vec<u8>> {
    Ok(format!("{}\n", of.process.oom_adjust.load(Ordering::Relaxed)).into_bytes())
}

pub(super) fn set_oom_adjust(of: &Subject, value: &[u8]) -> Result<()> {
    let value = core::str::from_utf8(value).ok().and_then(|v| v.trim().parse().ok());
    let value = value.filter(|v| (oom::NEVER..=1000).contains(v)).ok_or(Errno::EINVAL)?;
    of.process.oom_adjust.store(value, Ordering::Relaxed);
    Ok(())
}

pub(super) fn statm(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let memory = of.process.memory.lock().clone();
    let (size, resident) = (memory.mapped_bytes() / PAGE_SIZE, memory.resident_pages());
    writeln!(out, "{size} {resident} 0 0 0 {size} 0")
}

pub(super) fn maps(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let memory = of.process.memory.lock().clone();
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
