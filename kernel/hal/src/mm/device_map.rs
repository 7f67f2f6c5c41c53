// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the registers of devices are mapped.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{
    NoMemory,
    paging::{entry::bit, kernel},
};
use crate::{
    KERNEL_MAPPINGS, PAGE_SIZE,
    boot::boot_info::{self, Region},
    dev::registers::Registers,
};

/// Device registers lie above this, kernel stacks below.
pub(super) const DEVICES: u64 = KERNEL_MAPPINGS + (256 << 30);
/// The end of what every root table has the second-level table for.
const DEVICES_END: u64 = KERNEL_MAPPINGS + (512 << 30);

static NEXT_DEVICE: AtomicU64 = AtomicU64::new(DEVICES);

/// The next `size` bytes of addresses below `end`.
pub(super) fn take(next: &AtomicU64, size: u64, end: u64) -> Result<u64, NoMemory> {
    let after = |at: u64| at.checked_add(size).filter(|after| *after <= end);
    next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).map_err(|_| NoMemory)
}

/// Maps `size` bytes of device registers at `physical`, uncached.
pub(crate) fn map_device(physical: u64, size: usize) -> *mut u8 {
    try_map_device(physical, size).expect("page tables for device registers")
}

fn try_map_device(physical: u64, size: usize) -> Result<*mut u8, NoMemory> {
    let offset = physical % PAGE_SIZE as u64;
    let pages = (offset as usize).checked_add(size).ok_or(NoMemory)?.div_ceil(PAGE_SIZE) as u64;
    let base = take(&NEXT_DEVICE, pages * PAGE_SIZE as u64, DEVICES_END)?;
    let flags = bit::WRITE | bit::NO_EXECUTE | bit::CACHE_DISABLE | bit::WRITE_THROUGH;
    for page in 0..pages {
        let at = page * PAGE_SIZE as u64;
        kernel::map_page(base + at, physical - offset + at, flags)?;
    }
    Ok((base + offset) as *mut u8)
}

/// The `length` bytes of registers at physical address `address`, uncached. None where the machine has memory: a function that says
/// so is mistaken, or lies.
pub(crate) fn map_registers(address: u64, length: usize) -> Result<Registers, NoMemory> {
    let end = address.checked_add(length as u64).ok_or(NoMemory)?;
    let is_memory =
        |r: &Region| r.kind == Region::USABLE && r.start < end && address < r.start.saturating_add(r.size);
    if boot_info::info().regions.iter().any(is_memory) {
        return Err(NoMemory);
    }
    let base = try_map_device(address, length)?;
    // SAFETY: just mapped, for ever, where no usable memory is.
    Ok(unsafe { Registers::mapped(base, length) })
}
