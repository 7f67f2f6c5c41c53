// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modes of the processor: far returns to all selectors, with instructions there that enter the kernel in each way. A child of its own
//! does it, as it rarely comes back.

use std::arch::asm;

use super::shared::Caller;

/// Where the instructions lie: compatibility mode has 32-bit addresses.
const PLACE: u64 = 0x1000_0000;

/// Ways into the kernel: `syscall`, `sysenter`, `int 0x80`, `int3`, `hlt`, `ud2`, `iret`, a far jump to a kernel selector.
const CODES: [&[u8]; 8] = [
    &[0x0f, 0x05, 0x0f, 0x0b],
    &[0x0f, 0x34, 0x0f, 0x0b],
    &[0xcd, 0x80, 0x0f, 0x0b],
    &[0xcc, 0x0f, 0x0b],
    &[0xf4],
    &[0x0f, 0x0b],
    &[0xcf],
    &[0xea, 0, 0, 0, 0x10, 0x08, 0x00],
];

pub(super) fn step(caller: &mut Caller<'_>) {
    let selector = caller.random.below(16) * 8 + caller.random.below(8);
    let code = CODES.get(caller.random.below(CODES.len() as u64) as usize).copied().unwrap_or_default();
    let pid = caller.make(libc::SYS_fork, []);
    if pid == 0 {
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
        if caller.make(libc::SYS_mmap, [PLACE, 8192, 7, flags, u64::MAX, 0]) >= 0 {
            for (at, byte) in (PLACE..).zip(code) {
                // SAFETY: inside the mapping that was just made, which only this process has.
                unsafe { std::ptr::with_exposed_provenance_mut::<u8>(at as usize).write_volatile(*byte) };
            }
            enter(selector);
        }
        caller.make(libc::SYS_exit_group, [0]);
    }
    if pid > 0 {
        caller.make(libc::SYS_wait4, [pid.unsigned_abs(), 0, 0, 0]);
    }
}

/// Returns far to the instructions, in the mode that the selector means and with a stack that it can reach.
fn enter(selector: u64) {
    // SAFETY: the process is there to die of it.
    unsafe {
        asm!("mov rsp, {stack}", "push {selector}", "push {place}", "retfq",
            stack = in(reg) PLACE + 8192, selector = in(reg) selector, place = in(reg) PLACE, options(noreturn));
    }
}
