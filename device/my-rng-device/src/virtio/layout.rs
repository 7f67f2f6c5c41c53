// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a driver finds everything: the capabilities in configuration space (VIRTIO 1.2, section 4.1.4) and what they point
//! to, which is all in BAR 0.

use my_rng_abi::registers as abi;
use vfio_user_server::pci::{ConfigSpace, Identity, MsixTable};
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

use crate::personality::InterruptKind;

/// Vendor of all virtio devices.
pub const VENDOR_ID: u16 = 0x1af4;
/// The first device without a legacy interface; the others follow by their type.
const MODERN_DEVICE_ID: u16 = 0x1040;
/// An entropy device.
pub const DEVICE_ID: u16 = MODERN_DEVICE_ID + VIRTIO_ID_RNG as u16;
/// A device without a legacy interface has at least 1.
const REVISION: u8 = 1;

/// Index of the base address register of the registers, and its size in bytes.
pub const BAR: u8 = 0;
/// Size of BAR 0 in bytes.
pub const BAR_SIZE: u32 = 4096;

/// A part of BAR 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

impl Part {
    /// How far into the part an offset in BAR 0 is, if it is in there.
    pub fn place(self, offset: u64) -> Option<usize> {
        let place = offset.checked_sub(self.offset.into())?;
        usize::try_from(place).ok().filter(|_| place < self.length.into())
    }
}

/// The common configuration.
pub const COMMON: Part = Part { offset: 0, length: 0x38 };
/// The interrupt status.
pub const ISR: Part = Part { offset: 0x400, length: 1 };
/// What is special to the type of device: nothing. It reads 0, for drivers that cannot do without.
pub const SPECIAL: Part = Part { offset: 0x800, length: 4 };
/// The doorbell.
pub const NOTIFY: Part = Part { offset: 0xc00, length: 4 };

/// Identity of capabilities that a vendor defines, as all of these are.
const CAPABILITY_VENDOR: u8 = 0x09;
/// Types of these capabilities (section 4.1.4).
const COMMON_CFG: u8 = 1;
const NOTIFY_CFG: u8 = 2;
const ISR_CFG: u8 = 3;
const DEVICE_CFG: u8 = 4;
const PCI_CFG: u8 = 5;

/// The capability by which BAR 0 is reached through configuration space comes first, so it is here; and its fields.
const WINDOW: usize = 0x40;
/// Where the window's number of the BAR is.
pub const WINDOW_BAR: usize = WINDOW + 4;
/// Where the window's offset in the BAR is.
pub const WINDOW_OFFSET: usize = WINDOW + 8;
/// Where the window's length is.
pub const WINDOW_LENGTH: usize = WINDOW + 12;
/// Where the window's data are.
pub const WINDOW_DATA: usize = WINDOW + 16;
/// Bytes of the window's data.
pub const WINDOW_SIZE: usize = 4;

/// The base address register of the MSI-X table, apart from the registers: a monitor keeps the table itself.
pub const MSIX_BAR: u8 = 1;
/// Size of that region in bytes.
const MSIX_BAR_SIZE: u32 = 4096;
/// Where the pending bits are in it.
pub const PENDING_BITS: u32 = 0x800;
/// One for the queue, and one for changes of the configuration.
pub const VECTORS: u16 = 2;

/// Configuration space at power-on.
pub fn config_space(interrupts: InterruptKind) -> ConfigSpace {
    let identity = Identity::new(VENDOR_ID, DEVICE_ID)
        .with_revision(REVISION)
        .with_class(abi::CLASS_CODE)
        .with_subsystem(abi::SUBSYSTEM_VENDOR_ID, abi::SUBSYSTEM_ID);
    let mut config = ConfigSpace::new(&identity).with_memory_bar(BAR.into(), BAR_SIZE).with_interrupt_pin(1);
    // What the driver writes there: BAR, offset, length and data.
    let mut writable = [0; 18];
    writable.iter_mut().skip(2).take(1).for_each(|mask| *mask = 0xff);
    writable.iter_mut().skip(6).for_each(|mask| *mask = 0xff);
    config = capability(config, PCI_CFG, Part { offset: 0, length: 0 }, Some(([0; 4], writable)));
    for (kind, part) in [(COMMON_CFG, COMMON), (ISR_CFG, ISR), (DEVICE_CFG, SPECIAL)] {
        config = capability(config, kind, part, None);
    }
    // All queues, of which there is one, have the same doorbell: the multiplier is 0.
    config = capability(config, NOTIFY_CFG, NOTIFY, Some(([0; 4], [0; 18])));
    match interrupts {
        InterruptKind::Msix => config
            .with_memory_bar(MSIX_BAR.into(), MSIX_BAR_SIZE)
            .with_msix(&MsixTable::new(VECTORS, (MSIX_BAR, 0), (MSIX_BAR, PENDING_BITS))),
        // The pin alone: virtio over PCI knows no MSI.
        InterruptKind::Msi | InterruptKind::Intx => config,
    }
}

