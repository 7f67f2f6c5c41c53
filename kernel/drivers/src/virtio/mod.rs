// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all virtio devices on PCI have in common: finding the registers, agreeing on features, queues.
//! Source: Virtual I/O Device (VIRTIO) Version 1.2, chapters 2 to 4. Devices that also know the old interface are used through
//! the new one.

#[cfg(test)]
pub(crate) mod fake;
mod queue;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;

use exo_platform::{
    InterruptHandler, InterruptKind, Registers,
    pci::{self, Config as _, capability},
};

use crate::{DriverError, bus::wait_until};

pub use queue::{Layout, Part, Queue, Used};

/// The maker of all virtio devices.
pub const VENDOR: u16 = 0x1af4;
/// A device that knows only the new interface has this plus its type as its number.
pub const MODERN: u16 = 0x1040;

/// Feature bits that are no device's own.
pub mod feature {
    /// A descriptor may name a table of descriptors.
    pub const INDIRECT: u64 = 1 << 28;
    /// Each side says how far the other may go before it wants to be told.
    pub const EVENT_INDEX: u64 = 1 << 29;
    /// The new interface.
    pub const VERSION_1: u64 = 1 << 32;
}

/// Kinds of registers, in their capabilities.
mod kind {
    pub(super) const COMMON: u8 = 1;
    pub(super) const NOTIFY: u8 = 2;
    pub(super) const INTERRUPT_STATUS: u8 = 3;
    pub(super) const DEVICE: u8 = 4;
}

/// Offsets of the common registers.
pub(crate) mod common {
    pub(crate) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(crate) const DEVICE_FEATURE: usize = 0x04;
    pub(crate) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(crate) const DRIVER_FEATURE: usize = 0x0c;
    pub(crate) const CONFIG_VECTOR: usize = 0x10;
    pub(crate) const QUEUES: usize = 0x12;
    pub(crate) const STATUS: usize = 0x14;
    pub(crate) const GENERATION: usize = 0x15;
    pub(crate) const QUEUE_SELECT: usize = 0x16;
    pub(crate) const QUEUE_SIZE: usize = 0x18;
    pub(crate) const QUEUE_VECTOR: usize = 0x1a;
    pub(crate) const QUEUE_ENABLE: usize = 0x1c;
    pub(crate) const QUEUE_NOTIFY: usize = 0x1e;
    pub(crate) const QUEUE_ADDRESSES: [usize; 3] = [0x20, 0x28, 0x30];
    pub(crate) const LENGTH: usize = 0x38;
}

/// Bits of the status register.
pub(crate) mod status {
    pub(crate) const ACKNOWLEDGE: u8 = 1;
    pub(crate) const DRIVER: u8 = 2;
    pub(crate) const DRIVER_OK: u8 = 4;
    pub(crate) const FEATURES_OK: u8 = 8;
    pub(crate) const NEEDS_RESET: u8 = 0x40;
    pub(crate) const FAILED: u8 = 0x80;
    /// What reads give when the device is gone.
    pub(crate) const GONE: u8 = 0xff;
}

/// No interrupt for a queue, or for changes of the device's own registers.
const NO_VECTOR: u16 = 0xffff;
/// How long a reset may take. The specification gives no limit; QEMU resets within the write.
const RESET_NS: u64 = 1_000_000_000;
/// Between two looks at that.
const PAUSE_NS: u64 = 10_000;

/// The registers of a virtio device.
pub struct Transport {
    function: pci::Function,
    common: Registers,
    notify: Registers,
    notify_multiplier: u32,
    interrupt_status: Option<Registers>,
    device: Option<Registers>,
}

/// Where a queue's new buffers are announced. Nothing else is written there.
#[derive(Clone, Debug)]
pub struct Doorbell {
    register: Registers,
    queue: u16,
}

impl Doorbell {
    /// Tells the device to look at the queue.
    #[inline]
    pub fn ring(&self) {
        self.register.write16(0, self.queue);
    }
}

