// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making, removing and renaming names.

use std::sync::Arc;

use exo_core::{errno::Errno, io_buf::IoBuf};
use exo_hal::{mm::frame, time};
use exo_vfs::{
    dentry::{Dentry, MustBeDirectory},
    inode::{Inode, InodeContent, NAME_MAX, directory::Rename, kind},
    mount,
};

use crate::support::{
    at, at_link, content, create, exists, give_name, machine, make_directory, make_file, make_link,
    make_with, names, write,
};

fn split(path: &str) -> (&str, &str) {
    let (directory, name) = path.rsplit_once('/').unwrap();
    (if directory.is_empty() { "/" } else { directory }, name)
}

fn remove(path: &str) -> Result<(), Errno> {
    let (directory, name) = split(path);
    at(directory).unlink(name.as_bytes())
}

fn remove_directory(path: &str) -> Result<(), Errno> {
    let (directory, name) = split(path);
    at(directory).remove_directory(name.as_bytes())
}

fn rename_as(old: &str, new: &str, how: Rename, must_be: MustBeDirectory) -> Result<(), Errno> {
    let ((from, name), (to, new_name)) = (split(old), split(new));
    at(from).rename(name.as_bytes(), &at(to), new_name.as_bytes(), how, must_be)
}

fn rename(old: &str, new: &str) -> Result<(), Errno> {
    rename_as(old, new, Rename::Replace, MustBeDirectory::default())
}

fn links(path: &str) -> u32 {
    at(path).metadata().links
}

#[test]
fn a_name_is_free_once() {
    machine(|| {
        make_file("/f");
        let other = Inode::file(at("/").superblock.clone(), 0o644);
        assert_eq!(at("/").dentry.add(b"f", &other).err(), Some(Errno::EEXIST));
        assert_eq!(at("/").dentry.add(&[b'n'; NAME_MAX + 1], &other).err(), Some(Errno::ENAMETOOLONG));
        assert_eq!(at("/f").dentry.add(b"below", &other).err(), Some(Errno::ENOTDIR));
        assert!(at("/").dentry.add(&[b'n'; NAME_MAX], &other).is_ok());
        assert_eq!(at("/f").dentry.lookup(b"x").err(), Some(Errno::ENOTDIR));
    });
}

#[test]
fn without_memory_no_name_is_made() {
    machine(|| {
        let node = Inode::file(at("/").superblock.clone(), 0o644);
        frame::exhaust();
        assert_eq!(at("/").dentry.add(b"f", &node).err(), Some(Errno::ENOSPC));
        frame::set_free(1000);
        assert_eq!(names("/"), [""; 0]);
    });
}

#[test]
fn names_are_listed_in_the_order_in_which_they_came() {
    machine(|| {
        for name in ["/c", "/a", "/b"] {
            make_file(name);
        }
        assert_eq!(names("/"), ["c", "a", "b"]);
        remove("/a").unwrap();
        make_file("/a");
        assert_eq!(names("/"), ["c", "b", "a"]);
        assert_eq!(at("/a").dentry.list(0, |_, _, _, _| true), Err(Errno::ENOTDIR));
    });
}

#[test]
fn a_listing_goes_on_where_it_stopped_whatever_has_gone() {
    machine(|| {
        for name in ["/a", "/b", "/c", "/d"] {
            make_file(name);
        }
        let mut last = 0;
        at("/")
            .dentry
            .list(0, |name, _, _, number| {
                last = number;
                name != b"b"
            })
            .unwrap();
        remove("/b").unwrap();
        remove("/c").unwrap();
        make_file("/e");
        let mut rest = Vec::new();
        at("/")
            .dentry
            .list(last, |name, kind, number, _| {
                assert_eq!((kind, number > 0), (kind::REGULAR, true));
                rest.push(name.to_vec());
                true
            })
            .unwrap();
        assert_eq!(rest, [b"d", b"e"]);
    });
}

