// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks of Exo-Kernel: what programs write is on the medium, errors reach them, and what was flushed outlives the machine.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use disk_pattern::{Found, Pattern, SECTOR};

use super::super::vm::{shell, succeed};
use super::Both;
use super::images::{self, BAD_READ, BAD_WRITE, Images};
use crate::machine::{Config, Disk, Machine, Output};
use crate::ui;

/// What a program sees when a disk reports an error.
const EIO: &str = "Input/output error";
/// Machines that are killed while they write: in the plain run, and with `--long`.
const KILLS: u64 = 2;
const LONG_KILLS: u64 = 100;

/// Finds the image that was written with `seed`, as the order in which a kernel finds disks is its own business.
fn verify(images: &Images, seed: u64, flushed: Option<u64>) -> anyhow::Result<Found> {
    let pattern = Pattern::new(seed, images::SIZE / SECTOR as u64).context("an image is too small")?;
    let mut complaints = String::new();
    for path in images.paths() {
        let image = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match pattern.verify(image, flushed) {
            Ok(found) => return Ok(found),
            Err(damage) => complaints += &format!("{}: {damage}\n", path.display()),
        }
    }
    anyhow::bail!("no image has what seed {seed} wrote, up to round {flushed:?}:\n{complaints}")
}

/// Several ports, several controllers, several namespaces, all written at the same time by as many programs with several threads.
pub(super) fn what_programs_write_is_on_the_medium(both: &Both<'_>) -> anyhow::Result<()> {
    for smp in [1, 4] {
        let images = Images::new(6)?;
        let disks = images.disks(&["ahci", "ahci", "nvme", "virtio"])?;
        let mut qemu_args = vec!["-device".to_owned(), "nvme,id=two,serial=two".to_owned()];
        for (namespace, number) in [(1, 4), (2, 5)] {
            let path = images.path(number);
            qemu_args.extend([
                "-drive".to_owned(),
                format!("if=none,id=ns{number},format=raw,file={}", path.display()),
            ]);
            qemu_args
                .extend(["-device".to_owned(), format!("nvme-ns,drive=ns{number},bus=two,nsid={namespace}")]);
        }
        let config = Config { smp, disks, qemu_args, ..both.exo.config() };
        let line = "for n in 0 1 2 3 4 5; do exo-tests disk-write --path /dev/disk$n --seed $n --rounds 12 & done; wait; \
                    for n in 0 1 2 3 4 5; do exo-tests disk-verify --path /dev/disk$n --seed $n --flushed 12 || exit 1; done";
        let said = succeed(&both.exo, &config, line)?.stdout;
        ensure!(said.matches(": flushed 11\n").count() == 6, "with {smp} processors: {said}");
        for seed in 0..6 {
            let found = verify(&images, seed, Some(11))?;
            ensure!(found.newer == 0, "{found:?}");
        }
    }
    Ok(())
}

/// A medium with a sector that cannot be read and one that cannot be written: programs are told, and only those that touch them.
pub(super) fn errors_of_the_medium_reach_the_program(both: &Both<'_>) -> anyhow::Result<()> {
    let images = Images::new(3)?;
    let qemu_args = images.bad_disks(["ide-hd,bus=ide.0", "nvme,serial=bad", "virtio-blk-pci"]);
    let config = Config { smp: 2, qemu_args, ..both.exo.config() };
    // Reads beside the bad one are under way when it fails, and have to succeed.
    let line = format!(
        "for n in 0 1 2; do d=/dev/disk$n; for i in 1 2 3 4; do dd if=$d bs=64k count=32 skip=$((32 * i)) of=/dev/null & done; \
         dd if=$d bs=512 count=1 skip={BAD_READ} of=/dev/null && echo read; \
         dd of=$d bs=512 count=1 seek={BAD_WRITE} if=/dev/zero && echo written; \
         dd if=$d bs=512 count=1 skip={} of=/dev/null || echo no; \
         dd of=$d bs=512 count=1 seek={} if=/dev/zero || echo no; \
         wait; sync; done 2>&1; echo end",
        BAD_READ + 1,
        BAD_WRITE + 1
    );
    let said = succeed(&both.exo, &config, &line)?.stdout;
    let failures = said.lines().filter(|line| line.contains(EIO)).count();
    let is_right = failures == 6 && !["read\n", "written\n", "no\n"].iter().any(|word| said.contains(word));
    ensure!(is_right && said.ends_with("end\n"), "{failures} errors:\n{said}");
    Ok(())
}

