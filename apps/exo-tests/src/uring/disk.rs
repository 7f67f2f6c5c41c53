// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks through io_uring: requests of all sizes and alignments, links, registered buffers, the end of the disk, polled submission,
//! and a medium that reports errors. Opened with O_DIRECT, as Exo-Kernel has no cache, and without.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;

use io_uring::squeue::Flags;
use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, opcode, squeue};

use super::{push, reap, submit, submit_sorted};
use crate::limits::fork;
use crate::{Outcome, failed};

const PAGE: usize = 4096;

/// Pages at page boundaries, as O_DIRECT wants them.
#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

fn pages(count: usize, fill: impl Fn(usize) -> u8) -> Vec<Page> {
    let page = |number: usize| {
        let mut page = Page([0; PAGE]);
        page.0.iter_mut().enumerate().for_each(|(at, byte)| *byte = fill(number * PAGE + at));
        page
    };
    (0..count).map(page).collect()
}

/// Bytes that differ from page to page and within each.
fn mixed(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 12).wrapping_mul(113)) as u8
}

fn same(left: &[Page], right: &[Page]) -> bool {
    left.iter().zip(right).all(|(left, right)| left.0 == right.0)
}

fn read(fd: i32, to: &mut [Page], offset: u64) -> squeue::Entry {
    opcode::Read::new(Fd(fd), to.as_mut_ptr().cast(), size_of_val(to) as u32).offset(offset).build()
}

fn write(fd: i32, from: &[Page], offset: u64) -> squeue::Entry {
    opcode::Write::new(Fd(fd), from.as_ptr().cast(), size_of_val(from) as u32).offset(offset).build()
}

fn open(path: &Path, flags: i32) -> std::io::Result<(File, u64)> {
    let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    let size = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    Ok((file, size))
}

/// Prints what it finds, the same on every kernel. Overwrites the disk, which must have 8 MiB at least.
pub(crate) fn run(path: &Path) -> Outcome {
    let (file, size) = open(path, libc::O_DIRECT)?;
    println!("{size} bytes");
    large(&file)?;
    many(&file)?;
    vectors_and_registered(&file)?;
    forked(&file)?;
    ends(&file, size)?;
    odd(path)?;
    mistakes(path)?;
    left_behind(&file)?;
    polled(&file)
}

/// More than one request to the device carries, flushed and read back in a chain.
fn large(file: &File) -> Outcome {
    let (mut ring, fd) = (IoUring::new(8)?, file.as_raw_fd());
    let (from, mut to) = (pages(256, mixed), pages(256, |_| 0));
    let chain = [
        write(fd, &from, 1 << 20).flags(Flags::IO_LINK).user_data(1),
        opcode::Fsync::new(Fd(fd)).build().flags(Flags::IO_LINK).user_data(2),
        read(fd, &mut to, 1 << 20).user_data(3),
    ];
    println!("1 MiB: {:?} {}", submit(&mut ring, &chain, 3)?, same(&from, &to));
    let short = [
        read(fd, &mut to[..1], 1 << 62).flags(Flags::IO_LINK).user_data(1),
        write(fd, &to[..1], 1 << 20).user_data(2),
    ];
    println!("broken chain: {:?}", submit(&mut ring, &short, 2)?);
    Ok(())
}

/// Many small requests at once, more than a device takes.
fn many(file: &File) -> Outcome {
    const COUNT: usize = 400;
    let (mut ring, fd) = (IoUring::new(512)?, file.as_raw_fd());
    let (from, mut to) = (pages(COUNT, mixed), pages(COUNT, |_| 0));
    // Neighbours on the disk are not neighbours in time.
    let place = |number: usize| ((number * 7) % COUNT * PAGE) as u64;
    let writes: Vec<_> = from
        .chunks(1)
        .enumerate()
        .map(|(number, page)| write(fd, page, place(number)).user_data(number as u64))
        .collect();
    let found = submit_sorted(&mut ring, &writes, COUNT)?;
    println!("written: {}", found.iter().enumerate().all(|(at, found)| *found == (at as u64, PAGE as i32)));
    let reads: Vec<_> = to
        .chunks_mut(1)
        .enumerate()
        .map(|(number, page)| read(fd, page, place(number)).user_data(number as u64))
        .collect();
    let found = submit_sorted(&mut ring, &reads, COUNT)?;
    println!("read: {}", found.iter().enumerate().all(|(at, found)| *found == (at as u64, PAGE as i32)));
    println!("the same: {}", same(&from, &to));
    Ok(())
}

