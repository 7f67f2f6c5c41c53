// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI functions of fake devices.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;

use exo_logic::pci;
pub use exo_logic::pci::{Address, Config, Identity, PciError, capability, command, register};

use super::{FakeDevice, Wires, registers::Registers};
use crate::{InterruptHandler, InterruptKind};

/// Where the fake's capabilities stand in configuration space.
const CAPABILITIES: u16 = 0x40;
/// Where the class is, and that of bridges.
const CLASS: usize = 0x0b;
const BRIDGE: u8 = 6;

/// Configuration space, of which a driver may write the command register and the capabilities. The base address registers are
/// assigned and read as 0.
struct Space {
    device: Arc<dyn FakeDevice>,
    bytes: Mutex<[u8; 256]>,
}

impl Space {
    fn get(&self, offset: u16, size: usize) -> u32 {
        if !self.device.is_present() {
            return u32::MAX;
        }
        let bytes = self.bytes.lock();
        let mut out = [0xff; 4];
        for (to, at) in out.iter_mut().take(size).zip(usize::from(offset)..) {
            *to = bytes.get(at).copied().unwrap_or(0xff);
        }
        u32::from_le_bytes(out)
    }

    fn put(&self, offset: u16, size: usize, value: u32) {
        let mut bytes = self.bytes.lock();
        for (from, at) in value.to_le_bytes().into_iter().take(size).zip(usize::from(offset)..) {
            // The command, of a bridge its buses' numbers, and whatever is a capability's.
            let is_bus = bytes[CLASS] == BRIDGE && (0x18..0x1b).contains(&at);
            let writable = (0x04..0x06).contains(&at) || is_bus || at >= usize::from(CAPABILITIES);
            if let Some(to) = bytes.get_mut(at).filter(|_| writable) {
                *to = from;
            }
        }
    }
}

impl Config for Space {
    fn read8(&self, offset: u16) -> u8 {
        self.get(offset, 1) as u8
    }
    fn read16(&self, offset: u16) -> u16 {
        self.get(offset, 2) as u16
    }
    fn read32(&self, offset: u16) -> u32 {
        self.get(offset, 4)
    }
    fn write8(&self, offset: u16, value: u8) {
        self.put(offset, 1, value.into());
    }
    fn write16(&self, offset: u16, value: u16) {
        self.put(offset, 2, value.into());
    }
    fn write32(&self, offset: u16, value: u32) {
        self.put(offset, 4, value);
    }
}

/// A PCI function. A clone is another handle to the same one.
#[derive(Clone)]
pub struct Function {
    space: Arc<Space>,
    address: Address,
    identity: Identity,
    wires: Wires,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({}: {:04x}:{:04x})", self.address, self.identity.vendor, self.identity.device)
    }
}

impl Function {
    /// A function with `device` behind it, whose interrupts go through `wires`.
    pub fn fake(address: Address, identity: Identity, device: Arc<dyn FakeDevice>, wires: Wires) -> Self {
        let mut bytes = [0; 256];
        let mut put = |at: usize, value: &[u8]| {
            for (to, from) in bytes.iter_mut().skip(at).zip(value) {
                *to = *from;
            }
        };
        put(0, &identity.vendor.to_le_bytes());
        put(2, &identity.device.to_le_bytes());
        put(8, &[identity.revision, identity.interface, identity.subclass, identity.class]);
        put(0x2c, &identity.subsystem_vendor.to_le_bytes());
        put(0x2e, &identity.subsystem.to_le_bytes());
        let capabilities = device.capabilities();
        if !capabilities.is_empty() {
            put(0x06, &[1 << 4]);
            put(0x34, &[CAPABILITIES as u8]);
            put(usize::from(CAPABILITIES), &capabilities);
        }
        Self { space: Arc::new(Space { device, bytes: Mutex::new(bytes) }), address, identity, wires }
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        self.address
    }

    /// What it is, as read when it was found.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Its configuration space.
    pub fn config(&self) -> &impl Config {
        &*self.space
    }

    /// The offset of the first capability with number `id`.
    pub fn capability(&self, id: u8) -> Option<u16> {
        self.capabilities(id).next()
    }

    /// The offsets of all capabilities with number `id`.
    pub fn capabilities(&self, id: u8) -> impl Iterator<Item = u16> + '_ {
        pci::capabilities(&*self.space, id)
    }

    /// The registers of base address register `number`.
    ///
    /// # Errors
    /// [`PciError::NoBar`] if there are none.
    pub fn bar(&self, number: u8) -> Result<Registers, PciError> {
        match self.space.device.bar_size(number) {
            0 => Err(PciError::NoBar(number)),
            _ => Ok(Registers::fake(self.space.device.clone(), number)),
        }
    }

    /// Lets the function answer to memory and use memory, and keeps it from its interrupt line.
    pub fn enable(&self) {
        pci::enable(&*self.space);
    }

    /// Stops its DMA and its answers.
    pub fn disable(&self) {
        if self.space.get(register::COMMAND, 2) as u16 & command::MASTER != 0 {
            self.space.device.disable();
        }
        pci::disable(&*self.space);
    }

    /// Whether the function still answers.
    pub fn is_present(&self) -> bool {
        Identity::read(&*self.space)
            .is_some_and(|i| (i.vendor, i.device) == (self.identity.vendor, self.identity.device))
    }

    /// Lets the function interrupt: up to `wanted` vectors, of which vector `i` goes to CPU `i % cpu_count`. `handler` is told until
    /// what this gives is dropped.
    ///
    /// # Errors
    /// [`PciError::NoInterrupt`], [`PciError::Gone`].
    pub fn interrupts(
        &self,
        wanted: usize,
        handler: Arc<dyn InterruptHandler>,
    ) -> Result<Interrupts, PciError> {
        if !self.is_present() {
            return Err(PciError::Gone);
        }
        let (kind, count) = match self.space.device.interrupts() {
            0 => (InterruptKind::Line, 1),
            1 => (InterruptKind::Msi, 1),
            most => (InterruptKind::MsiX, most.min(wanted).max(1)),
        };
        self.wires.connect(Some(handler), count);
        Ok(Interrupts { wires: self.wires.clone(), kind, count })
    }
}

/// The interrupts that a function was given; dropping this takes them away.
pub struct Interrupts {
    wires: Wires,
    kind: InterruptKind,
    count: usize,
}

impl Interrupts {
    /// How many there are, at least one; perhaps fewer than were wanted.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How they come.
    pub fn kind(&self) -> InterruptKind {
        self.kind
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.wires.connect(None, 0);
    }
}
