// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls by their names, with strings and lists instead of addresses.

use linux_raw_sys::general as abi;

use super::{
    Errno, image,
    memory::{self, STACK_SIZE, get, get_bytes, put, put_bytes, reserve, string},
    user,
};
use crate::call;

/// What most calls give.
pub type Result<T = usize, E = Errno> = std::result::Result<T, E>;

/// A millisecond in nanoseconds.
pub const MS: u64 = 1_000_000;

/// Opens a file.
pub fn open(path: &str, flags: u32) -> Result {
    call!(abi::__NR_open, string(path), flags, 0o644)
}

/// Closes a descriptor.
pub fn close(fd: usize) -> Result {
    call!(abi::__NR_close, fd)
}

/// Reads up to `count` bytes.
pub fn read(fd: usize, count: usize) -> Result<Vec<u8>> {
    let at = reserve(count);
    call!(abi::__NR_read, fd, at, count).map(|count| get_bytes(at, count))
}

/// Writes.
pub fn write(fd: usize, bytes: &[u8]) -> Result {
    call!(abi::__NR_write, fd, put_bytes(bytes), bytes.len())
}

/// Moves a file's offset to so many bytes from its start.
pub fn seek(fd: usize, offset: u64) -> Result {
    call!(abi::__NR_lseek, fd, offset, abi::SEEK_SET)
}

/// What is in a file.
#[track_caller]
pub fn content(path: &str) -> Vec<u8> {
    let fd = open(path, abi::O_RDONLY).unwrap_or_else(|error| panic!("{path}: {error:?}"));
    let mut out = Vec::new();
    loop {
        let bytes = read(fd, 4096).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        if bytes.is_empty() {
            close(fd).unwrap();
            return out;
        }
        out.extend(bytes);
    }
}

/// The same as text.
#[track_caller]
pub fn text(path: &str) -> String {
    String::from_utf8(content(path)).unwrap()
}

/// Makes a file with this content, which may be run.
#[track_caller]
pub fn make_file(path: &str, bytes: &[u8]) {
    let fd = call!(abi::__NR_open, string(path), abi::O_CREAT | abi::O_WRONLY | abi::O_TRUNC, 0o755).unwrap();
    for piece in bytes.chunks(64 << 10) {
        assert_eq!(write(fd, piece), Ok(piece.len()));
    }
    close(fd).unwrap();
}

/// Writes to a file that is there, in one call.
pub fn store(path: &str, bytes: &[u8]) -> Result {
    let fd = open(path, abi::O_WRONLY)?;
    let result = write(fd, bytes);
    close(fd)?;
    result
}

/// Makes a directory.
pub fn mkdir(path: &str) -> Result {
    call!(abi::__NR_mkdir, string(path), 0o755)
}

/// Takes a name away.
pub fn unlink(path: &str) -> Result {
    call!(abi::__NR_unlink, string(path))
}

/// Mounts a new file system of a type.
pub fn mount(kind: &str, at: &str, options: &str) -> Result {
    call!(abi::__NR_mount, string("none"), string(at), string(kind), 0, string(options))
}

/// Unmounts.
pub fn unmount(at: &str) -> Result {
    call!(abi::__NR_umount2, string(at), 0)
}

/// The names in a directory, as they come, without `.` and `..`.
#[track_caller]
pub fn names(path: &str) -> Vec<String> {
    const ROOM: usize = 4096;
    let fd = open(path, abi::O_RDONLY | abi::O_DIRECTORY).unwrap_or_else(|error| panic!("{path}: {error:?}"));
    let (at, mut out) = (reserve(ROOM), Vec::new());
    loop {
        let count = call!(abi::__NR_getdents64, fd, at, ROOM).unwrap();
        if count == 0 {
            close(fd).unwrap();
            return out;
        }
        let bytes = get_bytes(at, count);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let size = usize::from(u16::from_le_bytes([rest[16], rest[17]]));
            let name = rest[19..size].split(|byte| *byte == 0).next().unwrap();
            out.push(String::from_utf8(name.to_vec()).unwrap());
            rest = &rest[size..];
        }
        out.retain(|name| name != "." && name != "..");
    }
}

/// Where a symbolic link leads.
pub fn read_link(path: &str) -> Result<String> {
    let at = reserve(4096);
    let count = call!(abi::__NR_readlink, string(path), at, 4096)?;
    Ok(String::from_utf8(get_bytes(at, count)).unwrap())
}

/// The two ends of a pipe: to read from, and to write to.
pub fn pipe() -> Result<[usize; 2]> {
    let at = reserve(8);
    call!(abi::__NR_pipe2, at, 0)?;
    Ok(get::<[u32; 2]>(at).map(|fd| fd as usize))
}

/// The process's number.
pub fn pid() -> usize {
    call!(abi::__NR_getpid).unwrap()
}

/// The thread's number.
pub fn tid() -> usize {
    call!(abi::__NR_gettid).unwrap()
}

/// A child that does `code`, and ends with status 0 then.
#[track_caller]
pub fn fork<R>(code: impl FnOnce() -> R + Send + 'static) -> usize {
    try_fork(code).unwrap()
}

/// The same if it works.
pub fn try_fork<R>(code: impl FnOnce() -> R + Send + 'static) -> Result {
    clone(abi::SIGCHLD.into(), 0, [0; 3], code)
}

/// clone, with flags and signal, stack pointer, and the addresses for the parent's and the child's number and the segment base.
pub fn clone<R>(
    flags: u64,
    stack: usize,
    [parent_tid, child_tid, tls]: [usize; 3],
    code: impl FnOnce() -> R + Send + 'static,
) -> Result {
    let arguments = [flags, stack as u64, parent_tid as u64, child_tid as u64, tls as u64, 0];
    match user::raw_with(abi::__NR_clone, arguments, user::once(code)) {
        error @ -4095..0 => Err(Errno(-error as i32)),
        value => Ok(value as usize),
    }
}

