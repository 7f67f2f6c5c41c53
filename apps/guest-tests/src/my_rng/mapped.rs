// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mmap(2)`: queues that programs read themselves.

use std::thread;
use std::time::{Duration, Instant};

use my_rng_abi::ioctl::{MAP_INFO, WAKE};
use my_rng_abi::queue::STATE_SIZE;
use my_rng_client::MappedRing;
use rustix::io::Errno;

use super::entropy::device_with_queues;
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};
use crate::raw::{Access, Mapping, Memory, Place, ioctl, try_map};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_mapped_queue_gives_bytes_without_end", a_mapped_queue_gives_bytes),
        Test::new("what_is_there_is_taken_without_asking_anybody", what_is_there),
        Test::new("a_queue_is_mapped_whole_shared_and_once", a_queue_is_mapped_whole_shared_and_once),
        Test::new("a_file_without_a_queue_has_nothing_to_map_or_wake", a_file_without_a_queue),
        Test::new("queues_run_out_and_come_back", queues_run_out_and_come_back),
        Test::new("a_mapped_queue_outlives_its_device_and_says_so", a_mapped_queue_outlives_its_device),
        Test::new("a_child_does_not_inherit_the_mapping", a_child_does_not_inherit_the_mapping),
    ]
}

/// How many queues can be mapped.
fn count() -> Result<usize, Stop> {
    let device = device_with_queues()?;
    let queues = device.text("mapped_queues")?;
    let all = queues.rsplit(' ').next().and_then(|all| all.parse().ok()).unwrap_or(0);
    if all == 0 { skip("no queue of this device can be mapped") } else { Ok(all) }
}

fn open() -> Result<MappedRing, Stop> {
    count()?;
    Ok(MappedRing::open(device_with_queues()?.node()?)?)
}

fn a_mapped_queue_gives_bytes(_: &Options) -> Result<(), Stop> {
    let mut ring = open()?;
    let (mut total, mut ones) = (0_u64, 0_u64);
    // Several times around, with pieces of odd sizes.
    let size = ring.layout().size() as u64 * 3;
    for limit in [1, 7, 4096, 5000, 1 << 20].into_iter().cycle() {
        let bytes = ring.next(limit)?;
        assert!(!bytes.is_empty() && bytes.len() <= limit);
        total += bytes.len() as u64;
        ones += bytes.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        if total >= size {
            break;
        }
    }
    // Standard deviation of the number of ones in n bits: half of the root of n. Eight of them.
    let bits = total * 8;
    assert!(ones.abs_diff(bits / 2) < 4 * bits.isqrt(), "{ones} of {bits} bits are 1");
    Ok(())
}

fn what_is_there(_: &Options) -> Result<(), Stop> {
    let mut ring = open()?;
    let device = device_with_queues()?;
    let half = ring.layout().size() / 2;
    ring.fill(&mut [0; 64])?;
    // Time for the device to fill all of the ring.
    thread::sleep(Duration::from_millis(200));
    let before = device.figure("doorbells")? + device.figure("interrupts")?;
    let (mut bytes, mut pieces) = (0, 0);
    while bytes < half {
        let Some(piece) = ring.try_next(64)? else { return fail(format!("nothing after {bytes} bytes")) };
        bytes += piece.len();
        pieces += 1;
    }
    let events = device.figure("doorbells")? + device.figure("interrupts")? - before;
    // The device may have gone to sleep after each batch of a quarter of the ring, but no more often.
    assert!(events <= 3 && pieces >= half / 64, "{events} events for {pieces} pieces");
    Ok(())
}

