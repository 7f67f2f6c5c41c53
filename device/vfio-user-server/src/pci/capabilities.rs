// SPDX-License-Identifier: MIT OR Apache-2.0
//! The capabilities of configuration space that this crate knows: power management, PCI Express, MSI, MSI-X.

use super::ConfigSpace;

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

/// Identity of the power management capability (PCI Bus Power Management Interface 1.2).
const CAPABILITY_POWER: u8 = 0x01;
/// Version 3 of the interface, no support of D1, D2 and power management events.
const POWER_CAPABILITIES: u16 = 3;
/// Bits of its control: the state, 0 to 3; no reset on the way from D3 to D0.
const POWER_STATE: u16 = 3;
const POWER_NO_SOFT_RESET: u16 = 1 << 3;

/// Identity of the PCI Express capability (PCI Express Base Specification 5.0, section 7.5.3), and its size in bytes.
const CAPABILITY_EXPRESS: u8 = 0x10;
pub(super) const EXPRESS_SIZE: usize = 60;
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

/// Where a device has the table and the pending bits of MSI-X.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MsixTable {
    /// Entries, 1 to 2048. The table has 16 bytes for each, the pending bits 8 bytes for every 64 of them.
    pub vectors: u16,
    /// Index of the base address register of the table, and its offset there, a multiple of 8.
    pub table: (u8, u32),
    /// The same for the pending bits.
    pub pending_bits: (u8, u32),
}

impl MsixTable {
    /// A table of so many entries, and where it and the pending bits are.
    pub const fn new(vectors: u16, table: (u8, u32), pending_bits: (u8, u32)) -> Self {
        Self { vectors, table, pending_bits }
    }
}

impl ConfigSpace {
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

    /// The states D1 and D2 are not there: a write that names them is ignored, and the device stays in D0.
    pub(super) fn correct_power_state(&mut self) {
        if let Some(control) = self.power.and_then(|at| self.bytes.get_mut(at + 4)) {
            if matches!(*control & POWER_STATE as u8, 1 | 2) {
                *control &= !(POWER_STATE as u8);
            }
        }
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
}
