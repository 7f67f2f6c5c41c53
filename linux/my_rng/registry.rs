// SPDX-License-Identifier: GPL-2.0

//! Which devices there are, and which of them is the first.
//!
//! Programs that know of one device only open `/dev/my_rng_driver`. It is a node of its own, there
//! while there is any device; the device that it means is looked up at each `open(2)`: the one with
//! the lowest number. When that one goes, the next lowest takes over by itself, for files opened
//! from then on. Files that are open stay with the device that they were opened for.

use crate::{
    abi::ioctl::{
        CLASS_NAME,
        FIRST_DEVICE_NAME, //
    },
    chardev::{
        Class,
        Minor,
        Options,
        Region,
        Registration,
        ReleaseBarrier, //
    },
    device::SharedDevice,
    files::{
        Files,
        Node,
        NODE_MODE, //
    },
    hwrng::Hwrng,
    ioctl::Commands,
    vmfork, //
};
use kernel::{
    bindings,
    id_pool::IdPool,
    prelude::*,
    sync::Arc, //
};

/// The name in `/proc/devices` and `/sys/class`.
const NAME: &CStr = c"my_rng";

/// The minor of `/dev/my_rng_driver`. `/dev/my_rngN` has the minor `N + 1`, unless a file of a
/// device that has gone still has it.
const FIRST_DEVICE_MINOR: u32 = 0;
const LOWEST_DEVICE_MINOR: u32 = 1;

/// How many minors we ask for: as many devices as one PCI segment has functions, and the node for
/// the first.
const MINORS: u32 = 0x1_0000 + LOWEST_DEVICE_MINOR;

kernel::sync::global_lock! {
    // SAFETY: Initialised by `RegistryGuard::new`, before the driver is registered, which brings
    // all the other users.
    unsafe(uninit) static REGISTRY: Mutex<Option<Registry>> = None;
}

/// All that the devices share. `None` in [`REGISTRY`] before the module is up and after it is down.
struct Registry {
    region: Arc<Region>,
    class: Arc<Class>,
    /// Which `N` of `/dev/my_rngN` are taken. Not the minors: a minor stays taken while a file of a
    /// device that has gone is open, and a device that comes back gets its old name.
    numbers: IdPool,
    /// In no particular order: there are few, and they come and go.
    devices: KVec<Bound>,
    /// `/dev/my_rng_driver`, there if `devices` is not empty.
    first_device_node: Option<Registration<Node>>,
}

/// A device that is bound.
struct Bound {
    number: u32,
    device: Arc<SharedDevice>,
    hwrng: Option<Arc<Hwrng>>,
}

impl Registry {
    fn reserve_number(&mut self) -> Result<u32> {
        loop {
            if let Some(free) = self.numbers.find_unused_id(0) {
                let number = free.as_u32();
                free.acquire();
                return Ok(number);
            }
            let larger = self.numbers.grow_request().ok_or(ENOSPC)?;
            self.numbers.grow(larger.realloc(GFP_KERNEL)?);
        }
    }

    fn first(&self) -> Option<&Bound> {
        self.devices.iter().min_by_key(|bound| bound.number)
    }

    fn first_number(&self) -> Option<u32> {
        self.first().map(|bound| bound.number)
    }

    fn add(&mut self, bound: Bound) -> Result {
        let before = self.first_number();

        if self.first_device_node.is_none() {
            let minor = self.region.reserve(FIRST_DEVICE_MINOR)?;
            let options = Options {
                mode: NODE_MODE,
                ..Options::DEFAULT
            };
            let data = Ok(Node::First);
            // SAFETY: Goes into the registry, which the module drops.
            let node = unsafe {
                Registration::new::<Files>(
                    &self.class,
                    minor,
                    fmt!("{FIRST_DEVICE_NAME}"),
                    options,
                    data,
                )
            }?;
            self.first_device_node = Some(node);
        }

        let pushed = self.devices.push(bound, GFP_KERNEL);
        self.first_may_have_changed(before);
        pushed.map_err(Into::into)
    }

    fn remove(&mut self, number: u32) {
        let before = self.first_number();
        self.devices.retain(|bound| bound.number != number);
        self.first_may_have_changed(before);
    }

    /// Removes `/dev/my_rng_driver` with the last device, and logs which device it means.
    fn first_may_have_changed(&mut self, before: Option<u32>) {
        match self.first_number() {
            None => self.first_device_node = None,
            Some(number) if before != Some(number) => {
                if let Some(node) = &self.first_device_node {
                    dev_info!(
                        node.device().as_ref(),
                        "/dev/{FIRST_DEVICE_NAME} is {}:{} and means /dev/{}{number}\n",
                        node.device().minor().major(),
                        node.device().minor().number(),
                        CLASS_NAME
                    );
                }
            }
            Some(_) => (),
        }
    }
}

