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

mod capabilities;

use crate::device::{Irqs, Region, RegionInfo, Regions};
use crate::irq::IrqIndex;
pub use capabilities::MsixTable;

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

/// Bits of a base address register: I/O space; memory of 64 bits; prefetchable.
const BAR_IO: u32 = 1 << 0;
const BAR_64_BITS: u32 = 2 << 1;
const BAR_PREFETCHABLE: u32 = 1 << 3;
/// Most bytes of an I/O region.
const IO_BAR_MAX: u32 = 256;

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
        self.correct_power_state();
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
mod tests;
