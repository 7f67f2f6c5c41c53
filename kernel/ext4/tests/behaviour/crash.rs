// SPDX-License-Identifier: MIT OR Apache-2.0
//! Crashes: a disk with a volatile write cache loses any part of what was not flushed, at any point. What was made durable before is there afterwards,
//! and neither e2fsck nor this crate finds anything wrong. More in the long lane: `EXO_EXT4_CRASHES=20000 cargo test -p exo-ext4 crash`.

use std::{collections::BTreeSet, fs, path::Path};

use exo_ext4::{BlockDevice, Error, Ext4, Options, ROOT, Result};

use crate::{
    fuzz::{Random, setting},
    images::{self, Disk, Folder},
    work::{Name, Work},
    writing::KINDS,
};

/// Something that a disk was told.
enum Told {
    Write(u64, Vec<u8>),
    Flush,
}

/// A disk that remembers what it was told.
struct Recorder {
    disk: Disk,
    told: Vec<Told>,
}

impl BlockDevice for Recorder {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&mut self, offset: u64, to: &mut [u8]) -> Result<()> {
        self.disk.read(offset, to)
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<()> {
        self.told.push(Told::Write(offset, from.to_vec()));
        self.disk.write(offset, from)
    }

    fn flush(&mut self) -> Result<()> {
        self.told.push(Told::Flush);
        Ok(())
    }
}

/// What was durable when so much had been told, and what was changed until the next time.
struct Durable {
    told: usize,
    work: Work,
    changed_later: BTreeSet<Name>,
}

/// What is on the disk after a crash when `told` are the last words: all up to the last flush, and of the rest some, in any order, torn
/// between sectors.
fn crash(start: &[u8], told: &[Told], random: &mut Random) -> Vec<u8> {
    let mut bytes = start.to_vec();
    let flushed = told.iter().rposition(|it| matches!(it, Told::Flush)).unwrap_or(0);
    let (safe, rest) = told.split_at(flushed);
    let mut apply = |told: &Told, random: Option<&mut Random>| {
        let Told::Write(offset, data) = told else { return };
        let mut random = random;
        for (index, sector) in data.chunks(512).enumerate() {
            let at = *offset as usize + index * 512;
            // Blocks are mostly written as a whole, now and then torn.
            if random.as_mut().is_none_or(|random| random.below(30) > 0) {
                bytes[at..at + sector.len()].copy_from_slice(sector);
            }
        }
    };
    for told in safe {
        apply(told, None);
    }
    let chance = random.below(5);
    let mut some: Vec<&Told> = rest.iter().filter(|_| random.below(4) < chance).collect();
    for index in (1..some.len()).rev() {
        some.swap(index, random.below(index as u64 + 1) as usize);
    }
    let torn = random.below(2) == 0;
    for told in some {
        apply(told, torn.then_some(&mut *random));
    }
    bytes
}

fn run(image: &Path, random: &mut Random, crashes: u64) {
    let start = fs::read(image).unwrap();
    let recorder = Recorder { disk: Disk::new(start.clone()), told: Vec::new() };
    let mut volume = Ext4::mount(recorder, &Options::default()).unwrap();
    let mut work = Work::default();
    let mut durable = vec![Durable { told: 0, work: work.clone(), changed_later: BTreeSet::new() }];
    let steps = 250;
    for step in 0..steps {
        work.step(&mut volume, random);
        let last = durable.last_mut().unwrap();
        last.changed_later.append(&mut work.touched);
        if random.below(12) == 0 || step == steps - 1 {
            volume.sync().unwrap();
            let told = volume.device().told.len();
            durable.push(Durable { told, work: work.clone(), changed_later: BTreeSet::new() });
        }
    }
    let told = volume.into_device().told;
    for _ in 0..crashes {
        let at = random.below(told.len() as u64 + 1) as usize;
        let bytes = crash(&start, &told[..at], random);
        let before = durable.iter().rev().find(|it| it.told <= at).unwrap();
        check(bytes, before, image, random);
    }
}

fn check(bytes: Vec<u8>, before: &Durable, image: &Path, random: &mut Random) {
    // Read without writing, e2fsck's own recovery now and then, then ours.
    let mut disk = Disk::new(bytes.clone());
    disk.read_only = true;
    let mut volume = Ext4::mount(disk, &Options::default()).unwrap();
    before.work.compare(&mut volume, &before.changed_later);
    if random.below(4) == 0 {
        fs::write(image, &bytes).unwrap();
        images::repair(image);
        let disk = Disk::new(fs::read(image).unwrap());
        let mut volume = Ext4::mount(disk, &Options::default()).unwrap();
        before.work.compare(&mut volume, &before.changed_later);
    }
    let mut volume = Ext4::mount(Disk::new(bytes), &Options::default()).unwrap();
    before.work.compare(&mut volume, &before.changed_later);
    let root = volume.inode(ROOT).unwrap();
    assert_eq!(volume.lookup(&root, b"no such name"), Err(Error::NotFound));
    let (disk, result) = volume.unmount();
    assert_eq!(result, Ok(()));
    fs::write(image, &disk.bytes).unwrap();
    images::check(image);
}

#[test]
fn a_crash_at_any_point_loses_nothing_that_was_durable() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let crashes = setting("EXO_EXT4_CRASHES", 100);
    let seed = setting("EXO_EXT4_SEED", std::process::id().into());
    eprintln!("EXO_EXT4_SEED={seed} EXO_EXT4_CRASHES={crashes}");
    let mut left = crashes;
    let mut round = 0;
    while left > 0 {
        let (options, blocks) = KINDS[round % KINDS.len()];
        let image = images::make(&folder, None, options, blocks);
        let some = left.min(20);
        run(&image, &mut Random::new(seed.wrapping_add(round as u64)), some);
        left -= some;
        round += 1;
    }
}
