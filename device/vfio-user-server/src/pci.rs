// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI configuration space (256 bytes, header type 0) as data: each byte has a value and a mask of the bits that the
//! guest can write.
//!
//! ```
//! use vfio_user_server::pci::{ConfigSpace, Identity};
//!
//! let identity = Identity::new(0x1234, 0xcafe).with_revision(0x10).with_class(0x00_ff_00);
//! let mut config = ConfigSpace::new(&identity)
//! .with_memory_bar(0, 4096);
//!
//! let mut id = [0; 4];
//! config.read(0, &mut id);
//! assert_eq!(u32::from_le_bytes(id), 0xcafe_1234);
//!
//! // The identity cannot be changed; a base address keeps only what the region's size lets it keep.
//! config.write(0, &[0xff; 4]);
//! config.write(0x10, &[0xff; 4]);
//! let mut bar = [0; 4];
//! config.read(0, &mut id);
//! config.read(0x10, &mut bar);
//! assert_eq!(u32::from_le_bytes(id), 0xcafe_1234);
//! assert_eq!(u32::from_le_bytes(bar), 0xffff_f000);
//! ```

use crate::device::{Irqs, Region, RegionInfo, Regions};
use crate::irq::IrqIndex;

/// Bytes of conventional configuration space.
pub const CONFIG_SPACE_SIZE: usize = 256;

/// Bytes of the configuration space of PCI Express, and the size to give [`Region::Config`] in any
/// case: beyond what a [`ConfigSpace`] has, which reads 0, there are no extended capabilities. Virtual machine monitors
/// read there when their machine has memory-mapped configuration space, and not all of them can take an error for it.
pub const EXPRESS_CONFIG_SPACE_SIZE: u64 = 4096;

// Offsets in a header of type 0 (PCI Local Bus Specification 3.0, section 6.1).
const VENDOR_ID: usize = 0x00;
const DEVICE_ID: usize = 0x02;
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const REVISION_ID: usize = 0x08;
const CACHE_LINE_SIZE: usize = 0x0c;
const BAR0: usize = 0x10;
const SUBSYSTEM_VENDOR_ID: usize = 0x2c;
const SUBSYSTEM_ID: usize = 0x2e;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;

/// The first byte after the header, where capabilities may be.
const FIRST_CAPABILITY: usize = 0x40;

/// Command bits that a guest can set: memory space, bus master, parity error response, SERR enable, interrupt disable.
const COMMAND_WRITABLE: u16 = COMMAND_MEMORY | COMMAND_BUS_MASTER | (1 << 6) | (1 << 8) | (1 << 10);
const COMMAND_IO: u16 = 1 << 0;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_BUS_MASTER: u16 = 1 << 2;
const COMMAND_INTX_DISABLE: u16 = 1 << 10;
/// Status bit: the interrupt pin is asserted.
const STATUS_INTERRUPT: u16 = 1 << 3;
/// Status bit: there is a list of capabilities.
const STATUS_CAPABILITIES: u16 = 1 << 4;

/// Identity of the MSI capability (PCI Local Bus Specification 3.0, section 6.8.1).
const CAPABILITY_MSI: u8 = 0x05;
/// Bits of MSI's message control: so many vectors are wanted, as a power of two; the address has 64 bits.
const MSI_VECTORS_SHIFT: u16 = 1;
const MSI_64_BITS: u16 = 1 << 7;
/// Bits of MSI's message control that a guest can set: enable, and how many vectors it grants.
const MSI_CONTROL_WRITABLE: u16 = (1 << 0) | (7 << 4);
/// Most vectors of MSI.
const MSI_VECTORS_MAX: u16 = 32;

/// Identity of the MSI-X capability (PCI Local Bus Specification 3.0, section 6.8.2).
const CAPABILITY_MSIX: u8 = 0x11;
/// Bits of MSI-X's message control that a guest can set: function mask and enable.
const MSIX_CONTROL_WRITABLE: u16 = (1 << 14) | MSIX_ENABLE;
const MSIX_ENABLE: u16 = 1 << 15;
/// Most vectors of an MSI-X table.
const MSIX_VECTORS_MAX: u16 = 2048;
/// Bytes of an entry of the table.
const MSIX_ENTRY_SIZE: u32 = 16;

