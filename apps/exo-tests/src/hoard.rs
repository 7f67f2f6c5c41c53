// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that make the kernel use memory for them: page tables, files. The kernel lives, and others are served
//! while it happens. For a machine with 128 MiB.

use std::io;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use crate::{
    Outcome, failed,
    limits::{fork, works},
};

const PAGE: usize = 4096;

pub(crate) fn run() -> Outcome {
    for (name, hoard) in [
        ("a terabyte of page tables", page_tables as fn() -> i32),
        ("page tables that stay", page_tables_that_stay),
        ("files", files),
        ("files without a name", files_without_name),
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
    child.wait()?.err().map_or(Ok(()), |signal| {
        if signal == libc::SIGKILL { Ok(()) } else { Err(failed(format!("it ended by signal {signal}"))) }
    })?;
    // SAFETY: removes what `files` may have left.
    unsafe { libc::unlink(c"/tmp/hoard".as_ptr()) };
    works()
}

fn wait_for_the_end() -> i32 {
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
