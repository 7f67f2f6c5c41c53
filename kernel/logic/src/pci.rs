// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI configuration space: names of functions, and what their headers say. The accesses themselves are somebody else's
//! ([`Config`]), so that everything here is tested without hardware.
//! Source: PCI Local Bus Specification 3.0, chapter 6; PCI Express Base Specification 5.0, chapter 7.

use core::fmt;

/// Registers of the header that all functions have.
pub mod register {
    /// Vendor (16 bits) and, two bytes on, device.
    pub const VENDOR: u16 = 0x00;
    /// Command: see [`command`](super::command).
    pub const COMMAND: u16 = 0x04;
    /// Status; bit 4 says that there are capabilities.
    pub const STATUS: u16 = 0x06;
    /// Revision, then interface, subclass and class, a byte each.
    pub const REVISION: u16 = 0x08;
    /// Kind of header in the low 7 bits; bit 7: the device has several functions.
    pub const HEADER: u16 = 0x0e;
    /// The first of six base address registers (two, for a bridge).
    pub const BAR0: u16 = 0x10;
    /// A bridge's own bus, the bus below it and the last bus below that, a byte each.
    pub const BUSES: u16 = 0x18;
    /// A bridge's windows for memory below: base and limit, 16 bits each, in units of 1 MiB from bit 4.
    pub const MEMORY_WINDOW: u16 = 0x20;
    /// Subsystem vendor, then subsystem.
    pub const SUBSYSTEM: u16 = 0x2c;
    /// Offset of the first capability.
    pub const CAPABILITIES: u16 = 0x34;
    /// The interrupt line that firmware wrote down, and the pin (1 is INTA, 0 is none).
    pub const INTERRUPT: u16 = 0x3c;
}

/// Bits of the command register.
pub mod command {
    /// Answers to I/O ports.
    pub const IO: u16 = 1;
    /// Answers to memory addresses.
    pub const MEMORY: u16 = 1 << 1;
    /// May read and write memory by itself.
    pub const MASTER: u16 = 1 << 2;
    /// Does not use its interrupt line.
    pub const NO_LINE: u16 = 1 << 10;
}

/// Capabilities, by number.
pub mod capability {
    /// Message-signalled interrupts.
    pub const MSI: u8 = 0x05;
    /// The vendor's own; virtio's are such.
    pub const VENDOR: u8 = 0x09;
    /// PCI Express.
    pub const EXPRESS: u8 = 0x10;
    /// Message-signalled interrupts with a table.
    pub const MSIX: u8 = 0x11;
    /// SATA data and index registers.
    pub const SATA: u8 = 0x12;
}

/// Why a function cannot be used as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciError {
    /// There is no such base address register, or it is not memory.
    NoBar(u8),
    /// No address could be found for it.
    NoSpace(u8),
    /// No interrupt vectors are left, or the function has no interrupt at all.
    NoInterrupt,
    /// The kernel's memory ran out.
    NoMemory,
    /// The function does not answer any more.
    Gone,
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBar(number) => write!(f, "there are no registers behind base address register {number}"),
            Self::NoSpace(number) => write!(f, "no address is left for base address register {number}"),
            Self::NoInterrupt => f.write_str("no interrupt is left for it"),
            Self::NoMemory => f.write_str("no memory"),
            Self::Gone => f.write_str("it does not answer any more"),
        }
    }
}

/// Where a function is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The segment.
    pub segment: u16,
    /// The bus.
    pub bus: u8,
    /// The device, 0 to 31.
    pub device: u8,
    /// The function, 0 to 7.
    pub function: u8,
}

impl Address {
    /// The function's offset in the memory-mapped configuration space of its segment: 4096 bytes each.
    pub fn offset(self) -> u64 {
        (u64::from(self.bus) << 20)
            | (u64::from(self.device & 31) << 15)
            | (u64::from(self.function & 7) << 12)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.segment, self.bus, self.device, self.function)
    }
}

/// What a function is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The maker.
    pub vendor: u16,
    /// The maker's number for it.
    pub device: u16,
    /// Base class: 1 is storage, 2 network, 6 a bridge.
    pub class: u8,
    /// Subclass.
    pub subclass: u8,
    /// Programming interface.
    pub interface: u8,
    /// Revision.
    pub revision: u8,
    /// Who built the board.
    pub subsystem_vendor: u16,
    /// Their number for it.
    pub subsystem: u16,
}

