// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many of a thing: descriptors, names, processes, areas, parts of a vector, requests, waiters, timers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use io_uring::{IoUring, opcode};

use super::{LARGE, Spans, map};
use crate::limits::{Child, fork};
use crate::uring::pipe;
use crate::{Outcome, failed};

const DESCRIPTORS: i32 = 100_000;
const NAMES: usize = 30_000;
/// Nearly as many as there may be: every second page, and those in between.
const AREAS: usize = 32_000;
const PROCESSES: usize = 1000;
const WAITERS: usize = 3000;
const TIMERS: usize = 6000;

pub(super) fn run(spans: &mut Spans) -> Outcome {
    allow_descriptors()?;
    polls(spans)?;
    descriptors(spans)?;
    vectors(spans)?;
    files(spans)?;
    names(spans)?;
    areas(spans)?;
    requests(spans)?;
    processes(spans)?;
    waiters(spans)?;
    timers(spans)?;
    sleepers(spans)
}

/// The answer of a call of the C library's.
fn check(result: impl TryInto<i64>) -> io::Result<i64> {
    match result.try_into() {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

fn allow_descriptors() -> io::Result<i64> {
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: the kernel reads the structure.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })
}

fn polls(spans: &mut Spans) -> Outcome {
    const COUNT: usize = 10_000;
    let (quiet, _writer) = pipe()?;
    let first = quiet.as_raw_fd();
    let copies: Vec<File> = (0..COUNT).map(|_| quiet.try_clone()).collect::<io::Result<_>>()?;
    let poll = |file: &File| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polls: Vec<_> = copies.iter().map(poll).collect();
    // SAFETY: the list has as many entries as is said.
    spans.measure("poll of many that are not ready", || unsafe {
        check(libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 1)).map(drop).map_err(Into::into)
    })?;
    // SAFETY: a set of descriptors may be all zeros, and all numbers are below 1024.
    spans.measure("select of many that are not ready", || unsafe {
        let mut set: libc::fd_set = std::mem::zeroed();
        for fd in first..first + 900 {
            libc::FD_SET(fd.clamp(0, 1023), &mut set);
        }
        libc::FD_CLR(first + 1, &mut set);
        let mut time = libc::timeval { tv_sec: 0, tv_usec: 1000 };
        check(libc::select(1000, &mut set, std::ptr::null_mut(), std::ptr::null_mut(), &mut time))
            .map(drop)
            .map_err(Into::into)
    })
}

fn descriptors(spans: &mut Spans) -> Outcome {
    let file = File::open("/dev/null")?;
    let fd = file.as_raw_fd();
    // SAFETY: for all of these: the descriptors above that of this file are this function's.
    unsafe {
        spans.measure("a descriptor far away", || {
            check(libc::dup2(fd, (1 << 20) - 1))?;
            check(libc::close((1 << 20) - 1)).map(drop).map_err(Into::into)
        })?;
        spans.measure("many copies of a descriptor", || {
            for _ in 0..DESCRIPTORS {
                check(libc::dup(fd))?;
            }
            Ok(())
        })?;
        spans.measure("a copy from a number on", || {
            check(libc::fcntl(fd, libc::F_DUPFD, 10)).map(drop).map_err(Into::into)
        })?;
        spans.measure("fork and exit with many descriptors", || ends_well(fork(|| 0)?))?;
        spans.measure("the descriptors in /proc", || {
            let listed = fs::read_dir("/proc/self/fd")?.count();
            if listed > DESCRIPTORS as usize { Ok(()) } else { Err(failed(format!("{listed} descriptors"))) }
        })?;
        spans.measure("close_range that marks many", || {
            check(libc::close_range(fd as u32 + 1, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32))
                .map(drop)
                .map_err(Into::into)
        })?;
        spans.measure("close_range of many", || {
            check(libc::close_range(fd as u32 + 1, u32::MAX, 0)).map(drop).map_err(Into::into)
        })
    }
}

fn ends_well(mut child: Child) -> Outcome {
    let ended = child.wait()?;
    if ended == Ok(0) { Ok(()) } else { Err(failed(format!("a child ended with {ended:?}"))) }
}

fn vectors(spans: &mut Spans) -> Outcome {
    const PARTS: usize = 1024;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open("/tmp/spans")?;
    let at = map(LARGE, libc::PROT_READ | libc::PROT_WRITE)?;
    let part = |index: usize| libc::iovec {
        iov_base: at.wrapping_add(index * (LARGE / PARTS)).cast(),
        iov_len: LARGE / PARTS,
    };
    let parts: Vec<_> = (0..PARTS).map(part).collect();
    // SAFETY: the parts lie in the mapping, which nothing else uses.
    unsafe {
        spans.measure("writev of many parts", || {
            check(libc::pwritev(file.as_raw_fd(), parts.as_ptr(), PARTS as i32, 0))
                .map(drop)
                .map_err(Into::into)
        })?;
        spans.measure("readv of many parts", || {
            check(libc::preadv(file.as_raw_fd(), parts.as_ptr(), PARTS as i32, 0))
                .map(drop)
                .map_err(Into::into)
        })?;
        libc::munmap(at.cast(), LARGE);
    }
    drop(file);
    Ok(fs::remove_file("/tmp/spans")?)
}

