// SPDX-License-Identifier: MIT OR Apache-2.0
//! Per-CPU data of this crate, reached through GS while in the kernel, and [`PerCpu`] for the kernel proper's own.
//!
//! Interrupts are off in the kernel, so that nothing else runs on this CPU between two accesses. This is at the bottom of the crate: types
//! from above are pointers without a type here, which one module each gives its meaning.

use core::{
    arch::asm,
    cell::{Cell, UnsafeCell},
    mem::offset_of,
    ops::Deref,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering},
};

use alloc::boxed::Box;
use x86_64::{VirtAddr, registers::model_specific::GsBase};

use super::gdt::Tables;
use crate::{
    MAX_CPUS,
    mm::magazines::{Caches, Magazine},
};

/// What the assembly reaches by offset from GS comes first. On pages of its own: see the note on self-modifying code in
/// kernel/README.md.
#[repr(C, align(4096))]
pub(crate) struct Area {
    this: *const Area,
    /// Where the registers of the running thread are saved on entry from user mode: the end of its `Regs`.
    pub(crate) stack_end: u64,
    /// The user's stack pointer, between `syscall` and the moment it is saved or restored.
    pub(crate) user_rsp: u64,
    /// The running task: a counted reference to a type that [`thread`](crate::thread) knows.
    pub(crate) task: *const (),
    /// The task that ran before, until the switch away from it is complete.
    pub(crate) previous: Previous,
    /// The running [`Thread`](crate::thread::Thread), for the floating-point trap.
    pub(crate) thread: *const (),
    /// Whether the running thread's floating-point state is in the CPU's registers.
    pub(crate) fpu_live: bool,
    index: usize,
    locks: u64,
    pub(crate) allocations: u64,
    pub(crate) apic_id: u32,
    /// The NUMA node, as the frame allocator counts them.
    node: usize,
    pub(crate) tables: UnsafeCell<Tables>,
    pub(crate) magazine: UnsafeCell<Magazine>,
    /// See [`with_reserve`](crate::mm::frame::with_reserve).
    pub(crate) uses_reserve: Cell<bool>,
    /// See [`without_waiting`](crate::mm::user::without_waiting).
    pub(crate) may_not_wait: Cell<bool>,
    pub(crate) caches: UnsafeCell<Caches>,
    /// See [`span`](super::span).
    pub(crate) span: Span,
    /// The user tables that this CPU has loaded: null, or a counted reference to a [`Space`](crate::mm::paging::space::Space).
    pub(crate) space: *const (),
}

pub(crate) const STACK_END: usize = offset_of!(Area, stack_end);
pub(crate) const USER_RSP: usize = offset_of!(Area, user_rsp);
const TASK: usize = offset_of!(Area, task);
const INDEX: usize = offset_of!(Area, index);
const LOCKS: usize = offset_of!(Area, locks);

/// A reference to the task that ran before, of the type that only [`thread`](crate::thread) knows.
pub(crate) struct Previous {
    pub(crate) task: *const (),
    pub(crate) release: unsafe fn(*const ()),
}

impl Previous {
    pub(crate) const NONE: Self = Self { task: ptr::null(), release: release_nothing };
}

unsafe fn release_nothing(_: *const ()) {}

/// How long interrupts are off on one CPU. Only that CPU writes it, but for the longest, which [`reset`](super::span::reset) sets for all.
pub(crate) struct Span {
    /// Since when interrupts have been off, in cycles.
    pub(super) off_since: AtomicU64,
    /// When a program went on, in cycles.
    pub(super) user_since: AtomicU64,
    /// The longest that interrupts were off, in cycles.
    pub(super) longest: AtomicU64,
}

impl Span {
    const fn new() -> Self {
        Self {
            off_since: AtomicU64::new(0),
            user_since: AtomicU64::new(0),
            longest: AtomicU64::new(u64::MAX),
        }
    }
}

struct BootArea(UnsafeCell<Area>);
// SAFETY: only the boot CPU touches it, through GS.
unsafe impl Sync for BootArea {}

static BOOT: BootArea = BootArea(UnsafeCell::new(Area::new(0)));
static AREAS: [AtomicPtr<Area>; MAX_CPUS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS];
static COUNT: AtomicUsize = AtomicUsize::new(1);

impl Area {
    const fn new(index: usize) -> Self {
        Self {
            this: ptr::null(),
            stack_end: 0,
            user_rsp: 0,
            task: ptr::null(),
            previous: Previous::NONE,
            thread: ptr::null(),
            // Boot code leaves CR0.TS clear; there is no state that would be lost.
            fpu_live: true,
            index,
            locks: 0,
            allocations: 0,
            apic_id: 0,
            node: 0,
            tables: UnsafeCell::new(Tables::new()),
            magazine: UnsafeCell::new(Magazine::new()),
            uses_reserve: Cell::new(false),
            may_not_wait: Cell::new(false),
            caches: UnsafeCell::new(Caches::new()),
            span: Span::new(),
            space: ptr::null(),
        }
    }
}