impl Identity {
    /// Reads it; none where no function answers.
    pub fn read(config: &impl Config) -> Option<Self> {
        let (vendor, device) = (config.read16(register::VENDOR), config.read16(register::VENDOR + 2));
        if vendor == 0xffff || vendor == 0 {
            return None;
        }
        let [revision, interface, subclass, class] = config.read32(register::REVISION).to_le_bytes();
        let bridge = config.read8(register::HEADER) & 0x7f != 0;
        let [subsystem_vendor, subsystem] =
            [0, 2].map(|o| if bridge { 0 } else { config.read16(register::SUBSYSTEM + o) });
        Some(Self { vendor, device, class, subclass, interface, revision, subsystem_vendor, subsystem })
    }
}

/// Access to the configuration space of one function. Where nothing answers, reads give all ones.
pub trait Config {
    /// Reads a byte.
    fn read8(&self, offset: u16) -> u8;
    /// Reads two bytes; `offset` is even.
    fn read16(&self, offset: u16) -> u16;
    /// Reads four bytes; `offset` is a multiple of 4.
    fn read32(&self, offset: u16) -> u32;
    /// Writes a byte.
    fn write8(&self, offset: u16, value: u8);
    /// Writes two bytes.
    fn write16(&self, offset: u16, value: u16);
    /// Writes four bytes.
    fn write32(&self, offset: u16, value: u32);
}

/// Most capabilities that the space has room for: a list that is longer goes in circles.
const MOST_CAPABILITIES: usize = 48;

/// The offsets of the capabilities with number `id`, in the list's order.
pub fn capabilities(config: &impl Config, id: u8) -> impl Iterator<Item = u16> + '_ {
    let present = config.read16(register::STATUS);
    let mut next = if present != 0xffff && present & (1 << 4) != 0 {
        u16::from(config.read8(register::CAPABILITIES)) & !3
    } else {
        0
    };
    let mut left = MOST_CAPABILITIES;
    core::iter::from_fn(move || {
        while next >= 0x40 && left > 0 {
            left -= 1;
            let at = next;
            let [found, after] = config.read16(at).to_le_bytes();
            next = u16::from(after) & !3;
            if found == id {
                return Some(at);
            }
        }
        None
    })
}

/// What a base address register says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Registers in memory.
    Memory {
        /// Physical address of the first byte; 0 if nobody assigned one.
        address: u64,
        /// Bytes, a power of two.
        size: u64,
        /// May be read ahead of need.
        prefetchable: bool,
        /// The register is two registers wide.
        wide: bool,
    },
    /// Registers in I/O space.
    Ports {
        /// The first port.
        first: u16,
        /// How many, a power of two.
        count: u32,
    },
}

/// Reads base address register `number` (0 to 5) and finds its size, for which it stops the function from answering a moment. None if it
/// is not there.
pub fn bar(config: &(impl Config + ?Sized), number: u8) -> Option<Bar> {
    if number > 5 {
        return None;
    }
    let offset = register::BAR0 + 4 * u16::from(number);
    let low = config.read32(offset);
    if low == u32::MAX {
        return None;
    }
    let wide = low & 1 == 0 && low & 6 == 4;
    if wide && number == 5 {
        return None;
    }
    let old = config.read16(register::COMMAND);
    config.write16(register::COMMAND, old & !(command::IO | command::MEMORY));
    let probe = |at: u16| {
        let value = config.read32(at);
        config.write32(at, u32::MAX);
        let mask = config.read32(at);
        config.write32(at, value);
        (value, mask)
    };
    let (_, low_mask) = probe(offset);
    let high = if wide { probe(offset + 4) } else { (0, u32::MAX) };
    config.write16(register::COMMAND, old);
    if low_mask == 0 {
        return None;
    }
    if low & 1 != 0 {
        // Sixteen bits of address are all that a PC has; the upper half of the mask may be zero.
        let count = !(low_mask & 0xfffc | 0xffff_0000) + 1;
        return Some(Bar::Ports { first: (low & 0xfffc) as u16, count });
    }
    let mask = (u64::from(high.1) << 32) | u64::from(low_mask & !15);
    let size = (!mask).wrapping_add(1);
    let size = if wide { size } else { size & u64::from(u32::MAX) };
    if !size.is_power_of_two() {
        return None;
    }
    let address = (u64::from(high.0) << 32) | u64::from(low & !15);
    Some(Bar::Memory { address, size, prefetchable: low & 8 != 0, wide })
}

