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
/// The drivers, and what Linux calls their first disk.
const DISKS: [(&str, &str); 3] = [("nvme", "nvme0n1"), ("ahci", "sda"), ("virtio", "vda")];
/// What Exo-Kernel calls its first disk.
const EXO_DISK: &str = "disk0";

pub(super) fn io_uring_behaves_alike(both: &Both<'_>) -> anyhow::Result<()> {
    PROCESSORS.into_iter().try_for_each(|smp| {
        alike(both, "exec exo-tests uring", "24 of 24 in order: true, counted as lost: 0\n", smp, &[])
    })
}

pub(super) fn io_uring_survives_hostile_programs(both: &Both<'_>) -> anyhow::Result<()> {
    passes(both, "uring-hostile").map(drop)
}

/// An image of zeros.
fn image(folder: &Path, driver: &str) -> anyhow::Result<Disk> {
    let path = folder.join(format!("{driver}.img"));
    let made = std::fs::File::create(&path).and_then(|file| file.set_len(SIZE));
    made.with_context(|| format!("cannot make {}", path.display()))?;
    format!("{driver}={}", path.display()).parse().map_err(|error: String| anyhow!(error))
}

/// What a test of `exo-tests` says of a machine's disk.
fn said(lab: &Lab, config: Config, test: &str, disk: &str) -> anyhow::Result<String> {
    let (status, captured) = shell(lab, &config, &format!("exec exo-tests {test} --path /dev/{disk}"))?;
    ensure!(
        status == 0,
        "exo-tests {test} on {} ended with {status}:\n{}{}",
        lab.parts.system.name(),
        captured.stdout,
        captured.stderr
    );
    Ok(captured.stdout)
}

/// Requests of all sizes and alignments to each kind of disk; Linux does the same with one of them.
pub(super) fn io_uring_reads_and_writes_disks(both: &Both<'_>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let run = |lab: &Lab, driver: &str, disk: &str, smp: u32| {
        let disks = vec![image(folder.path(), driver)?];
        let config = Config { smp, disks, rng: 0, load_modules: false, ..lab.config() };
        said(lab, config, "uring-disk", disk)
    };
    let (driver, name) = DISKS.first().copied().context("there are no disks")?;
    let expected = run(both.linux, driver, name, 1)?;
    for (driver, _) in DISKS {
        for smp in PROCESSORS {
            let found = run(&both.exo, driver, EXO_DISK, smp)?;
            ensure!(
                found == expected,
                "{driver} with {smp} processors: on Linux\n{expected}\non Exo-Kernel\n{found}"
            );
        }
    }
    Ok(())
}

/// A medium with bad sectors: EIO for the requests that touch them.
pub(super) fn errors_of_disks_reach_io_uring(both: &Both<'_>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    for (driver, device) in [
        ("nvme", "nvme,drive=bad,serial=bad"),
        ("ahci", "ide-hd,drive=bad,bus=ide.0"),
        ("virtio", "virtio-blk-pci,drive=bad"),
    ] {
        image(folder.path(), driver)?;
        let path = folder.path().join(format!("{driver}.img"));
        let drive = format!(
            "if=none,id=bad,driver=blkdebug,image.driver=raw,image.file.driver=file,image.file.filename={},\
             inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.sector=2048,\
             inject-error.1.event=none,inject-error.1.iotype=write,inject-error.1.sector=4096",
            path.display()
        );
        let qemu_args = ["-drive", &drive, "-device", device].map(str::to_owned).to_vec();
        let config = Config { qemu_args, ..both.exo.config() };
        let found = said(&both.exo, config, "uring-disk-errors", EXO_DISK)?;
        let round = "[(8, -5), (108, -5)]\n";
        ensure!(
            found.matches(round).count() == 3
                && found.contains("chain: [(1, -5), (2, -125)]\nafterwards: [(0, 4096)] []\n"),
            "{driver}: {found}"
        );
    }
    Ok(())
}
