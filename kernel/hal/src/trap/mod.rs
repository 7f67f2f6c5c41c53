// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts, exceptions and system calls: tables, entries and who handles what.

use core::{
    arch::global_asm,
    mem::offset_of,
    ops::{Deref, DerefMut},
};

use x86_64::{
    VirtAddr,
    registers::control::Cr2,
    structures::idt::{Entry, HandlerFunc, InterruptDescriptorTable},
};

use crate::{
    USER_END,
    boot::spin_once::Once,
    cpu::{
        self, fpu,
        gdt::{self, ist},
        percpu,
    },
    dev::{apic, interrupt},
    hooks,
    mm::{kernel_map, user},
    panic, power, thread, tlb,
};

/// Interrupt vectors of the kernel's own.
pub mod vector {
    /// The first line of the IO-APIC.
    pub const LINES: u8 = 0x30;
    /// The first of the devices' own, which each CPU gives out by itself ...
    pub const DEVICES: u8 = 0x50;
    /// ... and one past the last.
    pub const DEVICES_END: u8 = 0xf0;
    /// The APIC timer.
    pub const TIMER: u8 = 0xf0;
    /// Another CPU asks to look at the run queue or the task's work.
    pub const RESCHEDULE: u8 = 0xf1;
    /// Another CPU asks to flush translations.
    pub const SHOOTDOWN: u8 = 0xf2;
    /// Another CPU reports a crash.
    pub const STOP: u8 = 0xf3;
    /// The APIC withdrew an interrupt; needs no answer.
    pub const SPURIOUS: u8 = 0xff;
    /// In [`Regs`](super::Regs): not an interrupt but a system call.
    pub const SYSCALL: u64 = 256;
    /// In [`Regs`](super::Regs): a thread that has not been in user mode.
    pub(super) const IN_KERNEL: u64 = 257;
}

/// The flags that `syscall` clears, and why.
pub(crate) mod syscall_mask {
    /// A single-stepping program must not single-step the kernel.
    const TRAP: u64 = 1 << 8;
    /// No interrupt may come before the stack is switched, nor at all in this kernel.
    const INTERRUPT: u64 = 1 << 9;
    /// Compiled code expects string instructions to count upwards.
    const DIRECTION: u64 = 1 << 10;
    /// The program's I/O privilege means nothing here; it is always 0.
    const IO_PRIVILEGE: u64 = 3 << 12;
    /// IRET with NT set would try a task switch and fault.
    const NESTED_TASK: u64 = 1 << 14;
    /// With AC set the kernel could touch user memory despite SMAP.
    const ALIGNMENT_CHECK: u64 = 1 << 18;
    /// All of them.
    pub(crate) const ALL: u64 = TRAP | INTERRUPT | DIRECTION | IO_PRIVILEGE | NESTED_TASK | ALIGNMENT_CHECK;
    /// Flags with which a program is not returned to by SYSRET: TF and RF.
    pub(crate) const NO_SYSRET: u64 = TRAP | (1 << 16);
}

/// Flags that a program may set by itself; the rest of what it hands over is ignored. CF PF AF ZF SF TF DF OF RF AC ID.
const USER_FLAGS: u64 = 0x0025_0dd5;
/// Flags that are always set in user mode: IF and the one that reads as 1.
const FIXED_FLAGS: u64 = 0x202;

/// The registers that a program may have any value in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names are the CPU's")]
pub struct General {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
}

/// A program's registers, as the entries save them. The general ones are fields of [`General`]. The rest can only be set to what user
/// mode may be entered with, so that whatever safe code leaves here, IRET and SYSRET neither fault in the kernel nor stay in it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Regs {
    general: General,
    /// The exception or interrupt, or one of the two numbers beyond them.
    vector: u64,
    /// The CPU's error code; for a system call its number, which has 32 bits.
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

impl Deref for Regs {
    type Target = General;

    #[inline(always)]
    fn deref(&self) -> &General {
        &self.general
    }
}

impl DerefMut for Regs {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut General {
        &mut self.general
    }
}

