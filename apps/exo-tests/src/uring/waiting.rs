// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has to wait: pipes, polls, times, and taking that back.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::squeue::Flags;
use io_uring::types::{self, Fd, TimeoutFlags, Timespec};
use io_uring::{IoUring, opcode, squeue};

use super::{pipe, push, reap, submit, submit_sorted};
use crate::{Outcome, failed};

pub(super) fn run() -> Outcome {
    pipes()?;
    polls()?;
    times()?;
    cancels()?;
    at_once()?;
    linked()?;
    waits()
}

fn read(stream: &impl AsRawFd, to: &mut [u8]) -> squeue::Entry {
    opcode::Read::new(Fd(stream.as_raw_fd()), to.as_mut_ptr(), to.len() as u32).build()
}

/// Reads that find nothing yet, answered by another thread.
fn pipes() -> Outcome {
    let mut ring = IoUring::new(8)?;
    let (mut reader, mut writer) = pipe()?;
    let (mut first, mut second) = ([0; 4], [0; 4]);
    push(&mut ring, &read(&reader, &mut first).user_data(1))?;
    ring.submit()?;
    println!("nothing yet: {:?}", reap(&mut ring));
    writer.write_all(b"abcd")?;
    println!("read: {:?} {first:?}", submit(&mut ring, &[], 1)?);
    thread::scope(|scope| -> Outcome {
        let other = scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            writer.write_all(b"efgh")
        });
        println!("waited: {:?}", submit(&mut ring, &[read(&reader, &mut second).user_data(2)], 1)?);
        Ok(other.join().map_err(|_| failed("the writer panicked"))??)
    })?;
    println!("{second:?}");
    // A write to a full pipe waits for a reader.
    let filler = vec![1; 65536];
    writer.write_all(&filler)?;
    let entry = opcode::Write::new(Fd(writer.as_raw_fd()), second.as_ptr(), 4).build().user_data(3);
    push(&mut ring, &entry)?;
    ring.submit()?;
    println!("full: {:?}", reap(&mut ring));
    let mut drained = vec![0; 65536];
    reader.read_exact(&mut drained)?;
    println!("written: {:?}", submit(&mut ring, &[], 1)?);
    reader.read_exact(&mut first)?;
    drop(writer);
    println!("end: {:?} {first:?}", submit(&mut ring, &[read(&reader, &mut second)], 1)?);
    let (left, right) = UnixStream::pair()?;
    let entries = [
        read(&left, &mut first).user_data(5),
        opcode::Write::new(Fd(right.as_raw_fd()), b"sock".as_ptr(), 4).build().user_data(6),
    ];
    println!("sockets: {:?} {first:?}", submit_sorted(&mut ring, &entries, 2)?);
    // O_NONBLOCK is for system calls: a request waits all the same.
    left.set_nonblocking(true)?;
    let entries = [
        read(&left, &mut first).user_data(7),
        opcode::Write::new(Fd(right.as_raw_fd()), b"none".as_ptr(), 4).build().user_data(8),
    ];
    println!("non-blocking: {:?} {first:?}", submit_sorted(&mut ring, &entries, 2)?);
    Ok(())
}

fn polls() -> Outcome {
    let mut ring = IoUring::new(8)?;
    let (reader, mut writer) = pipe()?;
    let poll = |fd, events: i16, data| opcode::PollAdd::new(Fd(fd), events as u32).build().user_data(data);
    println!("writable: {:?}", submit(&mut ring, &[poll(writer.as_raw_fd(), libc::POLLOUT, 1)], 1)?);
    push(&mut ring, &poll(reader.as_raw_fd(), libc::POLLIN, 2))?;
    ring.submit()?;
    println!("nothing yet: {:?}", reap(&mut ring));
    writer.write_all(b"x")?;
    println!("readable: {:?}", submit(&mut ring, &[], 1)?);
    let (empty, _writer) = pipe()?;
    push(&mut ring, &poll(empty.as_raw_fd(), libc::POLLIN, 3))?;
    ring.submit()?;
    let remove = |data| opcode::PollRemove::new(data).build().user_data(4);
    println!("removed: {:?}", submit_sorted(&mut ring, &[remove(3)], 2)?);
    println!("again: {:?}", submit(&mut ring, &[remove(3)], 1)?);
    println!("no file: {:?}", submit(&mut ring, &[poll(9999, libc::POLLIN, 5)], 1)?);
    let file = std::fs::File::open("/proc/self/exe")?;
    println!("a file: {:?}", submit(&mut ring, &[poll(file.as_raw_fd(), libc::POLLIN, 6)], 1)?);
    Ok(())
}

fn times() -> Outcome {
    let mut ring = IoUring::new(8)?;
    let short = Timespec::new().nsec(20_000_000);
    let long = Timespec::new().sec(1000);
    let start = Instant::now();
    println!("time up: {:?}", submit(&mut ring, &[opcode::Timeout::new(&short).build().user_data(1)], 1)?);
    println!("not too early: {}", start.elapsed() >= Duration::from_millis(20));
    let counting = opcode::Timeout::new(&long).count(2).build().user_data(2);
    let nop = |data| opcode::Nop::new().build().user_data(data);
    println!("two others: {:?}", submit_sorted(&mut ring, &[counting, nop(3), nop(4)], 3)?);
    push(&mut ring, &opcode::Timeout::new(&long).build().user_data(5))?;
    ring.submit()?;
    let remove = opcode::TimeoutRemove::new(5).build().user_data(6);
    println!("removed: {:?}", submit_sorted(&mut ring, std::slice::from_ref(&remove), 2)?);
    println!("again: {:?}", submit(&mut ring, &[remove], 1)?);
    let past = Timespec::new().nsec(1);
    let entry = opcode::Timeout::new(&past).flags(TimeoutFlags::ABS).build().user_data(8);
    println!("long past: {:?}", submit(&mut ring, &[entry], 1)?);
    Ok(())
}

