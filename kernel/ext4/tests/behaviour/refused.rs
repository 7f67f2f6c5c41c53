// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images that need what there is not are refused by name, or read only.

use std::fs;

use exo_ext4::{Error, Ext4, Options};

use crate::images::{self, Disk, Folder};

fn mounted(bytes: Vec<u8>) -> Result<Option<&'static str>, Error> {
    Ext4::mount(Disk::new(bytes), &Options { verify: false, ..Options::default() })
        .map(|volume| volume.read_only())
}

#[test]
fn unknown_features_are_named() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let image = fs::read(images::make(&folder, None, "-t ext4 -b 1024", 8192)).unwrap();
    let with = |at: usize, bits: u32| {
        let mut bytes = image.clone();
        let field = &mut bytes[1024 + at..1024 + at + 4];
        let old = u32::from_le_bytes(field.try_into().unwrap());
        field.copy_from_slice(&(old | bits).to_le_bytes());
        bytes
    };
    assert_eq!(mounted(with(0x60, 0x1_0000)), Err(Error::Unsupported("encrypt")));
    assert_eq!(mounted(with(0x60, 0x400)), Err(Error::Unsupported("ea_inode")));
    assert_eq!(mounted(with(0x60, 8)), Err(Error::Unsupported("journal_dev")));
    assert!(matches!(mounted(with(0x60, 0x8000_0000)), Err(Error::Unsupported(_))));
    assert_eq!(mounted(with(0x64, 0x100)), Ok(Some("quota")));
    assert_eq!(mounted(with(0x64, 0x8000)), Ok(Some("verity")));
    // Those that may be ignored are.
    assert_eq!(mounted(with(0x5c, 0x8000_0000)), Ok(None));
    assert_eq!(mounted(with(0, 0)), Ok(None));
}

#[test]
fn checksums_count_unless_told_otherwise() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let mut bytes = fs::read(images::make(&folder, None, "-t ext4 -b 1024", 8192)).unwrap();
    // The label.
    bytes[1024 + 0x78] ^= 1;
    let mount =
        |verify| Ext4::mount(Disk::new(bytes.clone()), &Options { verify, ..Options::default() }).err();
    assert_eq!(mount(true), Some(Error::Corrupt("the superblock's checksum")));
    assert_eq!(mount(false), None);
}

#[test]
fn what_is_no_image_is_refused() {
    for len in [0, 1024, 2048, 4096, 1 << 20] {
        assert!(matches!(mounted(vec![0; len]), Err(Error::Corrupt(_))));
        assert!(matches!(mounted(vec![0xff; len]), Err(Error::Corrupt(_))));
    }
}
