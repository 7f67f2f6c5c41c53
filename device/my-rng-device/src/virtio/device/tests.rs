// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device as a monitor sees it, without one.

use std::num::NonZero;

use vfio_user_server::{Device, Interrupts, IrqIndex, Region, Shutdown};

use super::*;
use crate::attached::Attached;
use crate::shared::{InterruptKind, Personality};
use crate::stream::PowerOn;
use crate::virtio::layout::{COMMON, NOTIFY, VECTORS};

fn device(interrupts: InterruptKind) -> Attached<VirtioDevice> {
    let shared =
        Arc::new(Shared::new(PowerOn { interrupts, personality: Personality::Virtio, ..PowerOn::default() }));
    let workers = Workers::start(shared.clone(), NonZero::<usize>::MIN, &Shutdown::new().unwrap()).unwrap();
    Attached(VirtioDevice::new(shared, workers))
}

fn get<const N: usize>(device: &mut Attached<VirtioDevice>, region: Region, offset: u64) -> [u8; N] {
    let mut data = [0xaa; N];
    device.region_read(region, offset, &mut data).unwrap();
    data
}

fn put(device: &mut Attached<VirtioDevice>, region: Region, offset: usize, data: &[u8]) {
    device.region_write(region, offset as u64, data).unwrap();
}

#[test]
fn regions_and_interrupts_are_those_that_configuration_space_says() {
    let msix = device(InterruptKind::Msix);
    assert_eq!(msix.regions().get(Region::Bar0).size, 4096);
    assert_eq!(msix.regions().get(Region::Bar1).size, 4096);
    assert_eq!(msix.regions().get(Region::Config).size, 4096);
    assert_eq!((msix.irqs().get(IrqIndex::Msix).count, msix.irqs().get(IrqIndex::Intx).count), (VECTORS, 1));
    let intx = device(InterruptKind::Intx);
    assert_eq!((intx.irqs().get(IrqIndex::Msix).count, intx.irqs().get(IrqIndex::Intx).count), (0, 1));
    assert_eq!(intx.regions().get(Region::Bar1).size, 0);
}

#[test]
fn the_registers_are_reached_through_configuration_space_too() {
    let mut device = device(InterruptKind::Msix);
    let aim = |device: &mut Attached<VirtioDevice>, bar: u8, offset: u32, length: u32| {
        put(device, Region::Config, WINDOW_BAR, &[bar]);
        put(device, Region::Config, WINDOW_OFFSET, &offset.to_le_bytes());
        put(device, Region::Config, WINDOW_LENGTH, &length.to_le_bytes());
    };
    aim(&mut device, 0, COMMON.offset + 0x18, 2);
    assert_eq!(get(&mut device, Region::Config, WINDOW_DATA as u64), [0, 1, 0, 0], "the queue's size");
    aim(&mut device, 0, COMMON.offset + 0x14, 1);
    put(&mut device, Region::Config, WINDOW_DATA, &[1]);
    assert_eq!(get(&mut device, Region::Bar0, 0x14), [1], "the status");
    assert_eq!(get::<1>(&mut device, Region::Config, WINDOW_DATA as u64), [1]);
    aim(&mut device, 0, NOTIFY.offset, 2);
    put(&mut device, Region::Config, WINDOW_DATA, &[0, 0]);
    assert_eq!(device.0.parts.shared.counters.snapshot().doorbells, 1);
    // Wherever else it is aimed at, nothing happens.
    for (bar, offset, length) in [
        (1, 0, 4),
        (6, 0, 4),
        (0, 0x14, 0),
        (0, 0x14, 3),
        (0, 0x14, 8),
        (0, 0x12, 4),
        (0, 4096, 4),
        (0, u32::MAX, 1),
    ] {
        aim(&mut device, bar, offset, length);
        put(&mut device, Region::Config, WINDOW_DATA, &[9; 4]);
        let read = get(&mut device, Region::Config, WINDOW_DATA as u64);
        assert_eq!(read, [9; 4], "what was written there stays: {bar} {offset:#x} {length}");
    }
    assert_eq!(get(&mut device, Region::Bar0, 0x14), [1]);
}

#[test]
fn a_touch_of_the_interrupt_status_alone_clears_it() {
    let mut device = device(InterruptKind::Intx);
    let signals = |device: &Attached<VirtioDevice>| {
        let interrupts = Interrupts::new(&device.irqs());
        device.0.parts.shared.signals.send(Cause::Config, &interrupts);
    };
    signals(&device);
    let [low, high] = get(&mut device, Region::Config, 6);
    assert_eq!(u16::from_le_bytes([low, high]) & 8, 8, "the status register's interrupt bit");
    assert_eq!(get::<4>(&mut device, Region::Bar0, 0x3fe), [0; 4], "not at its start");
    assert_eq!(get(&mut device, Region::Bar0, 0x400), [2]);
    assert_eq!(get(&mut device, Region::Bar0, 0x400), [0]);
    signals(&device);
    assert_eq!(get(&mut device, Region::Bar0, 0x400), [2, 0, 0, 0]);
}

#[test]
fn another_client_finds_the_device_as_after_power_on() {
    let mut device = device(InterruptKind::Msix);
    let before: [u8; 256] = get(&mut device, Region::Config, 0);
    put(&mut device, Region::Config, 4, &[6, 0]);
    put(&mut device, Region::Config, WINDOW_DATA, &[1; 4]);
    put(&mut device, Region::Bar0, 0x14, &[3]);
    put(&mut device, Region::Bar0, 0x18, &[4, 0]);
    put(&mut device, Region::Bar0, 0x1a, &[1, 0]);
    device.client_left();
    assert_eq!(get::<256>(&mut device, Region::Config, 0), before);
    let mut fresh = [0; 0x38];
    Transport::new(Arc::new(Shared::new(PowerOn::default()))).read(0, &mut fresh);
    assert_eq!(get::<0x38>(&mut device, Region::Bar0, 0), fresh);
}