impl Regs {
    /// The registers of a program that starts at `rip` with stack pointer `rsp`.
    pub fn at_start(rip: u64, rsp: u64) -> Self {
        let mut regs = Self {
            general: General::default(),
            vector: 0,
            error: 0,
            rip: 0,
            cs: gdt::USER_CODE.into(),
            rflags: FIXED_FLAGS,
            rsp,
            ss: gdt::USER_DATA.into(),
        };
        regs.set_rip(rip);
        regs
    }

    /// The registers of a thread that begins in the kernel. Should it come to user mode without others, it faults there.
    pub fn in_kernel() -> Self {
        Self { vector: vector::IN_KERNEL, ..Self::at_start(u64::MAX, 0) }
    }

    /// Whether these are still those of [`in_kernel`](Self::in_kernel).
    pub fn begins_in_kernel(&self) -> bool {
        self.vector == vector::IN_KERNEL
    }

    /// The instruction pointer.
    #[inline]
    pub fn rip(&self) -> u64 {
        self.rip
    }

    /// Sets the instruction pointer. This is the one place where a program's address to go on at is checked: IRET and SYSRET to one
    /// that is not canonical fault in the kernel on some CPUs. Any address outside the user's half becomes [`USER_END`], where nothing is
    /// ever mapped, so that the program gets a SIGSEGV.
    #[inline]
    pub fn set_rip(&mut self, rip: u64) {
        self.rip = rip.min(USER_END as u64);
    }

    /// The stack pointer.
    #[inline]
    pub fn rsp(&self) -> u64 {
        self.rsp
    }

    /// Sets the stack pointer, to anything: neither IRET to 64-bit mode nor SYSRET looks at it, and the entries do not use it.
    #[inline]
    pub fn set_rsp(&mut self, rsp: u64) {
        self.rsp = rsp;
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> u64 {
        self.rflags
    }

    /// Sets the flags that a program may set by itself; the rest are as they must be in user mode.
    #[inline]
    pub fn set_flags(&mut self, flags: u64) {
        self.rflags = flags & USER_FLAGS | FIXED_FLAGS;
    }

    /// The code and stack segments' selectors.
    pub fn selectors(&self) -> (u64, u64) {
        (self.cs, self.ss)
    }

    /// What the program entered the kernel by: a vector, or [`vector::SYSCALL`].
    #[inline]
    pub fn vector(&self) -> u64 {
        self.vector
    }

    /// The exception's error code, or the number of the system call.
    #[inline]
    pub fn error(&self) -> u64 {
        self.error
    }

    /// Whether they are those of a system call whose result is not settled.
    #[inline]
    pub fn is_system_call(&self) -> bool {
        self.vector == vector::SYSCALL
    }

    /// They are to be restored as they are: neither a result nor a restart of a system call changes them.
    #[inline]
    pub fn settle(&mut self) {
        self.vector = 0;
    }
}

/// A fault in user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A page fault.
    Page {
        /// The address.
        address: usize,
        /// It was a write.
        write: bool,
        /// It was an instruction fetch.
        execute: bool,
    },
    /// Any other exception, by number.
    Exception {
        /// The vector.
        vector: u8,
        /// The CPU's error code.
        error: u64,
    },
}

/// Numbers below this are Linux's: each has an entry of its own in the kernel's `lean_calls`.
pub const LINUX_CALLS: usize = 512;
/// The first number of the kernel's own calls, whose entries come next.
pub const OWN_FIRST: usize = 0x1000;
/// How many numbers there are for them.
pub const OWN_CALLS: usize = 16;
/// Entries of `lean_calls`: the last one is for every other number.
pub const LEAN_ENTRIES: usize = LINUX_CALLS + OWN_CALLS + 1;

/// The entry of a number in `lean_calls`, as the assembly finds it.
pub const fn lean_entry(number: u64) -> usize {
    let own = number.wrapping_sub(OWN_FIRST as u64);
    if number < LINUX_CALLS as u64 {
        number as usize
    } else if own < OWN_CALLS as u64 {
        LINUX_CALLS + own as usize
    } else {
        LEAN_ENTRIES - 1
    }
}

