// SPDX-License-Identifier: GPL-2.0

//! Which devices there are, and which of them is the first.
//!
//! Programs that know of one device only open `/dev/my_rng_driver`. It is a node of its own, there
//! while there is any device; the device that it means is looked up at each `open(2)`: the one with
//! the lowest number. When that one goes, the next lowest takes over by itself, for files opened
//! from then on. Files that are open stay with the device that they were opened for.

use crate::{
    abi,
    chardev::{
        Class,
        Minor,
        Options,
        Region,
        Registration, //
    },
    device::SharedDevice,
    files::{
        Files,
        Node,
        NODE_MODE, //
    },
    ioctl::Commands,
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The name in `/proc/devices` and `/sys/class`.
const NAME: &CStr = c"my_rng";

/// The minor of `/dev/my_rng_driver`. `/dev/my_rngN` has the minor `N + 1`.
const FIRST_DEVICE_MINOR: u32 = 0;
const LOWEST_DEVICE_MINOR: u32 = 1;

/// How many minors we ask for: as many devices as one PCI segment has functions, and the node for
/// the first.
const MINORS: u32 = 0x1_0000 + LOWEST_DEVICE_MINOR;

kernel::sync::global_lock! {
    // SAFETY: Initialised by `RegistryGuard::new`, before the driver is registered, which brings all the
    // other users.
    unsafe(uninit) static REGISTRY: Mutex<Option<Registry>> = None;
}

/// All that the devices share. `None` in [`REGISTRY`] before the module is up and after it is down.
struct Registry {
    region: Arc<Region>,
    class: Arc<Class>,
    /// In no particular order: there are few, and they come and go.
    devices: KVec<(u32, Arc<SharedDevice>)>,
    /// `/dev/my_rng_driver`, there if `devices` is not empty.
    first_device_node: Option<Registration<Node>>,
}

impl Registry {
    fn first(&self) -> Option<&(u32, Arc<SharedDevice>)> {
        self.devices.iter().min_by_key(|(number, _)| number)
    }

    fn first_number(&self) -> Option<u32> {
        self.first().map(|(number, _)| *number)
    }

    fn add(&mut self, number: u32, device: Arc<SharedDevice>) -> Result {
        let before = self.first_number();

        if self.first_device_node.is_none() {
            self.first_device_node = Some(Registration::new::<Files>(
                &self.class,
                self.region.reserve(FIRST_DEVICE_MINOR)?,
                fmt!("{}", abi::ioctl::FIRST_DEVICE_NAME),
                Options {
                    mode: NODE_MODE,
                    ..Options::DEFAULT
                },
                Ok(Node::First),
            )?);
        }

        let pushed = self.devices.push((number, device), GFP_KERNEL);
        self.first_may_have_changed(before);
        pushed.map_err(Into::into)
    }

    fn remove(&mut self, number: u32) {
        let before = self.first_number();
        self.devices.retain(|(other, _)| *other != number);
        self.first_may_have_changed(before);
    }

    /// Removes `/dev/my_rng_driver` with the last device, and logs which device it means.
    fn first_may_have_changed(&mut self, before: Option<u32>) {
        let name = abi::ioctl::FIRST_DEVICE_NAME;

        match self.first_number() {
            None => self.first_device_node = None,
            Some(number) if before != Some(number) => {
                if let Some(node) = &self.first_device_node {
                    dev_info!(
                        node.device().as_ref(),
                        "/dev/{name} is {}:{} and means /dev/{}{number}\n",
                        node.minor().major(),
                        node.minor().number(),
                        abi::ioctl::CLASS_NAME
                    );
                }
            }
            Some(_) => (),
        }
    }
}

/// Keeps the registry: held by the loaded module.
pub(crate) struct RegistryGuard(());

impl RegistryGuard {
    /// Makes the class and asks for a major number.
    ///
    /// # Safety
    ///
    /// To be called once each time the module is loaded, before the driver is registered. The
    /// returned value must be dropped after the driver was unregistered.
    ///
    /// # Errors
    ///
    /// Those of [`Region::new`] and [`Class::new`].
    pub(crate) unsafe fn new() -> Result<Self> {
        // SAFETY: The first use of the lock, and the only call, by the requirements above.
        unsafe { REGISTRY.init() };

        let registry = Registry {
            region: Region::new(NAME, MINORS)?,
            class: Class::new(NAME)?,
            devices: KVec::new(),
            first_device_node: None,
        };
        pr_info!(
            "character devices have major {}, ioctls {}\n",
            registry.region.major(),
            Commands
        );
        *REGISTRY.lock() = Some(registry);
        Ok(Self(()))
    }
}

impl Drop for RegistryGuard {
    fn drop(&mut self) {
        *REGISTRY.lock() = None;
    }
}

/// What a new device needs to make its node.
pub(crate) struct NodeReservation {
    /// The class to make the node in.
    pub(crate) class: Arc<Class>,
    /// The node's minor, which is the device's number and one.
    pub(crate) minor: Minor,
    /// The device's number, the lowest that was free: the `N` of `/dev/my_rngN`.
    pub(crate) number: u32,
}

/// Finds a reservation for a new device.
///
/// # Errors
///
/// [`ENOSPC`] when there are as many devices as can be, [`ENOMEM`].
pub(crate) fn reserve() -> Result<NodeReservation> {
    let guard = REGISTRY.lock();
    let registry = guard.as_ref().ok_or(ENODEV)?;
    let minor = registry.region.reserve(LOWEST_DEVICE_MINOR)?;

    Ok(NodeReservation {
        class: registry.class.clone(),
        number: minor.number() - LOWEST_DEVICE_MINOR,
        minor,
    })
}

/// Enters a device, whose node programs can already open, until the [`RegistryEntry`] is dropped.
///
/// # Errors
///
/// Those of making `/dev/my_rng_driver`.
pub(crate) fn register(number: u32, device: Arc<SharedDevice>) -> Result<RegistryEntry> {
    // Dropped in case of an error, which undoes what `add` has done.
    let entry = RegistryEntry { number };
    REGISTRY
        .lock()
        .as_mut()
        .ok_or(ENODEV)?
        .add(number, device)?;
    Ok(entry)
}

/// Returns the device with the lowest number.
pub(crate) fn first() -> Option<Arc<SharedDevice>> {
    REGISTRY
        .lock()
        .as_ref()?
        .first()
        .map(|(_, device)| device.clone())
}

/// Stops the device's transfers for good: the machine is about to start another kernel.
pub(crate) fn shutdown(pdev: *const kernel::bindings::pci_dev) {
    if let Some(registry) = REGISTRY.lock().as_ref() {
        for (_, device) in &registry.devices {
            // A device that has gone needs no stopping.
            let _ = device.access(|device| {
                if device.is(pdev) {
                    device.shutdown();
                }
                Ok(())
            });
        }
    }
}

/// A device's entry. Dropping it removes the device from the registry.
pub(crate) struct RegistryEntry {
    number: u32,
}

impl Drop for RegistryEntry {
    fn drop(&mut self) {
        if let Some(registry) = REGISTRY.lock().as_mut() {
            registry.remove(self.number);
        }
    }
}
