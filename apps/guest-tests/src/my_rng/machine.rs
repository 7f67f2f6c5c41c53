// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine as these tests need it: the devices on its PCI bus, their nodes, and the module.

use std::ffi::CStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use my_rng_abi::ioctl::CLASS_NAME;
use my_rng_abi::registers::{DEVICE_ID, VENDOR_ID};
use my_rng_client::Device;
use rustix::io::Errno;

use crate::harness::{Options, Stop, fail, is_exo_kernel, modules, skip, slowness};

const PCI_DEVICES: &str = "/sys/bus/pci/devices";
/// The driver's folder in sysfs.
pub(super) const DRIVER: &str = "/sys/bus/pci/drivers/my_rng";
const MODULE: &str = "my_rng";

/// How long what should happen at once may take on a busy machine with the stock kernel.
const SOON: Duration = Duration::from_secs(5);

/// A device on the PCI bus.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PciDevice {
    /// As `0000:00:03.0`.
    pub(super) address: String,
}

/// All devices of our kind, by address.
pub(super) fn devices() -> Result<Vec<PciDevice>, Stop> {
    if is_exo_kernel() {
        return nodes_of_exo_kernel();
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(PCI_DEVICES)? {
        let entry = entry?;
        let identity = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        if identity("vendor").trim() == format!("{VENDOR_ID:#06x}")
            && identity("device").trim() == format!("{DEVICE_ID:#06x}")
        {
            found.push(PciDevice { address: entry.file_name().to_string_lossy().into_owned() });
        }
    }
    found.sort();
    Ok(found)
}

/// Exo-Kernel shows no PCI bus: there a device is called as its node.
fn nodes_of_exo_kernel() -> Result<Vec<PciDevice>, Stop> {
    let names = fs::read_dir("/dev")?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let names = names.filter(|name| name.strip_prefix(CLASS_NAME).is_some_and(is_number));
    let mut found: Vec<_> = names.map(|address| PciDevice { address }).collect();
    found.sort();
    Ok(found)
}

/// The first device. [`super::prepare`] has seen to it that there is one.
pub(super) fn first_device() -> Result<PciDevice, Stop> {
    devices()?.into_iter().next().map_or_else(|| fail("the device has gone"), Ok)
}

impl PciDevice {
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(PCI_DEVICES).join(&self.address)
    }

    /// Whether our driver has it.
    pub(super) fn is_bound(&self) -> bool {
        fs::exists(format!("{DRIVER}/{}", self.address)).unwrap_or(false)
    }

    pub(super) fn bind(&self) -> Result<(), Stop> {
        self.tell("bind")
    }

    pub(super) fn unbind(&self) -> Result<(), Stop> {
        self.tell("unbind")
    }

    /// From now on, only the driver of this name gets the device; every one that knows it, if the name is empty.
    pub(super) fn reserve_for(&self, driver: &str) -> Result<(), Stop> {
        fs::write(self.path().join("driver_override"), format!("{driver}\n"))
            .or_else(|error| fail(format!("cannot reserve {self}: {error}")))
    }

    fn tell(&self, what: &str) -> Result<(), Stop> {
        if is_exo_kernel() {
            return skip("this kernel's drivers let go of a device when it goes");
        }
        fs::write(format!("{DRIVER}/{what}"), &self.address)
            .or_else(|error| fail(format!("cannot {what} {self}: {error}")))
    }

    /// The name of its node, as `my_rng0`.
    pub(super) fn node_name(&self) -> Result<String, Stop> {
        if is_exo_kernel() {
            return Ok(self.address.clone());
        }
        let folder = self.path().join(CLASS_NAME);
        let mut entries = fs::read_dir(&folder)
            .or_else(|error| fail(format!("{self} has no node: {}: {error}", folder.display())))?;
        let entry = entries.next().map_or_else(|| fail(format!("{} is empty", folder.display())), Ok)?;
        Ok(entry?.file_name().to_string_lossy().into_owned())
    }

    /// The path of its node, as `/dev/my_rng0`.
    pub(super) fn node(&self) -> Result<PathBuf, Stop> {
        Ok(PathBuf::from("/dev").join(self.node_name()?))
    }

    /// The number in one of its attributes.
    pub(super) fn figure(&self, attribute: &str) -> Result<u64, Stop> {
        let text = self.text(attribute)?;
        text.parse().or_else(|error| fail(format!("{attribute} reads {text:?}: {error}")))
    }

    /// The text of one of its attributes.
    pub(super) fn text(&self, attribute: &str) -> Result<String, Stop> {
        let class = if is_exo_kernel() { "/sys/class".into() } else { self.path() };
        let path = class.join(CLASS_NAME).join(self.node_name()?).join(attribute);
        match fs::read_to_string(path) {
            Err(error) if is_exo_kernel() && error.kind() == io::ErrorKind::NotFound => {
                skip(format!("this kernel's devices have no attribute {attribute}"))
            }
            text => Ok(text?.trim_end().to_owned()),
        }
    }

    /// Opens its node.
    pub(super) fn open(&self) -> Result<Device, Stop> {
        Ok(Device::open(self.node()?)?)
    }
}

