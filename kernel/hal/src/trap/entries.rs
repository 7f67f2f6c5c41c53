// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways into the kernel: the interrupt table, and the assembly behind it and behind `syscall`.

use core::{arch::global_asm, mem::offset_of};

use x86_64::{
    VirtAddr,
    structures::idt::{Entry, HandlerFunc, InterruptDescriptorTable},
};

use super::{
    lean::{LINUX_CALLS, OWN_CALLS, OWN_FIRST},
    regs::Regs,
    vector,
};
use crate::{
    USER_END,
    cpu::{
        gdt::{self, ist},
        percpu,
    },
    once::Once,
};

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

pub(crate) fn syscall_address() -> u64 {
    &raw const syscall_entry as u64
}

pub(crate) fn compatibility_address() -> u64 {
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