/// Lets the function answer to memory and use memory, and keeps it from its interrupt line.
pub fn enable(config: &impl Config) {
    let old = config.read16(register::COMMAND);
    config.write16(
        register::COMMAND,
        old & !command::IO | command::MEMORY | command::MASTER | command::NO_LINE,
    );
}

/// Takes memory and bus mastership away again: no more DMA after this.
pub fn disable(config: &impl Config) {
    let old = config.read16(register::COMMAND);
    if old != u16::MAX {
        config.write16(register::COMMAND, old & !(command::MASTER | command::MEMORY) | command::NO_LINE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// 256 bytes, of which the base address registers keep only what their masks let through.
    struct Fake(RefCell<[u8; 256]>, [u32; 6]);

    impl Fake {
        fn new(bytes: &[(usize, u32)], masks: [u32; 6]) -> Self {
            let mut space = [0; 256];
            for &(at, value) in bytes {
                space[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            Self(RefCell::new(space), masks)
        }
    }

    impl Config for Fake {
        fn read8(&self, offset: u16) -> u8 {
            self.0.borrow()[offset as usize]
        }
        fn read16(&self, offset: u16) -> u16 {
            u16::from_le_bytes([0, 1].map(|o| self.read8(offset + o)))
        }
        fn read32(&self, offset: u16) -> u32 {
            u32::from_le_bytes([0, 1, 2, 3].map(|o| self.read8(offset + o)))
        }
        fn write8(&self, offset: u16, value: u8) {
            self.0.borrow_mut()[offset as usize] = value;
        }
        fn write16(&self, offset: u16, value: u16) {
            let at = offset as usize;
            self.0.borrow_mut()[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        fn write32(&self, offset: u16, value: u32) {
            let at = offset as usize;
            let old = self.read32(offset);
            let bar = at.wrapping_sub(0x10) / 4;
            let value = match self.1.get(bar) {
                Some(mask) => value & mask | old & 15 & !mask,
                None => value,
            };
            self.0.borrow_mut()[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    }

    #[test]
    fn sizes_every_kind_of_base_address_register() {
        let config = Fake::new(
            &[(4, 0x0010_0007), (0x10, 0xfebd_0000), (0x14, 0xc041), (0x18, 0xc), (0x1c, 0x38), (0x20, 0)],
            [0xffff_c000, 0xffe0, 0xff00_0000, 0xffff_ffff, 0, 0],
        );
        let memory = Bar::Memory { address: 0xfebd_0000, size: 0x4000, prefetchable: false, wide: false };
        assert_eq!(bar(&config, 0), Some(memory));
        assert_eq!(bar(&config, 1), Some(Bar::Ports { first: 0xc040, count: 32 }));
        let wide = Bar::Memory { address: 0x38_0000_0000, size: 1 << 24, prefetchable: true, wide: true };
        assert_eq!(bar(&config, 2), Some(wide));
        assert_eq!(bar(&config, 4), None);
        assert_eq!(bar(&config, 6), None);
        assert_eq!(config.read32(0x10), 0xfebd_0000, "the address is as it was");
        assert_eq!(config.read16(4), 7, "and so is the command register");
    }

    #[test]
    fn a_list_of_capabilities_that_goes_in_circles_ends() {
        let config = Fake::new(&[(4, 0x0010_0000), (0x34, 0x40), (0x40, 0x5009), (0x50, 0x4011)], [0; 6]);
        assert_eq!(capabilities(&config, capability::MSIX).next(), Some(0x50));
        assert!(capabilities(&config, capability::VENDOR).count() <= MOST_CAPABILITIES);
        assert_eq!(capabilities(&config, capability::MSI).next(), None);
    }

    #[test]
    fn an_absent_function_has_no_identity() {
        let config = Fake::new(&[(0, u32::MAX)], [0; 6]);
        assert_eq!(Identity::read(&config), None);
        let config = Fake::new(&[(0, 0x1042_1af4), (8, 0x0100_0001), (0x2c, 0x1100_1af4)], [0; 6]);
        let identity = Identity::read(&config).unwrap();
        assert_eq!((identity.vendor, identity.device, identity.class), (0x1af4, 0x1042, 1));
        assert_eq!((identity.revision, identity.subsystem), (1, 0x1100));
    }
}