/// Adds a capability of that type for a part of BAR 0, with four more bytes and a mask of what can be written of it all.
fn capability(config: ConfigSpace, kind: u8, part: Part, more: Option<([u8; 4], [u8; 18])>) -> ConfigSpace {
    let length: u8 = if more.is_some() { 20 } else { 16 };
    let mut body = vec![length, kind, BAR, 0, 0, 0];
    body.extend(part.offset.to_le_bytes());
    body.extend(part.length.to_le_bytes());
    body.extend(more.iter().flat_map(|(bytes, _)| bytes));
    let mut writable = more.map_or([0; 18], |(_, writable)| writable).to_vec();
    writable.truncate(body.len());
    config.with_capability(CAPABILITY_VENDOR, &body, &writable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<const N: usize>(config: &ConfigSpace, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        config.read(offset, &mut bytes);
        bytes
    }

    /// Each vendor's capability: its type, BAR, offset, length and bytes.
    fn capabilities(config: &ConfigSpace) -> Vec<(u8, u8, u32, u32, u8)> {
        let mut found = Vec::new();
        let [mut at] = get(config, 0x34);
        while at != 0 {
            let [id, next, length, kind, bar] = get(config, at.into());
            if id == CAPABILITY_VENDOR {
                let [offset, size] =
                    [8, 12].map(|field| u32::from_le_bytes(get(config, usize::from(at) + field)));
                found.push((kind, bar, offset, size, length));
            }
            at = next;
        }
        found
    }

    #[test]
    fn it_is_a_modern_entropy_device() {
        let config = config_space(InterruptKind::Msix);
        assert_eq!(get(&config, 0), [0xf4, 0x1a, 0x44, 0x10]);
        assert_eq!(get(&config, 8), [1, 0, 0xff, 0], "revision and class");
        assert!(
            u16::from_le_bytes(get(&config, 0x2e)) >= 0x40,
            "the subsystem of a device without a legacy interface"
        );
        assert_eq!(get(&config, 0x3d), [1], "the pin");
    }

    #[test]
    fn every_capability_is_there_and_none_overlaps_another() {
        for interrupts in [InterruptKind::Msix, InterruptKind::Intx] {
            let config = config_space(interrupts);
            let mut all = capabilities(&config);
            assert_eq!(config.msix().is_some(), interrupts == InterruptKind::Msix);
            assert_eq!(all.remove(0), (PCI_CFG, 0, 0, 0, 20));
            all.sort_by_key(|capability| capability.2);
            let kinds: Vec<_> = all.iter().map(|capability| (capability.0, capability.4)).collect();
            assert_eq!(kinds, [(COMMON_CFG, 16), (ISR_CFG, 16), (DEVICE_CFG, 16), (NOTIFY_CFG, 20)]);
            for pair in all.windows(2) {
                assert!(pair[0].2 + pair[0].3 <= pair[1].2, "{pair:?}");
            }
            assert!(
                all.iter().all(|capability| capability.1 == BAR && capability.2 + capability.3 <= BAR_SIZE)
            );
        }
    }

    #[test]
    fn only_the_window_can_be_written() {
        let mut config = config_space(InterruptKind::Msix);
        let before = config.clone();
        config.write(WINDOW, &[0xff; 0xc0]);
        let mut window = [0; 20];
        config.read(WINDOW, &mut window);
        let mut expected = [0; 20];
        before.read(WINDOW, &mut expected);
        expected[4] = 0xff;
        expected[8..].fill(0xff);
        assert_eq!(window, expected);
        assert_eq!(capabilities(&config)[1..], capabilities(&before)[1..]);
    }
}
