// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images for the disks of a test's machine, and disks whose medium has bad sectors.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use crate::machine::Disk;

/// Bytes of each image.
pub(super) const SIZE: u64 = 16 << 20;
/// The sector (of 512 bytes) of a bad disk that cannot be read …
pub(super) const BAD_READ: u64 = 2048;
/// … and the one that cannot be written.
pub(super) const BAD_WRITE: u64 = 4096;

/// Images full of zeros, in a folder that goes with them.
pub(super) struct Images {
    folder: tempfile::TempDir,
    count: usize,
}

impl Images {
    pub(super) fn new(count: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let images = Self { folder, count };
        for path in images.paths() {
            File::create(&path)
                .and_then(|file| file.set_len(SIZE))
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(images)
    }

    pub(super) fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("{number}.img"))
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.count).map(|number| self.path(number))
    }

    /// The disk of a driver (as `--disk` has it) with this image.
    pub(super) fn disk(&self, driver: &str, number: usize) -> anyhow::Result<Disk> {
        format!("{driver}={}", self.path(number).display()).parse().map_err(|error: String| anyhow!(error))
    }

    /// The first images' disks, one of each driver.
    pub(super) fn disks(&self, drivers: &[&str]) -> anyhow::Result<Vec<Disk>> {
        drivers.iter().enumerate().map(|(number, driver)| self.disk(driver, number)).collect()
    }

    /// QEMU's arguments for a bad disk of each device, with the images in order.
    pub(super) fn bad_disks<const N: usize>(&self, devices: [&str; N]) -> Vec<String> {
        let arguments = self.paths().zip(devices).enumerate().flat_map(|(number, (path, device))| {
            let drive = format!(
                "if=none,id=bad{number},driver=blkdebug,image.driver=raw,image.file.driver=file,image.file.filename={},\
                 inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.sector={BAD_READ},\
                 inject-error.1.event=none,inject-error.1.iotype=write,inject-error.1.sector={BAD_WRITE}",
                path.display()
            );
            ["-drive".to_owned(), drive, "-device".to_owned(), format!("{device},drive=bad{number}")]
        });
        arguments.collect()
    }
}
