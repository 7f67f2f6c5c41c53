// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine is made of.

use std::path::PathBuf;
use std::time::Duration;

use super::boot_watch::PATIENCE;
use super::{Accel, Disk, Network, Personality};

/// What a machine is made of.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// KVM or TCG; `None` takes the best that works.
    pub(crate) accel: Option<Accel>,
    /// Number of virtual processors.
    pub(crate) smp: u32,
    /// Memory in MiB.
    pub(crate) memory: u32,
    /// Number of random-number devices.
    pub(crate) rng: u32,
    /// What those are to the machine. With [`Personality::Virtio`], Linux's own driver is loaded.
    pub(crate) personality: Personality,
    /// The generator of their seedable streams at power-on, if it is not glibc's.
    pub(crate) generator: Option<&'static str>,
    /// Whether those devices sit behind ports that they can be unplugged from. They then have MSI in place of MSI-X: QEMU 11.1
    /// aborts when a vfio-user device with MSI-X is unplugged.
    pub(crate) hotplug: bool,
    /// Whether processors and memory are those of two NUMA nodes, half each.
    pub(crate) numa: bool,
    /// Whether devices sit behind an IOMMU that lets them reach only what a driver has mapped.
    pub(crate) iommu: bool,
    /// Disks, in the order in which the machine finds them; with `hotplug`, those that are devices can be unplugged.
    pub(crate) disks: Vec<Disk>,
    /// The network card, if it has one.
    pub(crate) network: Option<Network>,
    /// Files of the host, and where they go in the machine.
    pub(crate) files: Vec<(PathBuf, PathBuf)>,
    /// Debian's packages that the machine has, unpacked, with what they depend on.
    pub(crate) packages: Vec<String>,
    /// Whether this project's modules are loaded at start; the machine has them in any case.
    pub(crate) load_modules: bool,
    /// More modules that the machine has, not loaded.
    pub(crate) more_modules: Vec<PathBuf>,
    /// Whether the machine's detectors are asked for leaks when the command has ended: on the checked kernel.
    pub(crate) final_check: bool,
    /// Words for the kernel's command line.
    pub(crate) append: Vec<String>,
    /// Arguments for QEMU.
    pub(crate) qemu_args: Vec<String>,
    /// Arguments for the device process.
    pub(crate) device_args: Vec<String>,
    /// Time after which the machine is stopped.
    pub(crate) timeout: Option<Duration>,
    /// How long the console of a Linux that boots may be silent before the machine is started again, once.
    pub(crate) boot_patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            accel: None,
            smp: 1,
            memory: 512,
            rng: 1,
            personality: Personality::default(),
            generator: None,
            hotplug: false,
            numa: false,
            iommu: false,
            disks: Vec::new(),
            network: None,
            files: Vec::new(),
            packages: Vec::new(),
            load_modules: true,
            more_modules: Vec::new(),
            final_check: false,
            append: Vec::new(),
            qemu_args: Vec::new(),
            device_args: Vec::new(),
            timeout: None,
            boot_patience: PATIENCE,
        }
    }
}

impl Config {
    /// What the device process is told besides its sockets.
    pub(super) fn device_arguments(&self) -> Vec<&str> {
        let interrupts: &[_] = match (self.hotplug, self.personality) {
            (false, _) => &[],
            (true, Personality::Native) => &["--interrupts", "msi"],
            (true, Personality::Virtio) => &["--interrupts", "intx"],
        };
        let generator = self.generator.map(|name| ["--generator", name]);
        let generator = generator.as_ref().map_or(&[][..], |arguments| arguments);
        let more: Vec<&str> = self.device_args.iter().map(String::as_str).collect();
        [self.personality.arguments(), interrupts, generator, &more].concat()
    }
}
