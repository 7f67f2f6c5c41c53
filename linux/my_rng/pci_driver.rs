// SPDX-License-Identifier: GPL-2.0

//! What the PCI bus wants from a driver: which devices are ours, and what to do when one comes or
//! goes.

use crate::{
    abi::{
        ioctl::CLASS_NAME,
        registers::{
            BAR0_SIZE,
            DEVICE_ID,
            REGISTER_BAR,
            VENDOR_ID, //
        },
    },
    attributes,
    chardev::{
        Options,
        Registration,
        Revoker, //
    },
    device::{
        Device,
        DeviceForLt, //
    },
    files::{
        Files,
        Node,
        NODE_MODE, //
    },
    hardware,
    hwrng::{
        Hwrng,
        HwrngGuard, //
    },
    ioctl::Commands,
    parameters::Parameters,
    pci_enable_guard::PciEnableGuard,
    registry,
};
use core::mem::transmute;
use kernel::{
    device::Core,
    dma::{
        Device as _,
        DmaMask, //
    },
    pci,
    prelude::*,
    str::CString, //
};

/// The vendor of our device.
///
/// [`pci::Vendor`] can name only vendors that the kernel has a constant for. Ours is not among
/// them.
const VENDOR: pci::Vendor = {
    // SAFETY: `pci::Vendor` is a transparent wrapper of an `u16`, any of which is a vendor.
    unsafe { transmute::<u16, pci::Vendor>(VENDOR_ID) }
};

kernel::pci_device_table!(
    PCI_TABLE,
    <Driver as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(VENDOR, DEVICE_ID as u32), ())]
);

/// The driver.
pub(crate) struct Driver;

/// What a bound device owns. The fields are dropped as they are declared, which takes everything
/// down in the reverse of the order in which [`Driver::probe`] set it up.
pub(crate) struct Binding<'bound> {
    /// 1. The kernel no longer takes entropy from the device. `None` if it has none to give.
    _hwrng: Option<HwrngGuard>,
    /// 2. `/dev/my_rng_driver` means another device now, or goes.
    _entry: registry::RegistryEntry,
    /// 3. `/dev/my_rngN` and its attributes go: nobody else can open the device.
    node: Registration<Node>,
    /// The name is free again.
    _number: registry::DeviceNumber,
    /// 4. Files that are open get [`ENODEV`], and calls that are under way have returned. Then the
    ///    queues are stopped, their memory is freed, and the registers are unmapped.
    _device: Revoker<'bound, DeviceForLt>,
    /// 5. The device no longer answers.
    _enabled: PciEnableGuard<'bound>,
}

impl pci::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Binding<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        let enabled = PciEnableGuard::new(pdev)?;
        let bar_index = u32::from(REGISTER_BAR);
        let address = pdev.resource_start(bar_index)?;
        let size = pdev.resource_len(bar_index)?;

        // Checked before mapping, to say what is wrong. `iomap_region_sized()` only says EINVAL.
        // CAST: Lossless, a size in memory has at most 64 bits.
        if size != BAR0_SIZE as u64 {
            dev_err!(
                pdev,
                "BAR {bar_index} has {size} bytes, expected {BAR0_SIZE}\n"
            );
            return Err(ENODEV);
        }

        let bar = pdev.iomap_region_sized::<BAR0_SIZE>(bar_index, c"my_rng")?;
        let version = hardware::identify(pdev, &bar)?;

        dev_info!(
            pdev,
            "BAR {bar_index} at {address:#x}, {size} bytes, register interface {}.{}\n",
            version.major,
            version.minor
        );

        // SAFETY: Nothing is mapped yet.
        unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
        let reservation = registry::reserve()?;
        let number = reservation.number.get();
        let name = CString::try_from_fmt(fmt!("{CLASS_NAME}{number}"))?;
        let device = Device::new(pdev, bar, &Parameters::read()?, &name)?;
        let statistics = device.statistics();

        // SAFETY: Goes into `Binding`, which the driver core drops before the device is unbound.
        // On an error below it is dropped by returning.
        let device = unsafe { Revoker::<DeviceForLt>::new(Ok(device)) }?;

        // SAFETY: Goes into `Binding`, as above, and `RegistryGuard` has the barrier.
        let node = unsafe {
            Registration::new::<Files>(
                &reservation.class,
                reservation.minor,
                fmt!("{CLASS_NAME}{number}"),
                Options {
                    mode: NODE_MODE,
                    parent: Some(pdev.as_ref()),
                    attributes: Some(attributes::of_device()),
                },
                Ok(Node::Device(device.handle())),
            )
        }?;

        dev_info!(
            pdev,
            "/dev/{CLASS_NAME}{number} is {}:{}, ioctls {Commands}\n",
            node.device().minor().major(),
            node.device().minor().number()
        );

        let source = match &statistics {
            Some(statistics) => {
                dev_info!(
                    pdev,
                    "{} queues for read, {} for mmap, {} vectors\n",
                    statistics.entropy_queues,
                    statistics.mapped_queues.0,
                    statistics.vectors
                );
                Some(Hwrng::new(device.handle(), name)?)
            }
            None => {
                dev_info!(pdev, "no queues: ioctl only\n");
                None
            }
        };
        let entry = registry::register(number, device.handle(), source.clone())?;
        let hwrng = source.map(HwrngGuard::new).transpose()?;
        // With the vectors, for recovery from errors on the bus.
        enabled.save_state();

        Ok(Binding {
            _hwrng: hwrng,
            _entry: entry,
            node,
            _number: reservation.number,
            _device: device,
            _enabled: enabled,
        })
    }

    fn unbind<'bound>(pdev: &'bound pci::Device<Core<'_>>, binding: Pin<&Self::Data<'bound>>) {
        dev_info!(
            pdev,
            "removing {}:{}\n",
            binding.node.device().minor().major(),
            binding.node.device().minor().number()
        );
    }
}
