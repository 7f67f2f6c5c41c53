// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI functions of this machine: memory-mapped configuration space (ACPI's MCFG), registers, interrupts.
//!
//! Firmware has numbered the buses and given addresses to what was there at boot; what came later is given one from its
//! bridge's window here.

use core::fmt;

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use exo_logic::{
    device::{InterruptHandler, InterruptKind},
    pci::{self, Bar},
};

pub use exo_logic::pci::{Address, Config, Identity, PciError, capability, command, register};

use super::{
    acpi,
    interrupt::{Line, Vector},
    registers::Registers,
};
use crate::{cpu::percpu, mm::device_map, sync::SpinLock};

/// Bytes of a bus in configuration space: 32 devices of 8 functions of 4096 bytes.
const BUS_SPAN: usize = 1 << 20;
/// Bytes of one function's configuration space.
const FUNCTION_SPAN: usize = 4096;
/// Registers that are mapped at most for one base address register: some devices have gigabytes of memory behind one.
const MOST_MAPPED: u64 = 16 << 20;

/// The buses that were looked at. They stay mapped.
static BUSES: SpinLock<BTreeMap<(u16, u8), Registers>> = SpinLock::new(BTreeMap::new());

/// The configuration space of one function.
#[derive(Clone, Debug)]
struct Space(Registers);

impl Config for Space {
    fn read8(&self, offset: u16) -> u8 {
        self.0.read8(offset.into())
    }
    fn read16(&self, offset: u16) -> u16 {
        self.0.read16(offset.into())
    }
    fn read32(&self, offset: u16) -> u32 {
        self.0.read32(offset.into())
    }
    fn write8(&self, offset: u16, value: u8) {
        self.0.write8(offset.into(), value);
    }
    fn write16(&self, offset: u16, value: u16) {
        self.0.write16(offset.into(), value);
    }
    fn write32(&self, offset: u16, value: u32) {
        self.0.write32(offset.into(), value);
    }
}

/// The first I/O port that firmware gives to PCI functions.
const FIRST_PORT: u16 = 0x1000;

/// A configuration space as a driver may write it.
#[derive(Clone, Debug)]
struct Guarded(Space);

impl Guarded {
    fn is_writable(&self, offset: u16) -> bool {
        /// Base address registers, a bridge's buses and windows, the addresses of ROMs in both types of header.
        const ADDRESSES: [core::ops::Range<u16>; 2] = [0x10..0x34, 0x38..0x3c];
        /// Bytes of the two capabilities at most.
        const MESSAGES: [(u8, u16); 2] = [(capability::MSI, 24), (capability::MSIX, 12)];
        let in_message = |&(id, length): &(u8, u16)| {
            pci::capabilities(&self.0, id).any(|at| (at..at.saturating_add(length)).contains(&offset))
        };
        !ADDRESSES.iter().any(|range| range.contains(&offset)) && !MESSAGES.iter().any(in_message)
    }
}

impl Config for Guarded {
    fn read8(&self, offset: u16) -> u8 {
        self.0.read8(offset)
    }
    fn read16(&self, offset: u16) -> u16 {
        self.0.read16(offset)
    }
    fn read32(&self, offset: u16) -> u32 {
        self.0.read32(offset)
    }
    fn write8(&self, offset: u16, value: u8) {
        if self.is_writable(offset) {
            self.0.write8(offset, value);
        }
    }
    fn write16(&self, offset: u16, value: u16) {
        if self.is_writable(offset) {
            self.0.write16(offset, value);
        }
    }
    fn write32(&self, offset: u16, value: u32) {
        if self.is_writable(offset) {
            self.0.write32(offset, value);
        }
    }
}

fn space(address: Address) -> Option<Space> {
    let segments = &acpi::platform().pci;
    // ACPI's table gives segments in order; this crate's reader leaves their numbers out.
    let segment = segments.get(usize::from(address.segment))?;
    if !(segment.buses.0..=segment.buses.1).contains(&address.bus) {
        return None;
    }
    let mut buses = BUSES.lock();
    let key = (address.segment, address.bus);
    let offset = address.offset() as usize % BUS_SPAN;
    if let Some(bus) = buses.get(&key) {
        return bus.part(offset, FUNCTION_SPAN).map(Space);
    }
    let start = segment.base + u64::from(address.bus - segment.buses.0) * BUS_SPAN as u64;
    let bus = device_map::map_registers(start, BUS_SPAN).ok()?;
    let part = bus.part(offset, FUNCTION_SPAN);
    buses.insert(key, bus);
    part.map(Space)
}