fn a_queue_is_mapped_whole_shared_and_once(_: &Options) -> Result<(), Stop> {
    count()?;
    let device = device_with_queues()?.open()?;
    let memory = Memory::new(Access::Full)?;
    assert_eq!(ioctl(&device, MAP_INFO, Place::Null), Err(Errno::FAULT));
    for _ in 0..2 {
        assert_eq!(ioctl(&device, MAP_INFO, Place::In(&memory, 0)), Ok(0), "asking twice is the same");
    }
    let length = memory.read_u64(0).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let (depth, size) = (memory.read_u32(16).unwrap_or(0), memory.read_u32(20).unwrap_or(0));
    assert!(length >= STATE_SIZE + depth as usize * size as usize, "{length} bytes for {depth} × {size}");

    let whole = Mapping { length, offset: 0, is_shared: true, is_executable: false };
    for wrong in [
        Mapping { is_shared: false, ..whole },
        Mapping { length: length - STATE_SIZE, ..whole },
        Mapping { length: length + STATE_SIZE, ..whole },
        Mapping { length: STATE_SIZE, ..whole },
        Mapping { offset: STATE_SIZE as u64, ..whole },
        Mapping { is_executable: true, ..whole },
    ] {
        assert_eq!(try_map(&device, wrong), Err(Errno::INVAL), "{wrong:?}");
    }
    assert_eq!(try_map(&device, whole), Ok(()));
    assert_eq!(try_map(&device, whole), Err(Errno::BUSY), "a second time");
    Ok(())
}

fn a_file_without_a_queue(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?.open()?;
    let mapping = Mapping { length: STATE_SIZE, offset: 0, is_shared: true, is_executable: false };
    assert_eq!(try_map(&device, mapping), Err(Errno::INVAL));
    assert_eq!(ioctl(&device, WAKE, Place::Null), Err(Errno::INVAL));
    Ok(())
}

fn queues_run_out_and_come_back(_: &Options) -> Result<(), Stop> {
    let all = count()?;
    let device = device_with_queues()?;
    let node = device.node()?;
    for round in 0..3 {
        let mut rings: Vec<_> = (0..all).map(|_| MappedRing::open(&node)).collect::<Result<_, _>>()?;
        assert_eq!(device.text("mapped_queues")?, format!("{all} of {all}"), "round {round}");
        let refused = MappedRing::open(&node).err().map(|error| error.errno());
        assert_eq!(refused, Some(Errno::BUSY.raw_os_error()), "round {round}");
        for ring in &mut rings {
            ring.fill(&mut [0; 10_000])?;
        }
    }
    assert_eq!(device.text("mapped_queues")?, format!("0 of {all}"));
    Ok(())
}

fn a_mapped_queue_outlives_its_device(_: &Options) -> Result<(), Stop> {
    count()?;
    let device = device_with_queues()?;
    let mut ring = open()?;
    ring.fill(&mut [0; 100])?;
    device.unbind()?;
    // What the device had written is still there; then comes the end, without anybody having to wait.
    let start = Instant::now();
    let mut bytes = 0;
    let error = loop {
        match ring.next(1 << 20) {
            Ok(piece) => bytes += piece.len(),
            Err(error) => break error,
        }
    };
    let size = ring.layout().size();
    device.bind()?;
    assert_eq!(error.errno(), Errno::NODEV.raw_os_error(), "{error}");
    assert!(bytes <= size, "{bytes} bytes came out of a ring of {size}");
    assert!(start.elapsed() < Duration::from_secs(2), "it took {:?}", start.elapsed());
    let mut new = open()?;
    drop(ring);
    new.fill(&mut [0; 10_000])?;
    Ok(())
}

fn a_child_does_not_inherit_the_mapping(_: &Options) -> Result<(), Stop> {
    if is_exo_kernel() {
        return skip("this kernel does not say how memory is mapped");
    }
    let ring = open()?;
    let name = ring.path().to_string_lossy().into_owned();
    // `dc`: not copied by fork(2). `io`: nobody can pin it, and madvise(2) cannot undo that.
    let maps = std::fs::read_to_string("/proc/self/smaps")?;
    let flags = maps.split("VmFlags:").zip(maps.split("VmFlags:").skip(1));
    let ours = flags.filter(|(before, _)| {
        before.lines().rev().find(|line| line.contains('-')).is_some_and(|line| line.ends_with(&name))
    });
    let flags: Vec<&str> = ours.filter_map(|(_, after)| after.lines().next()).collect();
    let [flags] = &flags[..] else { return skip(format!("{name} is mapped {} times", flags.len())) };
    let has = |flag| flags.split_whitespace().any(|other| other == flag);
    assert!(has("dc") && has("io") && has("de") && !has("ex"), "{flags}");
    Ok(())
}