/// Each controller is unplugged while programs read and write its disks: they are told within moments, the nodes go, and the other
/// disks go on.
pub(super) fn a_disk_can_be_unplugged_while_programs_use_it(both: &Both<'_>) -> anyhow::Result<()> {
    let drivers = ["ahci", "nvme", "virtio", "nvme"];
    let images = Images::new(drivers.len())?;
    let config = Config { smp: 2, hotplug: true, disks: images.disks(&drivers)?, ..both.exo.config() };
    // The last one stays, and is written all the time.
    let last = drivers.len() - 1;
    let mut line = format!("exo-tests disk-write --path /dev/disk{last} --seed 5 --rounds 40 & ");
    for number in 0..last {
        line += &format!("exo-tests disk-use --path /dev/disk{number} & ");
    }
    line +=
        &format!("wait; ls /dev/disk*; exo-tests disk-verify --path /dev/disk{last} --seed 5 --flushed 40");
    let command = ["sh", "-c", &line].map(str::to_owned);
    let mut machine = Machine::start(&both.exo.parts, &config, &command, Output::Capture)?;
    machine.wait_until("that all disks are used", |said| said.matches("using\n").count() == last)?;
    let mut qmp = machine.qmp()?;
    for number in 0..last {
        let id = format!("controller{number}");
        qmp.execute("device_del", &serde_json::json!({ "id": id }))?;
        let unplugged = qmp.wait_for("DEVICE_DELETED");
        unplugged.with_context(|| format!("{id} stays; the machine said: {}", machine.stdout_so_far()))?;
    }
    let outcome = machine.wait()?;
    let said = &outcome.captured.stdout;
    // Four threads each, and each was told EIO, ENXIO or ENODEV.
    let ends = said.lines().filter_map(|line| line.strip_prefix("ended by ")).collect::<Vec<_>>();
    ensure!(
        outcome.status == 0
            && ends.len() == 4 * last
            && ends.iter().all(|end| ["5", "6", "19"].contains(end)),
        "status {}, ends {ends:?}: {said}{}",
        outcome.status,
        outcome.captured.stderr
    );
    let left: Vec<&str> =
        said.lines().filter(|line| line.starts_with("/dev/disk") && !line.contains(':')).collect();
    ensure!(left == [format!("/dev/disk{last}")], "these disks were left: {left:?}");
    Ok(())
}

