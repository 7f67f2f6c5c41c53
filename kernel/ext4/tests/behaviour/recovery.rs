// SPDX-License-Identifier: MIT OR Apache-2.0
//! Journals that e2fsprogs wrote are recovered, with each kind of checksum, on disks that are written to and on others.

use std::fs;

use exo_ext4::{Ext4, Options, Place, ROOT};

use crate::images::{self, Disk, Folder};

/// A block of which the journal has a copy that starts like one of the journal's own.
const MAGIC: [u8; 4] = [0xc0, 0x3b, 0x39, 0x98];

fn first_block(disk: Disk, options: &Options) -> (u64, Vec<u8>, Ext4<Disk>) {
    let mut volume = Ext4::mount(disk, options).unwrap();
    let root = volume.inode(ROOT).unwrap();
    let number = volume.lookup(&root, b"file").unwrap();
    let inode = volume.inode(number).unwrap();
    let Place::Written(block) = volume.map(&inode, 0, 1).unwrap().place else { panic!("a hole") };
    let mut bytes = vec![0; 1024];
    volume.read(&inode, 0, &mut bytes).unwrap();
    (block, bytes, volume)
}

#[test]
fn what_is_in_the_journal_goes_to_its_place() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let tree = folder.0.join("tree");
    fs::create_dir_all(&tree).unwrap();
    let old = images::pattern("old", 1024);
    fs::write(tree.join("file"), &old).unwrap();
    let mut new = images::pattern("new", 1024);
    new[..4].copy_from_slice(&MAGIC);
    let copy = folder.0.join("new");
    fs::write(&copy, &new).unwrap();
    let read_only = Options { read_only: true, ..Options::default() };
    for features in ["64bit", "^64bit", "^metadata_csum,^64bit"] {
        for open in ["jo", "jo -c -v 2", "jo -c -v 3"] {
            for revoked in [false, true] {
                let image =
                    images::make(&folder, Some(&tree), &format!("-t ext4 -b 1024 -O {features}"), 8192);
                let disk = || Disk::new(fs::read(&image).unwrap());
                let (block, _, _) = first_block(disk(), &read_only);
                let write = format!("jw -b {block} {}", copy.display());
                let revoke = format!("jw -r {block}");
                let mut requests = vec![open, &write, "jc"];
                if revoked {
                    requests.extend([open, &revoke, "jc"]);
                }
                images::debugfs(&image, true, &requests);
                let what = format!("{features}, {open}, {revoked}");
                assert_ne!(disk().bytes[1024 + 0x60] & 4, 0, "{what}: nothing to recover");
                let expected = if revoked { &old } else { &new };
                let (_, found, volume) = first_block(disk(), &read_only);
                assert!(found == *expected, "{what}: read only");
                assert!(volume.into_device().bytes == disk().bytes, "{what}: something was written");
                let (_, found, volume) = first_block(disk(), &Options::default());
                assert!(found == *expected, "{what}");
                let (disk, result) = volume.unmount();
                assert_eq!(result, Ok(()));
                fs::write(&image, &disk.bytes).unwrap();
                images::check(&image);
            }
        }
    }
}