/// Bits of a base address register: I/O space; memory of 64 bits; prefetchable.
const BAR_IO: u32 = 1 << 0;
const BAR_64_BITS: u32 = 2 << 1;
const BAR_PREFETCHABLE: u32 = 1 << 3;
/// Most bytes of an I/O region.
const IO_BAR_MAX: u32 = 256;

/// Identity of the power management capability (PCI Bus Power Management Interface 1.2).
const CAPABILITY_POWER: u8 = 0x01;
/// Version 3 of the interface, no support of D1, D2 and power management events.
const POWER_CAPABILITIES: u16 = 3;
/// Bits of its control: the state, 0 to 3; no reset on the way from D3 to D0.
const POWER_STATE: u16 = 3;
const POWER_NO_SOFT_RESET: u16 = 1 << 3;

/// Identity of the PCI Express capability (PCI Express Base Specification 5.0, section 7.5.3), and its size in bytes.
const CAPABILITY_EXPRESS: u8 = 0x10;
const EXPRESS_SIZE: usize = 60;
/// Its registers, by their offset after identity and link, each with its value at power-on and what can be written.
/// An endpoint of version 2 with a link of 2.5 GT/s and one lane, 128 bytes of payload, role-based error reporting.
const EXPRESS_REGISTERS: [(usize, u32, u32); 6] = [
    (0x00, 0x0002, 0),            // Capabilities: version 2, endpoint.
    (0x02, 1 << 15, 0),           // Device capabilities.
    (0x06, 0x2810, 0x7fff),       // Device control and status.
    (0x0a, 0x0011, 0),            // Link capabilities.
    (0x0e, 0x0011 << 16, 0x00cb), // Link control and status.
    (0x2a, 1 << 1, 0),            // Link capabilities 2: 2.5 GT/s.
];

/// What identifies a device. Numbers are in the order in which people write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Base class in bits 23–16, subclass in bits 15–8, programming interface in bits 7–0.
    pub class: u32,
    /// Vendor of the board.
    pub subsystem_vendor: u16,
    /// The board.
    pub subsystem: u16,
}

impl Identity {
    /// A device of its vendor's own board, revision 0, without a class.
    pub const fn new(vendor: u16, device: u16) -> Self {
        Self { vendor, device, revision: 0, class: 0, subsystem_vendor: vendor, subsystem: device }
    }

    /// The same with that revision.
    #[must_use]
    pub const fn with_revision(self, revision: u8) -> Self {
        Self { revision, ..self }
    }

    /// The same with that class: base class in bits 23–16, subclass in bits 15–8, programming interface in bits 7–0.
    #[must_use]
    pub const fn with_class(self, class: u32) -> Self {
        Self { class, ..self }
    }

    /// The same on that board.
    #[must_use]
    pub const fn with_subsystem(self, vendor: u16, subsystem: u16) -> Self {
        Self { subsystem_vendor: vendor, subsystem, ..self }
    }
}

/// Where a device has the table and the pending bits of MSI-X.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixTable {
    /// Entries, 1 to 2048. The table has 16 bytes for each, the pending bits 8 bytes for every 64 of them.
    pub vectors: u16,
    /// Index of the base address register of the table, and its offset there, a multiple of 8.
    pub table: (u8, u32),
    /// The same for the pending bits.
    pub pending_bits: (u8, u32),
}

/// Configuration space of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSpace {
    bytes: [u8; CONFIG_SPACE_SIZE],
    writable: [u8; CONFIG_SPACE_SIZE],
    /// What [`Self::reset`] goes back to.
    initial: [u8; CONFIG_SPACE_SIZE],
    /// Where the next capability can be put.
    free: usize,
    /// Where the offset of the next capability must be noted.
    link: usize,
    /// Where the power management capability is.
    power: Option<usize>,
    /// Bytes of each region; 0: it is not there.
    bars: [u64; 6],
    msi_vectors: u16,
    msix: Option<MsixTable>,
    /// Where the capability for MSI-X is.
    msix_capability: Option<usize>,
}

