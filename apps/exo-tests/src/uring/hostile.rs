// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that write what they like into the rings, at any time. They may get errors, or harm themselves; the system goes on.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use crate::limits::{fork, with_little_memory, works};
use crate::{Outcome, failed};

/// Bytes of each part of a ring that is mapped here: enough for the rings below.
const PART: usize = 4096;
const ENTRIES: u32 = 16;
/// Rounds of random words, for each child.
const ROUNDS: u32 = 300;

/// A ring without a library between.
struct Raw {
    fd: OwnedFd,
    rings: *mut u8,
    entries: *mut u8,
    /// Offsets as the kernel told them, by the words of `struct io_uring_params`.
    params: [u32; 30],
}

// SAFETY: only atomics are reached through the pointers.
unsafe impl Sync for Raw {}

fn setup(entries: u32, params: &mut [u32; 30]) -> io::Result<OwnedFd> {
    // SAFETY: `params` has the size of `struct io_uring_params`, 120 bytes.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

fn map(fd: &OwnedFd, offset: i64, length: usize) -> io::Result<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at a place that the kernel chooses.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, fd.as_raw_fd(), offset)
    };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast()) }
}

fn enter(fd: i32, submit: u32, wait: u32, flags: u32) -> i64 {
    // SAFETY: no argument points anywhere.
    let result =
        unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, submit, wait, flags, 0_usize, 0_usize) };
    if result < 0 { -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { result }
}

impl Raw {
    fn new() -> io::Result<Self> {
        let mut params = [0; 30];
        let fd = setup(ENTRIES, &mut params)?;
        let (rings, entries) = (map(&fd, 0, PART)?, map(&fd, 0x1000_0000, ENTRIES as usize * 64)?);
        Ok(Self { fd, rings, entries, params })
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: aligned and inside the mapping, which lives as long as this.
        unsafe { AtomicU32::from_ptr(self.rings.add((offset as usize % PART) & !3).cast()) }
    }

    fn entry_word(&self, index: usize) -> &AtomicU64 {
        // SAFETY: aligned and inside the mapping, which lives as long as this.
        unsafe { AtomicU64::from_ptr(self.entries.add(index * 8 % (ENTRIES as usize * 64)).cast()) }
    }

    fn sq(&self, field: usize) -> &AtomicU32 {
        self.word(self.params.get(10 + field).copied().unwrap_or(0))
    }

    fn enter(&self, submit: u32, wait: u32, flags: u32) -> i64 {
        enter(self.fd.as_raw_fd(), submit, wait, flags)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: both mappings are this value's.
        unsafe {
            libc::munmap(self.rings.cast(), PART);
            libc::munmap(self.entries.cast(), ENTRIES as usize * 64);
        }
    }
}

pub(crate) fn run() -> Outcome {
    refusals()?;
    println!("refusals: ok");
    indices()?;
    println!("indices: ok");
    endings()?;
    println!("endings: ok");
    full_rings()?;
    println!("full rings: ok");
    long_chains()?;
    println!("long chains: ok");
    noise()?;
    println!("noise: ok");
    works()
}

fn expect(found: i64, expected: i32, what: &str) -> Outcome {
    if found == -i64::from(expected) {
        Ok(())
    } else {
        Err(failed(format!("{what} gave {found}, expected {}", -expected)))
    }
}

fn number(result: io::Result<impl Sized>) -> i64 {
    result.map_or_else(|error| -i64::from(error.raw_os_error().unwrap_or(0)), |_| 0)
}

fn refusals() -> Outcome {
    let null = std::fs::File::open("/dev/null")?;
    expect(enter(null.as_raw_fd(), 1, 0, 0), libc::EOPNOTSUPP, "entering a file")?;
    expect(enter(9999, 1, 0, 0), libc::EBADF, "entering nothing")?;
    let ring = Raw::new()?;
    expect(ring.enter(0, 0, 1 << 30), libc::EINVAL, "an unknown flag")?;
    for (offset, length) in [(0x2000_0000, PART), (0x7800_0000, PART), (0, 1 << 24), (0x1000_0000, 1 << 24)] {
        expect(number(map(&ring.fd, offset, length)), libc::EINVAL, "mapping what is not there")?;
    }
    let mut params = [0; 30];
    params[2] = 1 << 31;
    expect(number(setup(8, &mut params)), libc::EINVAL, "setting up with an unknown flag")?;
    let mut params = [0; 30];
    params[9] = 1;
    expect(number(setup(8, &mut params)), libc::EINVAL, "setting up with a reserved field")?;
    // SAFETY: the kernel refuses the address.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, 8_usize) };
    if result != -1 {
        return Err(failed("setting up with a bad address worked"));
    }
    // A ring among its own registered files would never be closed.
    let fd = ring.fd.as_raw_fd();
    // SAFETY: one descriptor is pointed to.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, 2, &raw const fd, 1) };
    if result != -1 {
        return Err(failed("a ring registered itself"));
    }
    no_circles()?;
    issuers()
}