global_asm!(include_str!("entry.S"), STACK_END = const percpu::STACK_END);
global_asm!(
    include_str!("syscall.S"),
    STACK_END = const percpu::STACK_END,
    USER_RSP = const percpu::USER_RSP,
    REGS_SIZE = const size_of::<Regs>(),
    R15 = const offset_of!(Regs, general.r15),
    R14 = const offset_of!(Regs, general.r14),
    R13 = const offset_of!(Regs, general.r13),
    R12 = const offset_of!(Regs, general.r12),
    RBP = const offset_of!(Regs, general.rbp),
    RBX = const offset_of!(Regs, general.rbx),
    R11 = const offset_of!(Regs, general.r11),
    R10 = const offset_of!(Regs, general.r10),
    R9 = const offset_of!(Regs, general.r9),
    R8 = const offset_of!(Regs, general.r8),
    RAX = const offset_of!(Regs, general.rax),
    RCX = const offset_of!(Regs, general.rcx),
    RDX = const offset_of!(Regs, general.rdx),
    RSI = const offset_of!(Regs, general.rsi),
    RDI = const offset_of!(Regs, general.rdi),
    VECTOR = const offset_of!(Regs, vector),
    ERROR = const offset_of!(Regs, error),
    RIP = const offset_of!(Regs, rip),
    CS = const offset_of!(Regs, cs),
    RFLAGS = const offset_of!(Regs, rflags),
    RSP = const offset_of!(Regs, rsp),
    SS = const offset_of!(Regs, ss),
    LINUX_CALLS = const LINUX_CALLS,
    OWN_FIRST = const OWN_FIRST,
    OWN_CALLS = const OWN_CALLS,
    NO_SYSRET_FLAGS = const syscall_mask::NO_SYSRET,
    USER_CODE = const gdt::USER_CODE,
    USER_DATA = const gdt::USER_DATA,
    SYSCALL_VECTOR = const vector::SYSCALL,
    USER_END = const USER_END,
);

unsafe extern "C" {
    static trap_stubs: u8;
    static syscall_entry: u8;
    static compatibility_entry: u8;
}

pub(crate) fn syscall_entry_address() -> u64 {
    &raw const syscall_entry as u64
}

pub(crate) fn compatibility_entry_address() -> u64 {
    &raw const compatibility_entry as u64
}

static IDT: Once<InterruptDescriptorTable> = Once::new();

fn set(entry: &mut Entry<HandlerFunc>, vector: usize, stack: Option<usize>) {
    let address = VirtAddr::new(&raw const trap_stubs as u64 + 16 * vector as u64);
    // SAFETY: each stub saves everything, handles any vector and returns by IRET; the interrupt stacks exist before
    // interrupts are on.
    unsafe {
        let options = entry.set_handler_addr(address);
        if let Some(stack) = stack {
            options.set_stack_index(stack as u16);
        }
    }
}

/// Makes the table, the first time, and loads it.
pub(crate) fn load_idt() {
    if IDT.get().is_none() {
        let mut idt = InterruptDescriptorTable::new();
        // The typed fields of the exceptions differ only in their handlers' types, which the stubs do not have.
        // SAFETY: the table is 256 entries of the same layout whatever their type.
        let entries: &mut [Entry<HandlerFunc>; 256] = unsafe { &mut *(&raw mut idt).cast() };
        for (number, entry) in entries.iter_mut().enumerate() {
            let stack = match number {
                1 => Some(ist::DEBUG),
                2 => Some(ist::NMI),
                8 => Some(ist::DOUBLE_FAULT),
                18 => Some(ist::MACHINE_CHECK),
                _ => None,
            };
            set(entry, number, stack);
            if number == 3 || number == 4 {
                // INT3 and INTO may be executed by programs.
                let address = VirtAddr::new(&raw const trap_stubs as u64 + 16 * number as u64);
                // SAFETY: as in `set`.
                unsafe { entry.set_handler_addr(address).set_privilege_level(x86_64::PrivilegeLevel::Ring3) };
            }
        }
        IDT.set(idt);
    }
    IDT.get().expect("just set").load();
}

