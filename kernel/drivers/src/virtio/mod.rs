// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all virtio devices on PCI have in common: their registers ([`Transport`]) and their queues ([`queue`]).
//! Source: Virtual I/O Device (VIRTIO) Version 1.2, chapters 2 to 4. Only devices that follow version 1 are driven; those
//! that can also be driven in the older way are told not to be.

#[cfg(test)]
pub(crate) mod fake;
pub mod queue;
#[cfg(test)]
mod tests;

use exo_platform::{Registers, SpinLock, now_ns, pci, spin_for_ns};

use crate::DriverError;
use queue::Queue;

/// The maker of all virtio devices.
pub const VENDOR: u16 = 0x1af4;
/// Device numbers of version 1 begin here; the type is added.
pub const DEVICE_BASE: u16 = 0x1040;

/// Kinds of registers that a capability tells the place of (4.1.4).
mod place {
    pub(super) const COMMON: u8 = 1;
    pub(super) const NOTIFY: u8 = 2;
    pub(super) const INTERRUPT: u8 = 3;
    pub(super) const DEVICE: u8 = 4;
}

/// Fields of such a capability.
mod field {
    pub(super) const KIND: u16 = 3;
    pub(super) const BAR: u16 = 4;
    pub(super) const OFFSET: u16 = 8;
    pub(super) const LENGTH: u16 = 12;
    pub(super) const MULTIPLIER: u16 = 16;
}

/// Common registers (4.1.4.3).
pub(crate) mod common {
    pub(crate) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(crate) const DEVICE_FEATURE: usize = 0x04;
    pub(crate) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(crate) const DRIVER_FEATURE: usize = 0x0c;
    pub(crate) const CONFIG_VECTOR: usize = 0x10;
    pub(crate) const QUEUE_COUNT: usize = 0x12;
    pub(crate) const STATUS: usize = 0x14;
    pub(crate) const GENERATION: usize = 0x15;
    pub(crate) const QUEUE_SELECT: usize = 0x16;
    pub(crate) const QUEUE_SIZE: usize = 0x18;
    pub(crate) const QUEUE_VECTOR: usize = 0x1a;
    pub(crate) const QUEUE_ENABLE: usize = 0x1c;
    pub(crate) const QUEUE_NOTIFY: usize = 0x1e;
    pub(crate) const QUEUE_DESCRIPTORS: usize = 0x20;
    pub(crate) const QUEUE_AVAILABLE: usize = 0x28;
    pub(crate) const QUEUE_USED: usize = 0x30;
    pub(super) const LENGTH: usize = 0x38;
}

/// Bits of the status (2.1).
pub(crate) mod status {
    pub(crate) const ACKNOWLEDGE: u8 = 1;
    pub(crate) const DRIVER: u8 = 2;
    pub(crate) const DRIVER_OK: u8 = 4;
    pub(crate) const FEATURES_OK: u8 = 8;
    pub(crate) const FAILED: u8 = 128;
    /// What is read where no device is.
    pub(crate) const GONE: u8 = 0xff;
}

/// The device follows version 1 of the standard (6).
pub const FEATURE_VERSION_1: u64 = 1 << 32;
/// No interrupt: what a queue or the configuration is given in place of a vector.
const NO_VECTOR: u16 = 0xffff;
/// How long a device may take to reset itself, in nanoseconds.
const RESET_NS: u64 = 500_000_000;
/// Times that the configuration may change while it is read.
const TRIES: u32 = 100;

/// The registers of a device.
pub struct Transport {
    common: Registers,
    notify: Registers,
    multiplier: u32,
    interrupt: Registers,
    device: Option<Registers>,
    /// The right to say which queue the registers mean.
    select: SpinLock<()>,
}

/// Tells the device that there is work in a queue.
#[derive(Clone, Debug)]
pub struct Doorbell {
    register: Registers,
    queue: u16,
}

impl Doorbell {
    /// Rings.
    #[inline]
    pub fn ring(&self) {
        self.register.write16(0, self.queue);
    }
}

impl Transport {
    /// Finds the registers of a function. It must answer to memory.
    ///
    /// # Errors
    /// [`DriverError::Declined`] if it does not follow version 1, [`DriverError::Pci`].
    pub fn new(function: &pci::Function) -> Result<Self, DriverError> {
        // The first of each kind is the one that the device prefers.
        let find = |kind: u8, least: usize| -> Result<Option<(u16, Registers)>, DriverError> {
            for at in function.capabilities(pci::capability::VENDOR) {
                let field = |field: u16| at.saturating_add(field);
                let bar = function.read_config8(field(field::BAR));
                if function.read_config8(field(field::KIND)) != kind || bar > 5 {
                    continue;
                }
                let offset = function.read_config32(field(field::OFFSET));
                let length = function.read_config32(field(field::LENGTH));
                let (offset, length) = (offset as usize, length as usize);
                let registers = function.bar(bar)?.part(offset, length).filter(|_| length >= least);
                return Ok(Some((
                    at,
                    registers.ok_or(DriverError::Device("its registers reach beyond their place"))?,
                )));
            }
            Ok(None)
        };
        let need =
            |kind, least| find(kind, least)?.ok_or(DriverError::Declined("it does not follow virtio 1"));
        let (_, common) = need(place::COMMON, common::LENGTH)?;
        let (at, notify) = need(place::NOTIFY, 2)?;
        let (_, interrupt) = need(place::INTERRUPT, 1)?;
        let multiplier = function.read_config32(at.saturating_add(field::MULTIPLIER));
        let device = find(place::DEVICE, 1)?.map(|(_, registers)| registers);
        Ok(Self { common, notify, multiplier, interrupt, device, select: SpinLock::new(()) })
    }

