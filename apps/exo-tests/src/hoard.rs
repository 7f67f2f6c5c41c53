// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that make the kernel use memory for them: page tables, files, signals. The kernel lives, and others are served
//! while it happens. For a machine with 128 MiB.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::IntoRawFd as _;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use crate::{
    Outcome, failed, hoard_events,
    limits::{fork, limit, works},
};

const PAGE: usize = 4096;

pub(crate) fn run() -> Outcome {
    for (name, hoard) in [
        ("full queues of signals", signals as fn() -> i32),
        ("a terabyte of page tables", page_tables),
        ("page tables that stay", page_tables_that_stay),
        ("files", files),
        ("files without a name", files_without_name),
        ("full pipes", pipes),
        ("full sockets", sockets),
        ("full connections", connections),
        ("areas", areas),
        ("cycles of sockets, epolls and pidfds", hoard_events::cycles),
        ("ten thousand connections", hoard_events::connections),
        ("stopped terminals", hoard_events::stopped_terminals),
        ("a flood of watched events", hoard_events::watched_events),
    ] {
        beside(hoard).map_err(|why| failed(format!("{name}: {why}")))?;
        println!("{name}: ok");
    }
    Ok(())
}

/// Does `hoard` in a process of its own until it has all it can get, and looks whether others are served meanwhile and afterwards.
fn beside(hoard: fn() -> i32) -> Outcome {
    let mut child = fork(hoard)?;
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        works()?;
        // An innocent call on memory that was never touched, while there is hardly any.
        let mut bytes = vec![0u8; 1 << 20];
        let count = io::Read::read(&mut std::fs::File::open("/dev/zero")?, &mut bytes)?;
        if count != bytes.len() {
            return Err(failed("a read of zeros was cut short"));
        }
    }
    // Whatever has become of it.
    let _ = child.kill();
    match child.wait()? {
        Ok(0) | Err(libc::SIGKILL) => {}
        other => return Err(failed(format!("it ended with {other:?}"))),
    }
    // SAFETY: removes what `files` may have left.
    unsafe { libc::unlink(c"/tmp/hoard".as_ptr()) };
    works()
}

pub(crate) fn wait_for_the_end() -> i32 {
    std::thread::sleep(Duration::from_secs(60));
    0
}

fn map(bytes: usize, protection: i32) -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a place that the kernel chooses.
    let at = unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) };
    (at != libc::MAP_FAILED).then_some(at.cast())
}

fn touch_every_2_mib(give_back: bool) -> i32 {
    const ALL: usize = 1 << 40;
    let Some(start) = map(ALL, libc::PROT_READ) else { return 1 };
    for offset in (0..ALL).step_by(2 << 20) {
        // SAFETY: inside the mapping.
        unsafe {
            let at = start.add(offset);
            at.read_volatile();
            if give_back {
                libc::madvise(at.cast(), PAGE, libc::MADV_DONTNEED);
            }
        }
    }
    0
}

fn page_tables() -> i32 {
    touch_every_2_mib(true)
}

fn page_tables_that_stay() -> i32 {
    touch_every_2_mib(false);
    wait_for_the_end()
}

/// Writes to a file until there is no room.
fn fill(fd: i32) {
    let piece = vec![0x5a_u8; 1 << 20];
    // SAFETY: the bytes are there for the length of the call.
    while unsafe { libc::write(fd, piece.as_ptr().cast(), piece.len()) } > 0 {}
}

fn files() -> i32 {
    // SAFETY: the path is a string.
    fill(unsafe { libc::open(c"/tmp/hoard".as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o600) });
    wait_for_the_end()
}

fn files_without_name() -> i32 {
    // SAFETY: the name is a string.
    fill(unsafe { libc::memfd_create(c"hoard".as_ptr(), 0) });
    wait_for_the_end()
}

/// Queues signals to the calling thread until there is no room; whether that is what it was told then.
fn fill_own_queue() -> bool {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `set` is made by the first call; the other calls read it and `info`, and write nothing.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), null_mut());
        let (process, thread) = (libc::getpid(), libc::syscall(libc::SYS_gettid));
        for turn in 0..1024 {
            let signal = libc::SIGRTMIN() + turn % 8;
            let mut info: libc::siginfo_t = std::mem::zeroed();
            info.si_code = libc::SI_QUEUE;
            if libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, &raw const info) != 0 {
                return io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN);
            }
        }
    }
    true
}

/// A thousand threads that each queue a thousand signals, which nobody takes. All are told when there is no more room.
fn signals() -> i32 {
    let start = || std::thread::Builder::new().stack_size(64 << 10).spawn(fill_own_queue);
    let threads: Vec<_> = (0..1000).map_while(|_| start().ok()).collect();
    let count = threads.len();
    let good = threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|good| *good).count();
    i32::from(count < 500 || good < count)
}

/// Makes pairs of descriptors with `pair` and fills them until there is no more memory, or no more descriptors.
fn fill_pairs(pair: impl Fn(&mut [i32; 2]) -> i32) -> i32 {
    limit(libc::RLIMIT_NOFILE, 1 << 16);
    let piece = vec![0x5a_u8; 64 << 10];
    let mut ends = [0; 2];
    while pair(&mut ends) == 0 {
        // SAFETY: the bytes are there for the length of the call; neither end waits.
        while unsafe { libc::write(ends[1], piece.as_ptr().cast(), piece.len()) } > 0 {}
    }
    wait_for_the_end()
}

fn pipes() -> i32 {
    // SAFETY: there is room for two descriptors.
    fill_pairs(|ends| unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK) })
}

fn sockets() -> i32 {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    // SAFETY: there is room for two descriptors.
    fill_pairs(|ends| unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })
}

fn connections() -> i32 {
    let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { return 1 };
    let Ok(address) = listener.local_addr() else { return 1 };
    fill_pairs(|ends| {
        let pair = TcpStream::connect(address).and_then(|own| {
            let (other, _) = listener.accept()?;
            own.set_nonblocking(true)?;
            Ok([other.into_raw_fd(), own.into_raw_fd()])
        });
        match pair {
            Ok(pair) => {
                *ends = pair;
                0
            }
            Err(_) => -1,
        }
    })
}

/// A process with as many areas as there may be, and as many copies of it as there is memory for.
fn areas() -> i32 {
    const PAGES: usize = 60_000;
    let Some(start) = map(PAGES * PAGE, libc::PROT_NONE) else { return 1 };
    for page in (0..PAGES).step_by(2) {
        // SAFETY: inside the mapping, which nobody uses.
        if unsafe { libc::mprotect(start.add(page * PAGE).cast(), PAGE, libc::PROT_READ) } != 0 {
            break;
        }
    }
    // SAFETY: touches no memory.
    let own = unsafe { libc::getpid() };
    let copy = || {
        // The copies end with this process, one that it just made too. SAFETY: touches no memory.
        let is_alone = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::getppid() != own
        };
        if is_alone { 0 } else { wait_for_the_end() }
    };
    let copies: Vec<_> = (0..1000).map_while(|_| fork(copy).ok()).collect();
    let end = wait_for_the_end();
    drop(copies);
    end
}
