// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers in BAR 0 (VIRTIO 1.2, section 4.1.4), as a pure model: what an access does, and nothing else.
//!
//! A driver's mistakes change nothing but a counter; those after which the two sides could no longer agree also set
//! DEVICE_NEEDS_RESET. A read may be of any width, as none but that of the interrupt status changes anything. A write is of
//! a whole field or, of a 64-bit one, of half of it: any other is ignored, as half a value is none.

use std::sync::Arc;

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::layout::{COMMON, ISR, NOTIFY, SPECIAL};
use super::signals::Cause;
use super::virtqueue::{SIZE_MAX, SetUp};
use crate::registers::Half;
use crate::shared::{RunState, Shared};

/// The queue's number among those that devices share.
pub const QUEUE: usize = 0;

const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;
const EVENT_INDEX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
/// What the device offers. Addresses are those that the platform gives the device, whether the driver knows that there is
/// a difference or not: the monitor maps what the device may reach.
pub const FEATURES: u64 = VERSION_1 | INDIRECT | EVENT_INDEX | (1 << VIRTIO_F_ACCESS_PLATFORM);

/// Bits of the device's status.
const DRIVER_OK: u8 = VIRTIO_CONFIG_S_DRIVER_OK as u8;
const FEATURES_OK: u8 = VIRTIO_CONFIG_S_FEATURES_OK as u8;
const NEEDS_RESET: u8 = VIRTIO_CONFIG_S_NEEDS_RESET as u8;
/// Those that a driver sets.
const DRIVERS: u8 = VIRTIO_CONFIG_S_ACKNOWLEDGE as u8
    | VIRTIO_CONFIG_S_DRIVER as u8
    | DRIVER_OK
    | FEATURES_OK
    | VIRTIO_CONFIG_S_FAILED as u8;

/// Fields of the common configuration (struct virtio_pci_common_cfg), by their offset.
mod field {
    pub(super) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(super) const DEVICE_FEATURE: usize = 0x04;
    pub(super) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(super) const DRIVER_FEATURE: usize = 0x0c;
    pub(super) const CONFIG_VECTOR: usize = 0x10;
    pub(super) const QUEUE_COUNT: usize = 0x12;
    pub(super) const STATUS: usize = 0x14;
    pub(super) const QUEUE_SELECT: usize = 0x16;
    pub(super) const QUEUE_SIZE: usize = 0x18;
    pub(super) const QUEUE_VECTOR: usize = 0x1a;
    pub(super) const QUEUE_ENABLE: usize = 0x1c;
    pub(super) const QUEUE_DESCRIPTORS: usize = 0x20;
    pub(super) const QUEUE_DRIVER: usize = 0x28;
    pub(super) const QUEUE_DEVICE: usize = 0x30;
}

/// What a write asks of the rest of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Serve the queue from now on. Its state is [`RunState::Running`] already.
    Start(SetUp),
    /// See whether there is work.
    Doorbell,
    /// Stop the queue, then call [`Transport::reset`].
    Reset,
    /// Tell the driver that the device needs a reset.
    Config,
}

/// What a driver sets of the queue.
#[derive(Debug, Clone, Copy)]
struct QueueFields {
    size: u16,
    enabled: bool,
    /// A worker has it, or had it.
    started: bool,
    descriptors: u64,
    driver: u64,
    device: u64,
}

impl QueueFields {
    const NEW: Self =
        Self { size: SIZE_MAX, enabled: false, started: false, descriptors: 0, driver: 0, device: 0 };
}

/// The registers.
#[derive(Debug)]
pub struct Transport {
    shared: Arc<Shared>,
    device_select: u32,
    driver_select: u32,
    features: u64,
    /// The driver has asked for features beyond those that have a number here.
    unknown_features: bool,
    status: u8,
    /// What the status was before a reset that is not over.
    before_reset: u8,
    selected: u16,
    queue: QueueFields,
    bus_master: bool,
}