fn cancels() -> Outcome {
    let mut ring = IoUring::new(16)?;
    let (reader, writer) = pipe()?;
    let mut buffers = [[0; 4]; 4];
    for buffer in &mut buffers {
        push(&mut ring, &read(&reader, buffer).user_data(7))?;
    }
    ring.submit()?;
    let cancel = |data: u64| opcode::AsyncCancel::new(data).build().user_data(1);
    println!("one: {:?}", submit_sorted(&mut ring, &[cancel(7)], 2)?);
    let all = opcode::AsyncCancel2::new(types::CancelBuilder::user_data(7).all()).build().user_data(1);
    println!("all: {:?}", submit_sorted(&mut ring, &[all], 4)?);
    println!("none: {:?}", submit(&mut ring, &[cancel(7)], 1)?);
    for buffer in &mut buffers {
        push(&mut ring, &read(&reader, buffer).user_data(8))?;
    }
    ring.submit()?;
    let by_file = types::CancelBuilder::fd(Fd(reader.as_raw_fd())).all();
    let entry = opcode::AsyncCancel2::new(by_file).build().user_data(2);
    println!("of a file: {:?}", submit_sorted(&mut ring, &[entry], 5)?);
    let any = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build().user_data(3);
    println!("any: {:?}", submit(&mut ring, &[any], 1)?);
    drop(writer);
    Ok(())
}

/// What was only just submitted is found by who takes it back or counts on it, though the kernel may be looking at it at this moment on
/// another CPU.
fn at_once() -> Outcome {
    const ROUNDS: usize = 200;
    let mut ring = IoUring::new(16)?;
    let (reader, _writer) = pipe()?;
    let mut buffers = [[0; 4]; 4];
    let long = Timespec::new().sec(1000);
    let nop = opcode::Nop::new().build().user_data(2);
    let (mut cancelled, mut counted) = (0, 0);
    for _ in 0..ROUNDS {
        for buffer in &mut buffers {
            push(&mut ring, &read(&reader, buffer).user_data(1))?;
        }
        ring.submit()?;
        let all = opcode::AsyncCancel2::new(types::CancelBuilder::user_data(1).all()).build().user_data(0);
        let expected = [(0, 4), (1, -125), (1, -125), (1, -125), (1, -125)];
        cancelled += usize::from(submit_sorted(&mut ring, &[all], 5)? == expected);
        let counting = opcode::Timeout::new(&long).count(2).build().user_data(3);
        let entries = [counting, nop.clone(), nop.clone()];
        counted += usize::from(submit_sorted(&mut ring, &entries, 3)? == [(2, 0), (2, 0), (3, 0)]);
    }
    println!("at once: {cancelled} and {counted} of {ROUNDS}");
    Ok(())
}

/// Chains and drains whose first request has to wait.
fn linked() -> Outcome {
    let mut ring = IoUring::new(16)?;
    let (reader, mut writer) = pipe()?;
    let (mut first, mut second) = ([0; 2], [0; 2]);
    let chain = [
        read(&reader, &mut first).flags(Flags::IO_LINK).user_data(1),
        read(&reader, &mut second).flags(Flags::IO_LINK).user_data(2),
        opcode::Nop::new().build().user_data(3),
    ];
    for entry in &chain {
        push(&mut ring, entry)?;
    }
    ring.submit()?;
    writer.write_all(b"ab")?;
    println!("first: {:?}", submit(&mut ring, &[], 1)?);
    writer.write_all(b"cd")?;
    println!("the rest: {:?} {first:?} {second:?}", submit(&mut ring, &[], 2)?);
    // Fewer bytes than asked for break a chain.
    for entry in &chain {
        push(&mut ring, entry)?;
    }
    ring.submit()?;
    writer.write_all(b"x")?;
    println!("short: {:?}", submit(&mut ring, &[], 3)?);
    let drained = [
        read(&reader, &mut first).user_data(1),
        opcode::Nop::new().build().flags(Flags::IO_DRAIN).user_data(2),
        opcode::Nop::new().build().user_data(3),
    ];
    for entry in &drained {
        push(&mut ring, entry)?;
    }
    ring.submit()?;
    println!("drained: {:?}", reap(&mut ring));
    writer.write_all(b"ef")?;
    println!("drained: {:?}", submit(&mut ring, &[], 3)?);
    Ok(())
}

/// `io_uring_enter` itself.
fn waits() -> Outcome {
    let mut ring = IoUring::new(8)?;
    let time = Timespec::new().nsec(20_000_000);
    let arguments = types::SubmitArgs::new().timespec(&time);
    println!("nothing: {:?}", ring.submitter().submit_with_args(1, &arguments).map_err(|e| e.raw_os_error()));
    push(&mut ring, &opcode::Nop::new().build().user_data(1))?;
    println!(
        "something: {:?}",
        ring.submitter().submit_with_args(1, &arguments).map_err(|e| e.raw_os_error())
    );
    println!("{:?}", reap(&mut ring));
    push(&mut ring, &opcode::Nop::new().build().user_data(2))?;
    println!(
        "one of two: {:?}",
        ring.submitter().submit_with_args(2, &arguments).map_err(|e| e.raw_os_error())
    );
    println!("{:?}", reap(&mut ring));
    Ok(())
}