#[test]
fn a_file_lives_as_long_as_somebody_has_it() {
    machine(|| {
        let file = create("/f");
        write(&file, b"content").unwrap();
        remove("/f").unwrap();
        assert_eq!((exists("/f"), file.node().metadata().links, file.node().is_named()), (false, 0, false));
        let mut out = [0; 7];
        file.read_at(0, &mut IoBuf::kernel(&mut out)).unwrap();
        assert_eq!(&out, b"content");
        assert_eq!(file.path().path(), b"/f (deleted)");
    });
}

#[test]
fn what_is_removed_has_to_be_there_and_of_its_kind() {
    machine(|| {
        make_directory("/d");
        make_file("/d/f");
        assert_eq!(remove("/missing"), Err(Errno::ENOENT));
        assert_eq!(remove("/d"), Err(Errno::EISDIR));
        assert_eq!(remove_directory("/d"), Err(Errno::ENOTEMPTY));
        assert_eq!(remove_directory("/d/f"), Err(Errno::ENOTDIR));
        assert_eq!(remove_directory("/missing"), Err(Errno::ENOENT));
        remove("/d/f").unwrap();
        assert_eq!((remove_directory("/d"), exists("/d")), (Ok(()), false));
    });
}

#[test]
fn nothing_comes_into_a_directory_that_was_removed() {
    machine(|| {
        make_directory("/d");
        make_file("/f");
        let directory = at("/d");
        remove_directory("/d").unwrap();
        let node = Inode::file(directory.superblock.clone(), 0o644);
        assert_eq!(directory.dentry.add(b"f", &node).err(), Some(Errno::ENOENT));
        let how = (Rename::Replace, MustBeDirectory::default());
        assert_eq!(at("/").rename(b"f", &directory, b"f", how.0, how.1), Err(Errno::ENOENT));
        assert_eq!((directory.metadata().links, directory.path()), (0, b"/d (deleted)".to_vec()));
    });
}

#[test]
fn what_is_mounted_on_is_neither_removed_nor_renamed() {
    machine(|| {
        for directory in ["/a", "/b"] {
            make_directory(directory);
        }
        make_file("/f");
        make_file("/g");
        mount::bind(&at("/b"), at("/a"), false).unwrap();
        mount::bind(&at("/g"), at("/f"), false).unwrap();
        assert_eq!(remove_directory("/a"), Err(Errno::EBUSY));
        assert_eq!(remove("/f"), Err(Errno::EBUSY));
        assert_eq!(rename("/a", "/c"), Err(Errno::EBUSY));
        assert_eq!(rename("/b", "/a"), Err(Errno::EBUSY));
        assert_eq!(rename("/g", "/f"), Err(Errno::EBUSY));
    });
}

#[test]
fn directories_count_those_in_them() {
    machine(|| {
        make_directory("/a");
        make_directory("/b");
        make_directory("/a/x");
        assert_eq!((links("/"), links("/a"), links("/b"), links("/a/x")), (4, 3, 2, 2));
        rename("/a/x", "/b/x").unwrap();
        assert_eq!((links("/a"), links("/b")), (2, 3));
        make_directory("/a/y");
        rename("/a/y", "/b/x").unwrap();
        assert_eq!((links("/a"), links("/b")), (2, 3));
        make_file("/a/f");
        rename_as("/a/f", "/b/x", Rename::Exchange, MustBeDirectory::default()).unwrap();
        assert_eq!((links("/a"), links("/b")), (3, 2));
        remove_directory("/a/f").unwrap();
        assert_eq!(links("/a"), 2);
    });
}

#[test]
fn a_rename_replaces_what_has_the_name() {
    machine(|| {
        write(&create("/old"), b"old").unwrap();
        let replaced = create("/new");
        write(&replaced, b"new").unwrap();
        rename("/old", "/new").unwrap();
        assert_eq!((names("/"), content("/new")), (vec!["new".to_string()], b"old".to_vec()));
        assert_eq!(replaced.node().metadata().links, 0);
        assert_eq!(replaced.path().path(), b"/new (deleted)");
        assert_eq!(at("/new").path(), b"/new");
    });
}

