// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtio personality over raw vfio-user sockets: a driver as it should be, and hostile ones, which must be refused. That
//! they hurt nobody else, `attacks` sees.

mod common;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::Served;
use common::client::{Client, PATIENCE, SET_IRQS};
use common::virtio::{
    BUFFERS, CONFIG_VECTOR, DEVICE, DRIVER, DRIVER_OK, INDIRECT, INTX, MEMORY, MSIX, Machine, NEEDS_RESET,
    NEXT, QUEUE_VECTOR, SIZE, TABLE, WRITE,
};
use my_rng_device::limiter::{Limits as Budget, Rate};
use my_rng_device::shared::{InterruptKind, Personality};
use my_rng_device::stream::PowerOn;
use my_rng_device::virtio::layout::{ISR, NOTIFY};
use my_rng_device::virtio::transport::FEATURES;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{pwrite, read};
use vfio_user_server::Limits;

fn serve(interrupts: InterruptKind) -> Served {
    let power_on = PowerOn { personality: Personality::Virtio, interrupts, ..PowerOn::default() };
    Served::start(power_on, 1, Limits::default())
}

fn wait_for(fd: &OwnedFd) {
    let timeout = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut polled = [PollFd::new(fd, PollFlags::IN)];
    assert_eq!(poll(&mut polled, Some(&timeout)), Ok(1), "no interrupt");
    read(fd, &mut [0; 8]).unwrap();
}

fn fired(fd: &OwnedFd) -> bool {
    read(fd, &mut [0; 8]).is_ok()
}

#[test]
fn a_driver_gets_what_it_asks_for_and_an_interrupt() {
    // With event indexes, and without.
    for features in [FEATURES, FEATURES & !(1 << 29)] {
        let served = serve(InterruptKind::Msix);
        let mut machine = Machine::over(served.connect());
        let (config, queue) = (machine.interrupt(MSIX, CONFIG_VECTOR), machine.interrupt(MSIX, QUEUE_VECTOR));
        machine.initialize(features);
        machine.describe(3, (BUFFERS, 64, WRITE | NEXT, 5));
        machine.describe(5, (BUFFERS + 0x1000, 36, WRITE, 0));
        for round in 1..=40_u16 {
            // What a driver with event indexes wants to be told of, and nothing else.
            pwrite(&machine.memory, &(round - 1).to_le_bytes(), DRIVER + 4 + u64::from(SIZE) * 2).unwrap();
            machine.offer(3);
            wait_for(&queue);
            assert_eq!(machine.used(), round);
        }
        let entry = machine.bytes(DEVICE + 4 + 7 * 8, 8);
        assert_eq!(entry, [3, 0, 0, 0, 100, 0, 0, 0]);
        assert_ne!(machine.bytes(BUFFERS, 64), [0; 64]);
        assert_ne!(machine.bytes(BUFFERS + 0x1000, 36), [0; 36]);
        assert_eq!(machine.bytes(BUFFERS + 64, 16), [0; 16]);
        assert_eq!(machine.get(ISR.offset.into()), [0], "with MSI-X it says nothing");
        assert!(!fired(&config));
        let counted = served.shared.counters.snapshot();
        assert_eq!((counted.entropy_bytes, counted.buffers, counted.seedable_bytes), (4000, 40, 0));
    }
}

#[test]
fn without_msi_x_the_pin_is_asserted_until_the_status_is_read() {
    let served = serve(InterruptKind::Intx);
    let mut machine = Machine::over(served.connect());
    let pin = machine.interrupt(INTX, 0);
    machine.initialize(FEATURES & !(1 << 29));
    machine.describe(0, (BUFFERS, 64, WRITE, 0));
    machine.offer(0);
    wait_for(&pin);
    assert_eq!(machine.get(ISR.offset.into()), [1]);
    assert_eq!(machine.get(ISR.offset.into()), [0]);
    // As a monitor does after that: it is not asserted any more.
    let unmask: Vec<u8> = [20, 0x11, INTX, 0, 1].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
    assert_eq!(machine.client.request(SET_IRQS, &unmask, &[]).error, 0);
    assert!(!fired(&pin));
    machine.offer(0);
    wait_for(&pin);
}