/// Rings that hold a descriptor that leads to themselves, more of them than there can be workers: each is let go.
fn no_circles() -> Outcome {
    for _ in 0..300 {
        let ring = Raw::new()?;
        let link = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
            .open(format!("/proc/self/fd/{}", ring.fd.as_raw_fd()))?;
        let fd = link.as_raw_fd();
        // SAFETY: one descriptor is pointed to.
        let result =
            unsafe { libc::syscall(libc::SYS_io_uring_register, ring.fd.as_raw_fd(), 2, &raw const fd, 1) };
        if result != -1 {
            return Err(failed("a ring registered what leads to itself"));
        }
    }
    let mut params = [0; 30];
    // IORING_SETUP_SQPOLL: it needs a worker.
    params[2] = 2;
    drop(setup(8, &mut params)?);
    Ok(())
}

/// A ring of one thread's own, with completions when that thread asks for them.
fn issuers() -> Outcome {
    const COOP: u32 = 1 << 8;
    const TASKRUN_FLAG: u32 = 1 << 9;
    const SINGLE: u32 = 1 << 12;
    const DEFER: u32 = 1 << 13;
    for (flags, works) in [
        (COOP, true),
        (COOP | TASKRUN_FLAG, true),
        (TASKRUN_FLAG, false),
        (SINGLE, true),
        (SINGLE | DEFER, true),
        (COOP | SINGLE | DEFER, true),
        (DEFER, false),
        (SINGLE | DEFER | 2, false),
    ] {
        let mut params = [0; 30];
        params[2] = flags;
        if setup(8, &mut params).is_ok() != works {
            return Err(failed(format!("setting up with {flags:#x} did not give {works}")));
        }
    }
    let mut params = [0; 30];
    params[2] = SINGLE | DEFER;
    let ring = setup(8, &mut params)?;
    let fd = ring.as_raw_fd();
    expect(enter(fd, 1, 0, 0), 0, "its own thread")?;
    let other = thread::spawn(move || (enter(fd, 1, 0, 0), enter(fd, 0, 0, 1))).join();
    let (submits, waits) = other.map_err(|_| failed("a thread ended"))?;
    expect(submits, libc::EEXIST, "submitting in another thread")?;
    expect(waits, libc::EEXIST, "waiting in another thread")
}

