// SPDX-License-Identifier: MIT OR Apache-2.0
//! Submissions that the kernel takes by itself: no system call between a busy program and its files.

use std::fs;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::types::Fd;
use io_uring::{IoUring, opcode};

use super::{pipe, push, reap};
use crate::{Outcome, failed};

/// Longer than any kernel needs, even an emulated one.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for completions without asking the kernel for anything but to let others run.
pub(super) fn reap_without_calls(
    ring: &mut IoUring,
    count: usize,
) -> Result<Vec<(u64, i32)>, Box<dyn std::error::Error + Send + Sync>> {
    let start = Instant::now();
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(reap(ring));
        if start.elapsed() > PATIENCE {
            return Err(failed(format!("{} of {count} completions came: {found:?}", found.len())));
        }
        thread::yield_now();
    }
    Ok(found)
}

pub(super) fn run() -> Outcome {
    let mut ring = IoUring::builder().setup_sqpoll(200).build(8)?;
    let file =
        fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open("/tmp/polled")?;
    let fd = Fd(file.as_raw_fd());
    for turn in 0..3_u64 {
        for n in 0..4 {
            let entry = opcode::Write::new(fd, b"abcd".as_ptr(), 4).offset(4 * (turn * 4 + n)).build();
            push(&mut ring, &entry.user_data(turn * 4 + n))?;
        }
        // Wakes the worker if it sleeps, which it does not in the first 200 ms.
        ring.submit()?;
        let mut found = reap_without_calls(&mut ring, 4)?;
        found.sort_unstable();
        println!("{found:?}");
    }
    println!("{} bytes", file.metadata()?.len());
    // Asleep after its idle time, and woken again.
    let start = Instant::now();
    while !ring.submission().need_wakeup() {
        if start.elapsed() > PATIENCE {
            return Err(failed("the worker never sleeps"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    let (reader, writer) = pipe()?;
    let mut buffer = [0; 4];
    push(&mut ring, &opcode::Read::new(Fd(reader.as_raw_fd()), buffer.as_mut_ptr(), 4).build().user_data(1))?;
    println!("submitted: {}", ring.submit()?);
    thread::sleep(Duration::from_millis(50));
    println!("nothing yet: {:?}", reap(&mut ring));
    push(&mut ring, &opcode::Write::new(Fd(writer.as_raw_fd()), b"pipe".as_ptr(), 4).build().user_data(2))?;
    ring.submit()?;
    let mut found = reap_without_calls(&mut ring, 2)?;
    found.sort_unstable();
    println!("through a pipe: {found:?} {buffer:?}");
    drop(ring);
    Ok(fs::remove_file("/tmp/polled")?)
}
