// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows: what is measured, how, and under which names the figures are reported.

use std::path::Path;

use crate::Failure;
use crate::arguments::Arguments;
use crate::hwrng::Hwrng;
use crate::measure::Sample;
use crate::pci::Unbound;
use crate::sources::{
    File, GetRandom, Mapped, MemoryFile, NullIoctl, OwnChaCha20, Rand32, Rand64, Registers, VdsoGetRandom,
    Ways,
};

/// Where the devices with a driver are.
const CLASS: &str = "/sys/class/my_rng";

/// A row that a machine may or may not be able to give.
pub(crate) struct Row {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// The figures that it gives.
    pub(crate) views: &'static [View],
    /// Sets the source up, as far as all threads share it; an error says what the machine lacks.
    make: fn(&Arguments) -> Result<Box<dyn Ways>, Failure>,
}

/// A figure of a sample, with its name in the report.
pub(crate) struct View {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: fn(&Sample) -> f64,
}

const fn bytes(name: &'static str) -> View {
    View { name, unit: "B/s", value: Sample::bytes_per_second }
}

const fn time(name: &'static str) -> View {
    View { name, unit: "ns", value: Sample::nanoseconds }
}

/// Every row, in the order in which they are measured.
pub(crate) const ALL: &[Row] = &[
    Row {
        name: "rng.ioctl_rand32",
        views: &[bytes("rng.ioctl_rand32")],
        make: |arguments| Ok(Box::new(Rand32(arguments.device.clone()))),
    },
    Row {
        name: "rng.ioctl_rand64",
        views: &[bytes("rng.ioctl_rand64"), time("rng.ioctl_rand64_ns")],
        make: |arguments| Ok(Box::new(Rand64(arguments.device.clone()))),
    },
    Row {
        name: "rng.read",
        views: &[bytes("rng.read")],
        make: |arguments| Ok(Box::new(File::new(&arguments.device))),
    },
    Row {
        name: "rng.mmap",
        views: &[bytes("rng.mmap")],
        make: |arguments| Ok(Box::new(Mapped(arguments.device.clone()))),
    },
    Row {
        name: "rng.mmio_rand32",
        views: &[bytes("rng.mmio_rand32")],
        make: |arguments| {
            Ok(Box::new(Registers(Unbound::take(&Path::new(CLASS).join(&arguments.mmio_device))?)))
        },
    },
    Row {
        name: "rng.hwrng_virtio",
        views: &[bytes("rng.hwrng_virtio")],
        make: |arguments| hwrng(arguments.own_virtio_rng.as_deref()),
    },
    Row {
        name: "peer.hwrng_virtio",
        views: &[bytes("peer.hwrng_virtio")],
        make: |arguments| hwrng(arguments.virtio_rng.as_deref()),
    },
    Row {
        name: "peer.vhost_user_rng",
        views: &[bytes("peer.vhost_user_rng")],
        make: |arguments| hwrng(arguments.vhost_user_rng.as_deref()),
    },
    Row { name: "peer.getrandom", views: &[bytes("peer.getrandom")], make: |_| Ok(Box::new(GetRandom)) },
    Row {
        name: "peer.vdso_getrandom",
        views: &[bytes("peer.vdso_getrandom")],
        make: |_| Ok(Box::new(VdsoGetRandom)),
    },
    Row {
        name: "peer.own_chacha20",
        views: &[bytes("peer.own_chacha20")],
        make: |_| Ok(Box::new(OwnChaCha20)),
    },
    Row {
        name: "peer.dev_zero_read",
        views: &[bytes("peer.dev_zero_read")],
        make: |_| Ok(Box::new(File::new("/dev/zero"))),
    },
    Row {
        name: "peer.memory_file_read",
        views: &[bytes("peer.memory_file_read")],
        make: |_| Ok(Box::new(MemoryFile)),
    },
    Row { name: "peer.null_ioctl", views: &[time("peer.null_ioctl_ns")], make: |_| Ok(Box::new(NullIoctl)) },
];

fn hwrng(address: Option<&str>) -> Result<Box<dyn Ways>, Failure> {
    let address = address.ok_or("no option says at which PCI address it is")?;
    Ok(Box::new(File::hwrng(Hwrng::of_virtio(address)?)))
}

impl Row {
    /// The row's source, if this machine has it: its first numbers have come.
    pub(crate) fn source(&self, arguments: &Arguments) -> Result<Box<dyn Ways>, Failure> {
        let source = (self.make)(arguments)?;
        source.select()?;
        source.open()?.step()?;
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_row_that_the_machine_lacks_says_why() {
        let arguments = Arguments::parse_from(["rng-bench", "--mmio-device", "my_rng_not_there"]);
        let why = |name: &str| {
            let row = ALL.iter().find(|row| row.name == name).unwrap();
            row.source(&arguments).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(why("rng.mmio_rand32").starts_with("/sys/class/my_rng/my_rng_not_there: "));
        assert_eq!(why("peer.hwrng_virtio"), "no option says at which PCI address it is");
        assert_eq!(why("peer.getrandom"), "");
    }

    #[test]
    fn every_figure_has_its_own_name() {
        let names: Vec<_> = ALL.iter().flat_map(|row| row.views).map(|view| view.name).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), unique.len());
    }
}