/// What threads share with the process that they are in.
pub const THREAD: u32 =
    abi::CLONE_VM | abi::CLONE_FS | abi::CLONE_FILES | abi::CLONE_SIGHAND | abi::CLONE_THREAD;

/// Another thread of the process, with a stack of its own.
#[track_caller]
pub fn thread<R>(code: impl FnOnce() -> R + Send + 'static) -> usize {
    let stack = map(STACK_SIZE).unwrap() + STACK_SIZE - 64;
    clone(THREAD.into(), stack, [0; 3], code).unwrap()
}

/// Private memory of zeros.
pub fn map(bytes: usize) -> Result {
    let (access, flags) = (abi::PROT_READ | abi::PROT_WRITE, abi::MAP_PRIVATE | abi::MAP_ANONYMOUS);
    call!(abi::__NR_mmap, 0, bytes, access, flags, -1, 0)
}

/// Memory that is shared with children.
pub fn map_shared(bytes: usize) -> Result {
    let (access, flags) = (abi::PROT_READ | abi::PROT_WRITE, abi::MAP_SHARED | abi::MAP_ANONYMOUS);
    call!(abi::__NR_mmap, 0, bytes, access, flags, -1, 0)
}

/// Ends the process.
pub fn exit(status: u32) -> ! {
    let _ = call!(abi::__NR_exit_group, status);
    unreachable!("a process has ended and goes on")
}

/// Waits for a child (-1 for any): its number and status.
pub fn wait(pid: i64, options: u32) -> Result<(usize, u32)> {
    let status = put(&0_u32);
    let pid = call!(abi::__NR_wait4, pid, status, options, 0)?;
    Ok((pid, get(status)))
}

/// What a child has ended with, which is waited for.
#[track_caller]
pub fn end_of(pid: usize) -> u32 {
    wait(pid as i64, 0).unwrap().1
}

/// The status of a process that has ended by itself.
pub const fn exited(value: u32) -> u32 {
    value << 8
}

/// The status of one that has stopped.
pub const fn stopped(signal: u32) -> u32 {
    (signal << 8) | 0x7f
}

/// Sends a signal.
pub fn kill(pid: i64, signal: u32) -> Result {
    call!(abi::__NR_kill, pid, signal)
}

/// Sleeps so many nanoseconds. Others run meanwhile.
pub fn sleep(ns: u64) {
    let time = put(&[ns / 1_000_000_000, ns % 1_000_000_000]);
    let _ = call!(abi::__NR_nanosleep, time, 0);
}

/// Lets all others run until they wait or have ended.
pub fn let_others_run() {
    sleep(MS);
}

/// `struct sigaction` of the kernel, with a restorer.
pub fn action(signal: u32, handler: u64, flags: u32, mask: u64) -> Result {
    let new = put(&[handler, u64::from(flags | abi::SA_RESTORER), RESTORER, mask]);
    call!(abi::__NR_rt_sigaction, signal, new, 0, 8)
}

/// What handlers return to: nothing is there, since `user` does what it would.
pub const RESTORER: u64 = 0x40_0000;

/// Has a handler called for a signal.
#[track_caller]
pub fn on_signal(signal: u32, flags: u32, code: impl Fn() + Send + Sync + 'static) {
    action(signal, user::handler(code), flags, 0).unwrap();
}

/// The set with these signals.
pub fn signals(numbers: &[u32]) -> u64 {
    numbers.iter().fold(0, |set, number| set | (1 << (number - 1)))
}

/// Changes the mask of blocked signals (SIG_BLOCK and the like): the one before.
pub fn mask(how: u32, set: u64) -> u64 {
    let old = put(&0_u64);
    call!(abi::__NR_rt_sigprocmask, how, put(&set), old, 8).unwrap();
    get(old)
}

/// Signals that are blocked and wait.
pub fn pending() -> u64 {
    let out = put(&0_u64);
    call!(abi::__NR_rt_sigpending, out, 8).unwrap();
    get(out)
}

/// A list of strings as execve wants it.
fn list(strings: &[&str]) -> usize {
    let mut words: Vec<u64> = strings.iter().map(|text| string(text) as u64).collect();
    words.push(0);
    put(&words[..])
}

/// Replaces the program; returns if that fails.
pub fn exec(path: &str, arguments: &[&str], environment: &[&str]) -> Errno {
    call!(abi::__NR_execve, string(path), list(arguments), list(environment)).unwrap_err()
}

/// Makes the file of a program that does `code`.
#[track_caller]
pub fn make_program(path: &str, code: impl Fn() + Send + Sync + 'static) {
    make_file(path, &image::elf(user::program(code)));
}

/// What `poll` says of a descriptor at once.
pub fn poll(fd: usize, events: u32) -> u32 {
    let entry = put(&[fd as u32, events]);
    call!(abi::__NR_poll, entry, 1, 0).unwrap();
    get::<[u32; 2]>(entry)[1] >> 16
}

/// The nanoseconds of a clock.
pub fn clock(number: u32) -> u64 {
    let out = reserve(16);
    call!(abi::__NR_clock_gettime, number, out).unwrap();
    let [seconds, ns] = get::<[u64; 2]>(out);
    seconds * 1_000_000_000 + ns
}

/// Zeros in the program's data.
pub fn zeros(bytes: usize) -> usize {
    memory::put_bytes(&vec![0; bytes])
}
