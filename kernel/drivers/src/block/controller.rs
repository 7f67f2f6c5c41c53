// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drivers of disk controllers, as the manager sees them. What differs between them is the [`Controller`].

use alloc::{sync::Arc, vec::Vec};

use exo_platform::SpinLock;

use super::{DeviceName, Requests};
use crate::{Device, Driver, DriverError, DriverType};

/// A controller of disks that was started.
pub trait Controller: Send + Sync + Sized + 'static {
    /// What it is started from.
    type Handle: Send + Sync;

    /// Starts it; its disks' names begin with `name`.
    ///
    /// # Errors
    /// It stays stopped, and reaches no memory.
    fn start(name: DeviceName, place: &Self::Handle) -> Result<Arc<Self>, DriverError>;

    /// Its disks, also those that are gone.
    fn disks(self: &Arc<Self>) -> Vec<Arc<dyn Requests>>;

    /// Whether it answers.
    fn is_present(&self) -> bool;

    /// It was pulled out: ends what is under way.
    fn remove(&self);

    /// Finishes what is under way and switches it off.
    ///
    /// # Errors
    /// What could not be done in an orderly way. It is off nevertheless.
    fn shut_down(&self) -> Result<(), DriverError>;
}

/// The driver of one controller.
pub struct ControllerDriver<C: Controller> {
    name: DeviceName,
    place: C::Handle,
    controller: SpinLock<Option<Arc<C>>>,
}

impl<C: Controller> ControllerDriver<C> {
    /// The driver of the controller at `place`, which it does not start.
    pub fn new(name: DeviceName, place: C::Handle) -> Arc<Self> {
        Arc::new(Self { name, place, controller: SpinLock::new(None) })
    }

    fn controller(&self) -> Option<Arc<C>> {
        self.controller.lock().clone()
    }
}

impl<C: Controller> Driver for ControllerDriver<C> {
    fn driver_type(&self) -> DriverType {
        DriverType::Block
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn init(&self) -> Result<(), DriverError> {
        *self.controller.lock() = Some(C::start(self.name, &self.place)?);
        Ok(())
    }

    fn shutdown(&self) -> Result<(), DriverError> {
        let controller = self.controller.lock().take();
        controller.map_or(Ok(()), |controller| controller.shut_down())
    }

    fn is_ready(&self) -> bool {
        self.controller().is_some_and(|controller| controller.is_present())
    }

    fn devices(&self) -> Vec<Device> {
        let disks = self.controller().map_or(Vec::new(), |controller| controller.disks());
        disks.into_iter().filter(|disk| disk.is_present()).map(Device::Block).collect()
    }

    fn removed(&self) {
        if let Some(controller) = self.controller() {
            controller.remove();
        }
    }
}
