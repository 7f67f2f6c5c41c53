// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generators behind `/dev/hwrng`, of which the kernel uses one at a time (`Documentation/admin-guide/hw_random.rst`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::Failure;
use crate::pci::write;

const CLASS: &str = "/sys/class/misc/hw_random";
const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_rng";
const PCI_DEVICES: &str = "/sys/bus/pci/devices";

/// A generator that can be selected.
#[derive(Debug)]
pub(crate) struct Hwrng {
    name: String,
}

impl Hwrng {
    /// The generator that the virtio device at the PCI address `address` makes. All of them have names alike
    /// (`virtio_rng.0`, …), so this one is the name that appears when the device is bound to its driver. A device that is bound
    /// already stays so, since not every peer comes through being bound again: it is found if it is the only one.
    pub(crate) fn of_virtio(address: &str) -> Result<Self, Failure> {
        if !Path::new(DRIVER).is_dir() {
            return Err("the module virtio-rng is not loaded".into());
        }
        let device = virtio_device(&Path::new(PCI_DEVICES).join(address))?;
        let bound = Path::new(DRIVER).join(&device).exists();
        let before = if bound { BTreeSet::new() } else { available()? };
        if !bound {
            write(&Path::new(DRIVER).join("bind"), &device)?;
        }
        let after = available()?;
        match appeared(&before, &after) {
            Some(name) => Ok(Self { name }),
            None => {
                Err(format!("which of {after:?} is that of {device}? Bind it later, and it will show").into())
            }
        }
    }

    /// Makes `/dev/hwrng` read from this one.
    pub(crate) fn select(&self) -> Result<(), Failure> {
        let current = Path::new(CLASS).join("rng_current");
        write(&current, &self.name)?;
        match fs::read_to_string(current)?.trim() {
            selected if selected == self.name => Ok(()),
            other => Err(format!("{} was selected for /dev/hwrng, but {other} is", self.name).into()),
        }
    }
}

fn available() -> Result<BTreeSet<String>, Failure> {
    let path = Path::new(CLASS).join("rng_available");
    let names = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

/// The one generator of a virtio device that came to those that were there before.
fn appeared(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Option<String> {
    let mut new = after.difference(before).filter(|name| name.starts_with("virtio_rng."));
    new.next().filter(|_| new.next().is_none()).cloned()
}

/// The name of the virtio device on a PCI device, as `virtio3`.
fn virtio_device(pci_device: &Path) -> Result<String, Failure> {
    let entries = fs::read_dir(pci_device).map_err(|error| format!("{}: {error}", pci_device.display()))?;
    let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let found =
        names.find(|name| name.strip_prefix("virtio").is_some_and(|number| number.parse::<u32>().is_ok()));
    found.ok_or_else(|| {
        format!("{} is no virtio device with a driver for virtio-pci", pci_device.display()).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_name_is_the_one_that_was_not_there() {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let before = set(&["my_rng.0", "virtio_rng.1"]);
        let found = appeared(&before, &set(&["my_rng.0", "virtio_rng.0", "virtio_rng.1"]));
        assert_eq!(found.as_deref(), Some("virtio_rng.0"));
        assert_eq!(appeared(&before, &before), None);
        assert_eq!(appeared(&set(&[]), &before).as_deref(), Some("virtio_rng.1"));
        assert_eq!(appeared(&set(&[]), &set(&["virtio_rng.0", "virtio_rng.1"])), None);
    }

    #[test]
    fn the_virtio_device_is_found_among_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        fs::create_dir(path.join("virtio_something")).unwrap();
        assert!(virtio_device(&path).unwrap_err().to_string().contains("is no virtio device"));
        fs::create_dir(path.join("virtio12")).unwrap();
        assert_eq!(virtio_device(&path).unwrap(), "virtio12");
    }
}
