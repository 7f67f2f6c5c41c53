// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring: the same program on both kernels, on files and on disks, and rings that a program writes nonsense into.

use anyhow::{Context as _, ensure};

use super::super::Lab;
use super::super::vm::succeed;
use super::Both;
use super::images::Images;
use super::programs::{PROCESSORS, alike, passes};
use crate::machine::Config;

const DRIVERS: [&str; 3] = ["nvme", "ahci", "virtio"];
/// Their devices of QEMU's. virtio-blk makes one of neighbouring requests if it may, and all of them fail with one.
const DEVICES: [&str; 3] = ["nvme,serial=bad", "ide-hd,bus=ide.0", "virtio-blk-pci,request-merging=off"];
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

/// What a test of `exo-tests` says of disks, each under a line with its number.
fn said(lab: &Lab, config: &Config, test: &str, disks: &[String]) -> anyhow::Result<Vec<String>> {
    let lines: Vec<String> =
        disks.iter().map(|disk| format!("echo '= {disk}'; exo-tests {test} --path {disk} || exit")).collect();
    let said = succeed(lab, config, &lines.join("\n"))?.stdout;
    let parts = said.split("= /dev/").skip(1);
    Ok(parts.map(|part| part.split_once('\n').unwrap_or_default().1.to_owned()).collect())
}

/// Exo-Kernel's names for the disks of [`DRIVERS`], in an order that is its own.
fn exo_disks() -> Vec<String> {
    (0..DRIVERS.len()).map(|number| format!("/dev/disk{number}")).collect()
}

/// Requests of all sizes and alignments to each kind of disk; Linux does the same with one of them.
pub(super) fn io_uring_reads_and_writes_disks(both: &Both<'_>) -> anyhow::Result<()> {
    let disks = Images::new(1)?;
    let config =
        Config { disks: disks.disks(&["nvme"])?, rng: 0, load_modules: false, ..both.linux.config() };
    let linux = said(both.linux, &config, "uring-disk", &[LINUX_DISK.to_owned()])?;
    let expected = linux.first().context("Linux said nothing")?;
    for smp in PROCESSORS {
        let images = Images::new(DRIVERS.len())?;
        let config = Config { smp, disks: images.disks(&DRIVERS)?, ..both.exo.config() };
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
    let images = Images::new(DEVICES.len())?;
    let qemu_args = images.bad_disks(DEVICES);
    let config = Config { smp: 2, qemu_args, ..both.exo.config() };
    for (disk, found) in exo_disks().iter().zip(said(&both.exo, &config, "uring-disk-errors", &exo_disks())?)
    {
        let is_right = found.matches("[(8, -5), (108, -5)]\n").count() == 3
            && found.contains("chain: [(1, -5), (2, -125)]\nafterwards: [(0, 4096)] []\n");
        ensure!(is_right, "{disk}: {found}");
    }
    Ok(())
}