fn page_fault(regs: &Regs) -> (usize, bool, bool) {
    (Cr2::read_raw() as usize, regs.error & 2 != 0, regs.error & 16 != 0)
}

fn take_interrupt(number: u8) {
    match number {
        vector::TIMER => {
            apic::end_of_interrupt();
            hooks::exo_timer();
        }
        vector::RESCHEDULE => apic::end_of_interrupt(),
        vector::SHOOTDOWN => {
            apic::end_of_interrupt();
            tlb::answer();
        }
        vector::STOP => apic::stop_here(),
        vector::SPURIOUS => {}
        vector::DEVICES..vector::DEVICES_END => {
            apic::end_of_interrupt();
            interrupt::message(number);
        }
        line => {
            let line = line.wrapping_sub(vector::LINES);
            if !interrupt::line(line) {
                hooks::exo_interrupt(line);
            }
            // Not before: a level-triggered line would interrupt again at once.
            apic::end_of_interrupt();
        }
    }
}

/// From user mode: `regs` is at the end of the running thread's stack.
#[unsafe(no_mangle)]
extern "C" fn hal_trap_user(regs: &mut Regs) {
    cpu::close_user_memory();
    hooks::exo_enter();
    match regs.vector {
        14 => {
            let (address, write, execute) = page_fault(regs);
            hooks::exo_user_fault(regs, Fault::Page { address, write, execute });
        }
        2 => nmi(regs),
        7 if thread::load_fpu() => {}
        number @ 0..32 => {
            if number == 16 {
                fpu::clear_exceptions();
            }
            hooks::exo_user_fault(regs, Fault::Exception { vector: number as u8, error: regs.error });
        }
        number => take_interrupt(number as u8),
    }
    hooks::exo_return_to_user(regs);
}

/// From kernel mode: a copy's page fault, an interrupt in the idle loop, or the end.
#[unsafe(no_mangle)]
extern "C" fn hal_trap_kernel(regs: &mut Regs) {
    // A copy to or from user memory was perhaps interrupted; IRET opens it again for the rest of the copy.
    cpu::close_user_memory();
    match regs.vector {
        14 => {
            let (address, write, _) = page_fault(regs);
            if let Some(recovery) = user::recovery(regs.rip) {
                if address < USER_END {
                    if !hooks::exo_copy_fault(address, write) {
                        regs.rip = recovery;
                    }
                    return;
                }
            }
            panic::fault("page fault", regs, Some(address as u64));
        }
        13 if user::recovery(regs.rip).is_some() => {
            regs.rip = user::recovery(regs.rip).unwrap_or(regs.rip);
        }
        8 => {
            // The CPU had no stack to report a page fault on: CR2 still has the address.
            let address = Cr2::read_raw();
            let what = if kernel_map::is_guard_page(address) {
                "kernel stack overflow (guard page hit)"
            } else {
                "double fault"
            };
            panic::fault(what, regs, Some(address));
        }
        2 => nmi(regs),
        number @ 0..32 => panic::fault(exception_name(number), regs, None),
        number => take_interrupt(number as u8),
    }
}

fn nmi(regs: &Regs) {
    if apic::is_stopping() {
        power::stop();
    }
    panic::fault("non-maskable interrupt", regs, None);
}

fn exception_name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        3 => "breakpoint",
        6 => "invalid instruction",
        7 => "no floating-point unit",
        10 => "invalid task state",
        11 => "segment not present",
        12 => "stack segment fault",
        13 => "general protection fault",
        16 => "x87 error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD error",
        _ => "exception",
    }
}

#[unsafe(no_mangle)]
extern "C" fn hal_thread_start(regs: &mut Regs) {
    thread::finish_switch();
    hooks::exo_thread_start(regs);
}

#[unsafe(no_mangle)]
extern "C" fn exo_syscall_full(regs: &mut Regs) {
    hooks::exo_syscall(regs);
}
