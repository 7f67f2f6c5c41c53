// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exo-Kernel's drivers: what a driver is, how it finds its device, and the drivers themselves, a folder each.
//!
//! Everything here is safe code over `exo-platform`, and is tested on the host with fake devices. To add a driver, add a folder and
//! one line to [`DRIVERS`]; docs/write-a-driver.md shows how.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod ahci;
pub mod block;
pub mod bus;
pub mod character;
pub mod manager;
pub mod my_rng;
pub mod network;
pub mod nvme;
pub mod pcie_port;
pub mod random;
pub mod serial;
pub mod virtio;
pub mod virtio_blk;
pub mod virtio_net;
pub mod virtio_rng;

use core::{fmt, ops::RangeInclusive};

use alloc::{sync::Arc, vec::Vec};

use block::{DeviceName, Requests};
use bus::{DriverInfo, Found};
use character::CharDevice;
use network::NetworkDevice;
use random::RandomDevice;

/// All drivers, in the order in which a device is offered to those that match it.
#[rustfmt::skip]
pub static DRIVERS: &[&DriverInfo] = &[
    &ahci::AHCI,
    &nvme::NVME,
    &virtio_blk::VIRTIO_BLK,
    &my_rng::MY_RNG,
    &serial::SERIAL,
    &pcie_port::PCIE_PORT,
    &virtio_net::VIRTIO_NET,
    &virtio_rng::VIRTIO_RNG,
];

/// What kind of thing a driver drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverType {
    /// Disks: sectors that are read and written.
    Block,
    /// Streams of bytes.
    Character,
    /// Frames to and from other machines.
    Network,
    /// Random data.
    Random,
    /// Other devices: bridges, controllers.
    Bus,
}

impl fmt::Display for DriverType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "block",
            Self::Character => "character",
            Self::Network => "network",
            Self::Random => "random",
            Self::Bus => "bus",
        })
    }
}

