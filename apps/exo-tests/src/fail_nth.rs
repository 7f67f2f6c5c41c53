// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes one allocation of the kernel fail, the first, the second and so on, under a set of operations, until one passes that none
//! failed in. What an operation says meanwhile is its affair; the kernel goes on, and keeps nothing.

use std::ffi::CStr;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::limits::{fork, works};
use crate::{Outcome, failed};

type Operation = fn() -> io::Result<()>;

const OPERATIONS: &[(&str, Operation)] = &[
    ("open", open),
    ("create", create),
    ("names", names),
    ("directory", directory),
    ("mount", mount),
    ("proc", proc),
    ("pipe", pipe),
    ("sockets", sockets),
    ("connections", connections),
    ("datagrams", datagrams),
    ("descriptors", descriptors),
    ("poll", poll),
    ("memory", memory),
    ("memfd", memfd),
    ("signals", signals),
    ("futex", futex),
    ("thread", thread),
    ("fork", fork_and_wait),
    ("exec", exec_and_wait),
    ("io_uring", uring),
];

/// More allocations than any of the operations makes.
const MOST: u32 = 3000;
/// What a child says: nothing failed, or an allocation did, or the operation for another reason.
const UNHARMED: i32 = 0;
const HARMED: i32 = 1;
const WRONG: i32 = 2;
/// What may be missing from free memory afterwards: what CPUs keep for themselves.
const KEPT: u64 = 1 << 20;

pub(crate) fn run() -> Outcome {
    // The first walk fills what is kept; the second must not add to it.
    walk(false)?;
    let before = free_memory()?;
    walk(true)?;
    let after = free_memory()?;
    works()?;
    println!("fail_nth: free memory went from {} to {} KiB", before / 1024, after / 1024);
    if after + KEPT < before { Err(failed("memory was lost")) } else { Ok(()) }
}

fn walk(says: bool) -> Outcome {
    for (name, operation) in OPERATIONS {
        let mut nth = 1;
        loop {
            let end = fork(|| under_failure(nth, *operation))?.wait()?;
            tidy();
            match end {
                Ok(UNHARMED) => break,
                Ok(WRONG) => return Err(failed(format!("{name} fails although memory is there (at {nth})"))),
                // A program that gets no memory may well end.
                Ok(_) | Err(_) => nth += 1,
            }
            if nth > MOST {
                return Err(failed(format!("{name} never comes to an end: {end:?}")));
            }
        }
        if says {
            println!("fail_nth: {name}: {} allocations", nth - 1);
        }
    }
    Ok(())
}

/// Takes away what an operation that was interrupted has left.
fn tidy() {
    // SAFETY: the paths are strings.
    unsafe {
        libc::umount2(c"/tmp/nth.m".as_ptr(), 0);
        for name in [c"/tmp/nth", c"/tmp/nth.d/a", c"/tmp/nth.d/b", c"/tmp/nth.d/c"] {
            libc::unlink(name.as_ptr());
        }
        for name in [c"/tmp/nth.d", c"/tmp/nth.m"] {
            libc::rmdir(name.as_ptr());
        }
    }
}

fn under_failure(nth: u32, operation: Operation) -> i32 {
    let set = |nth: u32| {
        let mut file = fs::OpenOptions::new().read(true).write(true).open("/proc/thread-self/fail-nth")?;
        file.write_all(nth.to_string().as_bytes())
    };
    if set(nth).is_err() {
        return WRONG;
    }
    let result = operation();
    // What is left is read with nothing to fail: the first byte tells, as 0 stands for a failure that has happened.
    let left = (|| -> io::Result<bool> {
        let mut text = [0; 16];
        let mut file = fs::File::open("/proc/thread-self/fail-nth")?;
        let length = file.read(&mut text)?;
        Ok(length > 0 && text[0] != b'0')
    })();
    match (result, left) {
        (Ok(()), Ok(true)) => UNHARMED,
        (Err(_), Ok(true)) => WRONG,
        _ => HARMED,
    }
}

fn free_memory() -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    // What has just ended gives back on its CPU's next turn.
    std::thread::sleep(Duration::from_millis(50));
    let text = fs::read_to_string("/proc/meminfo")?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("MemFree:")).ok_or_else(|| failed("no MemFree"))?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// The result of a call as libc gives it.
fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c(result: i32) -> io::Result<i32> {
    check(result.into()).map(|value| value as i32)
}

