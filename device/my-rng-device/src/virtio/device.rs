// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtio personality between its registers, its configuration space and the workers.

use std::sync::Arc;

use vfio_user_server::pci::ConfigSpace;
use vfio_user_server::{Irqs, Regions};

use super::layout::{self, ISR, WINDOW_BAR, WINDOW_DATA, WINDOW_LENGTH, WINDOW_OFFSET, WINDOW_SIZE};
use super::signals::Cause;
use super::transport::{Effect, QUEUE, Transport};
use crate::attached::{Function, Parts};
use crate::registers;
use crate::shared::Shared;
use crate::workers::Workers;

/// A virtio entropy device.
#[derive(Debug)]
pub struct VirtioDevice {
    parts: Parts,
    transport: Transport,
    config: ConfigSpace,
}

impl VirtioDevice {
    /// A device that has just been powered on.
    pub fn new(shared: Arc<Shared>, workers: Workers) -> Self {
        let config = layout::config_space(shared.power_on.interrupts);
        Self { transport: Transport::new(shared.clone()), parts: Parts::new(shared, workers), config }
    }

    fn act(&mut self, effect: Option<Effect>) {
        match effect {
            None => {}
            Some(Effect::Start(set_up)) => self.parts.workers.start_virtqueue(QUEUE, set_up),
            Some(Effect::Doorbell) => self.parts.workers.act(registers::Effect::Doorbell(QUEUE)),
            Some(Effect::Reset) => {
                self.parts.shared.counters.resets.add_one();
                self.reset_registers();
            }
            Some(Effect::Config) => {
                if let Some(interrupts) = self.parts.interrupts() {
                    let sent = self.parts.shared.signals.send(Cause::Config, interrupts);
                    self.parts.shared.count_interrupt(sent);
                }
            }
        }
    }

    /// What a driver does that writes 0 to the device's status.
    fn reset_registers(&mut self) {
        self.parts.workers.stop_all();
        self.transport.reset();
        self.parts.shared.signals.reset(self.parts.interrupts());
    }

    /// What the guest has set in configuration space is so.
    fn follow_config(&mut self) {
        let allowed = self.config.is_bus_master();
        if self.transport.is_bus_master() && !allowed {
            self.parts.workers.stop_all(); // The guest's memory is no longer ours to touch.
        }
        let (msix, pin) = (self.config.is_msix_enabled(), self.config.allows_pin_interrupts());
        self.parts.shared.signals.set_ways(msix, pin, self.parts.interrupts());
        let effect = self.transport.set_bus_master(allowed);
        self.act(effect);
    }

    /// The part of BAR 0 that the driver looks at through configuration space, if it is one that it may look at.
    fn window(&self) -> Option<(u64, usize)> {
        let mut bar = [0];
        let (mut offset, mut length) = ([0; 4], [0; 4]);
        self.config.read(WINDOW_BAR, &mut bar);
        self.config.read(WINDOW_OFFSET, &mut offset);
        self.config.read(WINDOW_LENGTH, &mut length);
        let (offset, length) = (u32::from_le_bytes(offset), u32::from_le_bytes(length));
        let allowed = bar == [layout::BAR]
            && matches!(length, 1 | 2 | 4)
            && offset % length == 0
            && offset.checked_add(length).is_some_and(|end| end <= layout::BAR_SIZE);
        allowed.then_some((offset.into(), length as usize))
    }
}

/// Whether an access to configuration space reaches the window's data.
fn touches_data(offset: usize, length: usize) -> bool {
    offset < WINDOW_DATA + WINDOW_SIZE && offset.saturating_add(length) > WINDOW_DATA
}

impl Function for VirtioDevice {
    const PENDING_BITS: (u32, u16) = (layout::PENDING_BITS, layout::VECTORS);

    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn parts_mut(&mut self) -> &mut Parts {
        &mut self.parts
    }

    fn regions(&self) -> Regions {
        self.config.regions()
    }

    fn irqs(&self) -> Irqs {
        self.config.irqs()
    }

    /// An access to BAR 0, wherever it comes from.
    fn read_registers(&mut self, offset: u64, data: &mut [u8]) {
        self.transport.read(offset, data);
        // Reading it has an effect, which an access that only touches it must not have.
        if let (Some(0), Some(status)) = (ISR.place(offset), data.first_mut()) {
            *status = self.parts.shared.signals.acknowledge(self.parts.interrupts());
        }
    }

    fn write_registers(&mut self, offset: u64, data: &[u8]) {
        let effect = self.transport.write(offset, data);
        self.act(effect);
    }

    fn power_on(&mut self) {
        self.reset_registers();
        self.config.reset();
        self.follow_config();
    }

    fn read_config(&mut self, offset: usize, data: &mut [u8]) {
        if touches_data(offset, data.len()) {
            if let Some((at, length)) = self.window() {
                let mut value = [0; WINDOW_SIZE];
                self.read_registers(at, value.get_mut(..length).unwrap_or_default());
                self.config.write(WINDOW_DATA, value.get(..length).unwrap_or_default());
            }
        }
        self.config.show_pin_interrupt(self.parts.shared.signals.is_pending());
        self.config.read(offset, data);
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        self.config.write(offset, data);
        if touches_data(offset, data.len()) {
            if let Some((at, length)) = self.window() {
                let mut value = [0; WINDOW_SIZE];
                self.config.read(WINDOW_DATA, &mut value);
                self.write_registers(at, value.get(..length).unwrap_or_default());
            }
        }
        self.follow_config();
    }
}
#[cfg(test)]
mod tests;