/// Why a driver cannot do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverError {
    /// Looked at closely, the device is none of this driver's: the next driver may have it.
    Declined(&'static str),
    /// The device does not do what its specification says.
    Device(&'static str),
    /// The device did not get ready in time; what was waited for.
    TimedOut(&'static str),
    /// The device is not there any more.
    Removed,
    /// The PCI function cannot be used.
    Pci(exo_platform::pci::PciError),
    /// Memory ran out.
    NoMemory,
    /// No driver has this id.
    NotFound,
    /// A driver of this name is registered already.
    Exists,
    /// What it depends on is missing or does not run.
    Dependency(&'static str),
    /// Drivers depend on each other in a circle.
    Circle,
    /// Others that run depend on it.
    InUse,
    /// The driver does not run.
    NotReady,
}

impl From<exo_platform::NoMemory> for DriverError {
    fn from(_: exo_platform::NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<exo_platform::pci::PciError> for DriverError {
    fn from(error: exo_platform::pci::PciError) -> Self {
        Self::Pci(error)
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declined(why) => write!(f, "not for this driver: {why}"),
            Self::Device(what) => write!(f, "the device is broken: {what}"),
            Self::TimedOut(what) => write!(f, "the device did not answer in time: {what}"),
            Self::Removed => f.write_str("the device was removed"),
            Self::Pci(error) => write!(f, "the PCI function: {error}"),
            Self::NoMemory => f.write_str("no memory"),
            Self::NotFound => f.write_str("no such driver"),
            Self::Exists => f.write_str("a driver of this name is registered already"),
            Self::Dependency(name) => write!(f, "needs {name}, which does not run"),
            Self::Circle => f.write_str("drivers depend on each other in a circle"),
            Self::InUse => f.write_str("other drivers that run need it"),
            Self::NotReady => f.write_str("the driver does not run"),
        }
    }
}

impl core::error::Error for DriverError {}

/// What a driver gives to the rest of the kernel: devices of the classes that programs know.
#[derive(Clone)]
pub enum Device {
    /// A disk.
    Block(Arc<dyn Requests>),
    /// A source of random bytes.
    Random(Arc<dyn RandomDevice>),
    /// A stream of bytes.
    Character(Arc<dyn CharDevice>),
    /// Frames to and from other machines.
    Network(Arc<dyn NetworkDevice>),
}

impl Device {
    /// The device's name.
    pub fn name(&self) -> DeviceName {
        match self {
            Self::Block(device) => device.name(),
            Self::Random(device) => block::device_name(format_args!("{}", device.name())),
            Self::Character(device) => block::device_name(format_args!("{}", device.name())),
            Self::Network(device) => block::device_name(format_args!("{}", device.name())),
        }
    }

    /// The device, if it is a disk.
    pub fn into_block(self) -> Option<Arc<dyn Requests>> {
        if let Self::Block(device) = self { Some(device) } else { None }
    }

    /// Whether this is the same device as `other`.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Block(a), Self::Block(b)) => Arc::ptr_eq(a, b),
            (Self::Random(a), Self::Random(b)) => Arc::ptr_eq(a, b),
            (Self::Character(a), Self::Character(b)) => Arc::ptr_eq(a, b),
            (Self::Network(a), Self::Network(b)) => Arc::ptr_eq(a, b),
            (Self::Block(_) | Self::Random(_) | Self::Character(_) | Self::Network(_), _) => false,
        }
    }
}

/// A driver of one device (a controller, say, with several disks). It is made by its [`DriverInfo::probe`], started and stopped by
/// the manager, and then used through the [`Device`]s that it offers.
pub trait Driver: Send + Sync {
    /// What kind of thing it drives.
    fn driver_type(&self) -> DriverType;

    /// Its name, unique among the registered drivers: the kind's and a number or an address, such as `ahci-0000:00:1f.2`.
    fn name(&self) -> &str;

    /// Starts the device. Called once, before anything else is asked for.
    ///
    /// # Errors
    /// The device stays stopped.
    fn init(&self) -> Result<(), DriverError>;

    /// Stops the device: no DMA and no interrupt comes after this, and every request has been completed.
    ///
    /// # Errors
    /// What could not be stopped in an orderly way. It is stopped nevertheless.
    fn shutdown(&self) -> Result<(), DriverError>;

    /// Whether it was started and its device still answers.
    fn is_ready(&self) -> bool;

    /// Names of drivers that must run before this one is started.
    fn depends_on(&self) -> &[&'static str] {
        &[]
    }

    /// What it offers now. Disks may come and go while the driver runs; the manager asks again a few times a second.
    fn devices(&self) -> Vec<Device> {
        Vec::new()
    }

    /// Called a few times a second while the driver runs, with the time since boot: the place to look for time-outs and for devices that
    /// came or went. Block devices' [`check_timeouts`](Requests::check_timeouts) is called apart from this.
    fn tick(&self, _now_ns: u64) {}

    /// The device was pulled out: whatever is under way ends with an error now. No register may be trusted. Calls of `shutdown`
    /// follow.
    fn removed(&self) {}

    /// The buses behind this driver's slot, if somebody has asked since the last call for what is in it. The manager asks after each
    /// [`tick`](Driver::tick), stops the drivers of all devices on those buses, and calls [`release`](Driver::release).
    fn wanted_out(&self) -> Option<Buses> {
        None
    }

    /// The drivers behind this one's slot are stopped, and no device there uses memory any more: they may go.
    fn release(&self) {}
}

/// Buses that follow each other in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buses {
    /// The segment.
    pub segment: u16,
    /// The numbers of the buses.
    pub numbers: RangeInclusive<u8>,
}

impl Buses {
    /// Whether a device is on one of them.
    pub fn contain(&self, found: &Found) -> bool {
        let Found::Pci(function) = found else { return false };
        let address = function.address();
        address.segment == self.segment && self.numbers.contains(&address.bus)
    }
}
