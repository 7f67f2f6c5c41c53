// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drivers that follow the rules of initialization (VIRTIO 1.2, section 3.1), and those that do not.

use super::*;
use crate::metrics::CountersSnapshot;
use crate::stream::PowerOn;

const ADDRESSES: [(usize, u64); 3] = [
    (field::QUEUE_DESCRIPTORS, 0x1_0000_1000),
    (field::QUEUE_DRIVER, 0x2_0000_2000),
    (field::QUEUE_DEVICE, 0x3_0000_3000),
];

struct Driver(Transport);

impl Driver {
    fn new() -> Self {
        let mut transport = Transport::new(Arc::new(Shared::new(PowerOn::default())));
        assert_eq!(transport.set_bus_master(true), None);
        Self(transport)
    }

    fn write<const N: usize>(&mut self, offset: usize, value: [u8; N]) -> Option<Effect> {
        self.0.write(offset as u64, &value)
    }

    fn put8(&mut self, offset: usize, value: u8) -> Option<Effect> {
        self.write(offset, [value])
    }

    fn put16(&mut self, offset: usize, value: u16) -> Option<Effect> {
        self.write(offset, value.to_le_bytes())
    }

    fn put32(&mut self, offset: usize, value: u32) {
        assert_eq!(self.write(offset, value.to_le_bytes()), None);
    }

    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut data = [0xaa; N];
        self.0.read(offset as u64, &mut data);
        data
    }

    fn get16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.get(offset))
    }

    fn status(&self) -> u8 {
        let [status] = self.get(field::STATUS);
        status
    }

    fn counted(&self) -> CountersSnapshot {
        self.0.shared.counters.snapshot()
    }

    fn cell(&self) -> &crate::shared::QueueCell {
        self.0.shared.queue(QUEUE).unwrap()
    }

    fn negotiate(&mut self, features: u64) {
        assert_eq!(self.put8(field::STATUS, 3), None);
        for select in [0, 1] {
            self.put32(field::DRIVER_FEATURE_SELECT, select);
            self.put32(field::DRIVER_FEATURE, half(features, select));
        }
        assert_eq!(self.put8(field::STATUS, 3 | FEATURES_OK), None);
    }

    fn set_up_queue(&mut self, size: u16) -> Option<Effect> {
        self.put16(field::QUEUE_SELECT, 0);
        self.put16(field::QUEUE_SIZE, size);
        self.put16(field::QUEUE_VECTOR, 1);
        for (offset, address) in ADDRESSES {
            self.put32(offset, address as u32);
            self.put32(offset + 4, (address >> 32) as u32);
        }
        self.put16(field::QUEUE_ENABLE, 1)
    }

    /// A driver that is up.
    fn up() -> Self {
        let mut driver = Self::new();
        driver.negotiate(FEATURES);
        assert_eq!(driver.set_up_queue(64), None);
        let started = driver.put8(field::STATUS, 0xf);
        assert!(matches!(started, Some(Effect::Start(_))), "{started:?}");
        driver
    }
}

#[test]
fn a_queue_starts_when_the_driver_is_up() {
    let mut driver = Driver::new();
    driver.negotiate(VERSION_1 | EVENT_INDEX);
    assert_eq!(driver.status(), 0xb);
    assert_eq!(driver.set_up_queue(64), None, "not before DRIVER_OK");
    let [(_, descriptors), (_, area), (_, device)] = ADDRESSES;
    let set_up = SetUp { size: 64, descriptors, driver: area, device, event_index: true, indirect: false };
    assert_eq!(driver.put8(field::STATUS, 0xf), Some(Effect::Start(set_up)));
    assert_eq!((driver.status(), driver.cell().state()), (0xf, RunState::Running));
    assert_eq!(driver.write(NOTIFY.offset as usize, [0, 0]), Some(Effect::Doorbell));
    assert_eq!(driver.write(NOTIFY.offset as usize, [0; 4]), Some(Effect::Doorbell));
    assert_eq!(driver.put8(field::STATUS, 0xf), None, "once");
    assert_eq!((driver.counted().queue_starts, driver.counted().queue_mistakes), (1, 0));
}

#[test]
fn what_a_driver_reads_is_what_there_is() {
    let mut driver = Driver::new();
    for (select, expected) in [(0, FEATURES as u32), (1, (FEATURES >> 32) as u32), (2, 0), (u32::MAX, 0)] {
        driver.put32(field::DEVICE_FEATURE_SELECT, select);
        assert_eq!(u32::from_le_bytes(driver.get(field::DEVICE_FEATURE)), expected);
    }
    assert_eq!(driver.get16(field::QUEUE_COUNT), 1);
    assert_eq!(driver.get16(field::QUEUE_SIZE), SIZE_MAX);
    assert_eq!(driver.get16(field::QUEUE_VECTOR), 0xffff);
    driver.put16(field::QUEUE_SELECT, 1);
    assert_eq!(driver.get16(field::QUEUE_SIZE), 0, "a queue that does not exist");
    assert_eq!(driver.get::<4>(SPECIAL.offset as usize), [0; 4]);
    assert_eq!(driver.get::<4>(NOTIFY.offset as usize), [0; 4]);
    assert_eq!(driver.counted().unknown_reads, 0);
    assert_eq!(driver.get::<4>(0x100), [0; 4]);
    assert_eq!(driver.get::<8>(0x34), [0; 8], "across the end");
    assert_eq!(driver.counted().unknown_reads, 1);
}