pub(super) fn init_boot_cpu() {
    install(BOOT.0.get());
}

/// Makes the area of CPU `index`, to be installed by that CPU.
pub(crate) fn allocate(index: usize, apic_id: u32) -> *mut Area {
    let mut area = Box::new(Area::new(index));
    area.apic_id = apic_id;
    Box::into_raw(area)
}

/// Makes `area` this CPU's own.
pub(crate) fn install(area: *mut Area) {
    // SAFETY: the area is static or leaked, and becomes this CPU's alone; GS is the kernel's while in the kernel.
    unsafe {
        (*area).this = area;
        AREAS[(*area).index].store(area, Ordering::Release);
        GsBase::write(VirtAddr::new(area as u64));
    }
}

/// One more CPU takes part.
pub(crate) fn count_up() {
    COUNT.fetch_add(1, Ordering::AcqRel);
}

/// The number of CPUs that run.
pub fn cpu_count() -> usize {
    COUNT.load(Ordering::Acquire)
}

#[inline(always)]
pub(crate) fn area() -> *mut Area {
    let area;
    // SAFETY: offset 0 of the area that `install` put into GS.
    unsafe { asm!("mov {}, gs:[0]", out(reg) area, options(nostack, pure, readonly, preserves_flags)) };
    area
}

/// This CPU's number, from 0 to [`cpu_count`].
#[inline(always)]
pub fn cpu_index() -> usize {
    let index: usize;
    // SAFETY: the index field of the area in GS. Not `pure`: after a switch the thread may be on another CPU.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) index, const INDEX, options(nostack, readonly, preserves_flags));
    }
    index
}

/// The running task, null in the boot thread.
#[inline(always)]
pub(crate) fn task() -> *const () {
    let task;
    // SAFETY: the task field of the area in GS.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) task, const TASK, options(nostack, readonly, preserves_flags))
    };
    task
}

/// Counts a lock; the system-call tests read the sum.
#[inline(always)]
pub(crate) fn count_lock() {
    // SAFETY: a counter in the area in GS.
    unsafe { asm!("inc qword ptr gs:[{}]", const LOCKS, options(nostack)) };
}

/// Spin locks taken and heap allocations made on this CPU so far.
pub fn counters() -> (u64, u64) {
    // SAFETY: this CPU's own area; interrupts are off.
    unsafe { ((*area()).locks, (*area()).allocations) }
}

pub(crate) fn apic_id_of(cpu: usize) -> u32 {
    let area = AREAS[cpu].load(Ordering::Acquire);
    // SAFETY: a non-null entry is an installed area, and its APIC id never changes after that.
    unsafe { area.as_ref().map_or(u32::MAX, |a| (&raw const a.apic_id).read()) }
}

/// The span of CPU `cpu`, if it has started.
pub(crate) fn span_of(cpu: usize) -> Option<&'static Span> {
    let area = AREAS.get(cpu)?.load(Ordering::Acquire);
    if area.is_null() {
        return None;
    }
    // SAFETY: a non-null entry is an installed area, which stays; the span's fields are atomic, and no other field is looked at.
    Some(unsafe { &(*area).span })
}

/// This CPU's NUMA node.
#[inline]
pub(crate) fn node() -> usize {
    // SAFETY: this CPU's own area, whose node was written before its first use or by this CPU.
    unsafe { (*area()).node }
}

/// Notes the node of this CPU; called on it when ACPI's tables are read and its APIC id is known.
pub(crate) fn set_node(node: usize) {
    // SAFETY: this CPU's own area; interrupts are off.
    unsafe { (*area()).node = node };
}

/// A value for each CPU.
pub struct PerCpu<T> {
    values: [Padded<T>; MAX_CPUS],
}

/// Each on cache lines of its own, so that CPUs do not slow each other down.
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Sync> PerCpu<T> {
    /// One `make()` for each CPU.
    pub const fn new(values: [T; MAX_CPUS]) -> Self
    where
        T: Copy,
    {
        let mut out = [const { core::mem::MaybeUninit::<Padded<T>>::uninit() }; MAX_CPUS];
        let mut i = 0;
        while i < MAX_CPUS {
            out[i].write(Padded(values[i]));
            i += 1;
        }
        // SAFETY: every element was written.
        Self { values: unsafe { core::mem::transmute_copy(&out) } }
    }

    /// The value of CPU `cpu`.
    pub fn of(&self, cpu: usize) -> &T {
        &self.values[cpu].0
    }
}

impl<T: Sync> Deref for PerCpu<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.values[cpu_index()].0
    }
}

/// Sums a counter over all CPUs.
pub fn sum(counters: &PerCpu<AtomicU64>) -> u64 {
    (0..cpu_count()).map(|cpu| counters.of(cpu).load(Ordering::Relaxed)).sum()
}
