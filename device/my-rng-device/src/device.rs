// SPDX-License-Identifier: MIT OR Apache-2.0
//! The native personality between its registers, its configuration space and the workers: what a register write sets going,
//! and when the device starts anew.

use std::sync::Arc;

use my_rng_abi::registers as abi;
use vfio_user_server::pci::{ConfigSpace, EXPRESS_CONFIG_SPACE_SIZE, Identity, MsixTable};
use vfio_user_server::{Device, Irqs, Region, RegionInfo, Regions};

use crate::access;
use crate::attached::{Attached, Function, Parts};
use crate::registers::Registers;
use crate::shared::{InterruptKind, Personality, Shared, VECTORS};
use crate::virtio::device::VirtioDevice;
use crate::workers::Workers;

/// The base address register of the MSI-X table, apart from the registers: a monitor keeps the table itself and may map
/// around it.
const MSIX_BAR: u8 = 1;
/// Size of that region in bytes.
const MSIX_BAR_SIZE: u32 = 4096;
/// Where the pending bits are in it; the table is at its start.
const PENDING_BITS: u32 = 0x800;

/// The device that [`PowerOn::personality`](crate::stream::PowerOn::personality) says.
pub fn of_personality(shared: Arc<Shared>, workers: Workers) -> Box<dyn Device + Send> {
    match shared.power_on.personality {
        Personality::Native => Box::new(Attached(RngDevice::new(shared, workers))),
        Personality::Virtio => Box::new(Attached(VirtioDevice::new(shared, workers))),
    }
}

/// A my_rng device.
#[derive(Debug)]
pub struct RngDevice {
    parts: Parts,
    registers: Registers,
    config: ConfigSpace,
}

impl RngDevice {
    /// A device that has just been powered on.
    pub fn new(shared: Arc<Shared>, workers: Workers) -> Self {
        let identity = Identity::new(abi::VENDOR_ID, abi::DEVICE_ID)
            .with_revision(abi::REVISION_ID)
            .with_class(abi::CLASS_CODE)
            .with_subsystem(abi::SUBSYSTEM_VENDOR_ID, abi::SUBSYSTEM_ID);
        let mut config =
            ConfigSpace::new(&identity).with_memory_bar(abi::REGISTER_BAR.into(), abi::BAR0_SIZE as u32);
        config = match interrupts(&shared) {
            Some(kind @ InterruptKind::Msix) => config
                .with_memory_bar(MSIX_BAR.into(), MSIX_BAR_SIZE)
                .with_msix(&MsixTable::new(kind.vectors(), (MSIX_BAR, 0), (MSIX_BAR, PENDING_BITS))),
            Some(kind @ InterruptKind::Msi) => config.with_msi(kind.vectors()),
            // This personality has no use for the pin.
            Some(InterruptKind::Intx) | None => config,
        };
        Self { registers: Registers::new(shared.clone()), parts: Parts::new(shared, workers), config }
    }
}

impl Function for RngDevice {
    const PENDING_BITS: (u32, u16) = (PENDING_BITS, VECTORS);

    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn parts_mut(&mut self) -> &mut Parts {
        &mut self.parts
    }

    fn regions(&self) -> Regions {
        let regions = Regions::default()
            .with(Region::Bar0, RegionInfo::read_write(abi::BAR0_SIZE as u64))
            .with(Region::Config, RegionInfo::read_write(EXPRESS_CONFIG_SPACE_SIZE));
        match interrupts(&self.parts.shared) {
            Some(InterruptKind::Msix) => {
                regions.with(Region::Bar1, RegionInfo::read_write(MSIX_BAR_SIZE.into()))
            }
            _ => regions,
        }
    }

    fn irqs(&self) -> Irqs {
        let none = Irqs::default();
        interrupts(&self.parts.shared).map_or(none.clone(), |kind| none.with(kind.index(), kind.vectors()))
    }

    fn read_registers(&mut self, offset: u64, data: &mut [u8]) {
        access::read(&mut self.registers, offset, data);
    }

    fn write_registers(&mut self, offset: u64, data: &[u8]) {
        let workers = &self.parts.workers;
        access::write(&mut self.registers, offset, data, |effect| workers.act(effect));
    }

    fn read_config(&mut self, offset: usize, data: &mut [u8]) {
        self.config.read(offset, data);
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        let allowed = self.config.is_bus_master();
        self.config.write(offset, data);
        self.registers.set_bus_master(self.config.is_bus_master());
        if allowed && !self.config.is_bus_master() {
            self.parts.workers.stop_all(); // The guest's memory is no longer ours to touch.
        }
    }

