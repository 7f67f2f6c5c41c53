// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exo-Kernel's hardware layer: everything that needs `unsafe`, behind a safe face.
//!
//! One rule makes most of this crate simple: **interrupts are off in the kernel.** They are taken in user mode, in the idle
//! loop and at explicit preemption points ([`cpu::interrupt_window`]), so per-CPU data needs no guard and no lock is ever
//! taken by an interrupt handler while the same CPU holds it. A CPU that waits for a lock keeps answering the one request
//! that cannot wait, TLB shoot-downs (see [`sync`] and [`tlb`]).
//!
//! The kernel proper plugs in through the functions declared in [`hooks`].
//!
//! # Layers
//!
//! A file takes from those below it alone; `cargo run -p kernel-map -- circles` finds what does not. From the bottom:
//!
//! | layer | files |
//! | --- | --- |
//! | registers and types | [`once`], [`cpu`] (instructions), `cpu::gdt`, [`cpu::percpu`], `mm::magazines`, [`trap::vector`], `trap::regs`, `boot::boot_info`, [`hooks`] |
//! | what everything uses | [`time`], [`power`], `dev::apic::local`, `tlb::flush`, [`sync`], [`dev::registers`], [`dev::serial`], [`mod@log`] |
//! | memory | [`mm::frame`], [`mm::heap`], `mm::paging::kernel`, `mm::device_map`; [`tlb`] (shoot-down), then `mm::kernel_stack`, [`mm::paging`] (what programs have), [`mm::user`] |
//! | devices | [`dev::acpi`], [`dev::apic`], [`dev::interrupt`], [`dev::pci`] |
//! | threads and entries | [`thread`], [`mod@panic`], `trap::entries`, [`trap`], `cpu::init` |
//! | start | [`smp`], [`boot`] |
//!
//! Where something low needs what is above, it is handed over: the per-CPU area has pointers without a type, which one module each gives its
//! meaning; what ACPI says reaches [`time`], [`power`] and the frame allocator by way of [`boot`].
//!
//! # Why safe code cannot misuse it
//!
//! Safe code above can stop the machine (panic, wait for ever, switch off, hold a lock over an interrupt window). It cannot break memory
//! or leave a program in kernel mode. By module, what is public and what it rests on:
//!
//! | public | why any use is sound |
//! | --- | --- |
//! | [`trap::Regs`] | Fields that decide about privilege are private: selectors and fixed flags have no setter, [`set_rip`](trap::Regs::set_rip) allows user addresses alone, [`set_flags`](trap::Regs::set_flags) what a program may set. A `Regs` copied or swapped for another is as good. |
//! | [`trap::General`] | A program may have any value in these. |
//! | [`thread::Thread`] | Made by `new` (own stack) or `idle` (none, not switched to before it is adopted). Floating-point state is touched for the running thread, or under the flag by which a CPU owns a thread, alone. Segment bases that are no user addresses become 0. |
//! | [`thread::TaskRef`] | An `Arc` of the task in one word. [`thread::TaskType`] and [`thread::Head`] are unsafe to implement: one type each, and the first begins with the second. Made of an `Arc`, of another reference or of the running task alone, never of a mere head. |
//! | [`thread::switch`], [`thread::adopt`] | The CPU owns a reference to what runs and to what ran before, until it is off that stack. A thread that runs, an idle one of another CPU, or a second adoption panics. |
//! | [`thread::current`], [`thread::running`] | `Current` and `Running` are not `Send`. Before a CPU has adopted a task, the pointer is null, and the first page is never mapped in the tables that the CPU has then: use [`thread::has_current`]. |
//! | [`hooks`] | The declared functions are defined once by the kernel, with these types; a wrong type is the one promise that a linker does not check. |
//! | [`mm::frame::Frame`], [`Pinned`](mm::frame::Pinned) | A counted reference; counts cannot overflow (`exo_logic::frame_count`, under loom). Bytes are copied or accessed as atomics, never borrowed. All offsets are checked. |
//! | [`mm::paging::UserTable`] | Addresses outside the user's half are none. A frame that leaves the table is let go of after the shoot-down; `relocate` moves a piece or nothing, then flushes. Until `share`'s caller flushes, programs see each other's writes, which breaks a promise to programs and no memory of the kernel's. |
//! | [`mm::paging::SpaceHandle`] | A CPU holds a reference to what it has loaded; the kernel's half is the same in all. |
//! | [`mm::user`] | Ranges outside the user's half give [`BadAddress`](mm::user::BadAddress); faults inside are resolved or end the copy. The other side is a slice or a checked part of a frame. |
//! | [`mm::heap`] | Figures, and constructors that may fail. |
//! | [`mm::dma::Dma`] | Accesses are checked and volatile. Its end is the driver's promise: see below. |
//! | [`boot::BootInfo`], [`boot::Initrd`] | Memory of the loader that is never given back, but for the initial RAM disk, which is owned by the one `Initrd` and borrowed from it. |
//! | [`once::Once`] | Written once, read after that. |
//! | [`sync::SpinLock`] | `lock_api`'s mutex over one atomic word, and with `lock-checks` a class beside it. |
//! | [`cpu`], [`time`] | Read registers, or wait. [`cpu::interrupt_window`] with a lock held may wait for ever. |
//! | [`cpu::percpu`] | [`PerCpu`](cpu::percpu::PerCpu) gives shared references to `Sync` values. |
//! | [`tlb`] | `answer` flushes what was asked of this CPU; flushing too much is never wrong. |
//! | [`smp::start_others`] | Works once. |
//! | [`dev::apic`] | A timer and a reschedule interrupt to a CPU that runs; no free choice of vectors. Lines below 16. |
//! | [`dev::interrupt`] | Handlers are `Arc`s in tables under locks. |
//! | [`dev::registers::Registers`] | Mapped or port ranges of one function, every access checked against its length and alignment. Never over the machine's memory or the chip set's ports, whatever a base address register says. |
//! | [`dev::pci`] | [`config`](dev::pci::Function::config) does not write addresses, windows, bus numbers or where messages go. |
//! | [`dev::acpi`], [`dev::serial`], [`mod@log`], [`power`] | Read tables that nothing writes, print, or end the machine. |
//!
//! # What an IOMMU would be needed for
//!
//! A device that was made a bus master reads and writes physical memory by itself, where its driver tells it, or where it likes. So
//! drivers are trusted with three things that nothing here bounds: the addresses that they write into a device's registers and queues, that
//! they enable bus mastering only then, and that a [`mm::dma::Dma`] or a [`Pinned`](mm::frame::Pinned) is dropped only after the device
//! has let go of it (reset, or its queue stopped). The drivers' tests on the host have devices that lie and die for that reason.
#![no_std]

extern crate alloc;

pub mod boot;
pub mod cpu;
pub mod dev;
pub mod hooks;
pub mod log;
pub mod mm;
pub mod once;
pub mod panic;
pub mod power;
pub mod replaceable;
pub mod smp;
pub mod sync;
pub mod thread;
pub mod time;
pub mod tlb;
pub mod trap;

/// Where the kernel image is linked: physical address plus this.
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Where all physical memory is mapped, never executable.
pub const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
/// Where kernel stacks and device registers are mapped.
pub const KERNEL_MAPPINGS: u64 = 0xffff_c900_0000_0000;
/// One past the highest user address. The last page of the lower half stays unmapped for ever, so that the address after a
/// `syscall` instruction is always canonical and `sysret` cannot fault in kernel mode.
pub const USER_END: usize = 0x7fff_ffff_f000;
/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;
/// The largest number of CPUs; one bit each in a CPU mask.
pub const MAX_CPUS: usize = 64;
