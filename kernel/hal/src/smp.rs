// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting the other CPUs: INIT, then STARTUP with the page of the trampoline (Intel SDM volume 3, 10.4.4).

use core::{
    ptr, slice,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
};

use alloc::vec;

use crate::{
    MAX_CPUS, PAGE_SIZE,
    cpu::{init, percpu, stacks},
    dev::{
        acpi,
        apic::{self, local},
    },
    hooks, log,
    mm::{direct_map::direct, paging::kernel},
    time,
};

/// Physical address of the trampoline: a page below 1 MiB, as STARTUP needs it.
pub(crate) const TRAMPOLINE: u64 = 0x8000;
/// How long a CPU may take to come up.
const START_TIMEOUT_NS: u64 = 1_000_000_000;
const STACK_SIZE: usize = 32 * 1024;

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_cpu: u8;
    static ap_boot_stack: AtomicU64;
    static ap_root: AtomicU64;
}

static NEXT_AREA: AtomicPtr<percpu::Area> = AtomicPtr::new(ptr::null_mut());

fn trampoline_offset(of: *const u8) -> u64 {
    of as u64 - &raw const trampoline_start as u64
}

/// Starts all CPUs that ACPI names, one after the other, the first time it is called.
pub fn start_others() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::AcqRel) {
        return;
    }
    let size = trampoline_offset(&raw const trampoline_end) as usize;
    assert!(size <= PAGE_SIZE);
    // SAFETY: the page at TRAMPOLINE is below the memory that the frame allocator gives out, so it is ours.
    unsafe {
        let code = slice::from_raw_parts(&raw const trampoline_start, size);
        ptr::copy_nonoverlapping(code.as_ptr(), direct(TRAMPOLINE), size);
    }
    let own = local::own_id();
    let mut cpu = 1;
    for &id in acpi::cpus().iter().filter(|&&id| id != own) {
        if cpu == MAX_CPUS {
            log!("CPU with APIC id {id} left alone: {MAX_CPUS} is the limit");
            continue;
        }
        if start(cpu, id) {
            cpu += 1;
        } else {
            log!("CPU with APIC id {id} did not start");
            return;
        }
    }
}

fn start(cpu: usize, apic_id: u32) -> bool {
    let stack = vec![0u128; STACK_SIZE / 16].leak();
    NEXT_AREA.store(percpu::allocate(cpu, apic_id), Ordering::Release);
    // SAFETY: no other CPU is in the trampoline: they are started one by one, and a failure ends it.
    unsafe {
        ap_root.store(kernel::root(), Ordering::Release);
        ap_boot_stack.store(stack.as_ptr_range().end as u64, Ordering::Release);
        let number = direct(TRAMPOLINE + trampoline_offset(&raw const trampoline_cpu));
        number.cast::<u32>().write_volatile(cpu as u32);
    }
    local::send_init(apic_id);
    time::delay_ns(1_000_000);
    for _ in 0..2 {
        local::send_startup(apic_id, (TRAMPOLINE / PAGE_SIZE as u64) as u8);
        let limit = time::now_ns() + START_TIMEOUT_NS / 2;
        while time::now_ns() < limit {
            if percpu::cpu_count() > cpu {
                return true;
            }
            core::hint::spin_loop();
        }
    }
    false
}

/// The first Rust code of another CPU: on its own stack, with the kernel's page tables.
#[unsafe(no_mangle)]
extern "C" fn hal_ap_start(_cpu: u32) -> ! {
    percpu::install(NEXT_AREA.load(Ordering::Acquire));
    init::this_cpu();
    stacks::allocate_interrupt_stacks();
    apic::init_other_cpu();
    percpu::count_up();
    hooks::exo_cpu_main()
}
