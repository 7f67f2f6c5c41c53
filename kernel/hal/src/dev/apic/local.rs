// SPDX-License-Identifier: MIT OR Apache-2.0
//! This CPU's local APIC (timer, interrupts to other CPUs) in xAPIC or x2APIC form. Source: Intel SDM volume 3, chapter 10.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use x86_64::registers::model_specific::Msr;

use crate::{
    cpu::{cpuid, percpu},
    power, time,
    trap::vector,
};

const APIC_BASE: u32 = 0x1b;
const ENABLE: u64 = 1 << 11;
const X2APIC: u64 = 1 << 10;

/// Register numbers as x2APIC has them; xAPIC's offset is 16 times that.
mod register {
    pub(super) const ID: u32 = 0x02;
    pub(super) const END_OF_INTERRUPT: u32 = 0x0b;
    pub(super) const SPURIOUS: u32 = 0x0f;
    pub(super) const COMMAND: u32 = 0x30;
    pub(super) const COMMAND_HIGH: u32 = 0x31;
    pub(super) const TIMER: u32 = 0x32;
    pub(super) const LINT0: u32 = 0x35;
    pub(super) const INITIAL_COUNT: u32 = 0x38;
    pub(super) const CURRENT_COUNT: u32 = 0x39;
    pub(super) const DIVIDE: u32 = 0x3e;
}

mod command {
    pub(super) const FIXED: u32 = 0x4000;
    pub(super) const FIXED_TO_OTHERS: u32 = 0xc_4000;
    pub(super) const NMI_TO_OTHERS: u32 = 0xc_4400;
    pub(super) const INIT: u32 = 0x4500;
    pub(super) const STARTUP: u32 = 0x4600;
    pub(super) const PENDING: u32 = 1 << 12;
}

const MASKED: u32 = 1 << 16;
/// The timer counts once in 16 bus clocks.
const DIVIDE_16: u32 = 3;

/// The registers, if they are in memory (xAPIC); null in x2APIC mode.
static REGISTERS: AtomicPtr<u32> = AtomicPtr::new(core::ptr::null_mut());
/// Timer counts in 2^32 ns.
static COUNTS_PER_4S: AtomicU64 = AtomicU64::new(0);
static STOPPING: AtomicBool = AtomicBool::new(false);
/// How many CPUs have stopped because they were asked to.
static STOPPED: AtomicUsize = AtomicUsize::new(0);
/// How long they are given: a virtual CPU may have to wait for one of the host's. Linux's `native_stop_other_cpus` waits as long.
const TIME_TO_STOP_NS: u64 = 1_000_000_000;

fn read(register: u32) -> u32 {
    let base = REGISTERS.load(Ordering::Relaxed);
    // SAFETY: an MSR of x2APIC, or a register in the mapped page.
    unsafe {
        if base.is_null() {
            Msr::new(0x800 + register).read() as u32
        } else {
            base.add(register as usize * 4).read_volatile()
        }
    }
}

fn write(register: u32, value: u32) {
    let base = REGISTERS.load(Ordering::Relaxed);
    // SAFETY: as in `read`; the callers write what the register's description allows.
    unsafe {
        if base.is_null() {
            Msr::new(0x800 + register).write(u64::from(value));
        } else {
            base.add(register as usize * 4).write_volatile(value);
        }
    }
}

/// This CPU's APIC id.
pub(crate) fn own_id() -> u32 {
    let id = read(register::ID);
    if REGISTERS.load(Ordering::Relaxed).is_null() { id } else { id >> 24 }
}

/// Tells the APIC that the interrupt was taken.
#[inline]
pub(crate) fn end_of_interrupt() {
    write(register::END_OF_INTERRUPT, 0);
}

/// Whether the CPU has x2APIC, whose registers are MSRs.
pub(super) fn is_x2apic() -> bool {
    cpuid(1, 0)[2] & (1 << 21) != 0
}

/// Where xAPIC's registers are mapped, a page, before any is used.
///
/// # Safety
/// They are mapped there, uncached, for ever.
pub(super) unsafe fn set_registers(base: *mut u32) {
    REGISTERS.store(base, Ordering::Relaxed);
}