impl Transport {
    /// Finds the registers of a device, and lets it use memory.
    ///
    /// # Errors
    /// [`DriverError::Declined`] if it has not the new interface.
    pub fn new(function: &pci::Function) -> Result<Self, DriverError> {
        let mut found: [Option<(Registers, u16)>; 5] = [const { None }; 5];
        for at in function.capabilities(capability::VENDOR) {
            let [_, kind] = function.config().read16(at + 2).to_le_bytes();
            let bar = function.config().read8(at + 4);
            let (offset, length) = (function.config().read32(at + 8), function.config().read32(at + 12));
            let Some(place) = found.get_mut(usize::from(kind)).filter(|place| place.is_none()) else {
                continue;
            };
            // A device may offer one kind several times, best first; those that cannot be reached are passed over.
            let registers = function.bar(bar).ok().and_then(|r| r.part(offset as usize, length as usize));
            *place = registers.map(|registers| (registers, at));
        }
        let mut take = |kind: u8| found.get_mut(usize::from(kind)).and_then(Option::take);
        let (Some((common, _)), Some((notify, notify_at))) = (take(kind::COMMON), take(kind::NOTIFY)) else {
            return Err(DriverError::Declined("it has only virtio's old interface"));
        };
        if common.len() < common::LENGTH {
            return Err(DriverError::Device("virtio's common registers are cut short"));
        }
        function.enable();
        Ok(Self {
            notify_multiplier: function.config().read32(notify_at + 16),
            function: function.clone(),
            common,
            notify,
            interrupt_status: take(kind::INTERRUPT_STATUS).map(|(registers, _)| registers),
            device: take(kind::DEVICE).map(|(registers, _)| registers),
        })
    }

    /// The PCI function.
    pub fn function(&self) -> &pci::Function {
        &self.function
    }

    fn status(&self) -> u8 {
        self.common.read8(common::STATUS)
    }

    fn add_status(&self, bits: u8) {
        self.common.write8(common::STATUS, self.status() | bits);
    }

    /// Ends the device's work for good: `kept` is what it may write to, which is left to it for ever if it does not stop.
    ///
    /// # Errors
    /// As for [`reset`](Self::reset).
    pub fn retire<T>(&self, kept: T) -> Result<(), DriverError> {
        let reset = self.reset();
        self.function.disable();
        if reset.is_err() {
            core::mem::forget(kept);
        }
        reset
    }

    /// Resets the device and waits until it has: it knows no queue and no feature then, and touches no memory.
    ///
    /// # Errors
    /// [`DriverError::Removed`], [`DriverError::TimedOut`].
    pub fn reset(&self) -> Result<(), DriverError> {
        self.common.write8(common::STATUS, 0);
        let is_gone = |status| status == status::GONE && !self.function.is_present();
        let mut status = status::GONE;
        let is_over = wait_until(RESET_NS, PAUSE_NS, || {
            status = self.status();
            status == 0 || is_gone(status)
        });
        match status {
            0 => Ok(()),
            _ if is_over => Err(DriverError::Removed),
            _ => {
                // Whatever it does, it does it without memory.
                self.function.disable();
                Err(DriverError::TimedOut("virtio reset"))
            }
        }
    }

    /// Resets the device and agrees on features: those of `wanted` that the device has. [`feature::VERSION_1`] is wanted anyway.
    ///
    /// # Errors
    /// As [`reset`](Self::reset), and [`DriverError::Device`] if the device takes back what it has offered.
    pub fn negotiate(&self, wanted: u64) -> Result<u64, DriverError> {
        self.reset()?;
        self.function.enable();
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        let offered = [0u32, 1].map(|half| {
            self.common.write32(common::DEVICE_FEATURE_SELECT, half);
            u64::from(self.common.read32(common::DEVICE_FEATURE)) << (32 * half)
        });
        let agreed = (offered[0] | offered[1]) & (wanted | feature::VERSION_1);
        if agreed & feature::VERSION_1 == 0 {
            self.fail();
            return Err(DriverError::Declined("it has only virtio's old interface"));
        }
        for half in [0, 1] {
            self.common.write32(common::DRIVER_FEATURE_SELECT, half);
            self.common.write32(common::DRIVER_FEATURE, (agreed >> (32 * half)) as u32);
        }
        self.add_status(status::FEATURES_OK);
        if self.status() & status::FEATURES_OK == 0 {
            self.fail();
            return Err(DriverError::Device("it does not take the features that it offers"));
        }
        Ok(agreed)
    }