/// A PCI function. A clone is another handle to the same one.
#[derive(Clone)]
pub struct Function {
    space: Space,
    /// The same, for the driver.
    guarded: Guarded,
    address: Address,
    identity: Identity,
    /// The bridge that it is behind.
    bridge: Option<Arc<Function>>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({}: {:04x}:{:04x})", self.address, self.identity.vendor, self.identity.device)
    }
}

/// All functions of the machine, the bridges among them, in the order of their addresses.
pub fn scan() -> Vec<Function> {
    let mut found = Vec::new();
    for (segment, buses) in acpi::platform().pci.iter().enumerate() {
        let Ok(segment) = u16::try_from(segment) else { break };
        scan_bus(segment, buses.buses.0, None, &mut found);
    }
    found
}

fn scan_bus(segment: u16, bus: u8, bridge: Option<&Arc<Function>>, found: &mut Vec<Function>) {
    for device in 0..32 {
        for function in 0..8 {
            let address = Address { segment, bus, device, function };
            let Some(space) = space(address) else { return };
            let Some(identity) = Identity::read(&space) else {
                if function == 0 {
                    break;
                }
                continue;
            };
            let header = space.read8(register::HEADER);
            let guarded = Guarded(space.clone());
            let new = Function { space, guarded, address, identity, bridge: bridge.cloned() };
            found.push(new.clone());
            let below = new.bus_below();
            // A bus number that does not grow is none of firmware's: it would go in circles.
            if below.is_some_and(|below| below > bus) {
                scan_bus(segment, below.unwrap_or_default(), Some(&Arc::new(new)), found);
            }
            if function == 0 && header & 0x80 == 0 {
                break;
            }
        }
    }
}

/// The functions on bus `bus` behind `bridge`, looked for now.
pub fn scan_behind(bridge: &Function) -> Vec<Function> {
    let mut found = Vec::new();
    if let Some(bus) = bridge.bus_below() {
        scan_bus(bridge.address.segment, bus, Some(&Arc::new(bridge.clone())), &mut found);
    }
    found
}

impl Function {
    /// Where it is.
    pub fn address(&self) -> Address {
        self.address
    }

    /// What it is, as read when it was found.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The number of the bus below, if this is a PCI-to-PCI bridge.
    pub fn bus_below(&self) -> Option<u8> {
        let is_bridge = self.space.read8(register::HEADER) & 0x7f == 1;
        let below = self.space.read8(register::BUSES + 1);
        (is_bridge && below != 0 && below != 0xff).then_some(below)
    }

    /// Its configuration space. What decides which addresses the function answers to and where its interrupts are written to cannot be
    /// written here: addresses, buses, windows, and the capabilities for messages.
    pub fn config(&self) -> &impl Config {
        &self.guarded
    }

    /// The offset of the first capability with number `id`.
    pub fn capability(&self, id: u8) -> Option<u16> {
        self.capabilities(id).next()
    }