    fn status(&self) -> u8 {
        self.common.read8(common::STATUS)
    }

    fn add_status(&self, bit: u8) {
        self.common.write8(common::STATUS, self.status() | bit);
    }

    /// Whether the device answers.
    pub fn is_there(&self) -> bool {
        self.status() != status::GONE
    }

    /// Resets the device: it forgets everything and lets go of all memory.
    ///
    /// # Errors
    /// [`DriverError::Removed`], [`DriverError::TimedOut`].
    pub fn reset(&self) -> Result<(), DriverError> {
        self.common.write8(common::STATUS, 0);
        let deadline = now_ns().saturating_add(RESET_NS);
        loop {
            match self.status() {
                0 => return Ok(()),
                status::GONE => return Err(DriverError::Removed),
                _ if now_ns() > deadline => return Err(DriverError::TimedOut("a reset")),
                _ => spin_for_ns(10_000),
            }
        }
    }

    fn offered(&self) -> u64 {
        let half = |which: u32| {
            self.common.write32(common::DEVICE_FEATURE_SELECT, which);
            u64::from(self.common.read32(common::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    /// Resets the device and agrees with it on features: those of `wanted` that it has. It is not started by this.
    ///
    /// # Errors
    /// [`DriverError::Declined`] if it does not follow version 1, [`DriverError::Device`] if it does not agree, and those of
    /// [`reset`](Self::reset).
    pub fn negotiate(&self, wanted: u64) -> Result<u64, DriverError> {
        self.reset()?;
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        let offered = self.offered();
        if offered & FEATURE_VERSION_1 == 0 {
            self.fail();
            return Err(DriverError::Declined("it does not follow virtio 1"));
        }
        let agreed = offered & (wanted | FEATURE_VERSION_1);
        for (which, half) in [(0, agreed as u32), (1, (agreed >> 32) as u32)] {
            self.common.write32(common::DRIVER_FEATURE_SELECT, which);
            self.common.write32(common::DRIVER_FEATURE, half);
        }
        self.add_status(status::FEATURES_OK);
        if self.status() & status::FEATURES_OK == 0 {
            self.fail();
            return Err(DriverError::Device("it does not agree to its own features"));
        }
        Ok(agreed)
    }

    /// Tells the device that its driver has given up.
    pub fn fail(&self) {
        self.add_status(status::FAILED);
    }

    /// How many queues the device has.
    pub fn queue_count(&self) -> u16 {
        match self.common.read16(common::QUEUE_COUNT) {
            u16::MAX => 0,
            count => count,
        }
    }

    /// The most entries of a queue; 0 if there is no such queue.
    pub fn queue_size(&self, index: u16) -> u16 {
        let _select = self.select.lock();
        self.common.write16(common::QUEUE_SELECT, index);
        match self.common.read16(common::QUEUE_SIZE) {
            u16::MAX => 0,
            size => size,
        }
    }

    /// Tells the device where queue `index` is, and gives it interrupt `vector` if messages are used.
    ///
    /// # Errors
    /// [`DriverError::Device`] if it has no room for the vector, or its doorbell is nowhere.
    pub fn set_up(&self, index: u16, queue: &Queue, vector: Option<u16>) -> Result<Doorbell, DriverError> {
        let _select = self.select.lock();
        self.common.write16(common::QUEUE_SELECT, index);
        self.common.write16(common::QUEUE_SIZE, queue.size());
        let vector = vector.unwrap_or(NO_VECTOR);
        self.common.write16(common::QUEUE_VECTOR, vector);
        if self.common.read16(common::QUEUE_VECTOR) != vector {
            return Err(DriverError::Device("it has no room for an interrupt vector"));
        }
        let places = queue.places();
        for (register, address) in [
            (common::QUEUE_DESCRIPTORS, places.descriptors),
            (common::QUEUE_AVAILABLE, places.available),
            (common::QUEUE_USED, places.used),
        ] {
            self.common.write32(register, address as u32);
            self.common.write32(register + 4, (address >> 32) as u32);
        }
        let offset = u32::from(self.common.read16(common::QUEUE_NOTIFY)).checked_mul(self.multiplier);
        let register = offset.and_then(|offset| self.notify.part(offset as usize, 2));
        let register = register.ok_or(DriverError::Device("a doorbell is outside of its registers"))?;
        self.common.write16(common::QUEUE_ENABLE, 1);
        Ok(Doorbell { register, queue: index })
    }

    /// Gives changes of the configuration an interrupt vector, if messages are used.
    pub fn set_config_vector(&self, vector: Option<u16>) {
        self.common.write16(common::CONFIG_VECTOR, vector.unwrap_or(NO_VECTOR));
    }

    /// Lets the device work.
    pub fn start(&self) {
        self.add_status(status::DRIVER_OK);
    }

    /// Why the interrupt line is raised; lowers it. Bit 0: a queue; bit 1: the configuration.
    pub fn interrupt_status(&self) -> u8 {
        self.interrupt.read8(0)
    }

    /// Reads of the device's own configuration, all of them from one state of it.
    ///
    /// # Errors
    /// [`DriverError::Device`] if it has none, or it changes all the time.
    pub fn config<T>(&self, read: impl Fn(&Registers) -> T) -> Result<T, DriverError> {
        let device = self.device.as_ref().ok_or(DriverError::Device("it has no configuration"))?;
        for _ in 0..TRIES {
            let before = self.common.read8(common::GENERATION);
            let value = read(device);
            if self.common.read8(common::GENERATION) == before {
                return Ok(value);
            }
        }
        Err(DriverError::Device("its configuration changes all the time"))
    }
}
