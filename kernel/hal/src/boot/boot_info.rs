// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot loader handed over, for everything that is set up from it.

use crate::once::Once;

/// One entry of the boot memory map.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// Physical address of the first byte.
    pub start: u64,
    /// Size in bytes.
    pub size: u64,
    /// 1 is usable memory; the rest is as in ACPI's address range types.
    pub kind: u32,
    reserved: u32,
}

impl Region {
    /// The type of usable memory.
    pub const USABLE: u32 = 1;
}

/// What the boot loader handed over.
#[derive(Debug)]
pub struct BootInfo {
    /// The kernel's command line; empty if none was given or it was not UTF-8.
    pub command_line: &'static str,
    /// The initial RAM disk; empty if none was given. Goes when [`take_initrd`](super::take_initrd)'s result does.
    pub(crate) initrd: &'static [u8],
    /// The memory map.
    pub regions: &'static [Region],
    /// Physical address of ACPI's root pointer, or 0.
    pub rsdp: u64,
    /// Cycle counter at the first Rust instruction.
    pub start_cycles: u64,
}

static BOOT: Once<BootInfo> = Once::new();

/// Notes it, once.
pub(super) fn set(info: BootInfo) -> &'static BootInfo {
    BOOT.set(info)
}

/// The boot information, once `hal_start` has read it.
pub fn info() -> &'static BootInfo {
    BOOT.get().expect("read at boot")
}