    /// The offsets of all capabilities with number `id`.
    pub fn capabilities(&self, id: u8) -> impl Iterator<Item = u16> + '_ {
        pci::capabilities(&self.space, id)
    }

    /// The registers of base address register `number`, uncached. An address is found for them if firmware has not given them one.
    ///
    /// # Errors
    /// [`PciError`].
    pub fn bar(&self, number: u8) -> Result<Registers, PciError> {
        if !self.is_present() {
            return Err(PciError::Gone);
        }
        match pci::bar(&self.space, number).ok_or(PciError::NoBar(number))? {
            // Those below are the chip set's, whatever the function says.
            Bar::Ports { first: 0..FIRST_PORT, .. } => Err(PciError::NoSpace(number)),
            Bar::Ports { first, count } => {
                // A driver that wants ports wants them to answer.
                let old = self.space.read16(register::COMMAND);
                self.space.write16(register::COMMAND, old | command::IO);
                Ok(Registers::ports(first, count.min(u32::from(u16::MAX)) as u16))
            }
            Bar::Memory { address, size, wide, .. } => {
                let address = if address == 0 { self.assign(number, size, wide)? } else { address };
                device_map::map_registers(address, size.min(MOST_MAPPED) as usize)
                    .map_err(|_| PciError::NoMemory)
            }
        }
    }

    /// Finds an address in the window of the bridge above, behind what its neighbours have.
    fn assign(&self, number: u8, size: u64, wide: bool) -> Result<u64, PciError> {
        let bridge = self.bridge.as_ref().ok_or(PciError::NoSpace(number))?;
        let window = bridge.space.read32(register::MEMORY_WINDOW);
        let (start, end) = (u64::from(window & 0xfff0) << 16, (u64::from(window >> 20) << 20) + (1 << 20));
        let mut at = start;
        for neighbour in scan_behind(bridge) {
            let mut bar = 0;
            while bar < 6 {
                let found = pci::bar(&neighbour.space, bar);
                if let Some(Bar::Memory { address, size, .. }) = found {
                    if (start..end).contains(&address) {
                        at = at.max(address.saturating_add(size));
                    }
                }
                bar += if matches!(found, Some(Bar::Memory { wide: true, .. })) { 2 } else { 1 };
            }
        }
        let at = at.checked_next_multiple_of(size).ok_or(PciError::NoSpace(number))?;
        if start == 0 || at.checked_add(size).is_none_or(|last| last > end) {
            return Err(PciError::NoSpace(number));
        }
        let offset = register::BAR0 + 4 * u16::from(number);
        self.space.write32(offset, at as u32);
        if wide {
            self.space.write32(offset + 4, (at >> 32) as u32);
        }
        Ok(at)
    }

    /// Lets the function answer to memory and use memory, and keeps it from its interrupt line.
    pub fn enable(&self) {
        pci::enable(&self.space);
    }

    /// Stops its DMA and its answers.
    pub fn disable(&self) {
        pci::disable(&self.space);
    }

    /// Whether the function still answers.
    pub fn is_present(&self) -> bool {
        let number = (u32::from(self.identity.device) << 16) | u32::from(self.identity.vendor);
        self.space.read32(register::VENDOR) == number
    }

    /// Lets the function interrupt: up to `wanted` vectors, of which vector `i` goes to CPU `i % cpu_count`. `handler` is told until
    /// what this gives is dropped.
    ///
    /// # Errors
    /// [`PciError::NoInterrupt`], [`PciError::NoMemory`], [`PciError::Gone`].
    pub fn interrupts(
        &self,
        wanted: usize,
        handler: Arc<dyn InterruptHandler>,
    ) -> Result<Interrupts, PciError> {
        if !self.is_present() {
            return Err(PciError::Gone);
        }
        let delivery = if let Some(at) = self.capability(capability::MSIX) {
            self.use_table(at, wanted.max(1), handler)?
        } else if let Some(at) = self.capability(capability::MSI) {
            self.use_message(at, handler)?
        } else {
            self.use_line(handler)?
        };
        Ok(Interrupts { space: self.space.clone(), delivery })
    }

    /// Source: PCI Local Bus Specification 3.0, 6.8.2.
    fn use_table(
        &self,
        at: u16,
        wanted: usize,
        handler: Arc<dyn InterruptHandler>,
    ) -> Result<Delivery, PciError> {
        let control = self.space.read16(at + 2);
        let count = (usize::from(control & 0x7ff) + 1).min(wanted);
        let table = self.space.read32(at + 4);
        let registers = self.bar((table & 7) as u8)?;
        let table = registers
            .part((table & !7) as usize, (usize::from(control & 0x7ff) + 1) * 16)
            .ok_or(PciError::NoInterrupt)?;
        // On, and everything masked, while the table is filled.
        self.space.write16(at + 2, control | msix::ENABLE | msix::MASK_ALL);
        let mut vectors = Vec::new();
        for index in 0..count {
            let cpu = index % percpu::cpu_count();
            let Some(vector) = Vector::new(cpu, handler.clone(), index) else { break };
            let (address, data) = vector.message();
            table.write32(index * 16, address as u32);
            table.write32(index * 16 + 4, (address >> 32) as u32);
            table.write32(index * 16 + 8, data);
            table.write32(index * 16 + 12, 0);
            vectors.push(vector);
        }
        if vectors.is_empty() {
            self.space.write16(at + 2, control & !msix::ENABLE);
            return Err(PciError::NoInterrupt);
        }
        // What firmware has left in the rest of the table must not be sent.
        for index in vectors.len()..usize::from(control & 0x7ff) + 1 {
            table.write32(index * 16 + 12, 1);
        }
        self.space.write16(at + 2, control & !msix::MASK_ALL | msix::ENABLE);
        Ok(Delivery::Table { at, vectors })
    }

    /// Source: PCI Local Bus Specification 3.0, 6.8.1.
    fn use_message(&self, at: u16, handler: Arc<dyn InterruptHandler>) -> Result<Delivery, PciError> {
        let vector = Vector::new(0, handler, 0).ok_or(PciError::NoInterrupt)?;
        let (address, data) = vector.message();
        let control = self.space.read16(at + 2);
        self.space.write32(at + 4, address as u32);
        let data_at = if control & msi::WIDE != 0 {
            self.space.write32(at + 8, (address >> 32) as u32);
            at + 12
        } else {
            at + 8
        };
        self.space.write16(data_at, data as u16);
        self.space.write16(at + 2, control & !msi::COUNT | msi::ENABLE);
        Ok(Delivery::Message { at, _vector: vector })
    }

    /// The line that firmware has routed to the old interrupt controller. A PC's chip set brings the same line to the input of the
    /// same number at the IO-APIC, so that ACPI's routing tables, which take an interpreter, are not needed.
    fn use_line(&self, handler: Arc<dyn InterruptHandler>) -> Result<Delivery, PciError> {
        let [line, pin] = self.space.read16(register::INTERRUPT).to_le_bytes();
        if pin == 0 || line == 0 || line > 15 {
            return Err(PciError::NoInterrupt);
        }
        let line = Line::shared(line, handler).ok_or(PciError::NoInterrupt)?;
        let old = self.space.read16(register::COMMAND);
        self.space.write16(register::COMMAND, old & !command::NO_LINE);
        Ok(Delivery::Line { _line: line })
    }
}

