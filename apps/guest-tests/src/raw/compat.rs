// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls as 32-bit programs make them: `int 0x80` enters the kernel through its table for those, also from a
//! 64-bit program, and an ioctl then takes the driver's `compat_ioctl`.

use std::arch::asm;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use super::Place;

/// Numbers of `arch/x86/entry/syscalls/syscall_32.tbl`.
const GETPID: u32 = 20;
const IOCTL: u32 = 54;

/// `ioctl(2)` of a 32-bit program; returns what the kernel returns.
///
/// Errors: those of the call; `EFAULT` when `place` has no 32-bit address, as no 32-bit program can name it.
/// What [`super::ioctl`] says of the command and the memory holds here too.
pub(crate) fn ioctl32(file: impl AsFd, command: u32, place: Place<'_>) -> Result<u32, Errno> {
    let address = u32::try_from(place.address()).map_err(|_| Errno::FAULT)?;
    let descriptor = u32::try_from(file.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?;
    // SAFETY: ioctl(2) on an open file, with an address as in `super::ioctl`.
    let result = unsafe { int80(IOCTL, [descriptor, command, address]) };
    // The kernel returns errors as -4095..=-1.
    u32::try_from(result).map_err(|_| Errno::from_raw_os_error(result.saturating_neg()))
}

/// The process's number, asked for as a 32-bit program asks.
pub(crate) fn getpid32() -> u32 {
    // SAFETY: getpid(2) touches no memory.
    u32::try_from(unsafe { int80(GETPID, [0; 3]) }).unwrap_or(0)
}

/// # Safety
/// The system call must be sound for this process: what it does to memory and files is the caller's responsibility.
unsafe fn int80(number: u32, arguments: [u32; 3]) -> i32 {
    let [first, second, third] = arguments;
    let result: u32;
    // SAFETY: The call itself is the caller's. `int 0x80` takes its first argument in rbx, which the compiler keeps for
    // itself, so it is exchanged there and back; older kernels clear r8 to r11. Without `nomem`, memory may change.
    unsafe {
        asm!(
            "xchg rsi, rbx",
            "int 0x80",
            "xchg rsi, rbx",
            inout("rsi") u64::from(first) => _,
            inlateout("eax") number => result,
            in("ecx") second,
            in("edx") third,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            options(nostack),
        );
    }
    i32::from_ne_bytes(result.to_ne_bytes())
}