#[test]
fn a_hostile_driver_is_refused_and_needs_a_reset() {
    type Entry = (u64, u32, u16, u16);
    let wrong: [(&str, Entry); 8] = [
        ("a circle", (BUFFERS, 64, WRITE | NEXT, 0)),
        ("a next one that is not there", (BUFFERS, 64, WRITE | NEXT, SIZE)),
        ("memory that is not there", (MEMORY, 64, WRITE, 0)),
        ("memory that ends", (MEMORY - 8, 64, WRITE, 0)),
        ("4 GiB", (BUFFERS, u32::MAX, WRITE, 0)),
        ("a buffer to read", (BUFFERS, 64, 0, 0)),
        ("a table in itself", (TABLE, 16, INDIRECT, 0)),
        ("a table that is not there", (u64::MAX - 15, 16, INDIRECT, 0)),
    ];
    let served = serve(InterruptKind::Msix);
    let mut machine = Machine::over(served.connect());
    let config = machine.interrupt(MSIX, CONFIG_VECTOR);
    for (what, descriptor) in wrong {
        machine.initialize(FEATURES);
        machine.describe(0, descriptor);
        machine.offer(0);
        wait_for(&config);
        assert_eq!(machine.status(), DRIVER_OK | NEEDS_RESET, "{what}");
        assert_eq!(machine.used(), 0, "{what}");
        machine.offer(0);
        machine.assert_works();
    }
    machine.initialize(FEATURES);
    pwrite(&machine.memory, &0x8000_u16.to_le_bytes(), DRIVER + 2).unwrap();
    machine.put(NOTIFY.offset.into(), &[0, 0]);
    wait_for(&config);
    assert_eq!(machine.status(), DRIVER_OK | NEEDS_RESET, "an index that jumps");
    machine.assert_works();
    assert_eq!(served.shared.counters.snapshot().queue_errors, 9);
}

#[test]
fn the_next_machine_finds_nothing_of_the_last() {
    let served = serve(InterruptKind::Msix);
    let mut machine = Machine::over(served.connect());
    machine.assert_works();
    drop(machine);
    let start = Instant::now();
    let client = loop {
        match Client::try_connect(&served.directory.path().join("socket")) {
            Some(client) => break client,
            None => assert!(start.elapsed() < PATIENCE),
        }
    };
    let mut machine = Machine::over(client);
    assert_eq!(machine.status(), 0);
    assert_eq!(machine.get(0x1a), [0xff; 2]);
    assert_eq!(machine.get(0x20), [0; 24]);
    machine.assert_works();
}

#[test]
fn limits_count_what_the_queue_gives_and_doorbells() {
    let served = serve(InterruptKind::Msix);
    let rate = Rate { per_second: 20_000, burst: 4000 };
    served.limits.set(Budget { bytes: Some(rate), operations: None });
    let mut machine = Machine::over(served.connect());
    machine.initialize(FEATURES);
    machine.describe(0, (BUFFERS, 1000, WRITE, 0));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        if machine.used() == machine.index {
            machine.offer(0);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let given = served.shared.counters.snapshot().entropy_bytes as f64;
    let allowed = 4000.0 + 20_000.0 * start.elapsed().as_secs_f64();
    assert!(given <= allowed && given >= 8000.0, "{given} of {allowed}");
    // A bell that is rung for nothing is an operation, and the queue pays for it.
    served.limits.set(Budget { bytes: None, operations: Some(Rate { per_second: 100, burst: 1 }) });
    machine.wait("the last buffer", |machine| machine.used() == machine.index);
    for _ in 0..200 {
        machine.put(NOTIFY.offset.into(), &[0, 0]);
    }
    let start = Instant::now();
    machine.offer(0);
    machine.wait("a buffer", |machine| machine.used() == machine.index);
    assert!(start.elapsed() > Duration::from_millis(500), "after {:?}", start.elapsed());
}
