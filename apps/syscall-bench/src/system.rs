// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls that std does not have, or that it hides behind something, with a safe face. All unsafe code is here.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::sync::atomic::AtomicU32;

use exo_user::raw;

use bench_report::Failure;

/// No kernel has a call of this number.
const NO_SUCH_CALL: u64 = 4000;

/// A negative number is an error.
fn checked(result: i64) -> Result<u64, Failure> {
    u64::try_from(result).map_err(|_| {
        let number = i32::try_from(result.saturating_neg()).unwrap_or(i32::MAX);
        io::Error::from_raw_os_error(number).into()
    })
}

fn number(call: libc::c_long) -> u64 {
    call.unsigned_abs()
}

fn descriptor(fd: BorrowedFd<'_>) -> u64 {
    u64::from(fd.as_raw_fd().unsigned_abs())
}

/// The `getpid` call.
#[inline(always)]
pub(crate) fn getpid() -> i64 {
    // SAFETY: takes nothing and touches no memory.
    unsafe { raw::call(number(libc::SYS_getpid), [0; 6]) }
}

/// A call that does not exist; its answer, which must be ENOSYS.
#[inline(always)]
pub(crate) fn unknown() -> i64 {
    // SAFETY: a kernel that lacks the call does nothing.
    unsafe { raw::call(NO_SUCH_CALL, [0; 6]) }
}

/// `sched_yield`.
#[inline(always)]
pub(crate) fn sched_yield() -> i64 {
    // SAFETY: takes nothing and touches no memory.
    unsafe { raw::call(number(libc::SYS_sched_yield), [0; 6]) }
}

/// `clock_gettime(CLOCK_MONOTONIC)` as a call, where the C library would ask the vDSO.
#[inline(always)]
pub(crate) fn clock_gettime() -> i64 {
    let mut time = [0_i64; 2];
    let address = time.as_mut_ptr().addr() as u64;
    // SAFETY: the kernel writes a `struct timespec`, two 64-bit numbers, which `time` has room for and lives long enough.
    let result = unsafe { raw::call(number(libc::SYS_clock_gettime), [1, address, 0, 0, 0, 0]) };
    std::hint::black_box(time);
    result
}

/// `read` into `buffer`.
#[inline(always)]
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> i64 {
    let (address, length) = (buffer.as_mut_ptr().expose_provenance() as u64, buffer.len() as u64);
    // SAFETY: the kernel writes at most `length` bytes, all of them in `buffer`.
    unsafe { raw::call(number(libc::SYS_read), [descriptor(fd), address, length, 0, 0, 0]) }
}

/// `write` of `buffer`.
#[inline(always)]
pub(crate) fn write(fd: BorrowedFd<'_>, buffer: &[u8]) -> i64 {
    let (address, length) = (buffer.as_ptr().expose_provenance() as u64, buffer.len() as u64);
    // SAFETY: the kernel reads `length` bytes, all of them in `buffer`.
    unsafe { raw::call(number(libc::SYS_write), [descriptor(fd), address, length, 0, 0, 0]) }
}

/// `open` of /dev/null and `close`.
#[inline(always)]
pub(crate) fn open_close() -> i64 {
    let path = c"/dev/null".as_ptr().expose_provenance() as u64;
    // SAFETY: the path ends with a NUL, and the descriptor that is closed is the one that was just opened.
    unsafe {
        let fd = raw::call(number(libc::SYS_open), [path, 0, 0, 0, 0, 0]);
        if fd < 0 { fd } else { raw::call(number(libc::SYS_close), [fd.unsigned_abs(), 0, 0, 0, 0, 0]) }
    }
}

/// `futex(FUTEX_WAKE_PRIVATE)` for one waiter.
#[inline(always)]
pub(crate) fn futex_wake(word: &AtomicU32) -> i64 {
    futex(word, libc::FUTEX_WAKE, 1)
}

/// `futex(FUTEX_WAIT_PRIVATE)` while the word is `value`.
#[inline(always)]
pub(crate) fn futex_wait(word: &AtomicU32, value: u32) -> i64 {
    futex(word, libc::FUTEX_WAIT, value)
}

#[inline(always)]
fn futex(word: &AtomicU32, operation: i32, value: u32) -> i64 {
    let operation = u64::from((operation | libc::FUTEX_PRIVATE_FLAG).unsigned_abs());
    let address = word.as_ptr().expose_provenance() as u64;
    // SAFETY: the kernel reads the word, which is an atomic that lives; no time limit is pointed to.
    unsafe { raw::call(number(libc::SYS_futex), [address, operation, value.into(), 0, 0, 0]) }
}

/// The ends of a new pipe, to read from and to write to.
pub(crate) fn pipe() -> Result<(File, File), Failure> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors into `ends`.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: both descriptors are new and nobody else's.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}

/// A child process, killed and waited for when dropped.
pub(crate) struct Child(libc::pid_t);

impl Child {
    /// Forks; the child does `work` and ends with what that returns.
    pub(crate) fn fork(work: impl FnOnce() -> u8) -> Result<Self, Failure> {
        // SAFETY: when a row forks, the other threads of this program only wait for it and hold no lock that the child wants.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error().into()),
            // SAFETY: ends the child without the parent's exit handlers.
            0 => unsafe { libc::_exit(work().into()) },
            pid => Ok(Self(pid)),
        }
    }

    /// Waits for its end; its status.
    pub(crate) fn wait(self) -> Result<i32, Failure> {
        let pid = self.0;
        std::mem::forget(self);
        wait_for(pid)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: this child was not waited for, so the number is still its own.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // It is gone in any case.
        let _ = wait_for(self.0);
    }
}

fn wait_for(pid: libc::pid_t) -> Result<i32, Failure> {
    let mut status = 0;
    // SAFETY: the kernel writes the status into `status`.
    if unsafe { libc::waitpid(pid, &mut status, 0) } != pid {
        return Err(io::Error::last_os_error().into());
    }
    Ok(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 })
}

/// Becomes `program` with one argument; returns only on failure.
pub(crate) fn become_program(program: &std::ffi::CStr, argument: &std::ffi::CStr) -> u8 {
    let words = [program.as_ptr(), argument.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null()];
    // SAFETY: both lists end with a null pointer and all strings with a NUL.
    unsafe { libc::execve(program.as_ptr(), words.as_ptr(), environment.as_ptr()) };
    127
}

/// Binds the calling thread, and what it starts from now on, to one CPU.
pub(crate) fn pin(cpu: usize) -> Result<(), Failure> {
    let mut set = [0_u64; 16];
    let word = set.get_mut(cpu / 64).ok_or("there are no so many CPUs")?;
    *word |= 1 << (cpu % 64);
    let (address, length) = (set.as_ptr().expose_provenance() as u64, size_of_val(&set) as u64);
    // SAFETY: the kernel reads `length` bytes of the set.
    checked(unsafe { raw::call(number(libc::SYS_sched_setaffinity), [0, length, address, 0, 0, 0]) })
        .map(drop)
}