fn vectors_and_registered(file: &File) -> Outcome {
    let (mut ring, fd) = (IoUring::new(8)?, file.as_raw_fd());
    let (mut from, mut to) = (pages(40, |at| mixed(at + 77)), pages(40, |_| 0));
    let vector = |pages: &mut [Page]| -> Vec<libc::iovec> {
        let (first, rest) = pages.split_at_mut(3);
        let part = |pages: &mut [Page]| libc::iovec {
            iov_base: pages.as_mut_ptr().cast(),
            iov_len: size_of_val(pages),
        };
        vec![part(first), part(rest)]
    };
    let (out, back) = (vector(&mut from), vector(&mut to));
    let chain = [
        opcode::Writev::new(Fd(fd), out.as_ptr(), 2).offset(8192).build().flags(Flags::IO_LINK).user_data(1),
        opcode::Readv::new(Fd(fd), back.as_ptr(), 2).offset(8192).build().user_data(2),
    ];
    println!("vectors: {:?} {}", submit(&mut ring, &chain, 2)?, same(&from, &to));
    let mut memory = pages(80, |at| mixed(at + 5));
    let base: *mut u8 = memory.as_mut_ptr().cast();
    let buffer = libc::iovec { iov_base: base.cast(), iov_len: size_of_val(memory.as_slice()) };
    // SAFETY: the memory outlives the ring, which is closed at the end of this function.
    unsafe { ring.submitter().register_buffers(&[buffer])? };
    ring.submitter().register_files(&[fd])?;
    let half = (40 * PAGE) as u32;
    let middle = base.wrapping_add(40 * PAGE);
    let chain = [
        opcode::WriteFixed::new(Fixed(0), base, half, 0)
            .offset(65536)
            .build()
            .flags(Flags::IO_LINK)
            .user_data(1),
        opcode::ReadFixed::new(Fixed(0), middle, half, 0).offset(65536).build().user_data(2),
    ];
    let found = submit(&mut ring, &chain, 2)?;
    let (first, second) = memory.split_at(40);
    println!("registered: {found:?} {}", same(first, second));
    // A process that forks keeps its registered memory.
    let mut child = crate::limits::fork(|| 0)?;
    let _ = child.wait()?;
    memory.iter_mut().take(40).for_each(|page| page.0.fill(9));
    let found = submit(&mut ring, &chain, 2)?;
    println!("after a fork: {found:?} {}", memory.iter().all(|page| page.0 == [9; PAGE]));
    Ok(())
}

/// A program that forks while the device reads, and writes to the same pages at once: what was read is in its own pages, not in those that
/// the child shares with it.
fn forked(file: &File) -> Outcome {
    const COUNT: usize = 256;
    const SECTOR: usize = 512;
    let (mut ring, fd) = (IoUring::new(COUNT as u32)?, file.as_raw_fd());
    file.write_all_at(&pages(1, mixed)[0].0, 0)?;
    let mut to = pages(COUNT, |_| 0);
    let mut intact = true;
    for round in 0..10_u8 {
        to.iter_mut().for_each(|page| page.0[..SECTOR].fill(0));
        for page in &mut to {
            let entry = opcode::Read::new(Fd(fd), page.0.as_mut_ptr(), SECTOR as u32).offset(0).build();
            push(&mut ring, &entry)?;
        }
        ring.submit()?;
        let mut child = fork(|| 0)?;
        // The rest of each page is nobody's but this program's.
        to.iter_mut().for_each(|page| page.0[PAGE - 1] = round);
        let mut done = reap(&mut ring).len();
        while done < COUNT {
            ring.submit_and_wait(1)?;
            done += reap(&mut ring).len();
        }
        // How it ended is its own affair.
        let _ = child.wait()?;
        intact &=
            to.iter().all(|page| (0..SECTOR).all(|at| page.0[at] == mixed(at)) && page.0[PAGE - 1] == round);
    }
    println!("read through forks: {intact}");
    Ok(())
}

/// Where the disk ends.
fn ends(file: &File, size: u64) -> Outcome {
    let (mut ring, fd) = (IoUring::new(8)?, file.as_raw_fd());
    let mut four = pages(4, mixed);
    let last = size - 2 * PAGE as u64;
    for (name, entry) in [
        ("read the last", read(fd, &mut four[..2], last)),
        ("read across the end", read(fd, &mut four, last)),
        ("read behind the end", read(fd, &mut four, size)),
        ("write the last", write(fd, &four[..2], last)),
        ("write across the end", write(fd, &four, last)),
        ("write behind the end", write(fd, &four, size)),
        ("nothing", read(fd, &mut four[..0], 0)),
    ] {
        println!("{name}: {:?}", submit(&mut ring, &[entry], 1)?);
    }
    Ok(())
}

/// What is no whole sector, on a file without O_DIRECT.
fn odd(path: &Path) -> Outcome {
    let (file, _) = open(path, 0)?;
    let (mut ring, fd) = (IoUring::new(8)?, Fd(file.as_raw_fd()));
    file.write_all_at(&[1; 2048], 4096)?;
    let mut buffer = [0; 1500];
    let chain = [
        opcode::Write::new(fd, b"odd".as_ptr(), 3)
            .offset(4096 + 511)
            .build()
            .flags(Flags::IO_LINK)
            .user_data(1),
        opcode::Read::new(fd, buffer.as_mut_ptr(), 1500).offset(4096 + 505).build().user_data(2),
    ];
    println!("odd: {:?} {:?}", submit(&mut ring, &chain, 2)?, buffer.first_chunk::<12>());
    // The file's own place, which moves.
    let mut file = file;
    file.seek(SeekFrom::Start(4096 + 508))?;
    for _ in 0..2 {
        let entry = opcode::Read::new(fd, buffer.as_mut_ptr(), 4).offset(u64::MAX).build();
        println!("next: {:?} {:?}", submit(&mut ring, &[entry], 1)?, buffer.first_chunk::<4>());
    }
    Ok(())
}

