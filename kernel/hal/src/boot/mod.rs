// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the boot loader's hand-over to `exo_main`. The hand-over is PVH: 32-bit protected mode, paging off, a "start info"
//! structure that names the command line, the initial RAM disk, the memory map and the ACPI root pointer.
//! Source: Xen's public/arch-x86/hvm/start_info.h, as QEMU implements it for `-kernel`.

use core::{
    arch::global_asm,
    ops::Deref,
    slice,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{DIRECT_MAP, KERNEL_BASE, cpu, dev, hooks, mm, smp, time};

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
    /// The initial RAM disk; empty if none was given. Goes when [`take_initrd`]'s result does.
    pub(crate) initrd: &'static [u8],
    /// The memory map.
    pub regions: &'static [Region],
    /// Physical address of ACPI's root pointer, or 0.
    pub rsdp: u64,
    /// Cycle counter at the first Rust instruction.
    pub start_cycles: u64,
}

static BOOT: spin_once::Once<BootInfo> = spin_once::Once::new();

/// A cell that is written once at boot, before any other CPU runs.
pub mod spin_once {
    use core::{
        cell::UnsafeCell,
        mem::MaybeUninit,
        sync::atomic::{AtomicU8, Ordering},
    };

    /// Set once, read often; reading costs one load.
    pub struct Once<T> {
        state: AtomicU8,
        value: UnsafeCell<MaybeUninit<T>>,
    }

    // SAFETY: the value is written by the one caller that moves `state` from 0 to 1 and only read after it became 2.
    unsafe impl<T: Send + Sync> Sync for Once<T> {}

    impl<T> Default for Once<T> {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<T> Once<T> {
        /// An empty cell.
        pub const fn new() -> Self {
            Self { state: AtomicU8::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
        }

        /// Sets the value.
        ///
        /// # Panics
        /// When it was set before.
        pub fn set(&self, value: T) -> &T {
            assert!(
                self.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok(),
                "set twice"
            );
            // SAFETY: the exchange above lets exactly one caller come here, and readers wait for state 2.
            unsafe { (*self.value.get()).write(value) };
            self.state.store(2, Ordering::Release);
            self.get().expect("just set")
        }

        /// The value, if it was set.
        #[inline]
        pub fn get(&self) -> Option<&T> {
            if self.state.load(Ordering::Acquire) == 2 {
                // SAFETY: state 2 means that the value is written and never changes again.
                Some(unsafe { (*self.value.get()).assume_init_ref() })
            } else {
                None
            }
        }
    }
}

/// The boot information, once `hal_start` has read it.
pub fn info() -> &'static BootInfo {
    BOOT.get().expect("read at boot")
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
        mm::frame::release_initrd(info());
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

/// The first Rust code: on the boot stack, with the boot page tables.
#[unsafe(no_mangle)]
extern "C" fn hal_start(start_info: u64) -> ! {
    let start_cycles = time::cycles();
    dev::serial::early_init();
    cpu::init_boot_cpu();
    // SAFETY: boot.S passes PVH's register on unchanged.
    let boot = BOOT.set(unsafe { read_start_info(start_info, start_cycles) });
    mm::init(boot);
    dev::acpi::init(boot.rsdp);
    time::init();
    dev::apic::init_boot_cpu();
    hooks::exo_main(boot)
}