/// Keeps the registry: held by the loaded module.
pub(crate) struct RegistryGuard {
    vmfork: Option<vmfork::Notifier>,
    /// Dropped after the registry.
    _barrier: ReleaseBarrier,
}

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
            // SAFETY: Goes into the registry; each node that keeps it is dropped before.
            class: unsafe { Class::new(NAME) }?,
            numbers: IdPool::new(),
            devices: KVec::new(),
            first_device_node: None,
        };
        pr_info!(
            "character devices have major {}, ioctls {}\n",
            registry.region.major(),
            Commands
        );
        *REGISTRY.lock() = Some(registry);
        // From here on dropping it takes the registry down.
        let mut guard = Self {
            vmfork: None,
            _barrier: ReleaseBarrier::new(),
        };
        // SAFETY: Dropped with the guard, by the requirements of this function.
        guard.vmfork = Some(unsafe { vmfork::Notifier::new() }?);
        Ok(guard)
    }
}

impl Drop for RegistryGuard {
    fn drop(&mut self) {
        self.vmfork = None;
        *REGISTRY.lock() = None;
    }
}

/// What a new device needs to make its node.
pub(crate) struct NodeReservation {
    /// The class to make the node in.
    pub(crate) class: Arc<Class>,
    /// The node's minor.
    pub(crate) minor: Minor,
    /// The device's number.
    pub(crate) number: DeviceNumber,
}

/// The lowest number that was free: the `N` of `/dev/my_rngN`. Given back when dropped.
pub(crate) struct DeviceNumber(u32);

impl DeviceNumber {
    /// Returns the number.
    pub(crate) fn get(&self) -> u32 {
        self.0
    }
}

impl Drop for DeviceNumber {
    fn drop(&mut self) {
        if let Some(registry) = REGISTRY.lock().as_mut() {
            // CAST: Lossless, `usize` has at least 32 bits.
            registry.numbers.release_id(self.0 as usize);
        }
    }
}

/// Finds a reservation for a new device.
///
/// # Errors
///
/// [`ENOSPC`] when there are as many devices as can be, [`ENOMEM`].
pub(crate) fn reserve() -> Result<NodeReservation> {
    let mut guard = REGISTRY.lock();
    let registry = guard.as_mut().ok_or(ENODEV)?;
    let minor = registry.region.reserve(LOWEST_DEVICE_MINOR)?;

    Ok(NodeReservation {
        class: registry.class.clone(),
        number: DeviceNumber(registry.reserve_number()?),
        minor,
    })
}

/// Enters a device, whose node programs can already open, until the [`RegistryEntry`] is dropped.
///
/// # Errors
///
/// Those of making `/dev/my_rng_driver`.
pub(crate) fn register(
    number: u32,
    device: Arc<SharedDevice>,
    hwrng: Option<Arc<Hwrng>>,
) -> Result<RegistryEntry> {
    // Dropped in case of an error, which undoes what `add` has done.
    let entry = RegistryEntry { number };
    REGISTRY.lock().as_mut().ok_or(ENODEV)?.add(Bound {
        number,
        device,
        hwrng,
    })?;
    Ok(entry)
}

/// Returns the device with the lowest number.
pub(crate) fn first() -> Option<Arc<SharedDevice>> {
    REGISTRY
        .lock()
        .as_ref()?
        .first()
        .map(|bound| bound.device.clone())
}

/// What is bound to a PCI device.
pub(crate) struct Found {
    pub(crate) device: Arc<SharedDevice>,
    /// `None` if the device has no entropy to give.
    pub(crate) hwrng: Option<Arc<Hwrng>>,
}

/// Finds what is bound to a PCI device; `None` if it is not entered (any more).
pub(crate) fn find(pdev: *const bindings::pci_dev) -> Option<Found> {
    let guard = REGISTRY.lock();
    let is_it = |bound: &&Bound| {
        let is_it = bound.device.access(|device| Ok(device.is(pdev)));
        is_it == Ok(true)
    };
    let bound = guard.as_ref()?.devices.iter().find(is_it)?;
    Some(Found {
        device: bound.device.clone(),
        hwrng: bound.hwrng.clone(),
    })
}

/// Drops the entropy that is in memory, as a clone of the machine has it, too.
pub(crate) fn drop_entropy() {
    if let Some(registry) = REGISTRY.lock().as_ref() {
        for bound in &registry.devices {
            if let Err(error) = bound.device.access(|device| device.drop_entropy()) {
                pr_warn!(
                    "{CLASS_NAME}{}: a queue could not be restarted after cloning: {error:?}\n",
                    bound.number
                );
            }
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
