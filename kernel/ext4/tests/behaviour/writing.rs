// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is written is there, and e2fsck finds nothing wrong.

use std::{collections::BTreeSet, fs};

use exo_ext4::{Error, Ext4, New, Options, ROOT, Rename, Time, What, flags};

use crate::{
    fuzz::{Random, setting},
    images::{self, Disk, Folder},
    work::Work,
};

/// Options of mke2fs for images that are written to.
pub(crate) const KINDS: &[(&str, u32)] = &[
    ("-t ext4 -b 4096 -J size=4", 8192),
    ("-t ext4 -b 1024 -J size=2", 16_384),
    ("-t ext4 -b 1024 -J size=2 -O ^64bit,^metadata_csum,uninit_bg -g 2048 -N 2048", 16_384),
    ("-t ext4 -b 1024 -J size=2 -O ^flex_bg,^resize_inode,meta_bg -g 1024", 16_384),
    ("-t ext4 -b 2048 -J size=4 -O ^metadata_csum,^uninit_bg,^huge_file -I 128", 8192),
];

fn time(seconds: i64) -> Time {
    Time { seconds, nanoseconds: 1 }
}

fn new(what: What<'_>) -> New<'_> {
    New { what, mode: 0o755, uid: 0, gid: 0, time: time(1_600_000_000) }
}

fn finish(volume: Ext4<Disk>, image: &std::path::Path) {
    let (disk, result) = volume.unmount();
    assert_eq!(result, Ok(()));
    fs::write(image, &disk.bytes).unwrap();
    images::check(image);
}

fn mount(image: &std::path::Path) -> Ext4<Disk> {
    let volume = Ext4::mount(Disk::new(fs::read(image).unwrap()), &Options::default()).unwrap();
    assert_eq!(volume.read_only(), None);
    volume
}

#[test]
fn much_work_leaves_what_it_should_and_e2fsck_has_no_complaint() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let seed = setting("EXO_EXT4_SEED", std::process::id().into());
    eprintln!("EXO_EXT4_SEED={seed}");
    for (options, blocks) in KINDS {
        eprintln!("{options}");
        let image = images::make(&folder, None, options, *blocks);
        let mut random = Random::new(seed);
        let mut work = Work::default();
        for _ in 0..4 {
            let mut volume = mount(&image);
            work.compare(&mut volume, &BTreeSet::new());
            for step in 0..300 {
                work.step(&mut volume, &mut random);
                if step % 40 == 0 {
                    volume.sync().unwrap();
                }
            }
            work.compare(&mut volume, &BTreeSet::new());
            let (disk, result) = volume.unmount();
            assert_eq!(result, Ok(()));
            // Orphans that nobody released are for the next mount.
            let (disk, result) = Ext4::mount(disk, &Options::default()).unwrap().unmount();
            assert_eq!(result, Ok(()));
            fs::write(&image, &disk.bytes).unwrap();
            images::check(&image);
        }
    }
}

#[test]
fn a_directory_gets_an_index_and_keeps_it_right() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    for (options, blocks) in KINDS {
        let image = images::make(&folder, None, &format!("{options} -N 8192"), 2 * blocks);
        let mut volume = mount(&image);
        let inode = volume.create(ROOT, b"many", &new(What::Directory)).unwrap();
        let name = |index: u32| {
            format!("a name that is so long that few of them fit into a block, and it is number {index}")
        };
        for index in 0..4000 {
            volume.create(inode, name(index).as_bytes(), &new(What::Fifo)).unwrap();
        }
        for index in (0..4000).step_by(3) {
            let gone = volume.unlink(inode, name(index).as_bytes(), false, time(1)).unwrap();
            volume.release(gone).unwrap();
        }
        let directory = volume.inode(inode).unwrap();
        assert!(directory.flags() & flags::INDEX != 0);
        for index in 0..4000 {
            let found = volume.lookup(&directory, name(index).as_bytes());
            assert_eq!(found.is_ok(), index % 3 != 0, "{index}");
        }
        assert_eq!(volume.create(inode, name(1).as_bytes(), &new(What::File)), Err(Error::Exists));
        finish(volume, &image);
    }
}

