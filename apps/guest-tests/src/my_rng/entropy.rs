// SPDX-License-Identifier: MIT OR Apache-2.0
//! `read(2)`: the entropy stream.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use my_rng_client::{Device, MappedRing};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

use super::hwrng::with_current;
use super::machine::{PciDevice, Queues, first_device, soon};
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};
use crate::raw::{Access, Memory, PAGE, Place, read, read_by_uring, read_nowait, voluntary_switches};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_read_gives_as_many_bytes_as_were_asked_for", a_read_gives_as_many_bytes),
        Test::new("a_read_that_may_not_wait_gives_bytes_or_eagain", a_read_that_may_not_wait),
        Test::new("a_read_that_may_not_even_lock_never_sleeps", a_nowait_read_never_sleeps),
        Test::new("io_uring_is_not_held_up_by_a_long_read", io_uring_is_not_held_up),
        Test::new("sendfile_and_splice_take_bytes_from_the_device", sendfile_takes_bytes),
        Test::new("poll_says_when_there_are_bytes", poll_says_when_there_are_bytes),
        Test::new("epoll_misses_no_bytes_that_come_meanwhile", epoll_misses_no_bytes),
        Test::new("a_read_ends_where_the_memory_ends", a_read_ends_where_the_memory_ends),
        Test::new("a_stream_has_no_position", a_stream_has_no_position),
        Test::long("no_byte_is_given_out_twice_by_any_path", no_byte_is_given_out_twice),
        Test::new("the_bytes_are_spread_evenly", the_bytes_are_spread_evenly),
        Test::new("readers_end_with_enodev_when_the_device_is_unbound", readers_end_at_unbind),
        Test::new("pollers_are_told_when_the_device_is_unbound", pollers_are_told_at_unbind),
    ]
}

/// The first device, if it has queues.
pub(super) fn device_with_queues() -> Result<PciDevice, Stop> {
    let device = first_device()?;
    match device.figure("queues")? {
        0 => skip("this device has no queues"),
        _ => Ok(device),
    }
}

fn a_read_gives_as_many_bytes(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?.open()?;
    for length in [0, 1, 3, 8, 100, 4095, 4096, 4097, 65_536, (8 << 20) + 5] {
        let mut bytes = vec![0; length];
        assert_eq!((&device).read(&mut bytes)?, length);
        // The chance that 16 bytes in a row are all 0 is 2^-128.
        let zeros = bytes.chunks_exact(16).position(|chunk| chunk.iter().all(|byte| *byte == 0));
        assert_eq!(zeros, None, "of {length} bytes, some were not filled");
    }
    Ok(())
}

