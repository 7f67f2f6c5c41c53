// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI devices and their drivers, through sysfs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;

/// A PCI device that was taken from its driver; it is given back in the end.
#[derive(Debug)]
pub(crate) struct Unbound {
    address: String,
    device: PathBuf,
    driver: PathBuf,
}

impl Unbound {
    /// Takes the device behind `class_device` (such as `/sys/class/my_rng/my_rng1`) from its driver, and lets it decode its
    /// memory addresses.
    pub(crate) fn take(class_device: &Path) -> Result<Self, Failure> {
        let missing = |error| format!("{}: {error}", class_device.display());
        let device = fs::canonicalize(class_device.join("device")).map_err(missing)?;
        let driver = fs::canonicalize(device.join("driver")).map_err(missing)?;
        let address = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        write(&driver.join("unbind"), &address)?;
        let taken = Self { address, device, driver };
        write(&taken.device.join("enable"), "1")?;
        Ok(taken)
    }

    /// The file with the device's memory region number `index`.
    pub(crate) fn resource(&self, index: u8) -> PathBuf {
        self.device.join(format!("resource{index}"))
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let back = write(&self.device.join("enable"), "0")
            .and_then(|()| write(&self.driver.join("bind"), &self.address));
        if let Err(error) = back {
            eprintln!("the device {} was not given back to its driver: {error}", self.address);
        }
    }
}

/// Writes to a file of sysfs.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| format!("{text:?} to {}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A device with a driver, as sysfs shows them; what is written to a file stays in it.
    fn sysfs() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (device, driver, class) =
            (folder.path().join("0000:00:05.0"), folder.path().join("driver"), folder.path().join("my_rng1"));
        for made in [&device, &driver, &class] {
            fs::create_dir(made).unwrap();
        }
        symlink(&driver, device.join("driver")).unwrap();
        symlink(&device, class.join("device")).unwrap();
        (folder, class)
    }

    #[test]
    fn a_device_is_taken_and_given_back() {
        let (folder, class) = sysfs();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        let taken = Unbound::take(&class).unwrap();
        assert_eq!(
            (read("driver/unbind").as_str(), read("0000:00:05.0/enable").as_str()),
            ("0000:00:05.0", "1")
        );
        assert!(taken.resource(0).ends_with("0000:00:05.0/resource0"));
        assert_eq!(read("driver/bind"), "");
        drop(taken);
        assert_eq!(
            (read("driver/bind").as_str(), read("0000:00:05.0/enable").as_str()),
            ("0000:00:05.0", "0")
        );
    }

    #[test]
    fn a_missing_device_is_named() {
        let error = Unbound::take(Path::new("/sys/class/my_rng/my_rng99")).unwrap_err();
        assert!(error.to_string().starts_with("/sys/class/my_rng/my_rng99: "), "{error}");
    }
}
