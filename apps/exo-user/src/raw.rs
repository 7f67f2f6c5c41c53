// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `syscall` instruction itself. Linux's convention: number and result in RAX, arguments in RDI, RSI, RDX, R10, R8 and
//! R9; RCX and R11 are lost (Intel SDM, SYSCALL).

use core::arch::asm;

/// Makes system call `number`. The result is a value, or a negative error number.
///
/// # Safety
/// As the call demands: it may write where an argument points to, or take memory away.
#[inline(always)]
pub unsafe fn call(number: u64, arguments: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    let result: u64;
    // SAFETY: the instruction changes RAX, RCX and R11 only; what the kernel does is the caller's promise.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    i64::from_ne_bytes(result.to_ne_bytes())
}

/// Makes one of the calls of Exo-Kernel's messages: status, words and token. `exo_abi::number` says what is where.
#[inline(always)]
pub(crate) fn message(number: u64, descriptor: u64, words: [u64; 3], token: u64) -> (i64, [u64; 3], u64) {
    let [mut first, mut second, mut third] = words;
    let (mut descriptor, mut status) = (descriptor, number);
    // SAFETY: these calls pass registers and touch no memory of the program. Which registers they change is all declared.
    unsafe {
        asm!("syscall", inlateout("rax") status, inlateout("rdi") descriptor, inlateout("rsi") first,
            inlateout("rdx") second, inlateout("r10") third, in("r8") token, lateout("rcx") _, lateout("r11") _,
            options(nostack));
    }
    (i64::from_ne_bytes(status.to_ne_bytes()), [descriptor, first, second], third)
}