#[test]
fn features_that_are_not_offered_are_not_agreed_on() {
    for features in [0, INDIRECT, VERSION_1 | 1, VERSION_1 | 1 << 35, u64::MAX] {
        let mut driver = Driver::new();
        driver.negotiate(features);
        assert_eq!(driver.status(), 3, "{features:#x}");
        assert_eq!(driver.put8(field::STATUS, 7), None, "and so it does not run");
        assert_eq!(driver.status(), 3);
    }
    let mut driver = Driver::new();
    driver.put32(field::DRIVER_FEATURE_SELECT, 2);
    driver.put32(field::DRIVER_FEATURE, 1);
    driver.negotiate(VERSION_1);
    assert_eq!(driver.status(), 3, "a feature beyond 64");
    let mut driver = Driver::new();
    driver.negotiate(VERSION_1);
    driver.put32(field::DRIVER_FEATURE, 0);
    assert_eq!(driver.get(field::DRIVER_FEATURE), [1, 0, 0, 0], "what was agreed on stays");
}

#[test]
fn a_queue_that_runs_is_not_changed() {
    let mut driver = Driver::up();
    let before: [u8; 0x38] = driver.get(0);
    for (offset, _) in ADDRESSES {
        driver.put32(offset, 0xdead_0000);
        driver.put32(offset + 4, 0xdead_0000);
        assert_eq!(driver.write(offset, [0xff; 8]), None);
    }
    assert_eq!(driver.put16(field::QUEUE_SIZE, 8), None);
    assert_eq!(driver.put16(field::QUEUE_ENABLE, 0), None);
    assert_eq!(driver.put16(field::QUEUE_ENABLE, 1), None);
    assert_eq!(driver.get::<0x38>(0), before);
    assert_eq!(driver.counted().queue_mistakes, 15);
}

#[test]
fn a_queue_set_up_wrongly_needs_a_reset() {
    let wrong = [(field::QUEUE_DESCRIPTORS, 8), (field::QUEUE_DRIVER, 1), (field::QUEUE_DEVICE, 2)];
    for (offset, value) in wrong {
        let mut driver = Driver::new();
        driver.negotiate(VERSION_1);
        driver.put32(offset, value);
        assert_eq!(driver.put16(field::QUEUE_ENABLE, 1), None);
        assert_eq!(driver.status(), 0xb | NEEDS_RESET);
        assert_eq!(driver.put8(field::STATUS, 0xf), None);
        assert_eq!(driver.cell().state(), RunState::Off);
    }
    let mut driver = Driver::new();
    driver.negotiate(VERSION_1);
    driver.put8(field::STATUS, 0xf);
    assert_eq!(driver.set_up_queue(3), Some(Effect::Config), "a driver that is up is told");
}

#[test]
fn a_reset_is_over_when_the_worker_has_let_go() {
    let mut driver = Driver::up();
    assert_eq!(driver.put8(field::STATUS, 0), Some(Effect::Reset));
    // As the device does it.
    driver.cell().stop();
    driver.0.reset();
    assert_eq!(driver.status(), 0xf, "not yet");
    assert_eq!(driver.put8(field::STATUS, 1), None);
    assert_eq!(driver.put16(field::QUEUE_SIZE, 8), None);
    driver.cell().set_state(RunState::Off);
    assert_eq!(driver.status(), 0);
    assert_eq!(driver.get16(field::QUEUE_SIZE), SIZE_MAX);
    driver.negotiate(VERSION_1);
    assert_eq!(driver.set_up_queue(8), None);
    assert!(matches!(driver.put8(field::STATUS, 0xf), Some(Effect::Start(SetUp { size: 8, .. }))));
}

#[test]
fn a_queue_waits_for_bus_mastering_and_does_not_outlive_it() {
    let mut driver = Driver::new();
    assert_eq!(driver.0.set_bus_master(false), None);
    driver.negotiate(VERSION_1);
    driver.set_up_queue(64);
    assert_eq!(driver.put8(field::STATUS, 0xf), None);
    assert!(matches!(driver.0.set_bus_master(true), Some(Effect::Start(_))));
    driver.cell().set_state(RunState::Off);
    assert_eq!(driver.0.set_bus_master(false), Some(Effect::Config));
    assert_eq!(driver.0.set_bus_master(true), None, "where it was nobody knows");
    assert_eq!(driver.status(), 0xf | NEEDS_RESET);
}

#[test]
fn doorbells_for_queues_that_are_not_there_are_mistakes() {
    let mut driver = Driver::up();
    let bell = NOTIFY.offset as usize;
    for data in [[1, 0], [0xff, 0xff]] {
        assert_eq!(driver.write(bell, data), None);
    }
    assert_eq!(driver.write(bell, [0, 0, 1, 0]), None);
    assert_eq!(driver.put8(bell, 0), None, "half a number");
    assert_eq!((driver.counted().doorbells, driver.counted().queue_mistakes), (4, 4));
    assert_eq!(driver.write(bell + 2, [0, 0]), None);
    assert_eq!(driver.counted().doorbells, 4);
}

#[test]
fn half_a_value_is_none() {
    let mut driver = Driver::new();
    let before: [u8; 0x38] = driver.get(0);
    for offset in 0..0x38 {
        if offset != field::STATUS {
            assert_eq!(driver.put8(offset, 0xff), None);
        }
        assert_eq!(driver.write(offset, [0xff; 3]), None);
        assert_eq!(driver.write(offset, []), None);
        if offset % 2 == 1 {
            assert_eq!(driver.put16(offset, 0xffff), None);
            driver.put32(offset, u32::MAX);
        }
    }
    assert_eq!(driver.write(0x100, [0xff; 4]), None);
    assert_eq!(driver.write(ISR.offset as usize, [0xff]), None);
    assert_eq!(driver.get::<0x38>(0), before);
    assert_eq!((driver.counted().unknown_writes, driver.counted().read_only_writes), (1, 1));
}
