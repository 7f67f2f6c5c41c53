// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every kind of fault that a program can make: the signal kills the program, and nothing else happens.

use std::arch::asm;

use crate::limits::{fork, works};
use crate::{Outcome, failed};

/// A fault: what it is called, the signal that it must be, and how to make it.
type Fault = (&'static str, i32, unsafe fn());

/// Runs the instructions, which fault.
macro_rules! fault {
    ($name:literal, $signal:ident, $($instructions:tt)*) => {
        ($name, libc::$signal, {
            unsafe fn fault() {
                // SAFETY: the process is there to be killed by this.
                unsafe { asm!($($instructions)*) }
            }
            fault as unsafe fn()
        })
    };
}

// Not tried, because of QEMU 11.1's emulation: it dies itself of SIGFPE when the smallest number is divided by -1, and it knows
// neither SSE exceptions nor alignment checks.
const FAULTS: &[Fault] = &[
    fault!("a null pointer read", SIGSEGV, "mov {0}, [{1}]", out(reg) _, in(reg) 0_u64),
    fault!("a null pointer write", SIGSEGV, "mov [{0}], {0}", in(reg) 0_u64),
    fault!("a call to nowhere", SIGSEGV, "call {0}", in(reg) 0x10_u64),
    fault!("a jump into data", SIGSEGV, "jmp rsp"),
    fault!("a read of the kernel", SIGSEGV, "mov {0}, [{0}]", inout(reg) 0xffff_ffff_8020_0000_u64 => _),
    fault!("a write to the kernel", SIGSEGV, "mov [{0}], {0}", in(reg) 0xffff_8000_0000_0000_u64),
    fault!("a jump into the kernel", SIGSEGV, "jmp {0}", in(reg) 0xffff_ffff_8020_0000_u64),
    fault!("a non-canonical address", SIGSEGV, "mov {0}, [{0}]", inout(reg) 0x8000_0000_0000_u64 => _),
    fault!("a non-canonical stack", SIGSEGV, "mov rsp, {0}", "push 1", in(reg) 0x8000_0000_0000_0000_u64),
    fault!("a stack at nothing", SIGSEGV, "xor esp, esp", "push 1"),
    fault!("a division by zero", SIGFPE, "xor edx, edx", "mov eax, 1", "div {0:e}", in(reg) 0_u32, out("rax") _, out("rdx") _),
    fault!("a division overflow", SIGFPE, "mov edx, 1", "xor eax, eax", "mov {0:e}, 1", "idiv {0:e}", out(reg) _, out("rax") _, out("rdx") _),
    fault!("an undefined instruction", SIGILL, "ud2"),
    fault!("a breakpoint", SIGTRAP, "int3"),
    fault!("a single step", SIGTRAP, "pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop"),
    fault!("hlt", SIGSEGV, "hlt"),
    fault!("cli", SIGSEGV, "cli"),
    fault!("an input from a port", SIGSEGV, "in al, 0x60", out("al") _),
    fault!("an output to a port", SIGSEGV, "out 0xf4, eax", in("eax") 0),
    fault!("a control register", SIGSEGV, "mov {0}, cr3", out(reg) _),
    fault!("a model-specific register", SIGSEGV, "rdmsr", in("ecx") 0xc000_0080_u32, out("eax") _, out("edx") _),
    fault!("a descriptor table", SIGSEGV, "lgdt [rsp]"),
    fault!("a kernel segment", SIGSEGV, "mov {0:e}, 0x10", "mov ss, {0:e}", out(reg) _),
    fault!("a far return to the kernel", SIGSEGV, "push 8", "push 0", "retfq"),
    fault!("an interrupt vector", SIGSEGV, "int 0x20"),
    fault!("the double-fault vector", SIGSEGV, "int 8"),
    fault!("the page-fault vector", SIGSEGV, "int 14"),
    fault!("swapgs", SIGSEGV, ".byte 0x0f, 0x01, 0xf8"),
    fault!("sysret", SIGSEGV, "sysretq"),
    fault!("iret to the kernel", SIGSEGV, "push 0x10", "push 0", "push 2", "push 8", "push 0", "iretq"),
    fault!(
        "an x87 exception",
        SIGFPE,
        "sub rsp, 16",
        "mov word ptr [rsp], 0",
        "fldcw [rsp]",
        "fldz",
        "fldz",
        "fdivp",
        "fwait"
    ),
];

pub(crate) fn run() -> Outcome {
    let mut wrong = String::new();
    for (name, signal, fault) in FAULTS {
        let end = fork(|| {
            // SAFETY: this process is there to be killed by it.
            unsafe { fault() };
            0
        })?
        .wait()?;
        println!("{name}: {end:?}");
        // `Err` is the signal that killed the process.
        if end != Err(*signal) {
            wrong += &format!("{name} ended with {end:?}, expected signal {signal}\n");
        }
    }
    works()?;
    if wrong.is_empty() { Ok(()) } else { Err(failed(wrong)) }
}