    /// Tells the device that it is given up.
    pub fn fail(&self) {
        self.add_status(status::FAILED);
    }

    /// Queues that the device has.
    pub fn queue_count(&self) -> u16 {
        match self.common.read16(common::QUEUES) {
            // The device is gone.
            u16::MAX => 0,
            count => count,
        }
    }

    /// The largest size of a queue; 0 if it does not exist.
    pub fn queue_size(&self, index: u16) -> u16 {
        self.common.write16(common::QUEUE_SELECT, index);
        match self.common.read16(common::QUEUE_SIZE) {
            size if size > 1 << 15 => 0,
            size => size,
        }
    }

    /// Gives the device a queue, with interrupt `vector` of those that [`interrupts`](Self::interrupts) gave.
    ///
    /// # Errors
    /// [`DriverError::Device`] if it does not want it so.
    pub fn set_queue(&self, index: u16, queue: &Queue, vector: Option<u16>) -> Result<Doorbell, DriverError> {
        self.common.write16(common::QUEUE_SELECT, index);
        self.common.write16(common::QUEUE_SIZE, queue.layout().size);
        let vector = vector.unwrap_or(NO_VECTOR);
        self.common.write16(common::QUEUE_VECTOR, vector);
        if vector != NO_VECTOR && self.common.read16(common::QUEUE_VECTOR) != vector {
            return Err(DriverError::Device("it has no interrupt for a queue"));
        }
        for (register, address) in common::QUEUE_ADDRESSES.into_iter().zip(queue.addresses()) {
            self.common.write32(register, address as u32);
            self.common.write32(register + 4, (address >> 32) as u32);
        }
        let place = usize::from(self.common.read16(common::QUEUE_NOTIFY));
        let offset = place.checked_mul(self.notify_multiplier as usize);
        let register = offset.and_then(|offset| self.notify.part(offset, 2));
        let register = register.ok_or(DriverError::Device("a queue's doorbell is nowhere"))?;
        self.common.write16(common::QUEUE_ENABLE, 1);
        Ok(Doorbell { register, queue: index })
    }

    /// Interrupts for `wanted` queues; how many there are is theirs to say. With messages from a table, vector `i` is what
    /// [`set_queue`](Self::set_queue) takes; with anything else there is one, and no vector to give.
    ///
    /// # Errors
    /// [`DriverError::Pci`].
    pub fn interrupts(
        &self,
        wanted: usize,
        handler: Arc<dyn InterruptHandler>,
    ) -> Result<pci::Interrupts, DriverError> {
        let interrupts = self.function.interrupts(wanted, handler)?;
        self.common.write16(common::CONFIG_VECTOR, NO_VECTOR);
        Ok(interrupts)
    }

    /// The vector for queue `index` of a device with these interrupts.
    pub fn vector(interrupts: &pci::Interrupts, index: u16) -> Option<u16> {
        let is_table = interrupts.kind() == InterruptKind::MsiX;
        is_table.then(|| index % u16::try_from(interrupts.count()).unwrap_or(u16::MAX).max(1))
    }

    /// The device may use its queues from now on.
    pub fn start(&self) {
        self.add_status(status::DRIVER_OK);
    }

    /// For an interrupt that is no message from a table: acknowledges it; whether it was this device's.
    pub fn acknowledge(&self) -> bool {
        let Some(registers) = &self.interrupt_status else { return false };
        let value = registers.read8(0);
        value != 0 && value != status::GONE
    }

    /// Whether the device says that it can do nothing more until it is reset.
    pub fn needs_reset(&self) -> bool {
        let status = self.status();
        status != status::GONE && status & (status::NEEDS_RESET | status::FAILED) != 0
    }

    /// Reads something of the device's own registers as a whole, however often it changes meanwhile.
    pub fn read_device<T>(&self, read: impl Fn(&Registers) -> T) -> Option<T> {
        let device = self.device.as_ref()?;
        // A device that never stops changing it gets no more tries than this.
        for _ in 0..100 {
            let before = self.common.read8(common::GENERATION);
            let value = read(device);
            if self.common.read8(common::GENERATION) == before {
                return Some(value);
            }
        }
        None
    }
}