fn close(fd: i32) -> io::Result<()> {
    // SAFETY: the descriptor is the caller's.
    c(unsafe { libc::close(fd) }).map(drop)
}

fn open_at(path: &CStr, flags: i32) -> io::Result<i32> {
    // SAFETY: the path is a string.
    c(unsafe { libc::open(path.as_ptr(), flags, 0o644) })
}

fn open() -> io::Result<()> {
    close(open_at(c"/bin/busybox", libc::O_RDONLY)?)?;
    close(open_at(c"/dev/zero", libc::O_RDWR)?)?;
    close(open_at(c"/", libc::O_PATH)?)
}

fn create() -> io::Result<()> {
    let fd = open_at(c"/tmp/nth", libc::O_CREAT | libc::O_RDWR)?;
    // SAFETY: the bytes are there.
    let written = check(unsafe { libc::write(fd, [7_u8; 10_000].as_ptr().cast(), 10_000) } as i64);
    close(fd)?;
    // SAFETY: the path is a string.
    let removed = c(unsafe { libc::unlink(c"/tmp/nth".as_ptr()) });
    written.and(removed.map(i64::from)).map(drop)
}

fn names() -> io::Result<()> {
    let [directory, file, other, link] = [c"/tmp/nth.d", c"/tmp/nth.d/a", c"/tmp/nth.d/b", c"/tmp/nth.d/c"];
    // SAFETY: the paths are strings.
    unsafe {
        c(libc::mkdir(directory.as_ptr(), 0o755))?;
        close(open_at(file, libc::O_CREAT | libc::O_WRONLY)?)?;
        c(libc::rename(file.as_ptr(), other.as_ptr()))?;
        c(libc::link(other.as_ptr(), file.as_ptr()))?;
        c(libc::symlink(other.as_ptr(), link.as_ptr()))?;
        for name in [file, other, link] {
            c(libc::unlink(name.as_ptr()))?;
        }
        c(libc::rmdir(directory.as_ptr())).map(drop)
    }
}

fn directory() -> io::Result<()> {
    for path in ["/", "/proc", "/dev"] {
        for entry in fs::read_dir(path)? {
            entry?;
        }
    }
    Ok(())
}

fn mount() -> io::Result<()> {
    let at = c"/tmp/nth.m";
    // SAFETY: all are strings.
    unsafe {
        c(libc::mkdir(at.as_ptr(), 0o755))?;
        c(libc::mount(c"none".as_ptr(), at.as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()))?;
        close(open_at(c"/tmp/nth.m/file", libc::O_CREAT | libc::O_WRONLY)?)?;
        c(libc::umount2(at.as_ptr(), 0))?;
        c(libc::rmdir(at.as_ptr())).map(drop)
    }
}

fn proc() -> io::Result<()> {
    let mut bytes = [0; 4096];
    for path in
        [c"/proc/self/maps", c"/proc/self/status", c"/proc/stat", c"/proc/mounts", c"/proc/self/cmdline"]
    {
        let fd = open_at(path, libc::O_RDONLY)?;
        // SAFETY: as many bytes as are there.
        let read = check(unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) } as i64);
        close(fd)?;
        read?;
    }
    Ok(())
}

/// Writes to one end and reads from the other.
fn through(ends: [i32; 2], from: usize, to: usize) -> io::Result<()> {
    let mut bytes = [1_u8; 6000];
    // SAFETY: as many bytes as are there.
    let result = unsafe {
        check(libc::write(ends[from], bytes.as_ptr().cast(), bytes.len()) as i64)
            .and_then(|_| check(libc::read(ends[to], bytes.as_mut_ptr().cast(), bytes.len()) as i64))
    };
    close(ends[0])?;
    close(ends[1])?;
    result.map(drop)
}

fn pipe() -> io::Result<()> {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    c(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
    through(ends, 1, 0)
}

fn sockets() -> io::Result<()> {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    c(unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) })?;
    through(ends, 0, 1)
}

/// A connection within the machine. Nothing waits: what is not there at once never comes.
fn connections() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let mut own = TcpStream::connect(listener.local_addr()?)?;
    let (mut other, _) = listener.accept()?;
    own.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    let mut bytes = [7; 5000];
    own.write_all(&bytes[..100])?;
    own.write_all(&bytes)?;
    other.read_exact(&mut bytes)?;
    other.write_all(&bytes)
}