#[test]
fn a_rename_of_what_is_not_there_fails() {
    machine(|| {
        make_file("/f");
        assert_eq!(rename("/missing", "/f"), Err(Errno::ENOENT));
        let long = [b'n'; NAME_MAX + 1];
        let rename = |old: &[u8], new: &[u8]| {
            at("/").rename(old, &at("/"), new, Rename::Replace, MustBeDirectory::default())
        };
        assert_eq!(rename(b"f", &long), Err(Errno::ENAMETOOLONG));
        assert_eq!(rename(&long, b"f"), Err(Errno::ENAMETOOLONG));
        assert_eq!(names("/"), ["f"]);
    });
}

#[test]
fn files_replace_files_and_directories_empty_directories() {
    machine(|| {
        make_file("/f");
        make_directory("/d");
        make_directory("/full");
        make_file("/full/f");
        assert_eq!(rename("/f", "/d"), Err(Errno::EISDIR));
        assert_eq!(rename("/d", "/f"), Err(Errno::ENOTDIR));
        assert_eq!(rename("/d", "/full"), Err(Errno::ENOTEMPTY));
        rename("/full", "/d").unwrap();
        assert!(exists("/d/f") && !exists("/full"));
    });
}

#[test]
fn a_directory_is_not_moved_into_itself() {
    machine(|| {
        make_directory("/a");
        make_directory("/a/b");
        make_directory("/a/b/c");
        assert_eq!(rename("/a", "/a/x"), Err(Errno::EINVAL));
        assert_eq!(rename("/a", "/a/b/c/x"), Err(Errno::EINVAL));
        assert_eq!(rename("/a/b/c", "/a"), Err(Errno::ENOTEMPTY), "it would replace what is above");
        let exchange = rename_as("/a/b/c", "/a", Rename::Exchange, MustBeDirectory::default());
        assert_eq!(exchange, Err(Errno::EINVAL));
        assert_eq!(rename("/a", "/a"), Ok(()));
        assert!(exists("/a/b/c"));
    });
}

#[test]
fn a_rename_to_another_name_of_the_same_file_does_nothing() {
    machine(|| {
        make_file("/f");
        let node = Arc::clone(&at("/f"));
        give_name(&node, "/g").unwrap();
        rename("/f", "/g").unwrap();
        assert_eq!(names("/"), ["f", "g"]);
    });
}

#[test]
fn a_rename_may_keep_what_has_the_name() {
    machine(|| {
        make_file("/f");
        make_file("/g");
        let keep = |new| rename_as("/f", new, Rename::Keep, MustBeDirectory::default());
        assert_eq!(keep("/g"), Err(Errno::EEXIST));
        assert_eq!(keep("/h"), Ok(()));
        assert_eq!(names("/").len(), 2);
    });
}

#[test]
fn two_names_may_be_exchanged() {
    machine(|| {
        make_directory("/d");
        make_file("/d/inside");
        make_directory("/e");
        write(&create("/e/f"), b"file").unwrap();
        let exchange = |old, new| rename_as(old, new, Rename::Exchange, MustBeDirectory::default());
        exchange("/d", "/e/f").unwrap();
        assert_eq!((content("/d"), exists("/e/f/inside")), (b"file".to_vec(), true));
        assert_eq!(at("/e/f/..").path(), b"/e");
        assert_eq!(exchange("/d", "/missing"), Err(Errno::ENOENT));
    });
}

#[test]
fn a_rename_may_leave_a_whiteout() {
    machine(|| {
        make_file("/f");
        make_file("/g");
        let whiteout = |old, new, how| rename_as(old, new, how, MustBeDirectory::default());
        whiteout("/f", "/h", Rename::Whiteout).unwrap();
        let left = at("/f");
        assert_eq!(left.kind(), kind::CHARACTER);
        assert!(matches!(left.content, InodeContent::Device(0, 0)));
        assert_eq!(whiteout("/g", "/h", Rename::WhiteoutKeep), Err(Errno::EEXIST));
        whiteout("/g", "/i", Rename::WhiteoutKeep).unwrap();
        assert_eq!(names("/").len(), 4);
    });
}

