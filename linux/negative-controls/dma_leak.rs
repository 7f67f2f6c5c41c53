// SPDX-License-Identifier: GPL-2.0

//! Negative control: a PCI driver that leaves its device with a DMA buffer still mapped.
//!
//! It takes the SATA controller that each of QEMU's q35 machines has (8086:2922), for which the
//! checked kernel has no driver, and does nothing to it. The report comes when the module is
//! unloaded and the driver leaves the device.
//!
//! expect: DMA-API: pci [0-9a-f:.]+: device driver has pending DMA allocations while released from
//! device

use kernel::{
    device::Core,
    dma::{
        Coherent,
        Device,
        DmaMask, //
    },
    pci,
    prelude::*, //
};

kernel::module_pci_driver! {
    type: DmaLeak,
    name: "dma_leak",
    authors: ["The Exo developers"],
    description: "Negative control for DMA_API_DEBUG: a lost mapping",
    license: "GPL",
}

/// PCI device number of the SATA controller in Intel's ICH9, as QEMU's q35 has it
/// (include/hw/pci/pci_ids.h there).
const ICH9_SATA: u32 = 0x2922;

kernel::pci_device_table!(
    IDS,
    <DmaLeak as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(pci::Vendor::INTEL, ICH9_SATA), ())]
);

struct DmaLeak;

impl DmaLeak {
    fn bind(device: &pci::Device<Core<'_>>) -> Result<Self> {
        // SAFETY: Nothing else maps anything for this device: it has no other driver.
        unsafe { device.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
        let buffer: Coherent<u64> = Coherent::zeroed(device.as_ref(), GFP_KERNEL)?;
        dev_info!(device, "leaking a buffer at {:#x}\n", buffer.dma_address());
        // The bug: safe Rust, and yet the mapping outlives the binding.
        core::mem::forget(buffer);
        Ok(Self)
    }
}

impl pci::Driver for DmaLeak {
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