    fn power_on(&mut self) {
        self.parts.workers.stop_all();
        self.registers.reset();
        self.config.reset();
    }
}

/// The interrupts of a device, if it has any.
fn interrupts(shared: &Shared) -> Option<InterruptKind> {
    let kind = shared.power_on.queues.then_some(shared.power_on.interrupts);
    kind.filter(|&kind| kind != InterruptKind::Intx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::PowerOn;
    use std::num::NonZero;
    use vfio_user_server::Errno;
    use vfio_user_server::{IrqIndex, Shutdown};

    fn device(power_on: PowerOn) -> Attached<RngDevice> {
        let shared = Arc::new(Shared::new(power_on));
        let workers =
            Workers::start(shared.clone(), NonZero::<usize>::MIN, &Shutdown::new().unwrap()).unwrap();
        Attached(RngDevice::new(shared, workers))
    }

    fn config<const N: usize>(device: &mut Attached<RngDevice>, offset: u64) -> [u8; N] {
        let mut data = [0; N];
        device.region_read(Region::Config, offset, &mut data).unwrap();
        data
    }

    #[test]
    fn the_regions_are_apart() {
        let mut device = device(PowerOn::default());
        assert_eq!(u32::from_le_bytes(config(&mut device, 0)), 0xcafe_1234);
        let mut data = [0; 4];
        device.region_read(Region::Bar0, 0, &mut data).unwrap();
        assert_eq!(u32::from_le_bytes(data), 1_804_289_383);
        device.region_read(Region::Bar1, 0, &mut data).unwrap();
        assert_eq!(data, [0; 4]);
        assert_eq!(device.region_read(Region::Bar2, 0, &mut data), Err(Errno::INVAL));
    }

    #[test]
    fn a_classic_device_has_neither_queues_nor_transfers_nor_interrupts() {
        let mut device = device(PowerOn { queues: false, ..PowerOn::default() });
        assert_eq!(device.irqs(), Irqs::default());
        assert_eq!(config::<1>(&mut device, 0x34), [0], "there is a capability");
        device.region_write(Region::Config, 4, &6_u16.to_le_bytes()).unwrap();
        let all =
            [abi::QUEUE_SELECT, abi::QUEUE_DEPTH, abi::DOORBELL, abi::QUEUE_CONTROL, abi::ONE_SHOT_VECTOR];
        let transfers = (abi::ONE_SHOT_SOURCE..=abi::ONE_SHOT_COMMAND).step_by(4);
        for offset in all.into_iter().chain(transfers).chain([abi::QUEUE_COUNT, abi::STATUS]) {
            let mut data = [0; 4];
            device.region_write(Region::Bar0, offset as u64, &3_u32.to_le_bytes()).unwrap();
            device.region_read(Region::Bar0, offset as u64, &mut data).unwrap();
            assert_eq!(data, [0; 4], "{offset:#x}");
        }
        let counted = device.0.parts.shared.counters.snapshot();
        assert_eq!((counted.one_shot_errors, counted.queue_mistakes, counted.read_only_writes), (0, 0, 1));
    }

    #[test]
    fn lspci_sees_the_class_and_revision() {
        assert_eq!(config(&mut device(PowerOn::default()), 8), [0x10, 0x00, 0xff, 0x00]);
    }

    /// Cloud Hypervisor reads there, and hangs on an error.
    #[test]
    fn configuration_space_has_4_kibibytes_and_no_extended_capability() {
        let mut device = device(PowerOn::default());
        assert_eq!(device.regions().get(Region::Config).size, 4096);
        device.region_write(Region::Config, 0x100, &[0xff; 4]).unwrap();
        assert_eq!(config(&mut device, 0x100), [0; 4]);
        assert_eq!(config(&mut device, 0xffc), [0; 4]);
    }

    #[test]
    fn there_is_a_vector_for_each_queue_and_one_more() {
        let mut device = device(PowerOn::default());
        let [place] = config(&mut device, 0x34);
        let [id, _, low, high, bar, ..] = config::<12>(&mut device, place.into());
        assert_eq!((id, u16::from_le_bytes([low, high]) + 1, bar), (0x11, 33, MSIX_BAR));
        assert_eq!(device.irqs().get(IrqIndex::Msix).count, 33);
    }

    #[test]
    fn a_device_with_msi_has_a_vector_for_each_queue_and_no_table() {
        let mut device = device(PowerOn { interrupts: InterruptKind::Msi, ..PowerOn::default() });
        let [place] = config(&mut device, 0x34);
        let [id, _, low, _] = config(&mut device, place.into());
        assert_eq!((id, 1 << (low >> 1 & 7)), (0x05, 32));
        assert_eq!(device.irqs(), Irqs::default().with(IrqIndex::Msi, 32));
        assert_eq!(device.regions().get(Region::Bar1), RegionInfo::default());
        let bar: [u8; 4] = {
            device.region_write(Region::Config, 0x14, &[0xff; 4]).unwrap();
            config(&mut device, 0x14)
        };
        assert_eq!(bar, [0; 4], "there is no second base address register");
    }

    /// A client decides how long a worker waits for an answer to a DMA message; what the guest writes meanwhile must not
    /// cost memory for each write.
    #[test]
    fn nothing_that_a_guest_does_piles_up_while_a_worker_waits() {
        let shared = Arc::new(Shared::new(PowerOn::default()));
        let mut device = Attached(RngDevice::new(shared.clone(), Workers::stuck(shared)));
        let write = |device: &mut Attached<RngDevice>, register: usize, value: u32| {
            device.region_write(Region::Bar0, register as u64, &value.to_le_bytes()).unwrap();
        };
        let start = abi::ONE_SHOT_START | abi::ONE_SHOT_TO_GUEST | abi::ONE_SHOT_INTERRUPT;
        for round in 0..1000 {
            write(&mut device, abi::ONE_SHOT_VECTOR, round % 33);
            write(&mut device, abi::ONE_SHOT_COMMAND, start); // Of no bytes: refused, with an interrupt.
        }
        assert_eq!(device.0.parts.workers.commands(), 0);
        let mut most = 0;
        for round in 0..1000 {
            device.region_write(Region::Config, 4, &[6, 0]).unwrap();
            write(&mut device, abi::ONE_SHOT_COUNT, 8);
            write(&mut device, abi::ONE_SHOT_COMMAND, start);
            write(&mut device, abi::QUEUE_SELECT, round % 32);
            write(&mut device, abi::QUEUE_DEPTH, 1);
            for control in [1, 0, 1] {
                write(&mut device, abi::QUEUE_CONTROL, control);
                write(&mut device, abi::DOORBELL, round % 32);
            }
            match round % 2 {
                0 => device.region_write(Region::Config, 4, &[2, 0]).unwrap(),
                _ => device.reset(),
            }
            most = most.max(device.0.parts.workers.commands());
        }
        // For each queue a start, a stop and an end of everything; and the transfer.
        assert!((32..32 * 3 + 2).contains(&most), "{most} commands");
    }

    #[test]
    fn a_transfer_that_outlives_a_reset_is_still_seen_to_run() {
        let shared = Arc::new(Shared::new(PowerOn::default()));
        let mut device = Attached(RngDevice::new(shared.clone(), Workers::stuck(shared.clone())));
        shared.one_shot.set(abi::ONE_SHOT_START);
        device.reset();
        assert_eq!(shared.one_shot.bits(), abi::ONE_SHOT_START, "its worker says when it ends");
        shared.one_shot.set(abi::ONE_SHOT_ERROR);
        device.reset();
        assert_eq!(shared.one_shot.bits(), 0);
    }

    #[test]
    fn the_next_client_finds_the_device_as_after_power_on() {
        let mut device = device(PowerOn { seed: 42, ..PowerOn::default() });
        let read = |device: &mut Attached<RngDevice>| {
            let words =
                [0xc, 0x1c, 0x20, 0x28, 0x2c, 0x30, 0x34, 0x38, 0x40, 0x4c, 0x80, 0x88, 0x90, 0x98, 0];
            words.map(|offset| {
                let mut data = [0; 4];
                device.region_read(Region::Bar0, offset, &mut data).unwrap();
                u32::from_le_bytes(data)
            })
        };
        let fresh = read(&mut device);
        assert_eq!(fresh[14], 71_876_166);
        let mut number = [0; 8];
        device.region_read(Region::Bar0, 8, &mut number).unwrap();
        for offset in (4..0x98).step_by(4).filter(|&offset| offset != 0x2c) {
            device.region_write(Region::Bar0, offset, &[3, 0, 0, 0]).unwrap();
        }
        device.region_write(Region::Config, 0x10, &[0xff; 4]).unwrap();
        let dirty = read(&mut device);
        assert!(dirty.iter().zip(fresh).filter(|(dirty, fresh)| **dirty != *fresh).count() > 8, "{dirty:?}");
        device.client_left();
        assert_eq!(read(&mut device), fresh);
        assert_eq!(config(&mut device, 0x10), [0; 4]);
    }
}