#[test]
fn a_whiteout_needs_an_inode() {
    machine(|| {
        make_file("/f");
        let superblock = at("/").superblock.clone();
        let used = superblock.inodes.load(std::sync::atomic::Ordering::Relaxed);
        superblock.inode_limit.store(used, std::sync::atomic::Ordering::Relaxed);
        assert!(!superblock.has_room_for_inode());
        let result = rename_as("/f", "/g", Rename::Whiteout, MustBeDirectory::default());
        assert_eq!((result, names("/")), (Err(Errno::ENOSPC), vec!["f".to_string()]));
        superblock.inode_limit.store(used + 1, std::sync::atomic::Ordering::Relaxed);
        assert!(superblock.has_room_for_inode());
    });
}

#[test]
fn a_slash_behind_a_name_of_a_rename_asks_for_a_directory() {
    machine(|| {
        make_file("/f");
        make_directory("/d");
        let must_be = |old, new| MustBeDirectory { old, new };
        let rename = |old, new, must| rename_as(old, new, Rename::Replace, must);
        assert_eq!(rename("/f", "/g", must_be(true, false)), Err(Errno::ENOTDIR));
        assert_eq!(rename("/f", "/g", must_be(false, true)), Err(Errno::ENOTDIR));
        let exchange = rename_as("/d", "/f", Rename::Exchange, must_be(false, true));
        assert_eq!(exchange, Err(Errno::ENOTDIR));
        assert_eq!(rename("/d", "/e", must_be(true, true)), Ok(()));
    });
}

#[test]
fn a_link_may_be_replaced_and_its_target_is_not() {
    machine(|| {
        write(&create("/target"), b"target").unwrap();
        make_link("target", "/link");
        make_file("/f");
        rename("/f", "/link").unwrap();
        assert_eq!((at_link("/link").kind(), content("/target")), (kind::REGULAR, b"target".to_vec()));
    });
}

#[test]
fn changes_are_noted_with_their_time() {
    machine(|| {
        make_directory("/d");
        make_file("/f");
        let times = |path: &str| {
            let metadata = at(path).metadata();
            (metadata.modified, metadata.changed)
        };
        let (before, file) = (times("/d"), times("/f"));
        time::advance(5);
        rename("/f", "/d/f").unwrap();
        assert_eq!(times("/d"), (before.0 + 5, before.1 + 5));
        assert_eq!(times("/d/f"), (file.0, file.1 + 5), "its content is as old as before");
        time::advance(5);
        remove("/d/f").unwrap();
        assert_eq!(times("/d"), (before.0 + 10, before.1 + 10));
    });
}

#[test]
fn a_tree_of_any_depth_goes_without_recursion() {
    machine(|| {
        let superblock = at("/").superblock.clone();
        let top = Dentry::root(Inode::directory(superblock.clone(), 0o755));
        let mut directory = top.clone();
        for _ in 0..100_000 {
            directory = directory.add(b"d", &Inode::directory(superblock.clone(), 0o755)).unwrap();
            directory.add(b"f", &Inode::file(superblock.clone(), 0o644)).unwrap();
        }
        drop(directory);
        drop(top);
    });
}

#[test]
fn a_chain_of_removed_directories_goes_without_recursion() {
    machine(|| {
        let mut directory = at("/").dentry;
        for _ in 0..10_000 {
            let next = Inode::directory(directory.inode.superblock.clone(), 0o755);
            directory = directory.add(b"d", &next).unwrap();
        }
        let last = directory.clone();
        while let Some(parent) = directory.parent() {
            parent.remove_directory(b"d", |_| Ok(())).unwrap();
            directory = parent;
        }
        drop(directory);
        assert!(last.is_removed() && last.parent().is_some());
    });
}

#[test]
fn inodes_of_a_file_system_are_counted() {
    machine(|| {
        let superblock = at("/").superblock.clone();
        let count = || superblock.inodes.load(std::sync::atomic::Ordering::Relaxed);
        let before = count();
        make_file("/f");
        make_with("/socket", kind::SOCKET | 0o600, InodeContent::Socket).unwrap();
        assert_eq!(count(), before + 2);
        remove("/f").unwrap();
        assert_eq!(count(), before + 1);
        assert!(Arc::ptr_eq(&at("/socket").superblock, &superblock));
    });
}
