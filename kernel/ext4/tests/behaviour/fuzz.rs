// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images with wrong bits and bytes: errors, never a panic, a loop without end, or memory without bound. Each run has some thousand; the long
//! lane is `EXO_EXT4_IMAGES=1000000 cargo test --release -p exo-ext4 fuzz`. The seed is printed and may be given in `EXO_EXT4_SEED`.

use std::fs;

use exo_ext4::{Ext4, Inode, New, Options, Place, ROOT, Rename, Time, What};

use crate::images::{self, Disk, Folder};

/// Numbers by chance, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What reads more of the disk than this to look at everything once goes round in circles.
const MOST_READS: u64 = 200_000;
/// Entries and runs that are looked at; a wrong image may have more.
const MOST_STEPS: usize = 2000;

/// An image and the places in it that are not zeros, which is where its structures are.
struct Sample {
    bytes: Vec<u8>,
    used: Vec<u32>,
}

fn samples() -> Vec<Sample> {
    let folder = Folder::new();
    let tree = folder.0.join("tree");
    fs::create_dir_all(tree.join("below/deeper")).unwrap();
    for index in 0..120 {
        fs::write(tree.join(format!("below/a name of some length, so that blocks fill {index}")), b"")
            .unwrap();
    }
    fs::write(tree.join("text"), b"some text").unwrap();
    fs::write(tree.join("blocks"), images::pattern("blocks", 40_000)).unwrap();
    std::os::unix::fs::symlink("text", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("x/".repeat(50), tree.join("slow")).unwrap();
    {
        use std::os::unix::fs::FileExt;
        let holes = fs::File::create(tree.join("holes")).unwrap();
        for index in 0..100 {
            holes.write_all_at(b"island", index * 3072).unwrap();
        }
    }
    let kinds = [
        "-t ext4 -b 1024 -O ^has_journal -N 256",
        "-t ext4 -b 1024 -N 256 -J size=1",
        "-t ext2 -b 1024 -N 256 -O dir_index",
        "-t ext4 -b 2048 -O ^has_journal,inline_data,^resize_inode,meta_bg -N 256",
        "-t ext4 -b 1024 -O ^has_journal,^64bit,^metadata_csum,uninit_bg -N 256 -I 128",
    ];
    let mut samples: Vec<Sample> = kinds
        .iter()
        .map(|options| {
            let image = images::make(&folder, Some(&tree), options, 4096);
            images::debugfs(
                &image,
                true,
                &[
                    "ea_set text user.colour green",
                    "ea_set blocks user.long a-value-that-is-long-enough",
                    "mknod tty c 4 64",
                ],
            );
            images::index_directories(&image);
            Sample::new(fs::read(&image).unwrap())
        })
        .collect();
    // One that needs recovery, with something in its journal.
    let mut volume = Ext4::mount(Disk::new(samples[1].bytes.clone()), &Options::default()).unwrap();
    write_somewhere(&mut volume, &mut Random::new(1), 60);
    volume.sync().unwrap();
    samples.push(Sample::new(volume.into_device().bytes));
    samples
}

impl Sample {
    fn new(bytes: Vec<u8>) -> Self {
        let used = (0..bytes.len() as u32).filter(|at| bytes[*at as usize] != 0).collect();
        Self { bytes, used }
    }
}

/// Changes this and that; errors are expected.
fn write_somewhere<D: exo_ext4::BlockDevice>(volume: &mut Ext4<D>, random: &mut Random, steps: u32) {
    let time = Time { seconds: 1_700_000_000, nanoseconds: 0 };
    let mut directories = vec![ROOT];
    let mut files = Vec::new();
    let mut names: Vec<(u32, Vec<u8>)> = [&b"text"[..], b"blocks", b"holes", b"link", b"slow", b"below"]
        .map(|name| (ROOT, name.to_vec()))
        .into();
    if let Ok(root) = volume.inode(ROOT) {
        for name in [&b"holes"[..], b"blocks", b"text"] {
            files.extend(volume.lookup(&root, name));
        }
        directories.extend(volume.lookup(&root, b"below"));
    }
    for step in 0..steps {
        let parent = directories[random.below(directories.len() as u64) as usize];
        let name = format!("new {step} {}", "x".repeat(random.below(100) as usize)).into_bytes();
        let new = |what| New { what, mode: 0o755, uid: 1, gid: 1, time };
        let any = random.below(files.len().max(1) as u64) as usize;
        let file = files.get(any).copied().unwrap_or(11);
        let (of, old) = names[random.below(names.len() as u64) as usize].clone();
        match random.below(9) {
            0 | 1 => files.extend(volume.create(parent, &name, &new(What::File))),
            2 => directories.extend(volume.create(parent, &name, &new(What::Directory))),
            3 => drop(volume.create(parent, &name, &new(What::Link(&[b'l'; 70])))),
            4 => drop(volume.write(file, random.below(100_000), &[1; 3000], time)),
            5 => drop(volume.set_size(file, random.below(50_000), time)),
            6 => drop(volume.punch(file, random.below(50) as u32, random.below(50) as u32, time)),
            7 => {
                if let Ok(gone) = volume.unlink(of, &old, random.below(3) == 0, time) {
                    let _ = volume.release(gone);
                }
            }
            _ => {
                if let Ok(Some(gone)) = volume.rename((of, &old), (parent, &name), Rename::Replace, time) {
                    let _ = volume.release(gone);
                }
            }
        }
        names.push((parent, name));
        if step % 8 == 0 {
            let _ = volume.sync();
        }
    }
}

/// Changes a few places, mostly where something was, and gives what to put back.
fn spoil(sample: &Sample, bytes: &mut [u8], random: &mut Random) -> Vec<(usize, u8)> {
    let mut undo = Vec::new();
    let interesting = [0, 1, 2, 0x7f, 0x80, 0xff, 0xfe, 4, 8, 0x10];
    for _ in 0..1 + random.below(6) {
        let at = match random.below(10) {
            0 => random.below(bytes.len() as u64) as usize,
            // The superblock and the descriptors.
            1 | 2 => 1024 + random.below(0x400 + 128) as usize,
            _ => {
                let near = sample.used[random.below(sample.used.len() as u64) as usize] as usize;
                (near + random.below(8) as usize).min(bytes.len() - 8)
            }
        };
        let len = [1, 1, 1, 2, 4][random.below(5) as usize];
        for (index, byte) in bytes.iter_mut().enumerate().skip(at).take(len) {
            undo.push((index, *byte));
            *byte = match random.below(3) {
                0 => *byte ^ (1 << random.below(8)),
                1 => interesting[random.below(10) as usize],
                _ => random.next() as u8,
            };
        }
    }
    undo
}

/// Looks at everything that the image lets anybody see; what is wrong is an error, which is expected.
fn look_at_all(volume: &mut Ext4<&mut Disk>) {
    let mut directories = vec![ROOT];
    let mut seen = std::collections::BTreeSet::from([ROOT]);
    let mut steps = 0;
    while let Some(number) = directories.pop() {
        let Ok(directory) = volume.inode(number) else { continue };
        let mut found = Vec::new();
        let _ = volume.list(&directory, 0, |entry| {
            found.push((entry.name.to_vec(), entry.inode));
            found.len() < MOST_STEPS
        });
        let _ = volume.lookup(&directory, b"no such name");
        for (index, (name, number)) in found.into_iter().enumerate() {
            steps += 1;
            if steps > MOST_STEPS {
                return;
            }
            if index % 16 == 0 {
                let _ = volume.lookup(&directory, &name);
            }
            if seen.insert(number) {
                look_at(volume, number, &mut directories);
            }
        }
    }
    for number in 1..30 {
        let _ = volume.is_inode_used(number);
        if seen.insert(number) {
            look_at(volume, number, &mut Vec::new());
        }
    }
}

fn look_at(volume: &mut Ext4<&mut Disk>, number: u32, directories: &mut Vec<u32>) {
    let Ok(inode) = volume.inode(number) else { return };
    if inode.is_directory() {
        directories.push(number);
    }
    let _ = (inode.device(), inode.created(), inode.modified(), inode.sectors(volume.geometry()));
    let _ = volume.read_link(&inode);
    let _ = volume.attributes(&inode, |_, _, _| Ok(true));
    let mut bytes = [0; 3000];
    for offset in [0, 1000, inode.size() / 2, inode.size().saturating_sub(1500), u64::MAX] {
        let _ = volume.read(&inode, offset, &mut bytes);
    }
    look_at_runs(volume, &inode);
}

fn look_at_runs(volume: &mut Ext4<&mut Disk>, inode: &Inode) {
    let (blocks, mut first) = (volume.geometry().blocks, 0_u32);
    for _ in 0..200 {
        let Ok(run) = volume.map(inode, first, u32::MAX) else { break };
        assert!(run.first == first && run.count > 0);
        if let Place::Written(start) | Place::Unwritten(start) = run.place {
            assert!(start + u64::from(run.count) <= blocks);
        }
        match first.checked_add(run.count) {
            Some(next) if next < u32::MAX => first = next,
            _ => break,
        }
    }
}

#[test]
fn wrong_images_are_errors_and_no_more() {
    if !images::have_tools() {
        return;
    }
    let images = setting("EXO_EXT4_IMAGES", 10_000);
    let seed = setting("EXO_EXT4_SEED", std::process::id().into());
    eprintln!("EXO_EXT4_SEED={seed} EXO_EXT4_IMAGES={images}");
    let samples = samples();
    let mut work: Vec<Vec<u8>> = samples.iter().map(|sample| sample.bytes.clone()).collect();
    let (mut mounted, mut most) = (0, 0);
    for number in 0..images {
        // Each image has its own seed, so that one can be tried alone.
        let mut random = Random::new(seed.wrapping_add(number));
        let which = random.below(samples.len() as u64) as usize;
        let undo = spoil(&samples[which], &mut work[which], &mut random);
        // One in four with checksums, or little behind them would be seen. One in four is written to.
        let writes = number % 4 == 1;
        let options = Options { read_only: !writes, verify: number % 4 == 0, cached_blocks: 64 };
        let bytes = std::mem::take(&mut work[which]);
        let untouched = if writes { samples[which].bytes.clone() } else { Vec::new() };
        let mut disk = Disk::new(bytes);
        disk.read_only = !writes;
        let look = std::panic::AssertUnwindSafe(|| {
            let Ok(mut volume) = Ext4::mount(&mut disk, &options) else { return false };
            if writes {
                write_somewhere(&mut volume, &mut random, 12);
            }
            look_at_all(&mut volume);
            assert!(volume.cached_blocks() <= 64);
            true
        });
        let did_mount = std::panic::catch_unwind(look)
            .unwrap_or_else(|_| panic!("EXO_EXT4_SEED={} EXO_EXT4_IMAGES=1", seed.wrapping_add(number)));
        mounted += u64::from(did_mount);
        most = most.max(disk.reads);
        assert!(disk.reads < MOST_READS, "image {number} of seed {seed}: {} reads", disk.reads);
        if writes {
            work[which] = untouched;
            continue;
        }
        work[which] = disk.bytes;
        for (at, byte) in undo.into_iter().rev() {
            work[which][at] = byte;
        }
    }
    eprintln!("{mounted} of {images} could be mounted; at most {most} reads");
    assert!(images < 100 || mounted > images / 4);
}