impl Transport {
    /// The registers after power-on.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            device_select: 0,
            driver_select: 0,
            features: 0,
            unknown_features: false,
            status: 0,
            before_reset: 0,
            selected: 0,
            queue: QueueFields::NEW,
            bus_master: false,
        }
    }

    /// Back to power-on, but for what configuration space says. The queue was told to stop; a worker that is still at it is
    /// seen by the status, which reads 0 when it is not.
    pub fn reset(&mut self) {
        let before_reset = self.status();
        *self = Self { before_reset, bus_master: self.bus_master, ..Self::new(self.shared.clone()) };
    }

    /// Notes whether the guest lets the device reach its memory. A queue starts when it does. One that runs must have been
    /// stopped when it does not any more, and what became of it nobody knows then: the device needs a reset.
    #[must_use]
    pub fn set_bus_master(&mut self, allowed: bool) -> Option<Effect> {
        let lost = self.bus_master && !allowed && self.queue.started;
        self.bus_master = allowed;
        if lost { self.break_down() } else { self.start_if_due() }
    }

    /// Whether the guest lets the device reach its memory.
    pub fn is_bus_master(&self) -> bool {
        self.bus_master
    }

    /// Whether the driver is there, so that it can be told anything.
    pub fn is_driver_up(&self) -> bool {
        self.status & DRIVER_OK != 0
    }

    /// Reads what is at `offset` in BAR 0, apart from the interrupt status. Where nothing is, there is 0.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let image = self.image();
        let mut known = false;
        for (byte, offset) in data.iter_mut().zip(offset..) {
            if let Some(place) = COMMON.place(offset) {
                *byte = image.get(place).copied().unwrap_or_default();
                known = true;
            }
            known |= [ISR, SPECIAL, NOTIFY].into_iter().any(|part| part.place(offset).is_some());
        }
        if !known {
            self.shared.counters.unknown_reads.add_one();
        }
    }

    /// The common configuration.
    fn image(&self) -> [u8; COMMON.length as usize] {
        let mut image = [0; COMMON.length as usize];
        let mut put = |at: usize, bytes: &[u8]| {
            image.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
        };
        put(field::DEVICE_FEATURE_SELECT, &self.device_select.to_le_bytes());
        put(field::DEVICE_FEATURE, &half(FEATURES, self.device_select).to_le_bytes());
        put(field::DRIVER_FEATURE_SELECT, &self.driver_select.to_le_bytes());
        put(field::DRIVER_FEATURE, &half(self.features, self.driver_select).to_le_bytes());
        put(field::CONFIG_VECTOR, &self.shared.signals.vector(Cause::Config).to_le_bytes());
        put(field::QUEUE_COUNT, &1_u16.to_le_bytes());
        put(field::STATUS, &[self.status()]);
        put(field::QUEUE_SELECT, &self.selected.to_le_bytes());
        // Of a queue that does not exist the size is 0.
        if usize::from(self.selected) == QUEUE {
            put(field::QUEUE_SIZE, &self.queue.size.to_le_bytes());
            put(field::QUEUE_VECTOR, &self.shared.signals.vector(Cause::Queue).to_le_bytes());
            put(field::QUEUE_ENABLE, &u16::from(self.queue.enabled).to_le_bytes());
            put(field::QUEUE_DESCRIPTORS, &self.queue.descriptors.to_le_bytes());
            put(field::QUEUE_DRIVER, &self.queue.driver.to_le_bytes());
            put(field::QUEUE_DEVICE, &self.queue.device.to_le_bytes());
        }
        image
    }

    fn status(&self) -> u8 {
        if self.is_resetting() {
            return self.before_reset;
        }
        self.status | if self.shared.signals.needs_reset() { NEEDS_RESET } else { 0 }
    }

    /// A worker is still at the queue of before the reset, which is over when it is not.
    fn is_resetting(&self) -> bool {
        !self.queue.started && self.run_state() != RunState::Off
    }

    fn run_state(&self) -> RunState {
        self.shared.queue(QUEUE).map_or(RunState::Off, |cell| cell.state())
    }

    /// Writes `data` at `offset` in BAR 0.
    #[must_use]
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Option<Effect> {
        if NOTIFY.place(offset) == Some(0) {
            return self.ring(data);
        }
        let Some(place) = COMMON.place(offset) else {
            let counters = &self.shared.counters;
            match [ISR, SPECIAL, NOTIFY].into_iter().any(|part| part.place(offset).is_some()) {
                true => counters.read_only_writes.add_one(),
                false => counters.unknown_writes.add_one(),
            }
            return None;
        };
        match *data {
            [value] if place == field::STATUS => self.write_status(value),
            [a, b] => self.write16(place, u16::from_le_bytes([a, b])),
            [a, b, c, d] => {
                self.write32(place, u32::from_le_bytes([a, b, c, d]));
                None
            }
            // Two halves, as it is for every other register of 64 bits.
            [a, b, c, d, e, f, g, h] if place % 8 == 0 => {
                self.write32(place, u32::from_le_bytes([a, b, c, d]));
                self.write32(place.saturating_add(4), u32::from_le_bytes([e, f, g, h]));
                None
            }
            _ => {
                self.shared.counters.partial_accesses.add_one();
                None
            }
        }
    }

    /// The doorbell: the driver writes the queue's number.
    fn ring(&self, data: &[u8]) -> Option<Effect> {
        self.shared.counters.doorbells.add_one();
        self.shared.limiter.spend(1, 0);
        let number = match *data {
            [a, b] => u32::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => u32::MAX,
        };
        if number as usize != QUEUE {
            self.shared.counters.queue_mistakes.add_one();
            return None;
        }
        // A driver that rings while the device does not run yet, or not any more, is not at fault.
        (self.run_state() == RunState::Running).then_some(Effect::Doorbell)
    }

    fn write_status(&mut self, value: u8) -> Option<Effect> {
        if value == 0 {
            return Some(Effect::Reset);
        }
        if self.is_resetting() {
            return None;
        }
        let mut status = self.status | (value & DRIVERS);
        let negotiates = status & FEATURES_OK != 0 && self.status & FEATURES_OK == 0;
        if negotiates
            && (self.unknown_features || self.features & !FEATURES != 0 || self.features & VERSION_1 == 0)
        {
            // The driver looks whether the bit has stayed.
            status &= !FEATURES_OK;
            self.mistake();
        }
        if status & DRIVER_OK != 0 && status & FEATURES_OK == 0 {
            status &= !DRIVER_OK;
            self.mistake();
        }
        self.status = status;
        self.start_if_due()
    }

    fn write16(&mut self, place: usize, value: u16) -> Option<Effect> {
        match place {
            field::CONFIG_VECTOR => self.shared.signals.set_vector(Cause::Config, value),
            field::QUEUE_SELECT => self.selected = value,
            field::QUEUE_VECTOR if self.is_selected() => {
                self.shared.signals.set_vector(Cause::Queue, value);
            }
            field::QUEUE_SIZE if self.can_set_up() => self.queue.size = value,
            field::QUEUE_ENABLE if value == 1 && self.can_set_up() => return self.enable(),
            field::QUEUE_SIZE | field::QUEUE_ENABLE | field::QUEUE_VECTOR => self.mistake(),
            field::QUEUE_COUNT => self.shared.counters.read_only_writes.add_one(),
            _ => self.shared.counters.partial_accesses.add_one(),
        }
        None
    }

    fn write32(&mut self, place: usize, value: u32) {
        const DESCRIPTORS_HIGH: usize = field::QUEUE_DESCRIPTORS + 4;
        const DRIVER_HIGH: usize = field::QUEUE_DRIVER + 4;
        const DEVICE_HIGH: usize = field::QUEUE_DEVICE + 4;
        let can_set_up = self.can_set_up();
        let queue = &mut self.queue;
        let (address, half) = match place {
            field::DEVICE_FEATURE_SELECT => return self.device_select = value,
            field::DRIVER_FEATURE_SELECT => return self.driver_select = value,
            field::DRIVER_FEATURE => return self.write_features(value),
            field::DEVICE_FEATURE => return self.shared.counters.read_only_writes.add_one(),
            field::QUEUE_DESCRIPTORS => (&mut queue.descriptors, Half::Low),
            DESCRIPTORS_HIGH => (&mut queue.descriptors, Half::High),
            field::QUEUE_DRIVER => (&mut queue.driver, Half::Low),
            DRIVER_HIGH => (&mut queue.driver, Half::High),
            field::QUEUE_DEVICE => (&mut queue.device, Half::Low),
            DEVICE_HIGH => (&mut queue.device, Half::High),
            _ => return self.shared.counters.partial_accesses.add_one(),
        };
        if can_set_up {
            *address = half.put(*address, value);
        } else {
            self.mistake();
        }
    }

    fn write_features(&mut self, value: u32) {
        if self.status & FEATURES_OK != 0 {
            return self.mistake(); // They were agreed on.
        }
        match self.driver_select {
            0 => self.features = Half::Low.put(self.features, value),
            1 => self.features = Half::High.put(self.features, value),
            _ => self.unknown_features |= value != 0,
        }
    }

    fn is_selected(&self) -> bool {
        usize::from(self.selected) == QUEUE
    }

    /// Whether the queue is selected, and nobody has it.
    fn can_set_up(&self) -> bool {
        self.is_selected() && !self.queue.enabled && self.run_state() == RunState::Off
    }

    fn enable(&mut self) -> Option<Effect> {
        if self.set_up().is_none() {
            self.mistake();
            return self.break_down();
        }
        self.queue.enabled = true;
        self.start_if_due()
    }

    fn set_up(&self) -> Option<SetUp> {
        let QueueFields { size, descriptors, driver, device, .. } = self.queue;
        let (event_index, indirect) = (self.features & EVENT_INDEX != 0, self.features & INDIRECT != 0);
        SetUp { size, descriptors, driver, device, event_index, indirect }.checked()
    }

    fn start_if_due(&mut self) -> Option<Effect> {
        let due = self.is_driver_up() && self.queue.enabled && !self.queue.started && self.bus_master;
        let cell = self.shared.queue(QUEUE).filter(|cell| due && cell.state() == RunState::Off)?;
        let set_up = self.set_up()?;
        self.queue.started = true;
        self.shared.counters.queue_starts.add_one();
        cell.set_state(RunState::Running);
        Some(Effect::Start(set_up))
    }

    fn mistake(&self) {
        self.shared.counters.queue_mistakes.add_one();
    }

    /// From now on only a reset helps. Something to be told, if the driver is up.
    fn break_down(&self) -> Option<Effect> {
        self.shared.signals.set_needs_reset();
        self.is_driver_up().then_some(Effect::Config)
    }
}

/// The half of the features that is selected. There are none beyond the second.
fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => Half::Low.of(features),
        1 => Half::High.of(features),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
