// SPDX-License-Identifier: MIT OR Apache-2.0
//! The largest calls, and how long the kernel had interrupts off in them: never longer than 100,000 nanoseconds. In a machine whose clock
//! counts instructions those are instructions; on another one the host's load comes on top.

mod many;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use crate::limits::fork;
use crate::{Outcome, failed};

const LIMIT_NS: u64 = 100_000;
/// Bytes of the largest reads, writes and mappings here.
const LARGE: usize = 64 << 20;
/// How much later than asked for a program may go on beside a long call: the span, and its own way there.
const LATENESS: Duration = Duration::from_micros(300);

/// What is measured on the way, and what was too long.
struct Spans {
    failures: String,
}

impl Spans {
    fn measure(&mut self, name: &str, call: impl FnOnce() -> Outcome) -> Outcome {
        fs::write("/proc/exo", "reset")?;
        call()?;
        let text = fs::read_to_string("/proc/exo")?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let ns: u64 = value("interrupts_off_ns ").parse()?;
        println!("{name}: {ns} in {}", value("interrupts_off_in "));
        if ns > LIMIT_NS {
            self.failures += &format!("; {name}: {ns} in {}", value("interrupts_off_in "));
        }
        Ok(())
    }
}

pub(crate) fn run() -> Outcome {
    let mut spans = Spans { failures: String::new() };
    files(&mut spans)?;
    memory(&mut spans)?;
    many::run(&mut spans)?;
    beside_a_long_call()?;
    if spans.failures.is_empty() {
        Ok(())
    } else {
        Err(failed(format!("interrupts were off for more than {LIMIT_NS} ns{}", spans.failures)))
    }
}

fn files(spans: &mut Spans) -> Outcome {
    const PATH: &str = "/tmp/spans";
    let mut bytes = vec![1; LARGE];
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(PATH)?;
    spans.measure("read of /dev/zero", || Ok(File::open("/dev/zero")?.read_exact(&mut bytes)?))?;
    spans.measure("write of a file", || Ok(file.write_all_at(&bytes, 0)?))?;
    spans.measure("read of a file", || Ok(file.read_exact_at(&mut bytes, 0)?))?;
    spans.measure("truncation", || Ok(file.set_len(0)?))?;
    fs::remove_file(PATH)?;
    spans.measure("getrandom", || {
        let part = bytes.get_mut(..LARGE / 16).unwrap_or_default();
        Ok(File::open("/dev/urandom")?.read_exact(part)?)
    })?;
    spans.measure("many descriptors", || {
        let files: Vec<File> = (0..500).map_while(|_| File::open("/dev/null").ok()).collect();
        let polled = |file: &File| libc::pollfd {
            fd: std::os::fd::AsRawFd::as_raw_fd(file),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut polls: Vec<_> = files.iter().map(polled).collect();
        // SAFETY: the list has as many entries as is said.
        unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 0) };
        // SAFETY: closes the files above, which are not used any more.
        unsafe { libc::close_range(polls.first().map_or(3, |first| first.fd).unsigned_abs(), u32::MAX, 0) };
        std::mem::forget(files);
        Ok(())
    })
}

/// A mapping of that many bytes.
fn map(bytes: usize, protection: i32) -> io::Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, where nothing is.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast()) }
}

fn memory(spans: &mut Spans) -> Outcome {
    let done = |result: i32| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) };
    let at = map(LARGE, libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: the mapping above, all of it; nothing else uses it.
    let touch = || unsafe { at.write_bytes(1, LARGE) };
    spans.measure("first touch", || {
        touch();
        Ok(())
    })?;
    let mut resident = vec![0u8; LARGE / 4096];
    // SAFETY: for all of these: the mapping is this function's, and nothing is read from it any more; mincore writes a byte for each page.
    unsafe {
        spans.measure("mincore", || done(libc::mincore(at.cast(), LARGE, resident.as_mut_ptr())))?;
        spans.measure("mprotect", || done(libc::mprotect(at.cast(), LARGE, libc::PROT_READ)))?;
        done(libc::mprotect(at.cast(), LARGE, libc::PROT_READ | libc::PROT_WRITE))?;
        spans.measure("fork and exit", || {
            let ended = fork(|| 0)?.wait()?;
            if ended == Ok(0) { Ok(()) } else { Err(failed(format!("the child ended with {ended:?}"))) }
        })?;
        spans.measure("MADV_DONTNEED", || done(libc::madvise(at.cast(), LARGE, libc::MADV_DONTNEED)))?;
        touch();
        let (old, new) = (at, map(LARGE, libc::PROT_NONE)?);
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        spans.measure("mremap", || {
            let moved = libc::mremap(old.cast(), LARGE, LARGE, flags, new);
            if moved == new.cast() { Ok(()) } else { Err(io::Error::last_os_error().into()) }
        })?;
        let at = new;
        spans.measure("munmap", || done(libc::munmap(at.cast(), LARGE)))?;
        let (wide, step) = (1 << 38, 2 << 20);
        let at = map(wide, libc::PROT_READ)?;
        for offset in (0..1 << 32).step_by(step) {
            std::hint::black_box(at.add(offset).read_volatile());
        }
        spans.measure("munmap of pages far apart", || done(libc::munmap(at.cast(), wide)))
    }
}

/// A program that sleeps goes on in time while another has its random bytes made, and that one can be killed in the middle of it.
fn beside_a_long_call() -> Outcome {
    const BYTES: usize = 256 << 20;
    let mut child = fork(|| {
        let Ok(at) = map(BYTES, libc::PROT_READ | libc::PROT_WRITE) else { return 1 };
        // SAFETY: the mapping has so many bytes.
        unsafe { libc::getrandom(at.cast(), BYTES, 0) };
        2
    })?;
    std::thread::sleep(Duration::from_millis(20));
    let mut latest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Duration::from_millis(1);
        let start = Instant::now();
        std::thread::sleep(asked);
        latest = latest.max(start.elapsed().saturating_sub(asked));
    }
    child.kill()?;
    let start = Instant::now();
    let ended = child.wait()?;
    let taken = start.elapsed();
    println!("beside a long getrandom: at most {} µs late", latest.as_micros());
    if ended != Err(libc::SIGKILL) {
        return Err(failed(format!("a long getrandom was not killed, but ended with {ended:?}")));
    }
    if latest > LATENESS {
        return Err(failed(format!(
            "beside getrandom a program went on {latest:?} late (it took {taken:?} to kill it)"
        )));
    }
    Ok(())
}