#[test]
fn trees_of_extents_grow_and_shrink() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let image = images::make(&folder, None, "-t ext4 -b 1024 -J size=2", 24_000);
    let mut volume = mount(&image);
    let inode = volume.create(ROOT, b"file", &new(What::File)).unwrap();
    // Every other block, in an order that splits nodes everywhere.
    for index in 0..6000_u64 {
        let block = index * 2311 % 6000 * 2;
        volume.write(inode, block * 1024, &[index as u8; 1024], time(1)).unwrap();
    }
    let check = |volume: &mut Ext4<Disk>, holes: &dyn Fn(u64) -> bool| {
        let file = volume.inode(inode).unwrap();
        for index in 0..6000_u64 {
            let block = index * 2311 % 6000 * 2;
            let mut bytes = [9; 2048];
            volume.read(&file, block * 1024, &mut bytes).unwrap();
            let expected = if holes(block) { 0 } else { index as u8 };
            assert!(bytes[..1024].iter().all(|byte| *byte == expected), "block {block}");
        }
    };
    check(&mut volume, &|_| false);
    volume.punch(inode, 1001, 3000, time(2)).unwrap();
    check(&mut volume, &|block| (1001..4001).contains(&block));
    finish(volume, &image);
    let mut volume = mount(&image);
    check(&mut volume, &|block| (1001..4001).contains(&block));
    volume.set_size(inode, 500 * 1024, time(3)).unwrap();
    volume.set_size(inode, 12_000 * 1024, time(3)).unwrap();
    check(&mut volume, &|block| block >= 500);
    finish(volume, &image);
    let mut volume = mount(&image);
    let gone = volume.unlink(ROOT, b"file", false, time(4)).unwrap();
    volume.release(gone).unwrap();
    finish(volume, &image);
}

#[test]
fn names_are_moved_exchanged_and_refused() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let image = images::make(&folder, None, KINDS[0].0, KINDS[0].1);
    let mut volume = mount(&image);
    let one = volume.create(ROOT, b"one", &new(What::Directory)).unwrap();
    let two = volume.create(ROOT, b"two", &new(What::Directory)).unwrap();
    let inner = volume.create(one, b"inner", &new(What::Directory)).unwrap();
    let file = volume.create(one, b"file", &new(What::File)).unwrap();
    volume.link(file, two, b"again", time(5)).unwrap();
    assert_eq!(volume.link(one, two, b"loop", time(5)), Err(Error::IsADirectory));
    assert_eq!(volume.unlink(ROOT, b"one", true, time(5)), Err(Error::NotEmpty));
    assert_eq!(volume.unlink(ROOT, b"one", false, time(5)), Err(Error::IsADirectory));
    assert_eq!(volume.create(one, b"a/b", &new(What::File)), Err(Error::BadName));
    assert_eq!(volume.create(one, &[b'x'; 256], &new(What::File)), Err(Error::BadName));
    assert_eq!(volume.rename((one, b"inner"), (two, b"moved"), Rename::Keep, time(6)), Ok(None));
    let moved = volume.inode(inner).unwrap();
    assert_eq!(volume.lookup(&moved, b".."), Ok(two));
    assert_eq!(volume.rename((one, b"file"), (two, b"again"), Rename::Keep, time(6)), Err(Error::Exists));
    assert_eq!(
        volume.rename((one, b"file"), (two, b"moved"), Rename::Replace, time(6)),
        Err(Error::IsADirectory)
    );
    assert_eq!(volume.rename((one, b"file"), (two, b"moved"), Rename::Exchange, time(6)), Ok(None));
    let (first, second) = (volume.inode(one).unwrap(), volume.inode(two).unwrap());
    assert_eq!((volume.lookup(&first, b"file"), volume.lookup(&second, b"moved")), (Ok(inner), Ok(file)));
    assert_eq!((first.links(), second.links()), (3, 2));
    volume.create(two, b"device", &new(What::Block(259, 70_000))).unwrap();
    let number = volume.create(two, b"socket", &new(What::Socket)).unwrap();
    assert_eq!(volume.inode(number).unwrap().modified(), time(1_600_000_000));
    finish(volume, &image);
    assert!(images::debugfs(&image, false, &["stat two/device"]).contains("259:70000"));
}

#[test]
fn a_full_disk_is_an_error_that_changes_nothing() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let image = images::make(&folder, None, "-t ext4 -b 1024 -J size=1 -N 64", 4096);
    let mut volume = mount(&image);
    let mut made = 0;
    let error = loop {
        let name = format!("file {made}");
        match volume.create(ROOT, name.as_bytes(), &new(What::File)) {
            Ok(inode) => match volume.write(inode, 0, &[7; 100_000], time(1)) {
                Ok(()) => made += 1,
                Err(error) => break error,
            },
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::NoSpace);
    assert!(made > 10);
    // What is freed can be used when it is committed.
    let gone = volume.unlink(ROOT, b"file 0", false, time(2)).unwrap();
    volume.release(gone).unwrap();
    volume.sync().unwrap();
    let inode = volume.create(ROOT, b"other", &new(What::File)).unwrap();
    volume.write(inode, 0, &[8; 50_000], time(3)).unwrap();
    finish(volume, &image);
}