fn datagrams() -> io::Result<()> {
    let (own, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    other.set_nonblocking(true)?;
    own.send_to(&[7; 5000], other.local_addr()?)?;
    other.recv_from(&mut [0; 6000]).map(drop)
}

fn descriptors() -> io::Result<()> {
    // SAFETY: touches no memory.
    let high = c(unsafe { libc::fcntl(0, libc::F_DUPFD, 900) })?;
    close(high)
}

fn poll() -> io::Result<()> {
    let mut ends = [0; 2];
    // SAFETY: there is room for what the calls write.
    unsafe {
        c(libc::pipe(ends.as_mut_ptr()))?;
        let mut questions =
            ends.map(|fd| libc::pollfd { fd, events: libc::POLLIN | libc::POLLPRI, revents: 0 });
        let result = c(libc::poll(questions.as_mut_ptr(), 1, 1));
        close(ends[0])?;
        close(ends[1])?;
        result.map(drop)
    }
}

fn memory() -> io::Result<()> {
    const LENGTH: usize = 64 * 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, which nothing else uses.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let at = libc::mmap(std::ptr::null_mut(), LENGTH, protection, flags, -1, 0);
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        for page in 0..64 {
            at.cast::<u8>().add(page * 4096).write_volatile(1);
        }
        let changed = c(libc::mprotect(at.add(8 * 4096), 4096, libc::PROT_READ));
        let moved = libc::mremap(at.add(16 * 4096), 4096, 8 * 4096, libc::MREMAP_MAYMOVE);
        let result = if moved == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) };
        if result.is_ok() {
            libc::munmap(moved, 8 * 4096);
        }
        c(libc::munmap(at, LENGTH))?;
        changed.and(result)
    }
}

fn memfd() -> io::Result<()> {
    // SAFETY: the name is a string.
    let fd = c(unsafe { libc::memfd_create(c"nth".as_ptr(), 0) })?;
    // SAFETY: touches no memory of ours.
    let result = c(unsafe { libc::ftruncate(fd, 1 << 20) });
    close(fd)?;
    result.map(drop)
}

fn signals() -> io::Result<()> {
    // SAFETY: the sets and the value are there; the signals are blocked before they are sent.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGRTMIN());
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
        let mut result = Ok(0);
        for _ in 0..40 {
            result = result.and(c(libc::sigqueue(libc::getpid(), libc::SIGRTMIN(), value)));
        }
        let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        while libc::sigtimedwait(&set, std::ptr::null_mut(), &none) > 0 {}
        result.map(drop)
    }
}

fn futex() -> io::Result<()> {
    let word = 1_u32;
    let wait = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    // SAFETY: the word and the time are there.
    let result = unsafe { libc::syscall(libc::SYS_futex, &word, libc::FUTEX_WAIT, 1, &wait) };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::ETIMEDOUT) => Ok(()),
        other => other.map(drop),
    }
}

fn thread() -> io::Result<()> {
    let thread = std::thread::Builder::new().spawn(|| 5)?;
    thread.join().map(drop).map_err(|_| io::ErrorKind::Other.into())
}

fn fork_and_wait() -> io::Result<()> {
    let end = fork(|| 0)?.wait()?;
    if end == Ok(0) { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
}

fn exec_and_wait() -> io::Result<()> {
    // With the failure in the parent as well as in the child, at the same place.
    let nth: u32 = fs::read_to_string("/proc/thread-self/fail-nth")?.trim().parse().unwrap_or(0);
    let child = || {
        let _ = fs::write("/proc/thread-self/fail-nth", nth.to_string());
        let arguments = [c"/bin/true".as_ptr(), std::ptr::null()];
        // SAFETY: both lists end with a null pointer, and what they point to are strings.
        unsafe { libc::execve(c"/bin/true".as_ptr(), arguments.as_ptr(), [std::ptr::null()].as_ptr()) };
        3
    };
    match fork(child)?.wait()? {
        Ok(0) => Ok(()),
        // It had its failure; ours may not have come: count it as had.
        _ => fs::write("/proc/thread-self/fail-nth", "0"),
    }
}

fn uring() -> io::Result<()> {
    let mut parameters = [0_u32; 30];
    // SAFETY: the parameters are as long as the kernel takes them.
    let fd = check(unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, parameters.as_mut_ptr()) })?;
    close(fd as i32)
}