fn a_read_that_may_not_wait(_: &Options) -> Result<(), Stop> {
    let node = device_with_queues()?.node()?;
    let file: File =
        rustix::fs::open(node, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?.into();
    let mut bytes = vec![0; 64 << 20];
    // More than all queues hold.
    let mut got = 0;
    let gets_something = soon(|| match (&file).read(&mut bytes) {
        Ok(count) => {
            got = count;
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
            false
        }
    });
    assert!(gets_something && got > 0, "nothing came");
    Ok(())
}

/// More than the smallest queue ever holds, so that a read of it all would have to wait.
const LONG: usize = 16 << 20;

fn with_the_smallest_queue(
    options: &Options,
    f: impl FnOnce(&Device) -> Result<(), Stop>,
) -> Result<(), Stop> {
    if is_exo_kernel() {
        return skip("this kernel's queues have one size");
    }
    Queues::Small.load(options)?;
    f(&device_with_queues()?.open()?)
}

fn a_nowait_read_never_sleeps(options: &Options) -> Result<(), Stop> {
    with_the_smallest_queue(options, |device| {
        let mut bytes = vec![0; LONG];
        for _ in 0..20 {
            let before = voluntary_switches()?;
            let got = read_nowait(device, &mut bytes);
            assert_eq!(voluntary_switches()?, before, "the thread went to sleep; it got {got:?}");
            assert!(matches!(got, Ok(1..LONG) | Err(Errno::AGAIN)), "{got:?}");
        }
        Ok(())
    })
}

fn io_uring_is_not_held_up(options: &Options) -> Result<(), Stop> {
    if !Path::new("/proc/sys/kernel/io_uring_disabled").exists() && !is_exo_kernel() {
        return skip("this kernel has no io_uring");
    }
    // More than all queues hold.
    let usual = submit_often(&device_with_queues()?.open()?, LONG)?;
    println!("submitting {} MiB took {usual:?} at the least", LONG >> 20);
    with_the_smallest_queue(options, |device| {
        // Many times what the queue holds, and not more: when poll and a read that may not wait have disagreed 128 times, io_uring leaves
        // the read to a thread of its own, which waits for all of it, 128 bytes at a time.
        submit_often(device, 16 << 10).map(drop)
    })
}

/// Reads that [`submit_often`] submits, and how many of them may sleep: whoever holds a lock of io_uring's own may have lost its processor.
const SUBMISSIONS: usize = 20;
const MAY_SLEEP: usize = 5;

/// Submits reads of so many bytes, none of which may wait for the device. Returns how long the shortest took.
fn submit_often(device: &Device, length: usize) -> Result<Duration, Stop> {
    let mut bytes = vec![0; length];
    let (mut shortest, mut slept) = (Duration::MAX, Vec::new());
    for _ in 0..SUBMISSIONS {
        let read = read_by_uring(device, &mut bytes)?;
        assert!(read.result > 0, "{read:?}");
        shortest = shortest.min(read.submitting);
        // Not the time: on a busy machine it says nothing. A driver that waits for the device sleeps in each of them.
        if read.switches != 0 {
            slept.push(read);
        }
    }
    assert!(slept.len() <= MAY_SLEEP, "of {SUBMISSIONS} submissions these have slept: {slept:?}");
    Ok(shortest)
}

fn sendfile_takes_bytes(_: &Options) -> Result<(), Stop> {
    if is_exo_kernel() {
        return skip("this kernel's devices are not for sendfile");
    }
    let device = device_with_queues()?.open()?;
    let mut memory: File = rustix::fs::memfd_create("bytes", MemfdFlags::CLOEXEC)?.into();
    let mut sent = 0;
    while sent < 300_000 {
        match rustix::fs::sendfile(&memory, &device, None, 300_000 - sent)? {
            0 => return fail(format!("the device ended after {sent} bytes")),
            count => sent += count,
        }
    }
    let mut bytes = Vec::new();
    memory.seek(SeekFrom::Start(0))?;
    memory.read_to_end(&mut bytes)?;
    assert_eq!(bytes.len(), 300_000);
    let zeros = bytes.chunks_exact(16).position(|chunk| chunk.iter().all(|byte| *byte == 0));
    assert_eq!(zeros, None, "some bytes were not filled");
    Ok(())
}

fn poll_says_when_there_are_bytes(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?.open()?;
    for _ in 0..20 {
        let mut files = [PollFd::new(&device, PollFlags::IN)];
        let wait = Timespec::try_from(Duration::from_secs(5))?;
        assert_eq!(poll(&mut files, Some(&wait))?, 1, "no bytes came");
        assert_eq!(files[0].revents(), PollFlags::IN | (files[0].revents() & PollFlags::RDNORM));
        (&device).read_exact(&mut vec![0; 1 << 20])?;
    }
    Ok(())
}

/// The device fills the smallest queue about as fast as it is asked for an interrupt: what comes just before it sees that it was asked comes
/// without one. By epoll, as poll(2) looks once more when its time is over.
fn epoll_misses_no_bytes(options: &Options) -> Result<(), Stop> {
    with_the_smallest_queue(options, |device| {
        rustix::fs::fcntl_setfl(device, OFlags::NONBLOCK)?;
        let (mut reader, mut bytes) = (device, [0; 4096]);
        let second = Timespec::try_from(Duration::from_secs(1))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for round in 0..5000 {
            // All that is there.
            while reader.read(&mut bytes).is_ok() {}
            epoll::add(&epoll, device, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            let mut events =
                [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
            // A device that is slow has no bytes then, either.
            if epoll::wait(&epoll, &mut events, Some(&second))? == 0 {
                assert!(
                    reader.read(&mut bytes).is_err(),
                    "nobody was told of bytes that are there, in round {round}"
                );
            }
            epoll::delete(&epoll, device)?;
        }
        Ok(())
    })
}

fn a_read_ends_where_the_memory_ends(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?.open()?;
    let memory = Memory::new(Access::Full)?;
    let closed = Memory::new(Access::None)?;
    for start in [0, 8, PAGE - 8, PAGE - 1] {
        assert_eq!(read(&device, Place::In(&memory, start), 3 * PAGE), Ok(PAGE - start), "from {start}");
    }
    for place in [Place::Null, Place::Kernel, Place::NonCanonical, Place::In(&closed, 0)] {
        assert_eq!(read(&device, place, 100), Err(Errno::FAULT), "{place:x?}");
    }
    let read_only = Memory::new(Access::ReadOnly)?;
    assert_eq!(read(&device, Place::In(&read_only, 0), 100), Err(Errno::FAULT), "a read-only page");
    assert_eq!(read(&device, Place::In(&memory, 0), PAGE), Ok(PAGE), "it still works");
    Ok(())
}

fn a_stream_has_no_position(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?.open()?;
    assert_eq!(rustix::fs::seek(&device, rustix::fs::SeekFrom::Start(0)), Err(Errno::SPIPE));
    Ok(())
}

/// Blocks of 16 bytes: that two random ones are equal will not happen in the life of the universe; that the same bytes
/// were given out twice would show, whatever the path, if they were read at the same alignment. All are.
type Blocks = HashSet<[u8; 16]>;

const EACH: usize = 4 << 20;

fn no_byte_is_given_out_twice(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?;
    let node = device.node()?;
    let read_all = || -> Result<Vec<u8>, String> {
        let file = Device::open(&node).map_err(|error| error.to_string())?;
        let mut bytes = vec![0; EACH];
        for part in bytes.chunks_mut(48 << 10) {
            (&file).read_exact(part).map_err(|error| error.to_string())?;
        }
        Ok(bytes)
    };
    let map_all = || -> Result<Vec<u8>, String> {
        let mut ring = MappedRing::open(&node).map_err(|error| error.to_string())?;
        let mut bytes = vec![0; EACH];
        ring.fill(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    };
    let kernel = || -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; 64 << 10];
        with_current(&node, |hwrng| hwrng.read_exact(&mut bytes)).map_err(|error| error.to_string())?;
        Ok(bytes)
    };
    let faulting = || -> Result<Vec<u8>, String> {
        // Reads that are cut off in the middle: what was not delivered must not come later either.
        let file = Device::open(&node).map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        for _ in 0..200 {
            let memory = Memory::new(Access::Full).map_err(|error| error.to_string())?;
            let got = read(&file, Place::In(&memory, 0), 2 * PAGE).map_err(|error| error.to_string())?;
            let words = (0..got / 8).filter_map(|word| memory.read_u64(word * 8));
            all.extend(words.flat_map(u64::to_le_bytes));
        }
        Ok(all)
    };

    let everything = thread::scope(|scope| {
        let others =
            [scope.spawn(read_all), scope.spawn(read_all), scope.spawn(map_all), scope.spawn(map_all)];
        let mut all = vec![faulting()];
        if !is_exo_kernel() {
            all.push(kernel());
        }
        all.extend(others.map(|thread| thread.join().unwrap_or_else(|_| Err("a reader panicked".into()))));
        all
    });

    let mut seen = Blocks::new();
    for (path, bytes) in everything.into_iter().enumerate() {
        let bytes = bytes.or_else(fail)?;
        for (place, block) in bytes.chunks_exact(16).enumerate() {
            let new = seen.insert(block.try_into().unwrap_or_default());
            assert!(new, "block {place} of path {path} was given out before: {block:x?}");
        }
    }
    Ok(())
}

fn the_bytes_are_spread_evenly(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?.open()?;
    let mut bytes = vec![0; 1 << 20];
    (&device).read_exact(&mut bytes)?;
    let ones: u64 = bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
    // 2^23 bits: mean 2^22, standard deviation 1448. Eight of them.
    let mean = 1_u64 << 22;
    assert!(ones.abs_diff(mean) < 8 * 1448, "{ones} of {} bits are 1", 1 << 23);
    Ok(())
}

fn readers_end_at_unbind(options: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?;
    for _ in 0..options.loops.div_ceil(4) {
        let (one, other) = (device.open()?, device.open()?);
        let ends = thread::scope(|scope| {
            let readers = [scope.spawn(|| read_until_error(&one)), scope.spawn(|| read_until_error(&other))];
            thread::sleep(Duration::from_millis(20));
            let start = Instant::now();
            let unbound = device.unbind();
            let ends = readers.map(|reader| reader.join().ok().flatten());
            assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
            unbound.map(|()| ends)
        })?;
        assert_eq!(ends, [Some(Errno::NODEV.raw_os_error()); 2], "how the readers ended");
        device.bind()?;
    }
    Ok(())
}

fn read_until_error(mut device: &Device) -> Option<i32> {
    let mut bytes = vec![0; 1 << 18];
    loop {
        if let Err(error) = device.read(&mut bytes) {
            return error.raw_os_error();
        }
    }
}

fn pollers_are_told_at_unbind(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?;
    let file = device.open()?;
    device.unbind()?;
    let mut files = [PollFd::new(&file, PollFlags::IN)];
    let polled = poll(&mut files, Some(&Timespec::try_from(Duration::from_secs(5))?));
    let told = files[0].revents();
    device.bind()?;
    assert_eq!(polled, Ok(1));
    assert!(told.contains(PollFlags::ERR | PollFlags::HUP), "{told:?}");
    Ok(())
}
