// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the boot loader's hand-over to `exo_main`. The hand-over is PVH: 32-bit protected mode, paging off, a "start info"
//! structure that names the command line, the initial RAM disk, the memory map and the ACPI root pointer.
//! Source: Xen's public/arch-x86/hvm/start_info.h, as QEMU implements it for `-kernel`.

pub(crate) mod boot_info;

use core::{
    arch::global_asm,
    ops::Deref,
    slice,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    DIRECT_MAP, KERNEL_BASE, PAGE_SIZE,
    cpu::{self, stacks},
    dev::{self, acpi},
    hooks,
    mm::{
        frame::{self, boot_memory},
        heap, image, paging,
    },
    power, smp, time,
};

pub use boot_info::{BootInfo, Region, info};

global_asm!(include_str!("boot.S"), KERNEL_BASE = const KERNEL_BASE, options(att_syntax));
global_asm!(
    include_str!("trampoline.S"),
    KERNEL_BASE = const KERNEL_BASE,
    TRAMPOLINE = const smp::TRAMPOLINE,
    options(att_syntax)
);

const START_MAGIC: u32 = 0x336e_c578;

#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[repr(C)]
struct Module {
    address: u64,
    size: u64,
    command_line: u64,
    reserved: u64,
}

/// The initial RAM disk. When this is dropped, its memory goes to the frame allocator.
pub struct Initrd(());

impl Deref for Initrd {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        info().initrd
    }
}

impl Drop for Initrd {
    fn drop(&mut self) {
        frame::release_initrd(info());
    }
}

/// The initial RAM disk; none if it was taken before.
pub fn take_initrd() -> Option<Initrd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    (!TAKEN.swap(true, Ordering::AcqRel)).then_some(Initrd(()))
}

/// # Safety
/// `physical` names `count` values of T that nothing writes while the kernel runs, below 4 GiB.
unsafe fn boot_slice<T>(physical: u64, count: usize) -> &'static [T] {
    if physical == 0 || count == 0 {
        return &[];
    }
    // SAFETY: the caller vouches for the memory; the boot tables and the direct map show it at this address.
    unsafe { slice::from_raw_parts((DIRECT_MAP + physical) as *const T, count) }
}

/// # Safety
/// `physical` is the start info's address as PVH hands it over.
unsafe fn read_start_info(physical: u64, start_cycles: u64) -> BootInfo {
    // SAFETY: the caller vouches for the address; the loader's structures are never written.
    unsafe {
        let start = &boot_slice::<StartInfo>(physical, 1)[0];
        assert_eq!(start.magic, START_MAGIC, "the boot loader did not hand over a PVH start info");
        let command_line = if start.command_line == 0 {
            &[][..]
        } else {
            let bytes = boot_slice::<u8>(start.command_line, 4096);
            &bytes[..bytes.iter().position(|&b| b == 0).unwrap_or(0)]
        };
        let initrd = match boot_slice::<Module>(start.module_list, start.modules as usize).first() {
            Some(module) => boot_slice(module.address, module.size as usize),
            None => &[],
        };
        let regions = if start.version >= 1 {
            boot_slice(start.memory_map, start.memory_map_entries as usize)
        } else {
            &[]
        };
        BootInfo {
            command_line: core::str::from_utf8(command_line).unwrap_or(""),
            initrd,
            regions,
            rsdp: start.rsdp,
            start_cycles,
        }
    }
}

/// Sets up the frame allocator, then the heap, then page tables of our own, which reach the rest of the memory.
fn take_over_memory(boot: &BootInfo) {
    let slabs = boot_memory::init(boot, image::end().next_multiple_of(PAGE_SIZE as u64));
    heap::init(slabs);
    paging::kernel::init(boot);
    boot_memory::add_high(boot);
}

/// The first Rust code: on the boot stack, with the boot page tables.
#[unsafe(no_mangle)]
extern "C" fn hal_start(start_info: u64) -> ! {
    let start_cycles = time::cycles();
    dev::serial::early_init();
    cpu::init::boot_cpu();
    // SAFETY: boot.S passes PVH's register on unchanged.
    let boot = boot_info::set(unsafe { read_start_info(start_info, start_cycles) });
    take_over_memory(boot);
    stacks::allocate_interrupt_stacks();
    let platform = acpi::init(boot.rsdp);
    frame::set_nodes(platform.node_memory.iter().map(|m| (m.start, m.size, m.node)));
    if let Some((port, sleep_type)) = platform.power {
        power::set_soft_off(port, sleep_type);
    }
    time::init(boot.start_cycles, platform.pm_timer);
    dev::apic::init_boot_cpu();
    hooks::exo_main(boot)
}
