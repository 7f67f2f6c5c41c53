// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts: what they are called, where they arrive, and how often.

use std::fs;
use std::time::Instant;

use my_rng_client::MappedRing;

use super::entropy::device_with_queues;
use super::machine::{load, module_file, soon, try_load, unload};
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("each_cpu_has_the_interrupt_of_its_own_queue", each_cpu_has_its_own),
        Test::new("a_mapped_queue_interrupts_as_often_as_it_may", a_mapped_queue_is_limited),
    ]
}

/// A line of `/proc/interrupts`.
struct Interrupt {
    number: String,
    count: u64,
}

/// Finds it by its name, as `my_rng0-read0`.
fn find(name: &str) -> Result<Interrupt, Stop> {
    let text = fs::read_to_string("/proc/interrupts")?;
    let Some(line) = text.lines().find(|line| line.split_ascii_whitespace().last() == Some(name)) else {
        return fail(format!("/proc/interrupts has no {name}:\n{text}"));
    };
    let mut words = line.split_ascii_whitespace();
    let number = words.next().unwrap_or_default().trim_end_matches(':').to_owned();
    // A count for each CPU, and then words.
    let count = words.map_while(|word| word.parse::<u64>().ok()).sum();
    Ok(Interrupt { number, count })
}

fn needs_interrupts(options: &Options) -> Result<(), Stop> {
    if is_exo_kernel() {
        return skip("this kernel has no /proc/interrupts");
    }
    if !module_file(options).exists() {
        return skip(format!("there is no {}", module_file(options).display()));
    }
    device_with_queues().map(drop)
}

fn each_cpu_has_its_own(options: &Options) -> Result<(), Stop> {
    needs_interrupts(options)?;
    let device = device_with_queues()?;
    let cpus = std::thread::available_parallelism()?.get();
    if device.figure("queues")? != cpus as u64 {
        return skip("this device has fewer queues than the machine has CPUs");
    }
    let node = device.node_name()?;
    for cpu in 0..cpus {
        let interrupt = find(&format!("{node}-read{cpu}"))?;
        let place = fs::read_to_string(format!("/proc/irq/{}/smp_affinity_list", interrupt.number))?;
        assert_eq!(place.trim(), cpu.to_string(), "where the interrupt of CPU {cpu}'s queue arrives");
    }
    find(&format!("{node}-seedable0"))?;
    find(&format!("{node}-mapped0"))?;
    Ok(())
}

/// A program that waits for each buffer of 64 bytes makes the device interrupt for each.
fn a_mapped_queue_is_limited(options: &Options) -> Result<(), Stop> {
    needs_interrupts(options)?;
    unload()?;
    let parameters = c"depth=2 buffer_size=64 queues=1 mapped_queues=1 mapped_interrupts=1";
    try_load(options, parameters)??;
    let result = count_interrupts();
    unload()?;
    load(options)?;
    result
}

fn count_interrupts() -> Result<(), Stop> {
    /// How many are waited for.
    const ENOUGH: u64 = 200;
    let device = device_with_queues()?;
    let name = format!("{}-mapped0", device.node_name()?);
    let mut ring = MappedRing::open(device.node()?)?;
    ring.fill(&mut [0; 1000])?;

    let start = Instant::now();
    let before = find(&name)?.count;
    let mut count = 0;
    let came = soon(|| {
        let filled = ring.fill(&mut [0; 1024]);
        count = find(&name).map_or(0, |now| now.count.saturating_sub(before));
        filled.is_err() || count >= ENOUGH
    });
    let milliseconds = u64::try_from(start.elapsed().as_millis())?;
    println!("{count} interrupts in {milliseconds} ms");
    assert!(came, "{count} interrupts came");
    // One may have been on its way, and a millisecond is not over yet.
    assert!(count <= milliseconds + 2, "{count} interrupts in {milliseconds} ms, of which each has one");
    Ok(())
}