fn files(spans: &mut Spans) -> Outcome {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open("/tmp/spans")?;
    // SAFETY: changes the file only.
    spans.measure("fallocate", || unsafe {
        check(libc::fallocate(file.as_raw_fd(), 0, 0, LARGE as i64)).map(drop).map_err(Into::into)
    })?;
    fs::remove_file("/tmp/spans")?;
    spans.measure("the end of a large file without a name", || {
        drop(file);
        Ok(())
    })
}

fn names(spans: &mut Spans) -> Outcome {
    fs::create_dir("/tmp/names")?;
    spans.measure("many names are made", || {
        for index in 0..NAMES {
            File::create(format!("/tmp/names/{index}"))?;
        }
        Ok(())
    })?;
    spans.measure("many names are read", || {
        let listed = fs::read_dir("/tmp/names")?.count();
        if listed == NAMES { Ok(()) } else { Err(failed(format!("{listed} names"))) }
    })?;
    spans.measure("many names are removed", || Ok(fs::remove_dir_all("/tmp/names")?))
}

fn areas(spans: &mut Spans) -> Outcome {
    let mut part = vec![0; 4 << 20];
    let at = map(2 * AREAS * 4096, libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: the mapping is this function's.
    unsafe {
        spans.measure("many areas are made", || {
            for area in 0..AREAS {
                check(libc::mprotect(at.add(2 * area * 4096).cast(), 4096, libc::PROT_READ))?;
            }
            Ok(())
        })?;
        for name in ["maps", "smaps", "status", "statm", "stat"] {
            spans.measure(&format!("{name} of many areas"), || {
                let mut file = File::open(format!("/proc/self/{name}"))?;
                while file.read(&mut part)? > 0 {}
                Ok(())
            })?;
        }
        spans.measure("fork and exit with many areas", || ends_well(fork(|| 0)?))?;
        spans.measure("mprotect of many areas", || {
            check(libc::mprotect(at.cast(), 2 * AREAS * 4096, libc::PROT_WRITE)).map(drop).map_err(Into::into)
        })?;
        for area in 0..AREAS {
            check(libc::mprotect(at.add(2 * area * 4096).cast(), 4096, libc::PROT_READ))?;
        }
        spans.measure("munmap of many areas", || {
            check(libc::munmap(at.cast(), 2 * AREAS * 4096)).map(drop).map_err(Into::into)
        })
    }
}

fn requests(spans: &mut Spans) -> Outcome {
    const ENTRIES: u32 = 32_768;
    let mut ring = IoUring::new(ENTRIES)?;
    // SAFETY: such a request has no memory.
    while unsafe { ring.submission().push(&opcode::Nop::new().build()) }.is_ok() {}
    let mut made = 0;
    spans.measure("many requests at once", || {
        made = ring.submit()?;
        Ok(())
    })?;
    spans.measure("the end of a ring", || {
        drop(ring);
        Ok(())
    })?;
    if made == 0 { Err(failed("no request was taken")) } else { Ok(()) }
}

fn processes(spans: &mut Spans) -> Outcome {
    let (mut ready, mut told) = pipe()?;
    // One that has them all as its children, so that they can be killed as a group.
    let mut parent = fork(|| {
        for _ in 0..PROCESSES {
            // SAFETY: this process has one thread; the child waits until it is killed.
            if unsafe { libc::fork() } == 0 {
                loop {
                    // SAFETY: waits for a signal.
                    unsafe { libc::pause() };
                }
            }
        }
        let _ = io::Write::write_all(&mut told, b"x");
        loop {
            // SAFETY: no status is asked for.
            if unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } < 0 {
                return 0;
            }
        }
    })?;
    ready.read_exact(&mut [0])?;
    spans.measure("many processes in /proc", || {
        let listed = fs::read_dir("/proc")?.count();
        if listed > PROCESSES { Ok(()) } else { Err(failed(format!("{listed} names in /proc"))) }
    })?;
    // SAFETY: for all of these: signal 0 goes to nobody, SIGCONT to those who do not mind, and priorities are read.
    unsafe {
        spans.measure("kill of all", || check(libc::kill(-1, 0)).map(drop).map_err(Into::into))?;
        spans.measure("SIGCONT for all", || {
            check(libc::kill(-1, libc::SIGCONT)).map(drop).map_err(Into::into)
        })?;
        spans.measure("the priority of all", || {
            libc::getpriority(libc::PRIO_USER, 0);
            Ok(())
        })?;
        spans.measure("waitpid with many children", || {
            libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG);
            Ok(())
        })?;
    }
    spans.measure("the end of a process with many children", || {
        parent.kill()?;
        let _ = parent.wait()?;
        Ok(())
    })
}