/// Machines are killed in the middle of writing, at random moments: what was flushed is there, for the host, for Linux and for the
/// next start of Exo-Kernel, and nothing is there that was never written.
pub(super) fn what_was_flushed_outlives_a_killed_machine(both: &Both<'_>) -> anyhow::Result<()> {
    let drivers = ["ahci", "nvme", "virtio"];
    let kills = if both.exo.long { LONG_KILLS } else { KILLS };
    for kill in 0..kills {
        let images = Images::new(drivers.len())?;
        let seeds: Vec<u64> = (0..drivers.len() as u64).map(|number| 10 * kill + number).collect();
        let line = seeds.iter().enumerate().fold(String::new(), |line, (number, seed)| {
            line + &format!("exo-tests disk-write --path /dev/disk{number} --seed {seed} --rounds 1000000 & ")
        }) + "wait";
        let config = Config { smp: 2, disks: images.disks(&drivers)?, ..both.exo.config() };
        let command = ["sh", "-c", &line].map(str::to_owned);
        let mut machine = Machine::start(&both.exo.parts, &config, &command, Output::Capture)?;
        machine.wait_until("that each disk was flushed once", |said| {
            (0..drivers.len()).all(|number| said.contains(&format!("/dev/disk{number}: flushed 0\n")))
        })?;
        std::thread::sleep(random_moment());
        let said = machine.stdout_so_far();
        // Nobody in the machine is told.
        drop(machine);
        let flushed: Vec<Option<u64>> = (0..drivers.len())
            .map(|number| {
                let prefix = format!("/dev/disk{number}: flushed ");
                let complete = said.rsplit_once('\n').map_or("", |(lines, _)| lines);
                complete.lines().rev().find_map(|line| line.strip_prefix(&prefix)?.parse().ok())
            })
            .collect();
        for (seed, flushed) in seeds.iter().zip(&flushed) {
            let found = verify(&images, *seed, *flushed).with_context(|| format!("kill {kill}"))?;
            if ui::verbose() {
                eprintln!("  kill {kill}: seed {seed}, flushed {flushed:?}, {found:?}");
            }
        }
        // A start of a machine each; every tenth kill is enough to see that other kernels read the same.
        if kill % 10 == 0 {
            for lab in [both.linux, &both.exo] {
                let config =
                    Config { rng: 0, load_modules: false, disks: images.disks(&drivers)?, ..lab.config() };
                let devices = if matches!(lab.parts.system, crate::machine::System::Exo(_)) {
                    "/dev/disk0 /dev/disk1 /dev/disk2"
                } else {
                    "/dev/sda /dev/nvme0n1 /dev/vda"
                };
                let tries = seeds.iter().zip(&flushed).fold(String::new(), |line, (seed, flushed)| {
                    let flushed = flushed.map_or(0, |last| last + 1);
                    line + &format!("for d in {devices}; do exo-tests disk-verify --path $d --seed {seed} --flushed {flushed} && echo intact; done; ")
                });
                let (_, captured) = shell(lab, &config, &tries)?;
                ensure!(
                    captured.stdout.matches("intact\n").count() == seeds.len(),
                    "on {}: {}{}",
                    lab.parts.system.name(),
                    captured.stdout,
                    captured.stderr
                );
            }
        }
    }
    Ok(())
}

/// Up to a second and a half, from what the clock shows below the second: nothing here has to be repeatable, and the moment is
/// printed by its effect.
fn random_moment() -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Duration::from_micros(u64::from(now.subsec_nanos()) / 1000 * 3 / 2)
}

/// Every queue's memory comes from the NUMA node of the CPU that uses it, of drivers with one queue and with several.
pub(super) fn queues_are_at_the_node_of_their_cpu(both: &Both<'_>) -> anyhow::Result<()> {
    let images = Images::new(2)?;
    let config =
        Config { smp: 4, numa: true, disks: images.disks(&["nvme", "virtio"])?, ..both.exo.config() };
    let line = "for n in 0 1; do exo-tests disk-write --path /dev/disk$n --seed $n --rounds 4 >&2; done; cat /proc/exo";
    let said = succeed(&both.exo, &config, line)?.stdout;
    let count = |name: &str| -> anyhow::Result<u64> {
        let value = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.with_context(|| format!("no {name}: {said}"))?.parse().context("a count is no number")
    };
    let counts = (count("dma_from_node0")?, count("dma_from_node1")?, count("dma_from_elsewhere")?);
    // Two queues of each disk are those of the second node's CPUs, and a queue has memory of its own.
    ensure!(counts.0 >= 4 && counts.1 >= 4 && counts.2 == 0, "{counts:?}");
    Ok(())
}

/// Where a partition of the test begins, and how long it is, in sectors.
const PARTITION: (u32, u32) = (2048, 4096);