fn mistakes(path: &Path) -> Outcome {
    let mut ring = IoUring::new(8)?;
    let read_only = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?;
    let fd = read_only.as_raw_fd();
    let page = pages(1, mixed);
    let nowhere = std::ptr::without_provenance_mut(1 << 20);
    for (name, entry) in [
        ("not open for writing", write(fd, &page, 0)),
        ("bad address", opcode::Read::new(Fd(fd), nowhere, PAGE as u32).build()),
        ("negative offset", opcode::Read::new(Fd(fd), nowhere, PAGE as u32).offset(u64::MAX - 4095).build()),
    ] {
        println!("{name}: {:?}", submit(&mut ring, &[entry], 1)?);
    }
    Ok(())
}

/// A ring that is closed while the disk works for it.
fn left_behind(file: &File) -> Outcome {
    let fd = file.as_raw_fd();
    let mut memory = pages(64, |_| 0);
    for _ in 0..8 {
        let mut ring = IoUring::new(64)?;
        for (number, page) in memory.chunks_mut(1).enumerate() {
            push(&mut ring, &read(fd, page, (number * PAGE) as u64))?;
        }
        ring.submit()?;
    }
    // All of it has ended when this has: the memory may go.
    let mut ring = IoUring::new(64)?;
    let mut last = pages(1, |_| 0);
    println!("still there: {:?}", submit(&mut ring, &[read(fd, &mut last, 0)], 1)?);
    thread::sleep(std::time::Duration::from_millis(200));
    Ok(())
}

/// No system call between the program and the disk.
fn polled(file: &File) -> Outcome {
    let mut ring = IoUring::builder().setup_sqpoll(500).build(16)?;
    let fd = file.as_raw_fd();
    let (from, mut to) = (pages(8, |at| mixed(at + 3)), pages(8, |_| 0));
    for (number, page) in from.chunks(1).enumerate() {
        push(&mut ring, &write(fd, page, ((number + 100) * PAGE) as u64).user_data(number as u64))?;
    }
    ring.submit()?;
    super::polled::reap_without_calls(&mut ring, 8)?;
    for (number, page) in to.chunks_mut(1).enumerate() {
        push(&mut ring, &read(fd, page, ((number + 100) * PAGE) as u64).user_data(number as u64))?;
    }
    ring.submit()?;
    let mut found = super::polled::reap_without_calls(&mut ring, 8)?;
    found.sort_unstable();
    println!("polled: {found:?} {}", same(&from, &to));
    Ok(())
}

/// A disk whose sector 2048 cannot be read and whose sector 4096 cannot be written: that reaches the requests which touch them, and
/// no others.
pub(crate) fn errors(path: &Path) -> Outcome {
    let (file, _) = open(path, libc::O_DIRECT)?;
    let (mut ring, fd) = (IoUring::new(64)?, file.as_raw_fd());
    let mut memory = pages(32, mixed);
    let around =
        |sector: u64, number: usize| (sector * 512 + (number * PAGE) as u64).saturating_sub(8 * PAGE as u64);
    for round in 0..3 {
        let reads: Vec<_> = memory
            .chunks_mut(1)
            .take(16)
            .enumerate()
            .map(|(number, page)| read(fd, page, around(2048, number)).user_data(number as u64))
            .collect();
        let writes = memory
            .chunks(1)
            .skip(16)
            .enumerate()
            .map(|(number, page)| write(fd, page, around(4096, number)).user_data(100 + number as u64));
        let all: Vec<_> = reads.into_iter().chain(writes).collect();
        let found = submit_sorted(&mut ring, &all, 32)?;
        let failed_ones: Vec<_> = found.iter().filter(|(_, result)| *result != PAGE as i32).collect();
        println!("round {round}: {failed_ones:?}");
    }
    let chain = [
        read(fd, &mut memory[..1], 2048 * 512).flags(Flags::IO_LINK).user_data(1),
        read(fd, &mut memory[1..2], 0).user_data(2),
    ];
    println!("chain: {:?}", submit(&mut ring, &chain, 2)?);
    // What comes before the bad sector in a large request counts.
    let mut large = pages(128, |_| 0);
    let found = submit(&mut ring, &[read(fd, &mut large, 2048 * 512 - (64 * PAGE) as u64)], 1)?;
    match found.as_slice() {
        [(0, result)] if *result == -libc::EIO || (0..=64 * PAGE as i32).contains(result) => {}
        other => return Err(failed(format!("a large request over a bad sector gave {other:?}"))),
    }
    println!(
        "afterwards: {:?} {:?}",
        submit(&mut ring, &[read(fd, &mut memory[..1], 0)], 1)?,
        reap(&mut ring)
    );
    Ok(())
}