/// Indices that lie: what the kernel says of its own afterwards is still true.
fn indices() -> Outcome {
    let ring = Raw::new()?;
    let [head, tail, array] = [0, 1, 6].map(|field| ring.params.get(10 + field).copied().unwrap_or(0));
    // Far more submissions than there are places, and numbers that no entry has.
    for place in 0..ENTRIES {
        ring.word(array + place * 4)
            .store(if place % 2 == 0 { u32::MAX - place } else { place }, Ordering::SeqCst);
    }
    ring.word(tail).store(u32::MAX / 2, Ordering::SeqCst);
    for _ in 0..ENTRIES * 2 {
        let count = ring.enter(u32::MAX, 0, 0);
        if count > i64::from(ENTRIES) {
            return Err(failed(format!("{count} entries were taken from a ring of {ENTRIES}")));
        }
    }
    if ring.sq(5).load(Ordering::SeqCst) == 0 {
        return Err(failed("wrong numbers of entries were not counted"));
    }
    let shown = ring.word(head).load(Ordering::SeqCst);
    ring.word(head).store(shown.wrapping_add(12345), Ordering::SeqCst);
    ring.word(tail).store(shown.wrapping_add(1), Ordering::SeqCst);
    ring.enter(1, 0, 0);
    // The rings taken away under the kernel.
    let mut ring = Raw::new()?;
    // SAFETY: replaces this ring's own mapping by an empty one of the same size.
    let anonymous = unsafe {
        libc::munmap(ring.rings.cast(), PART);
        libc::mmap(
            ring.rings.cast(),
            PART,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    ring.rings = anonymous.cast();
    expect(ring.enter(1, 0, 1), 0, "a ring that is no longer mapped")
}

/// Submits no-ops with `flags` for as many entries as are asked for.
fn submit_nops(ring: &mut io_uring::IoUring, count: usize, flags: io_uring::squeue::Flags) -> Outcome {
    for _ in 0..count {
        super::push(ring, &io_uring::opcode::Nop::new().build().flags(flags))?;
    }
    let taken = ring.submit()?;
    if taken == count { Ok(()) } else { Err(failed(format!("{taken} of {count} entries were taken"))) }
}

/// A chain finds hardly any room for its completions, and yet none is lost.
fn full_rings() -> Outcome {
    const SIZE: usize = 64;
    let none = io_uring::squeue::Flags::empty();
    let mut ring = io_uring::IoUring::builder().setup_cqsize(SIZE as u32).build(SIZE as u32)?;
    // The ring is full, and as much is held back as a ring of its size allows, but for one.
    for count in [SIZE, SIZE, SIZE, SIZE, SIZE - 1] {
        submit_nops(&mut ring, count, none)?;
    }
    submit_nops(&mut ring, SIZE, io_uring::squeue::Flags::IO_LINK)?;
    let lost = ring.completion().overflow();
    let mut found = 0;
    loop {
        let now = ring.completion().count();
        if now == 0 {
            break;
        }
        found += now;
        ring.submitter().submit_and_wait(0)?;
    }
    let expected = SIZE * 4 + SIZE - 1 + SIZE;
    if (found, lost) == (expected, 0) {
        Ok(())
    } else {
        Err(failed(format!("{found} completions of {expected}, {lost} counted as lost")))
    }
}

/// The longest chain, of requests with as many parts as may be, when the kernel has hardly more memory than its reserve: what it has no
/// room for is refused.
fn long_chains() -> Outcome {
    const ENTRIES: u32 = 32768;
    const PARTS: u32 = 1024;
    let null = std::fs::File::open("/dev/null")?;
    let mut ring = io_uring::IoUring::new(ENTRIES)?;
    let mut byte = 0_u8;
    let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let parts = vec![part; PARTS as usize];
    for _ in 0..ENTRIES {
        let read = io_uring::opcode::Readv::new(io_uring::types::Fd(null.as_raw_fd()), parts.as_ptr(), PARTS);
        super::push(&mut ring, &read.build().flags(io_uring::squeue::Flags::IO_LINK))?;
    }
    let mut results = Vec::with_capacity(ENTRIES as usize);
    with_little_memory(16 << 20, || {
        ring.submit()?;
        results.extend(ring.completion().map(|completion| completion.result()));
        Ok(())
    })?;
    let refused = results.iter().filter(|result| **result == -libc::ENOMEM).count();
    let others = results.iter().filter(|result| **result == -libc::ECANCELED).count();
    if refused > 0 && refused + others == ENTRIES as usize {
        works()
    } else {
        Err(failed(format!("{refused} of {ENTRIES} requests were refused, {others} cancelled")))
    }
}

/// Processes that end, or close, with requests on their way.
fn endings() -> Outcome {
    for way in 0..4 {
        let mut child = fork(|| {
            let Ok(mut ring) = io_uring::IoUring::builder().setup_cqsize(64).build(8) else { return 1 };
            let mut ends = [0; 2];
            // SAFETY: the kernel writes two descriptors.
            if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
                return 2;
            }
            let [reader, _] = ends;
            let mut buffer = Box::new([0_u8; 64]);
            for data in 0..8 {
                let read = io_uring::opcode::Read::new(io_uring::types::Fd(reader), buffer.as_mut_ptr(), 64);
                if super::push(&mut ring, &read.build().user_data(data)).is_err() {
                    return 3;
                }
            }
            if ring.submit().is_err() {
                return 4;
            }
            match way {
                0 => 0,
                1 => {
                    drop(ring);
                    0
                }
                // SAFETY: ends this process as a crash does.
                2 => unsafe { libc::kill(libc::getpid(), libc::SIGKILL) },
                _ => {
                    let grandchild = fork(|| i32::from(ring.submitter().submit_and_wait(0).is_err()));
                    i32::from(!grandchild.is_ok_and(|mut child| child.wait().is_ok_and(|end| end == Ok(0))))
                }
            }
        })?;
        let end = child.wait()?;
        let expected = if way == 2 { Err(libc::SIGKILL) } else { Ok(0) };
        if end != expected {
            return Err(failed(format!(
                "a process that left requests behind in way {way} ended with {end:?}"
            )));
        }
    }
    Ok(())
}

/// A simple generator: the same noise on every machine.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Random entries and indices from two threads at once, in processes that may die of what they ask for.
fn noise() -> Outcome {
    for seed in 1..=3_u64 {
        let mut child = fork(|| noisy(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))?;
        // It may well have read something over its own memory; that is its affair.
        let _ = child.wait()?;
    }
    Ok(())
}

fn noisy(seed: u64) -> i32 {
    let Ok(ring) = Raw::new() else { return 1 };
    // SAFETY: only for this process, which shall not hang: some requests wait for ever, and one may be a wait.
    unsafe { libc::alarm(10) };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut noise = Noise(seed ^ 0xffff);
            while !stop.load(Ordering::Relaxed) {
                let value = noise.next();
                ring.entry_word(value as usize >> 8).store(noise.next(), Ordering::Relaxed);
                if value % 16 == 0 {
                    ring.word(value as u32 >> 16).store(noise.next() as u32, Ordering::Relaxed);
                }
                thread::yield_now();
            }
        });
        let mut noise = Noise(seed);
        for _ in 0..ROUNDS {
            for index in 0..ENTRIES as usize {
                let (operation, more) = (noise.next() % 24, noise.next());
                // Small descriptors and few flags, so that much of it gets somewhere.
                let first = operation | ((more & 0x5f) << 8) | (((more >> 8) % 8) << 32);
                ring.entry_word(index * 8).store(first, Ordering::Relaxed);
                ring.entry_word(index * 8 + 3).store(noise.next() % 512, Ordering::Relaxed);
                ring.entry_word(index * 8 + 5).store(0, Ordering::Relaxed);
            }
            let tail = ring.sq(1);
            tail.store(tail.load(Ordering::Relaxed).wrapping_add(ENTRIES), Ordering::SeqCst);
            ring.enter(ENTRIES, 0, 1);
        }
        stop.store(true, Ordering::Relaxed);
    });
    0
}