/// Partitions are read and written in their own places, at any length and offset, and a RAM disk holds what a disk holds.
pub(super) fn ram_disks_and_partitions_work(both: &Both<'_>) -> anyhow::Result<()> {
    let images = Images::new(1)?;
    let mut table = [0; 512];
    table[450] = 0x83;
    table[454..458].copy_from_slice(&PARTITION.0.to_le_bytes());
    table[458..462].copy_from_slice(&PARTITION.1.to_le_bytes());
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    std::fs::OpenOptions::new()
        .write(true)
        .open(images.path(0))
        .and_then(|image| image.write_all_at(&table, 0))
        .context("cannot write a partition table")?;
    let disks = vec![images.disk("virtio", 0)?, Disk::Ram { mebibytes: (images::SIZE >> 20) as u32 }];
    let config = Config { smp: 2, disks, ..both.exo.config() };
    let line = "p=/dev/disk0p1; blockdev --getsize64 $p; blockdev --getss $p; \
        printf hello | dd of=$p bs=5 seek=3 2>/dev/null; sync; \
        dd if=/dev/disk0 bs=1 skip=$((2048 * 512 + 15)) count=5 2>/dev/null; echo; \
        dd if=/dev/zero of=$p bs=1M seek=1 2>&1 | grep -o 'No space left on device'; \
        dd if=/dev/disk0 of=/dev/disk1 bs=7777 2>/dev/null; cmp /dev/disk0 /dev/disk1 && echo same; \
        dd if=/dev/zero of=/dev/disk0 bs=512 count=1 2>/dev/null; blockdev --rereadpt /dev/disk0; ls $p || echo gone";
    let said = succeed(&both.exo, &config, line)?.stdout;
    let size = u64::from(PARTITION.1) * SECTOR as u64;
    ensure!(said == format!("{size}\n512\nhello\nNo space left on device\nsame\ngone\n"), "{said}");
    let mut written = [0; 5];
    File::open(images.path(0))
        .and_then(|image| image.read_exact_at(&mut written, u64::from(PARTITION.0) * 512 + 15))
        .context("cannot read an image")?;
    ensure!(written == *b"hello", "the medium has {written:?}");
    Ok(())
}

/// A table that the disk does not give for long is waited for by who asked alone: on the only processor, programs go on.
pub(super) fn a_disk_that_does_not_answer_holds_no_processor(both: &Both<'_>) -> anyhow::Result<()> {
    const FIRST: u32 = 2048;
    let images = Images::new(1)?;
    // Two sectors of a table: an extended partition, and the logical one at its start.
    let mut table = [0; 2 * SECTOR];
    for (sector, kind, start) in [(0, 0x05, FIRST), (SECTOR, 0x83, 1)] {
        let entry = sector + 446;
        table[entry + 4] = kind;
        table[entry + 8..entry + 12].copy_from_slice(&start.to_le_bytes());
        table[entry + 12..entry + 16].copy_from_slice(&16u32.to_le_bytes());
        table[sector + 510..sector + 512].copy_from_slice(&[0x55, 0xaa]);
    }
    let file = images.path(0).with_file_name("table");
    std::fs::write(&file, table).context("cannot write a partition table")?;
    // The first read, at the start, is free; the next ones would take minutes.
    let drive = format!("if=none,id=slow,format=raw,throttling.bps-read=1,file={}", images.path(0).display());
    let qemu_args =
        ["-drive", &drive, "-device", "nvme,id=disk,drive=slow,serial=slow"].map(str::to_owned).into();
    let config = Config { smp: 1, qemu_args, files: vec![(file, "/table".into())], ..both.exo.config() };
    let line = format!(
        "for to in 0 {FIRST}; do dd if=/table of=/dev/disk0 bs={SECTOR} count=1 skip=$((to / {FIRST})) seek=$to 2>/dev/null; done; \
         (sleep 1; echo going on) & blockdev --rereadpt /dev/disk0 && ls /dev/disk0*"
    );
    let command = ["sh", "-c", &line].map(str::to_owned);
    let mut machine = Machine::start(&both.exo.parts, &config, &command, Output::Capture)?;
    machine.wait_for("going on")?;
    let unlimited =
        ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"].map(|limit| (limit.to_owned(), 0.into()));
    let mut arguments: serde_json::Map<String, serde_json::Value> = unlimited.into_iter().collect();
    arguments.insert("id".to_owned(), "disk".into());
    machine.qmp()?.execute("block_set_io_throttle", &arguments.into())?;
    let outcome = machine.wait()?;
    let said = &outcome.captured.stdout;
    ensure!(
        outcome.status == 0 && said == "going on\n/dev/disk0\n/dev/disk0p5\n",
        "status {}: {said}{}",
        outcome.status,
        outcome.captured.stderr
    );
    Ok(())
}