impl ConfigSpace {
    /// A device without base address registers, interrupt pin and capabilities.
    pub fn new(identity: &Identity) -> Self {
        let mut new = Self {
            bytes: [0; CONFIG_SPACE_SIZE],
            writable: [0; CONFIG_SPACE_SIZE],
            initial: [0; CONFIG_SPACE_SIZE],
            free: FIRST_CAPABILITY,
            link: CAPABILITIES,
            power: None,
            bars: [0; 6],
            msi_vectors: 0,
            msix: None,
            msix_capability: None,
        };
        let [interface, subclass, base, _] = identity.class.to_le_bytes();
        new.set(VENDOR_ID, &identity.vendor.to_le_bytes());
        new.set(DEVICE_ID, &identity.device.to_le_bytes());
        new.set(REVISION_ID, &[identity.revision, interface, subclass, base]);
        new.set(SUBSYSTEM_VENDOR_ID, &identity.subsystem_vendor.to_le_bytes());
        new.set(SUBSYSTEM_ID, &identity.subsystem.to_le_bytes());
        new.make_writable(COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        new.make_writable(CACHE_LINE_SIZE, &[0xff]);
        new.make_writable(INTERRUPT_LINE, &[0xff]);
        new
    }

    /// Adds an interrupt pin, 1 for INTA# to 4 for INTD#. A device of one function has 1.
    ///
    /// # Panics
    /// If there is no such pin: this is the program's own number.
    #[must_use]
    pub fn with_interrupt_pin(mut self, pin: u8) -> Self {
        assert!((1..=4).contains(&pin), "{pin} is no interrupt pin");
        self.set(INTERRUPT_PIN, &[pin]);
        self
    }

    /// Adds a base address register for a region of I/O ports.
    ///
    /// # Panics
    /// If there is no such register, or `size` is not a power of two from 4 to 256: these are the program's own numbers.
    #[must_use]
    pub fn with_io_bar(mut self, index: usize, size: u32) -> Self {
        assert!(index < 6, "a device has base address registers 0 to 5, not {index}");
        let allowed = size.is_power_of_two() && (4..=IO_BAR_MAX).contains(&size);
        assert!(allowed, "{size} is no size for an I/O region");
        self.note_bar(index, size.into());
        self.set(BAR0 + 4 * index, &BAR_IO.to_le_bytes());
        self.make_writable(BAR0 + 4 * index, &(!(size - 1)).to_le_bytes());
        self.make_writable(COMMAND, &(COMMAND_WRITABLE | COMMAND_IO).to_le_bytes());
        self
    }

    /// Adds a base address register for a 64-bit memory region, which takes the place of two: `index` and the next one.
    ///
    /// # Panics
    /// If there are no such registers, or `size` is not a power of two of at least 16: these are the program's own numbers.
    #[must_use]
    pub fn with_memory_bar64(mut self, index: usize, size: u64, prefetchable: bool) -> Self {
        assert!(index < 5, "a 64-bit base address register has an index from 0 to 4, not {index}");
        assert!(size >= 16 && size.is_power_of_two(), "{size} is no size for a memory region");
        self.note_bar(index, size);
        let bits = BAR_64_BITS | if prefetchable { BAR_PREFETCHABLE } else { 0 };
        self.set(BAR0 + 4 * index, &bits.to_le_bytes());
        self.make_writable(BAR0 + 4 * index, &(!(size - 1)).to_le_bytes());
        self
    }

    /// Adds the capability for power management, with the states D0 and D3. Nothing is lost in D3.
    ///
    /// # Panics
    /// If the space is full: these are the program's own numbers.
    #[must_use]
    pub fn with_power_management(mut self) -> Self {
        self.power = Some(self.free);
        let body = [POWER_CAPABILITIES, POWER_NO_SOFT_RESET].map(u16::to_le_bytes).concat();
        self.with_capability(CAPABILITY_POWER, &body, &[0, 0, POWER_STATE as u8, 0])
    }

    /// Adds the capability that makes the device a PCI Express endpoint.
    ///
    /// # Panics
    /// If the space is full: these are the program's own numbers.
    #[must_use]
    pub fn with_express(self) -> Self {
        let (mut body, mut writable) = (vec![0; EXPRESS_SIZE - 2], vec![0; EXPRESS_SIZE - 2]);
        for (offset, value, mask) in EXPRESS_REGISTERS {
            body.iter_mut().skip(offset).zip(value.to_le_bytes()).for_each(|(to, byte)| *to |= byte);
            writable.iter_mut().skip(offset).zip(mask.to_le_bytes()).for_each(|(to, byte)| *to |= byte);
        }
        self.with_capability(CAPABILITY_EXPRESS, &body, &writable)
    }

    /// The power state in which the guest wants the device: 0 (D0, at work) or 3 (D3). 0 without power management.
    pub fn power_state(&self) -> u8 {
        let control = self.power.map_or(0, |at| u16::from_le_bytes(self.get(at + 4)));
        (control & POWER_STATE) as u8
    }

    /// Whether the guest allows interrupts by the pin.
    pub fn allows_pin_interrupts(&self) -> bool {
        u16::from_le_bytes(self.get(COMMAND)) & COMMAND_INTX_DISABLE == 0
    }

    /// Shows whether the device asserts its interrupt pin (the status register's interrupt bit).
    pub fn show_pin_interrupt(&mut self, asserted: bool) {
        let status = u16::from_le_bytes(self.get(STATUS)) & !STATUS_INTERRUPT;
        let status = status | if asserted { STATUS_INTERRUPT } else { 0 };
        self.bytes.iter_mut().skip(STATUS).zip(status.to_le_bytes()).for_each(|(to, byte)| *to = byte);
    }

    /// Adds a base address register for a 32-bit, non-prefetchable memory region.
    ///
    /// # Panics
    /// If `index` is above 5 or `size` is not a power of two of at least 16: these are the program's own numbers.
    #[must_use]
    pub fn with_memory_bar(mut self, index: usize, size: u32) -> Self {
        assert!(index < 6, "a device has base address registers 0 to 5, not {index}");
        assert!(size >= 16 && size.is_power_of_two(), "{size} is no size for a memory region");
        self.note_bar(index, size.into());
        self.make_writable(BAR0 + 4 * index, &(!(size - 1)).to_le_bytes());
        self
    }

    /// Adds a capability: its identity and what follows the two bytes of identity and link, with a mask of the bits that
    /// the guest can write.
    ///
    /// # Panics
    /// If `body` and `writable` differ in length, or the space is full: these are the program's own numbers.
    #[must_use]
    pub fn with_capability(mut self, id: u8, body: &[u8], writable: &[u8]) -> Self {
        assert_eq!(body.len(), writable.len(), "a capability's mask is as long as the capability");
        let start = self.free;
        let end = (start + 2 + body.len()).next_multiple_of(4);
        let offset = u8::try_from(start).ok().filter(|_| end <= CONFIG_SPACE_SIZE);
        let offset = offset.unwrap_or_else(|| panic!("no room for a capability of {} bytes", body.len()));
        self.set(self.link, &[offset]);
        self.set(start, &[id]);
        self.set(start + 2, body);
        self.make_writable(start + 2, writable);
        let status = u16::from_le_bytes(self.get(STATUS)) | STATUS_CAPABILITIES;
        self.set(STATUS, &status.to_le_bytes());
        self.link = start + 1;
        self.free = end;
        self
    }

    /// Adds the capability for MSI, with an address of 64 bits and without masks.
    ///
    /// # Panics
    /// If `vectors` is not a power of two from 1 to 32, or the space is full: these are the program's own numbers.
    #[must_use]
    pub fn with_msi(mut self, vectors: u16) -> Self {
        self.msi_vectors = vectors;
        let allowed = vectors.is_power_of_two() && vectors <= MSI_VECTORS_MAX;
        assert!(allowed, "MSI cannot have {vectors} vectors");
        let exponent = vectors.trailing_zeros() as u16; // At most 5.
        let control = (exponent << MSI_VECTORS_SHIFT) | MSI_64_BITS;
        // Control, address, upper half of the address, data.
        let body = [&control.to_le_bytes()[..], &[0; 4], &[0; 4], &[0; 2]].concat();
        let writable =
            [&MSI_CONTROL_WRITABLE.to_le_bytes()[..], &[0xfc, 0xff, 0xff, 0xff], &[0xff; 4], &[0xff; 2]]
                .concat();
        self.with_capability(CAPABILITY_MSI, &body, &writable)
    }

    /// Adds the capability for MSI-X.
    ///
    /// # Panics
    /// If the numbers are not as [`MsixTable`] says, table and pending bits overlap, or the space is full: these are the
    /// program's own numbers.
    #[must_use]
    pub fn with_msix(mut self, msix: &MsixTable) -> Self {
        (self.msix, self.msix_capability) = (Some(*msix), Some(self.free));
        let MsixTable { vectors, table, pending_bits } = *msix;
        assert!((1..=MSIX_VECTORS_MAX).contains(&vectors), "an MSI-X table cannot have {vectors} entries");
        let place = |(bar, offset): (u8, u32)| {
            assert!(bar < 6 && offset % 8 == 0, "offset {offset:#x} of BAR {bar} is no place for MSI-X");
            (offset | u32::from(bar)).to_le_bytes()
        };
        let table_end = table.1 + u32::from(vectors) * MSIX_ENTRY_SIZE;
        let pending_end = pending_bits.1 + u32::from(vectors).div_ceil(64) * 8;
        let apart = table.0 != pending_bits.0 || table_end <= pending_bits.1 || pending_end <= table.1;
        assert!(apart, "MSI-X's table and pending bits overlap");
        let control = (vectors - 1).to_le_bytes();
        let body = [&control[..], &place(table), &place(pending_bits)].concat();
        let mut writable = vec![0; body.len()];
        writable.iter_mut().zip(MSIX_CONTROL_WRITABLE.to_le_bytes()).for_each(|(to, mask)| *to = mask);
        self.with_capability(CAPABILITY_MSIX, &body, &writable)
    }

    /// Fills `data` with what is at `offset`. Beyond the end there is nothing but zeros.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        data.fill(0);
        let bytes = self.bytes.get(offset..).unwrap_or_default();
        data.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }

