// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is read is what was put in, and what debugfs says.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path};

use exo_ext4::{Error, Ext4, Namespace, Options, Place, ROOT, Time, flags, kind};

use crate::images::{self, Disk, Folder};

/// Options of mke2fs for images that differ in where things are.
const KINDS: &[(&str, u32)] = &[
    ("-t ext4 -b 4096", 16_384),
    ("-t ext4 -b 1024 -O ^orphan_file", 24_000),
    ("-t ext2 -b 1024 -I 128", 24_000),
    ("-t ext3 -b 1024", 24_000),
    ("-t ext4 -b 1024 -O ^64bit,^metadata_csum,uninit_bg,^flex_bg -E lazy_itable_init=1", 24_000),
    ("-t ext4 -b 2048 -O meta_bg,^resize_inode -g 1024", 24_000),
    ("-t ext4 -b 1024 -O meta_bg,^resize_inode,64bit -g 256", 24_000),
    ("-t ext4 -b 4096 -O inline_data", 16_384),
    ("-t ext4 -b 1024 -O inline_data -I 512", 24_000),
    ("-t ext4 -b 4096 -I 128 -O ^metadata_csum,^extra_isize", 16_384),
    ("-t ext4 -b 4096 -O metadata_csum_seed,large_dir", 16_384),
    ("-t ext4 -b 1024 -O ^filetype -E hash_seed=00000000-0000-0000-0000-000000000000", 24_000),
    ("-t ext4 -b 1024 -O bigalloc -C 4096", 24_000),
];

fn read_only() -> Options {
    Options { read_only: true, ..Options::default() }
}

fn mount(image: &Path) -> Ext4<Disk> {
    Ext4::mount(Disk::new(fs::read(image).unwrap()), &read_only()).unwrap()
}

fn walk(volume: &mut Ext4<Disk>, path: &str) -> u32 {
    path.split('/').filter(|name| !name.is_empty()).fold(ROOT, |inode, name| {
        let directory = volume.inode(inode).unwrap();
        volume.lookup(&directory, name.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error:?}"))
    })
}

fn names(volume: &mut Ext4<Disk>, inode: u32) -> BTreeMap<String, u32> {
    let directory = volume.inode(inode).unwrap();
    let mut all = BTreeMap::new();
    let mut position = 0;
    // A few at a time, as programs do.
    loop {
        let before = all.len();
        let mut left = 7;
        volume
            .list(&directory, position, |entry| {
                let name = String::from_utf8(entry.name.to_vec()).unwrap();
                assert!(all.insert(name, entry.inode).is_none(), "a name that comes twice");
                position = entry.next;
                left -= 1;
                left > 0
            })
            .unwrap();
        if all.len() == before {
            return all;
        }
    }
}