/// Bits of the message control register of MSI-X.
mod msix {
    pub(super) const ENABLE: u16 = 1 << 15;
    pub(super) const MASK_ALL: u16 = 1 << 14;
}

/// Bits of the message control register of MSI.
mod msi {
    pub(super) const ENABLE: u16 = 1;
    /// How many messages are on, as a power of two.
    pub(super) const COUNT: u16 = 7 << 4;
    /// The address has 64 bits.
    pub(super) const WIDE: u16 = 1 << 7;
}

enum Delivery {
    Table { at: u16, vectors: Vec<Vector> },
    Message { at: u16, _vector: Vector },
    Line { _line: Line },
}

/// The interrupts that a function was given; dropping this takes them away.
pub struct Interrupts {
    space: Space,
    delivery: Delivery,
}

impl Interrupts {
    /// How many there are, at least one; perhaps fewer than were wanted.
    pub fn count(&self) -> usize {
        match &self.delivery {
            Delivery::Table { vectors, .. } => vectors.len(),
            Delivery::Message { .. } | Delivery::Line { .. } => 1,
        }
    }

    /// How they come.
    pub fn kind(&self) -> InterruptKind {
        match &self.delivery {
            Delivery::Table { .. } => InterruptKind::MsiX,
            Delivery::Message { .. } => InterruptKind::Msi,
            Delivery::Line { .. } => InterruptKind::Line,
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        // Before the vectors go back. A function that was pulled out takes no notice.
        match &self.delivery {
            Delivery::Table { at, .. } => {
                let control = self.space.read16(at + 2);
                self.space.write16(at + 2, control & !msix::ENABLE);
            }
            Delivery::Message { at, .. } => {
                let control = self.space.read16(at + 2);
                self.space.write16(at + 2, control & !msi::ENABLE);
            }
            Delivery::Line { .. } => {
                let old = self.space.read16(register::COMMAND);
                self.space.write16(register::COMMAND, old | command::NO_LINE);
            }
        }
    }
}