    /// Writes the bits of `data` that can be written. The others, and what is beyond the end, are ignored.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        let places = self.bytes.iter_mut().zip(self.writable).skip(offset);
        places.zip(data).for_each(|((byte, mask), new)| *byte = (*byte & !mask) | (new & mask));
        // The states D1 and D2 are not there: a write that names them is ignored, and the device stays in D0.
        if let Some(control) = self.power.and_then(|at| self.bytes.get_mut(at + 4)) {
            if matches!(*control & POWER_STATE as u8, 1 | 2) {
                *control &= !(POWER_STATE as u8);
            }
        }
    }

    /// The regions that a device with this configuration space has, that itself among them.
    pub fn regions(&self) -> Regions {
        use Region::{Bar0, Bar1, Bar2, Bar3, Bar4, Bar5};
        let config =
            Regions::default().with(Region::Config, RegionInfo::read_write(EXPRESS_CONFIG_SPACE_SIZE));
        let bars = [Bar0, Bar1, Bar2, Bar3, Bar4, Bar5].into_iter().zip(self.bars);
        bars.filter(|(_, size)| *size > 0)
            .fold(config, |regions, (bar, size)| regions.with(bar, RegionInfo::read_write(size)))
    }

    /// The interrupts that a device with this configuration space has.
    pub fn irqs(&self) -> Irqs {
        let pin = u16::from(self.get::<1>(INTERRUPT_PIN) != [0]);
        Irqs::default()
            .with(IrqIndex::Intx, pin)
            .with(IrqIndex::Msi, self.msi_vectors)
            .with(IrqIndex::Msix, self.msix.map_or(0, |msix| msix.vectors))
    }

    /// Where table and pending bits of MSI-X are, if there are any.
    pub fn msix(&self) -> Option<MsixTable> {
        self.msix
    }

    /// Whether the guest has enabled MSI-X. A client that keeps the capability itself may not say so; then it has assigned
    /// eventfds ([`Interrupts::is_assigned`](crate::Interrupts::is_assigned)).
    pub fn is_msix_enabled(&self) -> bool {
        let control = self.msix_capability.map_or(0, |at| u16::from_le_bytes(self.get(at + 2)));
        control & MSIX_ENABLE != 0
    }

    fn note_bar(&mut self, index: usize, size: u64) {
        if let Some(place) = self.bars.get_mut(index) {
            *place = size;
        }
    }

    /// Puts every bit back to what it was at power-on.
    pub fn reset(&mut self) {
        self.bytes = self.initial;
    }

    /// Whether the guest lets the device start transfers of its own. QEMU does not enforce this for vfio-user devices.
    pub fn is_bus_master(&self) -> bool {
        u16::from_le_bytes(self.get(COMMAND)) & COMMAND_BUS_MASTER != 0
    }

    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes);
        bytes
    }

    /// Sets the value at power-on.
    fn set(&mut self, offset: usize, data: &[u8]) {
        for bytes in [&mut self.bytes, &mut self.initial] {
            bytes.iter_mut().skip(offset).zip(data).for_each(|(to, from)| *to = *from);
        }
    }

    fn make_writable(&mut self, offset: usize, mask: &[u8]) {
        self.writable.iter_mut().skip(offset).zip(mask).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ConfigSpace {
        ConfigSpace::new(&Identity {
            vendor: 0x1234,
            device: 0xcafe,
            revision: 0x10,
            class: 0x00_ff_00,
            subsystem_vendor: 0x5678,
            subsystem: 0x9abc,
        })
    }

    #[test]
    fn the_header_is_laid_out_as_pci_says() {
        let config = config();
        assert_eq!(config.get(0), [0x34, 0x12, 0xfe, 0xca]);
        assert_eq!(config.get(8), [0x10, 0x00, 0xff, 0x00]);
        assert_eq!(config.get(0x2c), [0x78, 0x56, 0xbc, 0x9a]);
        assert_eq!(config.get::<1>(0x0e), [0], "header type 0, one function");
        assert_eq!(config.get::<2>(0x3d), [0, 0], "no interrupt pin");
    }

    #[test]
    fn only_masked_bits_can_be_written() {
        let mut config = config().with_memory_bar(1, 0x2000);
        config.write(0, &[0xff; CONFIG_SPACE_SIZE]);
        assert_eq!(config.get(0), [0x34, 0x12, 0xfe, 0xca]);
        assert_eq!(u16::from_le_bytes(config.get(COMMAND)), COMMAND_WRITABLE);
        assert_eq!(u32::from_le_bytes(config.get(BAR0)), 0, "a region that is not there");
        assert_eq!(u32::from_le_bytes(config.get(BAR0 + 4)), 0xffff_e000);
        assert!(config.is_bus_master());
        config.reset();
        assert!(!config.is_bus_master());
        assert_eq!(u32::from_le_bytes(config.get(BAR0 + 4)), 0);
    }

    #[test]
    fn a_write_of_part_of_a_register_leaves_the_rest() {
        let mut config = config().with_memory_bar(0, 4096);
        config.write(BAR0, &0x1234_5000_u32.to_le_bytes());
        config.write(BAR0 + 3, &[0xfe]);
        assert_eq!(u32::from_le_bytes(config.get(BAR0)), 0xfe34_5000);
    }

    #[test]
    fn capabilities_form_a_list() {
        let config = config().with_capability(0x11, &[1, 0, 2, 0], &[0; 4]).with_capability(9, &[7], &[0xff]);
        assert_eq!(u16::from_le_bytes(config.get(STATUS)), STATUS_CAPABILITIES);
        let [first] = config.get(CAPABILITIES);
        let [id, second] = config.get(first.into());
        assert_eq!((first, id), (0x40, 0x11));
        let [id, end, body] = config.get(second.into());
        assert_eq!((second, id, end, body), (0x48, 9, 0, 7));
    }

    #[test]
    fn msi_is_laid_out_as_pci_says() {
        let mut config = config().with_msi(32);
        let mut capability = [0; 14];
        config.read(0x40, &mut capability);
        assert_eq!(capability, [0x05, 0, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        config.write(0x40, &[0xff; 14]);
        config.read(0x40, &mut capability);
        assert_eq!(capability[..4], [0x05, 0, 0xfb, 0], "enable and the grant can be set");
        assert_eq!(capability[4..], [0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    #[should_panic(expected = "MSI cannot have 33 vectors")]
    fn msi_has_at_most_32_vectors() {
        let _ = config().with_msi(33);
    }

    #[test]
    fn msix_is_laid_out_as_pci_says() {
        let msix = MsixTable { vectors: 33, table: (1, 0), pending_bits: (1, 0x800) };
        let mut config = config().with_msix(&msix);
        let expected = [0x11, 0, 32, 0, 1, 0, 0, 0, 1, 8, 0, 0];
        assert_eq!(config.get(FIRST_CAPABILITY), expected);
        assert!(!config.is_msix_enabled());
        config.write(FIRST_CAPABILITY, &[0xff; 12]);
        assert!(config.is_msix_enabled());
        assert_eq!(config.get(FIRST_CAPABILITY), [0x11, 0, 32, 0xc0, 1, 0, 0, 0, 1, 8, 0, 0]);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn msix_parts_that_overlap_are_a_bug() {
        let _ = config().with_msix(&MsixTable { vectors: 33, table: (1, 0), pending_bits: (1, 0x208) });
    }

    #[test]
    fn a_64_bit_region_takes_two_registers() {
        let mut config = config().with_memory_bar64(2, 1 << 33, true);
        assert_eq!(u64::from_le_bytes(config.get(BAR0 + 8)), 0xc, "64 bits, prefetchable");
        config.write(BAR0 + 8, &[0xff; 8]);
        assert_eq!(u64::from_le_bytes(config.get(BAR0 + 8)), !((1 << 33) - 1) | 0xc);
        config.reset();
        assert_eq!(u64::from_le_bytes(config.get(BAR0 + 8)), 0xc);
    }

    #[test]
    fn an_io_region_can_be_enabled() {
        let mut config = config().with_io_bar(1, 32);
        config.write(BAR0 + 4, &[0xff; 4]);
        assert_eq!(u32::from_le_bytes(config.get(BAR0 + 4)), 0xffff_ffe1);
        config.write(COMMAND, &[1, 0]);
        assert_eq!(u16::from_le_bytes(config.get(COMMAND)), 1);
    }

    #[test]
    fn the_pin_and_its_state_are_shown() {
        let mut config = config().with_interrupt_pin(1);
        assert_eq!(config.get(INTERRUPT_PIN), [1]);
        assert!(config.allows_pin_interrupts());
        config.show_pin_interrupt(true);
        config.write(COMMAND, &[0, 4]);
        assert!(!config.allows_pin_interrupts());
        assert_eq!(u16::from_le_bytes(config.get(STATUS)), STATUS_INTERRUPT);
        config.show_pin_interrupt(false);
        assert_eq!(u16::from_le_bytes(config.get(STATUS)), 0);
    }

    #[test]
    fn power_management_knows_two_states() {
        let mut config = config().with_msi(1).with_power_management();
        let at = 0x50;
        assert_eq!(config.get(at), [0x01, 0, 3, 0, 8, 0]);
        for (wanted, got) in [(3, 3), (0, 0), (1, 0), (2, 0), (0xff, 3)] {
            config.write(at + 4, &[wanted]);
            assert_eq!(config.power_state(), got, "{wanted}");
        }
        config.reset();
        assert_eq!(config.power_state(), 0);
    }

    #[test]
    fn an_express_endpoint_is_laid_out_as_pci_says() {
        let mut config = config().with_express().with_power_management();
        assert_eq!(config.get(0x40), [0x10, 0x7c, 2, 0, 0, 0x80, 0, 0, 0x10, 0x28, 0, 0, 0x11, 0, 0, 0]);
        assert_eq!(config.get(0x50), [0, 0, 0x11, 0], "the link's state");
        config.write(0x40, &[0xff; EXPRESS_SIZE]);
        assert_eq!(u16::from_le_bytes(config.get(0x48)), 0x7fff, "device control");
        assert_eq!(config.get(0x4c), [0x11, 0, 0, 0, 0xcb, 0, 0x11, 0]);
        let mut beyond = [1; 4];
        config.read(0x100, &mut beyond);
        assert_eq!(beyond, [0; 4], "no extended capability");
    }

    #[test]
    fn nothing_lies_beyond_the_end() {
        let mut config = config();
        let before = config.clone();
        config.write(CONFIG_SPACE_SIZE, &[0xff; 8]);
        config.write(usize::MAX, &[0xff; 8]);
        assert_eq!(config, before);
        let mut data = [0xaa; 8];
        config.read(CONFIG_SPACE_SIZE - 4, &mut data);
        assert_eq!(data, [0; 8]);
        config.read(usize::MAX, &mut data);
        assert_eq!(data, [0; 8]);
    }
}