/// Threads that wait for the same word are woken by one call.
fn waiters(spans: &mut Spans) -> Outcome {
    static WORD: AtomicU32 = AtomicU32::new(0);
    static WAITING: AtomicI64 = AtomicI64::new(0);
    let threads: Vec<_> = (0..WAITERS)
        .map(|_| {
            std::thread::Builder::new().stack_size(64 << 10).spawn(|| {
                WAITING.fetch_add(1, Ordering::SeqCst);
                while WORD.load(Ordering::SeqCst) == 0 {
                    // SAFETY: the word stays.
                    unsafe { libc::syscall(libc::SYS_futex, WORD.as_ptr(), libc::FUTEX_WAIT, 0, 0) };
                }
            })
        })
        .collect::<io::Result<_>>()?;
    while WAITING.load(Ordering::SeqCst) < WAITERS as i64 {
        std::thread::yield_now();
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    WORD.store(1, Ordering::SeqCst);
    spans.measure("many are woken", || {
        // SAFETY: the word stays.
        check(unsafe { libc::syscall(libc::SYS_futex, WORD.as_ptr(), libc::FUTEX_WAKE, i32::MAX) })
            .map(drop)
            .map_err(Into::into)
    })?;
    for thread in threads {
        thread.join().map_err(|_| failed("a thread has panicked"))?;
    }
    spans.measure("the end of a process with many threads", || {
        let child = fork(|| {
            for _ in 0..WAITERS {
                let sleeping = std::thread::Builder::new().stack_size(64 << 10).spawn(|| {
                    loop {
                        std::thread::park();
                    }
                });
                if sleeping.is_err() {
                    return 1;
                }
            }
            0
        })?;
        ends_well(child)
    })
}

/// A moment soon, by the clock since boot.
fn soon() -> io::Result<libc::timespec> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the structure.
    check(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) })?;
    time.tv_sec += 2;
    Ok(time)
}

/// Timers that are all due in the same moment, and end with their process.
fn timers(spans: &mut Spans) -> Outcome {
    let limit = libc::rlimit { rlim_cur: TIMERS as u64, rlim_max: TIMERS as u64 };
    spans.measure("timers that run out together", || {
        let child = fork(|| {
            let due = || -> io::Result<()> {
                let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                let at = libc::itimerspec { it_interval: none, it_value: soon()? };
                // SAFETY: for all of these: the kernel reads and writes the structures.
                unsafe {
                    check(libc::setrlimit(libc::RLIMIT_SIGPENDING, &limit))?;
                    let mut set = std::mem::zeroed();
                    libc::sigemptyset(&mut set);
                    libc::sigaddset(&mut set, libc::SIGALRM);
                    check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()))?;
                    for _ in 0..TIMERS {
                        let mut id = 0i32;
                        let event = std::ptr::null_mut::<libc::sigevent>();
                        check(libc::syscall(libc::SYS_timer_create, libc::CLOCK_MONOTONIC, event, &mut id))?;
                        let old = std::ptr::null_mut::<libc::itimerspec>();
                        check(libc::syscall(libc::SYS_timer_settime, id, libc::TIMER_ABSTIME, &at, old))?;
                    }
                    for _ in 0..TIMERS {
                        check(libc::sigwaitinfo(&set, std::ptr::null_mut()))?;
                    }
                }
                Ok(())
            };
            i32::from(due().is_err())
        })?;
        ends_well(child)
    })
}

/// Threads that sleep until the same moment.
fn sleepers(spans: &mut Spans) -> Outcome {
    spans.measure("sleepers that wake together", || {
        let until = soon()?;
        let sleep = move || {
            // SAFETY: the kernel reads the structure.
            unsafe {
                libc::clock_nanosleep(
                    libc::CLOCK_MONOTONIC,
                    libc::TIMER_ABSTIME,
                    &until,
                    std::ptr::null_mut(),
                )
            }
        };
        let start = || std::thread::Builder::new().stack_size(64 << 10).spawn(sleep);
        let threads: Vec<_> = (0..WAITERS).map(|_| start()).collect::<io::Result<_>>()?;
        for thread in threads {
            thread.join().map_err(|_| failed("a thread has panicked"))?;
        }
        Ok(())
    })
}
