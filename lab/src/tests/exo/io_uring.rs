// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring: the same program on both kernels, on files and on disks, and rings that a program writes nonsense into.

use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};

use super::super::Lab;
use super::super::vm::shell;
use super::Both;
use super::programs::{PROCESSORS, alike, passes};
use crate::machine::{Config, Disk};

/// Bytes of a test's disk.
const SIZE: u64 = 16 << 20;
/// The drivers of disks, each with the device of QEMU's that has the drive `bad<number>`. virtio-blk makes one of neighbouring requests if
/// it may, and all of them fail with one.
const DRIVERS: [(&str, &str); 3] = [
    ("nvme", "nvme,serial=bad"),
    ("ahci", "ide-hd,bus=ide.0"),
    ("virtio", "virtio-blk-pci,request-merging=off"),
];
/// What Linux calls its first NVMe disk.
const LINUX_DISK: &str = "/dev/nvme0n1";

pub(super) fn io_uring_behaves_alike(both: &Both<'_>) -> anyhow::Result<()> {
    PROCESSORS.into_iter().try_for_each(|smp| {
        let line = "exec exo-tests uring".to_owned();
        alike(both, &[(line, "24 of 24 in order: true, counted as lost: 0\n")], smp, &[])
    })
}

pub(super) fn io_uring_survives_hostile_programs(both: &Both<'_>) -> anyhow::Result<()> {
    passes(both, "uring-hostile").map(drop)
}

/// An image of zeros for a driver.
fn image(folder: &Path, driver: &str) -> anyhow::Result<Disk> {
    let path = folder.join(format!("{driver}.img"));
    let made = std::fs::File::create(&path).and_then(|file| file.set_len(SIZE));
    made.with_context(|| format!("cannot make {}", path.display()))?;
    format!("{driver}={}", path.display()).parse().map_err(|error: String| anyhow!(error))
}

/// What a test of `exo-tests` says of disks, each under a line with its number.
fn said(lab: &Lab, config: &Config, test: &str, disks: &[String]) -> anyhow::Result<Vec<String>> {
    let lines: Vec<String> =
        disks.iter().map(|disk| format!("echo '= {disk}'; exo-tests {test} --path {disk} || exit")).collect();
    let (status, captured) = shell(lab, config, &lines.join("\n"))?;
    ensure!(
        status == 0,
        "exo-tests {test} on {} ended with {status}:\n{}{}",
        lab.parts.system.name(),
        captured.stdout,
        captured.stderr
    );
    let parts = captured.stdout.split("= /dev/").skip(1);
    Ok(parts.map(|part| part.split_once('\n').unwrap_or_default().1.to_owned()).collect())
}

/// Exo-Kernel's names for the disks of [`DRIVERS`], in an order that is its own.
fn exo_disks() -> Vec<String> {
    (0..DRIVERS.len()).map(|number| format!("/dev/disk{number}")).collect()
}

/// Requests of all sizes and alignments to each kind of disk; Linux does the same with one of them.
pub(super) fn io_uring_reads_and_writes_disks(both: &Both<'_>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let disks = |drivers: &[&str]| -> anyhow::Result<Vec<Disk>> {
        drivers.iter().map(|driver| image(folder.path(), driver)).collect()
    };
    let config = Config { disks: disks(&["nvme"])?, rng: 0, load_modules: false, ..both.linux.config() };
    let linux = said(both.linux, &config, "uring-disk", &[LINUX_DISK.to_owned()])?;
    let expected = linux.first().context("Linux said nothing")?;
    for smp in PROCESSORS {
        let config = Config { smp, disks: disks(&DRIVERS.map(|(driver, _)| driver))?, ..both.exo.config() };
        for (disk, found) in exo_disks().iter().zip(said(&both.exo, &config, "uring-disk", &exo_disks())?) {
            ensure!(
                found == *expected,
                "{disk} with {smp} processors: on Linux\n{expected}\non Exo-Kernel\n{found}"
            );
        }
    }
    Ok(())
}

/// A medium with bad sectors: EIO for the requests that touch them.
pub(super) fn errors_of_disks_reach_io_uring(both: &Both<'_>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let mut qemu_args = Vec::new();
    for (number, (driver, device)) in DRIVERS.into_iter().enumerate() {
        image(folder.path(), driver)?;
        let path = folder.path().join(format!("{driver}.img"));
        let drive = format!(
            "if=none,id=bad{number},driver=blkdebug,image.driver=raw,image.file.driver=file,image.file.filename={},\
             inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.sector=2048,\
             inject-error.1.event=none,inject-error.1.iotype=write,inject-error.1.sector=4096",
            path.display()
        );
        qemu_args
            .extend(["-drive", &drive, "-device", &format!("{device},drive=bad{number}")].map(str::to_owned));
    }
    let config = Config { smp: 2, qemu_args, ..both.exo.config() };
    for (disk, found) in exo_disks().iter().zip(said(&both.exo, &config, "uring-disk-errors", &exo_disks())?)
    {
        let is_right = found.matches("[(8, -5), (108, -5)]\n").count() == 3
            && found.contains("chain: [(1, -5), (2, -125)]\nafterwards: [(0, 4096)] []\n");
        ensure!(is_right, "{disk}: {found}");
    }
    Ok(())
}
