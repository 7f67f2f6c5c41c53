// SPDX-License-Identifier: GPL-2.0

//! A driver of a PCI device: QEMU's `edu` (docs/specs/edu.rst there), whose first register says what it is.

use kernel::{
    device::Core,
    io::Io,
    pci,
    prelude::*, //
};

/// Who uses the window, in `/proc/iomem`.
const NAME: &CStr = c"@NAME@";
/// Bytes of the register window that are used.
const WINDOW: usize = 0x8;
/// What the device is and which version of it: `0xRRrr00ed`.
const IDENTIFICATION: usize = 0x0;
/// Shows the complement of what was written to it.
const LIVENESS: usize = 0x4;

struct @TYPE@;

/// What belongs to a device that the driver is bound to.
struct Bound<'bound> {
    device: &'bound pci::Device,
    _window: pci::Bar<'bound, WINDOW>,
}

kernel::pci_device_table!(
    PCI_TABLE,
    <@TYPE@ as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(vendor(0x1234), 0x11e8), ())]
);

/// A vendor that the kernel has no name for.
const fn vendor(id: u16) -> pci::Vendor {
    // SAFETY: `pci::Vendor` is a transparent wrapper of an `u16`, any of which is a vendor.
    unsafe { core::mem::transmute::<u16, pci::Vendor>(id) }
}

impl pci::Driver for @TYPE@ {
    type IdInfo = ();
    type Data<'bound> = Bound<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        device: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        device.enable_device_mem()?;
        let window = device.iomap_region_sized::<WINDOW>(0, NAME)?;

        let (major, minor) = version(window.read32(IDENTIFICATION)).ok_or(ENODEV)?;
        window.write32(0x1234_5678, LIVENESS);
        if window.read32(LIVENESS) != !0x1234_5678 {
            dev_err!(device, "the device does not answer\n");
            return Err(EIO);
        }
        dev_info!(device, "version {major}.{minor}\n");
        Ok(Bound {
            device,
            _window: window,
        })
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        dev_info!(self.device, "released\n");
    }
}

/// Major and minor version, if the register is that of an `edu`.
fn version(identification: u32) -> Option<(u8, u8)> {
    let [mark, zero, minor, major] = identification.to_le_bytes();
    (mark == 0xed && zero == 0).then_some((major, minor))
}

kernel::module_pci_driver! {
    type: @TYPE@,
    name: "@NAME@",
    authors: ["You"],
    description: "Drives QEMU's edu",
    license: "GPL",
}

/// `cargo exo kmod test` runs these in a kernel.
#[kunit_tests(@NAME@)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_upper_half() {
        assert_eq!(version(0x0102_00ed), Some((1, 2)));
    }

    #[test]
    fn other_devices_have_no_version() {
        assert_eq!(version(0x0102_00ee), None);
        assert_eq!(version(u32::MAX), None);
    }
}