/// The blocks of a file as debugfs lists them.
fn blocks_by_debugfs(image: &Path, path: &str) -> Vec<u64> {
    let text = images::debugfs(image, false, &[&format!("blocks {path}")]);
    let last = text.lines().filter(|line| !line.starts_with("debugfs")).collect::<Vec<_>>().join(" ");
    last.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

fn compare(volume: &mut Ext4<Disk>, image: &Path, host: &Path, path: &str) {
    let metadata = fs::symlink_metadata(host).unwrap();
    let number = walk(volume, path);
    let inode = volume.inode(number).unwrap();
    assert_eq!(u32::from(inode.mode()), metadata.mode(), "{path}");
    assert_eq!((inode.uid(), inode.gid()), (metadata.uid(), metadata.gid()), "{path}");
    // That of the root is when mke2fs added the last entry.
    assert!(path == "/" || inode.modified().seconds == metadata.mtime(), "{path}");
    let said = images::debugfs(image, false, &[&format!("stat {path}")]);
    assert!(said.contains(&format!("Inode: {number} ")), "{path}: {said}");
    assert!(said.contains(&format!("Links: {} ", inode.links())), "{path}: {said}");
    let sectors = inode.sectors(volume.geometry());
    assert!(said.contains(&format!("Blockcount: {sectors}\n")), "{path}: {sectors}, not: {said}");
    if metadata.is_dir() {
        let on_host: Vec<_> =
            fs::read_dir(host).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        let mut here = names(volume, number);
        assert_eq!(here.remove("."), Some(number));
        assert!(here.remove("..").is_some());
        here.remove("lost+found");
        assert_eq!(here.len(), on_host.len(), "{path}");
        for name in on_host {
            let expected = here[&name];
            assert_eq!(volume.lookup(&inode, name.as_bytes()), Ok(expected), "{path}/{name}");
            compare_if_few(volume, image, host, path, &name, here.len());
        }
        assert_eq!(volume.lookup(&inode, b"not there"), Err(Error::NotFound));
    } else if metadata.is_symlink() {
        assert_eq!(
            volume.read_link(&inode).unwrap(),
            fs::read_link(host).unwrap().as_os_str().as_encoded_bytes()
        );
    } else {
        let mut expected = fs::read(host).unwrap();
        assert!(said.contains(&format!("Size: {}\n", inode.size())), "{path}: {}, not: {said}", inode.size());
        // With inline data, mke2fs cuts off holes at the end.
        assert!(expected.iter().skip(inode.size() as usize).all(|byte| *byte == 0));
        expected.truncate(inode.size() as usize);
        let mut all = vec![1; expected.len() + 10];
        assert_eq!(volume.read(&inode, 0, &mut all), Ok(expected.len()));
        assert!(all[..expected.len()] == expected, "the content of {path}");
        // Parts that start and end within blocks.
        for (offset, len) in [(1, 9), (1023, 2050), (4095, 9000), (650_000, 50_001)] {
            let mut part = vec![1; len];
            let copied = volume.read(&inode, offset as u64, &mut part).unwrap();
            let end = expected.len().min(offset + len);
            assert!(part[..copied] == *expected.get(offset..end).unwrap_or_default(), "{path} from {offset}");
        }
        if inode.flags() & flags::INLINE_DATA == 0 && path.len() < 20 {
            let mut blocks = Vec::new();
            let mut first = 0;
            while u64::from(first) * u64::from(volume.geometry().block_size) < inode.size() {
                let run = volume.map(&inode, first, u32::MAX).unwrap();
                if let Place::Written(start) = run.place {
                    blocks.extend(start..start + u64::from(run.count));
                }
                first += run.count;
            }
            let mut said = blocks_by_debugfs(image, path);
            // It lists the blocks of numbers and of extents, too.
            said.retain(|block| blocks.contains(block));
            assert_eq!(blocks, said, "{path}");
        }
    }
}

fn compare_if_few(volume: &mut Ext4<Disk>, image: &Path, host: &Path, path: &str, name: &str, many: usize) {
    if many < 100 || name.ends_with('7') && name.contains(" 7") {
        let path = format!("{}/{name}", path.trim_end_matches('/'));
        if !path.contains(' ') {
            compare(volume, image, &host.join(name), &path);
        }
    }
}

#[test]
fn each_kind_of_image_reads_as_what_was_put_in() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let tree = images::tree(&folder, 700);
    for (options, blocks) in KINDS {
        eprintln!("{options}");
        let image = images::make(&folder, Some(&tree), options, *blocks);
        compare(&mut mount(&image), &image, &tree, "/");
        images::index_directories(&image);
        let mut volume = mount(&image);
        compare(&mut volume, &image, &tree, "/");
        if !options.contains("ext2") {
            let many = walk(&mut volume, "/many");
            assert!(volume.inode(many).unwrap().flags() & flags::INDEX != 0, "{options}");
        }
    }
}

#[test]
fn names_are_found_by_each_hash() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let tree = folder.0.join("tree");
    fs::create_dir_all(&tree).unwrap();
    for index in 0..3000 {
        fs::write(
            tree.join(format!(
                "Grüße und ein langer Name, der Platz braucht, damit es viele Blöcke werden {index}"
            )),
            b"",
        )
        .unwrap();
    }
    for hash in ["legacy", "half_md4", "tea"] {
        let image = images::make(&folder, Some(&tree), "-t ext4 -b 1024 -N 4000", 24_000);
        images::debugfs(&image, true, &[&format!("ssv def_hash_version {hash}")]);
        images::index_directories(&image);
        let mut volume = mount(&image);
        let root = volume.inode(ROOT).unwrap();
        assert!(root.flags() & flags::INDEX != 0);
        let all = names(&mut volume, ROOT);
        let before = volume.into_device().reads;
        let mut disk = Disk::new(fs::read(&image).unwrap());
        disk.reads = 0;
        let mut volume = Ext4::mount(disk, &read_only()).unwrap();
        for (name, inode) in &all {
            assert_eq!(volume.lookup(&root, name.as_bytes()), Ok(*inode), "{hash}: {name}");
        }
        assert_eq!(volume.lookup(&root, "Grüße".as_bytes()), Err(Error::NotFound));
        assert!(before > 0);
        // The index is really used: one name that is not there costs a few blocks and not all.
        let mut volume = mount(&image);
        let _ = volume.lookup(&root, b"one that is missing");
        let reads = volume.into_device().reads;
        assert!(reads < 20, "{hash}: {reads} reads for one name");
    }
}