impl fmt::Display for PciDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// Where the module's file is.
pub(super) fn module_file(options: &Options) -> PathBuf {
    modules::file_of(&options.modules, MODULE)
}

pub(super) fn is_loaded() -> bool {
    modules::is_loaded(MODULE)
}

pub(super) fn load(options: &Options) -> Result<(), Stop> {
    modules::load(&options.modules, MODULE)
}

/// Which queues the module gives a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queues {
    /// Those that it gives by itself.
    Usual,
    /// As few and small as they can be.
    Small,
    /// None: programs get their numbers out of registers.
    None,
}

impl Queues {
    /// The parameters that bring them.
    pub(super) fn parameters(self) -> &'static CStr {
        match self {
            Self::Usual => c"",
            Self::Small => c"depth=2 buffer_size=64 queues=1 mapped_queues=1",
            Self::None => c"use_queues=0",
        }
    }

    /// What the devices have now; `None` if none of them can be asked.
    fn now() -> Option<Self> {
        let device = devices().ok()?.into_iter().find(PciDevice::is_bound)?;
        Some(match (device.figure("queues").ok()?, device.figure("depth").ok()?) {
            (0, _) => Self::None,
            (_, 2) => Self::Small,
            _ => Self::Usual,
        })
    }

    /// Sees to it that the module is loaded with these.
    pub(super) fn load(self, options: &Options) -> Result<(), Stop> {
        if is_loaded() && Self::now() != Some(self) {
            unload()?;
        }
        if is_loaded() {
            return Ok(());
        }
        try_load(options, self.parameters())?
            .or_else(|errno| fail(format!("cannot load {MODULE} with {:?}: {errno}", self.parameters())))
    }
}

/// Loads the module with these parameters; the inner error is the kernel's.
pub(super) fn try_load(options: &Options, parameters: &CStr) -> Result<Result<(), Errno>, Stop> {
    modules::try_load(&options.modules, MODULE, parameters)
}

/// Unloads the module once; the error is the kernel's.
pub(super) fn try_unload() -> Result<(), Errno> {
    modules::try_unload(MODULE)
}

/// Unloads the module; who is just about to let go of it is waited for.
pub(super) fn unload() -> Result<(), Stop> {
    let mut last = None;
    let unloaded = soon(|| match try_unload() {
        Ok(()) => true,
        Err(errno) => {
            last = Some(errno);
            false
        }
    });
    if unloaded { Ok(()) } else { fail(format!("cannot unload {MODULE}: {last:?}")) }
}

/// Whether `happens` becomes true soon.
pub(super) fn soon(mut happens: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + SOON * slowness();
    loop {
        if happens() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Fails unless the device gives the classic numbers after a seed.
pub(super) fn expect_it_works(device: &Device) -> Result<(), Stop> {
    device.seed(1)?;
    let number = device.rand32()?;
    if number == 1_804_289_383 {
        return Ok(());
    }
    fail(format!(
        "{}: the first number after seed 1 is {number}, expected 1804289383",
        device.path().display()
    ))
}