/// Switches this CPU's APIC on.
pub(super) fn enable() {
    let mut base = Msr::new(APIC_BASE);
    // SAFETY: enables the APIC in a mode that the CPU has.
    unsafe {
        let value = base.read() | ENABLE;
        base.write(value);
        if is_x2apic() {
            base.write(value | X2APIC);
        }
    }
    write(register::SPURIOUS, 0x100 | u32::from(vector::SPURIOUS));
    write(register::DIVIDE, DIVIDE_16);
    write(register::LINT0, MASKED);
    write(register::TIMER, u32::from(vector::TIMER));
    // SAFETY: this CPU's own area.
    unsafe { (*percpu::area()).apic_id = own_id() };
}

/// Measures over 5 ms how fast the timer counts.
pub(super) fn measure_timer() {
    write(register::TIMER, MASKED);
    write(register::INITIAL_COUNT, u32::MAX);
    let start = time::now_ns();
    time::delay_ns(5_000_000);
    let counted = u64::from(u32::MAX - read(register::CURRENT_COUNT));
    let elapsed = time::now_ns() - start;
    write(register::INITIAL_COUNT, 0);
    write(register::TIMER, u32::from(vector::TIMER));
    COUNTS_PER_4S.store(((u128::from(counted) << 32) / u128::from(elapsed.max(1))) as u64, Ordering::Relaxed);
}

/// Asks for a timer interrupt in `ns` nanoseconds. It replaces what was asked for before.
pub fn set_timer(ns: u64) {
    let counts = (u128::from(ns) * u128::from(COUNTS_PER_4S.load(Ordering::Relaxed))) >> 32;
    write(register::INITIAL_COUNT, counts.clamp(1, u128::from(u32::MAX)) as u32);
}

fn send_command(apic_id: u32, value: u32) {
    if REGISTERS.load(Ordering::Relaxed).is_null() {
        // SAFETY: the command register of x2APIC takes both halves at once.
        unsafe { Msr::new(0x800 + register::COMMAND).write((u64::from(apic_id) << 32) | u64::from(value)) };
    } else {
        while read(register::COMMAND) & command::PENDING != 0 {
            core::hint::spin_loop();
        }
        write(register::COMMAND_HIGH, apic_id << 24);
        write(register::COMMAND, value);
    }
}

/// Lets CPU `cpu` look at its run queue and its task's work.
pub fn reschedule(cpu: usize) {
    if cpu < percpu::cpu_count() {
        send(cpu, vector::RESCHEDULE);
    }
}

/// Interrupts CPU `cpu`, which runs.
pub(crate) fn send(cpu: usize, vector: u8) {
    send_command(percpu::apic_id_of(cpu), command::FIXED | u32::from(vector));
}

pub(crate) fn send_init(apic_id: u32) {
    send_command(apic_id, command::INIT);
}

pub(crate) fn send_startup(apic_id: u32, page: u8) {
    send_command(apic_id, command::STARTUP | u32::from(page));
}

/// Stops all other CPUs, whatever they do: for crash reports. They are asked by an interrupt first, which none takes while it holds a spin
/// lock: what they were changing is whole then, and its locks are free. Those that do not come get a non-maskable one.
pub(crate) fn stop_others() {
    STOPPING.store(true, Ordering::SeqCst);
    let others = percpu::cpu_count() - 1;
    if others == 0 {
        return;
    }
    send_command(0, command::FIXED_TO_OTHERS | u32::from(vector::STOP));
    let deadline = time::now_ns() + TIME_TO_STOP_NS;
    while STOPPED.load(Ordering::SeqCst) < others && time::now_ns() < deadline {
        core::hint::spin_loop();
    }
    if STOPPED.load(Ordering::SeqCst) < others {
        send_command(0, command::NMI_TO_OTHERS);
    }
}

/// This CPU was told to stop, and holds no spin lock.
pub(crate) fn stop_here() -> ! {
    STOPPED.fetch_add(1, Ordering::SeqCst);
    power::stop()
}

pub(crate) fn is_stopping() -> bool {
    STOPPING.load(Ordering::SeqCst)
}