#[test]
fn times_devices_and_attributes_are_those_that_debugfs_set() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let tree = images::tree(&folder, 0);
    let image = images::make(&folder, Some(&tree), "-t ext4 -b 4096", 16_384);
    let large = "v".repeat(3000);
    fs::write(folder.0.join("value"), &large).unwrap();
    images::debugfs(
        &image,
        true,
        &[
            "mknod tty c 4 64",
            "mknod disk b 259 7000",
            "mknod pipe p",
            "ea_set short user.colour green",
            "ea_set short security.selinux label",
            &format!("ea_set -f {} short user.large", folder.0.join("value").display()),
            "sif short mtime 0x7fffffff",
            "sif short mtime_extra 0x1dcd6501",
            "sif short crtime @86400",
            "sif hundred uid 100000",
        ],
    );
    let mut volume = mount(&image);
    let mut get = |path: &str| {
        let number = walk(&mut volume, path);
        volume.inode(number).unwrap()
    };
    assert_eq!((get("tty").kind(), get("tty").device()), (kind::CHARACTER, Some((4, 64))));
    assert_eq!((get("disk").kind(), get("disk").device()), (kind::BLOCK, Some((259, 7000))));
    assert_eq!((get("pipe").kind(), get("pipe").device()), (kind::FIFO, None));
    assert_eq!(get("hundred").uid(), 100_000);
    let short = get("short");
    assert_eq!(short.modified(), Time { seconds: 0x7fff_ffff + (1 << 32), nanoseconds: 0x1dcd_6501 >> 2 });
    assert_eq!(short.created().unwrap().seconds, 86_400);
    let mut all = BTreeMap::new();
    volume
        .attributes(&short, |namespace, name, value| {
            let name = format!("{}{}", namespace.prefix().unwrap(), std::str::from_utf8(name).unwrap());
            all.insert(name, value.to_vec());
            Ok(true)
        })
        .unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), ["security.selinux", "user.colour", "user.large"]);
    assert_eq!(all["user.colour"], b"green");
    assert_eq!(all["user.large"], large.as_bytes());
    assert_eq!(volume.attribute(&short, Namespace(6), b"selinux").as_deref(), Ok(&b"label"[..]));
    assert_eq!(volume.attribute(&short, Namespace(1), b"size"), Err(Error::NotFound));
}

#[test]
fn blocks_that_were_never_written_read_as_zeros() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let tree = images::tree(&folder, 0);
    let image = images::make(&folder, Some(&tree), "-t ext4 -b 4096", 16_384);
    images::debugfs(&image, true, &["fallocate empty 0 99", "sif empty size 409600"]);
    let mut volume = mount(&image);
    let number = walk(&mut volume, "empty");
    let inode = volume.inode(number).unwrap();
    let run = volume.map(&inode, 3, 1000).unwrap();
    assert!(matches!(run.place, Place::Unwritten(_)), "{run:?}");
    let mut all = vec![1; 409_600];
    assert_eq!(volume.read(&inode, 0, &mut all), Ok(409_600));
    assert!(all.iter().all(|byte| *byte == 0));
    assert_eq!(volume.map(&inode, 200, 5).unwrap().place, Place::Hole);
}

#[test]
fn memory_for_blocks_is_bounded() {
    if !images::have_tools() {
        return;
    }
    let folder = Folder::new();
    let tree = images::tree(&folder, 700);
    let image = images::make(&folder, Some(&tree), "-t ext4 -b 1024", 24_000);
    let options = Options { cached_blocks: 20, ..read_only() };
    let mut volume = Ext4::mount(Disk::new(fs::read(&image).unwrap()), &options).unwrap();
    let many = walk(&mut volume, "/many");
    for (_, inode) in names(&mut volume, many) {
        volume.inode(inode).unwrap();
        assert!(volume.cached_blocks() <= 20);
    }
}
