// SPDX-License-Identifier: MIT OR Apache-2.0
//! What both personalities have in common towards vfio-user: which region an access goes to, and what becomes of the workers
//! when a client comes and goes.

use std::sync::Arc;

use log::info;
use vfio_user_server::{Client, Device, Errno, Interrupts, Irqs, Region, Regions};

use crate::msix;
use crate::shared::Shared;
use crate::workers::Workers;

/// Parts of a device of either personality.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) workers: Workers,
    client: Option<Client>,
}

impl Parts {
    pub(crate) fn new(shared: Arc<Shared>, workers: Workers) -> Self {
        Self { shared, workers, client: None }
    }

    /// Those of the client that is connected.
    pub(crate) fn interrupts(&self) -> Option<&Interrupts> {
        self.client.as_ref().map(|client| &client.interrupts)
    }
}

/// What a personality does with its registers, in base address register 0, and its configuration space.
pub(crate) trait Function {
    /// Where in base address register 1 the pending bits of MSI-X are, and for how many vectors.
    const PENDING_BITS: (u32, u16);

    fn parts(&self) -> &Parts;
    fn parts_mut(&mut self) -> &mut Parts;
    fn regions(&self) -> Regions;
    fn irqs(&self) -> Irqs;
    fn read_registers(&mut self, offset: u64, data: &mut [u8]);
    fn write_registers(&mut self, offset: u64, data: &[u8]);
    fn read_config(&mut self, offset: usize, data: &mut [u8]);
    fn write_config(&mut self, offset: usize, data: &[u8]);
    /// Everything is as it was when the device was powered on.
    fn power_on(&mut self);
}

/// The device that has such a function.
#[derive(Debug)]
pub(crate) struct Attached<F>(pub(crate) F);

impl<F: Function> Device for Attached<F> {
    fn regions(&self) -> Regions {
        self.0.regions()
    }

    fn irqs(&self) -> Irqs {
        self.0.irqs()
    }

    fn region_read(&mut self, region: Region, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        match region {
            Region::Bar0 => self.0.read_registers(offset, data),
            Region::Bar1 => msix::read(self.0.parts().interrupts(), F::PENDING_BITS, offset, data),
            Region::Config => self.0.read_config(usize::try_from(offset).unwrap_or(usize::MAX), data),
            _ => return Err(Errno::INVAL), // The server knows that there is no other region.
        }
        Ok(())
    }

    fn region_write(&mut self, region: Region, offset: u64, data: &[u8]) -> Result<(), Errno> {
        match region {
            Region::Bar0 => self.0.write_registers(offset, data),
            Region::Bar1 => {} // The table is the monitor's, and the pending bits cannot be written.
            Region::Config => self.0.write_config(usize::try_from(offset).unwrap_or(usize::MAX), data),
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.0.parts().shared.counters.resets.add_one();
        self.0.power_on();
    }

    fn client_joined(&mut self, client: &Client) {
        let parts = self.0.parts_mut();
        parts.client = Some(client.clone());
        parts.workers.join(client);
    }

    /// The next client may be somebody else's machine: it finds the device as after power-on, and cannot tell what
    /// numbers the last one drew.
    fn client_left(&mut self) {
        let parts = self.0.parts_mut();
        info!("so far: {:?}", parts.shared.counters.snapshot());
        parts.client = None;
        parts.workers.leave();
        self.0.power_on();
    }
}
