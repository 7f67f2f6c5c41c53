// SPDX-License-Identifier: GPL-2.0

//! Negative control: tells a my_rng device to write where nothing was mapped for it.
//!
//! For the lane with an IOMMU: the device's process counts what it was not let do.

use kernel::{
    device::Core,
    io::Io,
    pci,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

kernel::module_pci_driver! {
    type: DmaStray,
    name: "dma_stray",
    authors: ["The Exo developers"],
    description: "Negative control for the IOMMU: a write that nobody allowed",
    license: "GPL",
}

/// The device, and the registers of its one-shot transfers (`abi/my-rng-abi/src/registers.rs`).
const VENDOR: u16 = 0x1234;
const DEVICE: u32 = 0xcafe;
const BAR_SIZE: usize = 4096;
const SOURCE: usize = 0x80;
const DESTINATION: usize = 0x88;
const COUNT: usize = 0x90;
const COMMAND: usize = 0x98;
/// Start, towards memory.
const START_TO_GUEST: u32 = 0b11;

/// An address at which this driver has mapped nothing, as it maps nothing anywhere.
const NOWHERE: u32 = 0x4000_0000;

const VENDOR_OF_DEVICE: pci::Vendor = {
    // SAFETY: `pci::Vendor` is a transparent wrapper of an `u16`, any of which is a vendor.
    unsafe { core::mem::transmute::<u16, pci::Vendor>(VENDOR) }
};

kernel::pci_device_table!(
    IDS,
    <DmaStray as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(VENDOR_OF_DEVICE, DEVICE), ())]
);

struct DmaStray;

impl DmaStray {
    fn bind(device: &pci::Device<Core<'_>>) -> Result<Self> {
        device.enable_device_mem()?;
        device.set_master();
        let bar = device.iomap_region_sized::<BAR_SIZE>(0, c"dma_stray")?;
        for (register, value) in [(SOURCE, 0), (DESTINATION, NOWHERE), (COUNT, 64)] {
            bar.try_write32(value, register)?;
            bar.try_write32(0, register + 4)?;
        }
        // The bug.
        bar.try_write32(START_TO_GUEST, COMMAND)?;
        while bar.try_read32(COMMAND)? & 1 != 0 {
            fsleep(Delta::from_millis(1));
        }
        dev_info!(device, "the device has tried to write to {NOWHERE:#x}\n");
        Ok(Self)
    }
}

impl pci::Driver for DmaStray {
    type IdInfo = ();
    type Data<'bound> = Self;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &IDS;

    fn probe<'bound>(
        device: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        Self::bind(device)
    }
}
