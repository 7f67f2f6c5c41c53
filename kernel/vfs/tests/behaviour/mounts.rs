// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which file system is seen where, and how.

use std::sync::Arc;

use exo_core::errno::Errno;
use exo_mm::MappedFile;
use exo_vfs::{
    dentry::Dentry,
    inode::Inode,
    mount::{self, Mount, Path},
    mounting,
    superblock::SuperBlock,
    writing::{Executing, Writing},
};
use linux_raw_sys::general as abi;

use crate::support::{
    Stored, at, change_directory, change_root, content, create, exists, machine, make_directory, make_file,
    names, open, try_open, write,
};

/// Mounts an empty file system.
fn mount_new(path: &str) -> Arc<Mount> {
    let superblock = SuperBlock::new(&Stored).unwrap();
    let mount = Mount::new(Dentry::root(Inode::directory(Arc::new(superblock), 0o755)), b"new".to_vec(), 0);
    mount::attach(&mount, at(path)).unwrap();
    mount
}

fn unmount(path: &str) -> Result<(), Errno> {
    mount::unmount(at(path), false, false)
}

fn bind(from: &str, to: &str) -> Result<(), Errno> {
    mount::bind(&at(from), at(to), false)
}

#[test]
fn a_mount_hides_what_is_below_it_until_it_goes() {
    machine(|| {
        make_directory("/m");
        make_file("/m/hidden");
        mount_new("/m");
        assert_eq!(names("/m"), [""; 0]);
        make_file("/m/f");
        assert_eq!((at("/m/f").path(), at("/m/..").path()), (b"/m/f".to_vec(), b"/".to_vec()));
        unmount("/m").unwrap();
        assert_eq!(names("/m"), ["hidden"]);
    });
}

#[test]
fn mounts_lie_on_top_of_each_other() {
    machine(|| {
        make_directory("/m");
        mount_new("/m");
        make_file("/m/first");
        mount_new("/m");
        make_file("/m/second");
        assert_eq!(names("/m"), ["second"]);
        assert!(at("/m/..").is(&at("/")));
        unmount("/m").unwrap();
        assert_eq!(names("/m"), ["first"]);
        unmount("/m").unwrap();
        assert_eq!(unmount("/m"), Err(Errno::EINVAL), "it is no root of a mount");
    });
}

#[test]
fn the_way_up_leads_to_what_is_mounted_there() {
    machine(|| {
        make_directory("/a");
        make_directory("/a/b");
        change_directory("/a/b");
        let mount = mount_new("/a");
        assert!(at("..").is(&Path::root_of(mount)));
        assert!(at(".").dentry.is_within(&at("/").dentry) && !exists("/a/b"));
    });
}

#[test]
fn file_systems_have_numbers_of_their_own() {
    machine(|| {
        make_directory("/a");
        make_directory("/b");
        let (a, b) = (mount_new("/a"), mount_new("/b"));
        let number = |mount: &Mount| mount.superblock.device_number();
        assert_ne!(number(&a), number(&b));
        assert_ne!(a.id, b.id);
        let before = number(&a);
        drop(a);
        unmount("/a").unwrap();
        let again = mount_new("/a");
        assert_eq!(number(&again), before, "a number that is free is used again");
        assert_eq!(MappedFile::numbers(&at("/a")), (again.superblock.device, at("/a").number));
        assert_eq!(MappedFile::path(&at("/a")), b"/a");
    });
}

#[test]
fn a_file_is_mounted_on_a_file_and_a_directory_on_a_directory() {
    machine(|| {
        make_directory("/d");
        make_file("/f");
        write(&create("/g"), b"g").unwrap();
        assert_eq!(bind("/d", "/f"), Err(Errno::ENOTDIR));
        assert_eq!(bind("/f", "/d"), Err(Errno::ENOTDIR));
        bind("/g", "/f").unwrap();
        assert_eq!(content("/f"), b"g");
        assert_eq!(at("/f").path(), b"/f");
    });
}

#[test]
fn what_is_bound_is_seen_at_both_places() {
    machine(|| {
        make_directory("/a");
        make_directory("/a/sub");
        make_directory("/b");
        bind("/a", "/b").unwrap();
        make_file("/b/f");
        assert!(exists("/a/f"));
        assert_eq!((at("/b/f").path(), at("/a/f").path()), (b"/b/f".to_vec(), b"/a/f".to_vec()));
        assert!(at("/b/sub/..").is(&at("/b")) && at("/b/..").is(&at("/")));
        assert!(Arc::ptr_eq(&at("/a").dentry, &at("/b").dentry) && !at("/a").is(&at("/b")));
    });
}

#[test]
fn a_deep_bind_has_what_is_mounted_below_too() {
    machine(|| {
        for directory in ["/a", "/a/m", "/a/n", "/other", "/flat", "/deep"] {
            make_directory(directory);
        }
        mount_new("/a/m");
        make_directory("/a/m/inner");
        mount_new("/a/m/inner");
        make_file("/a/m/inner/f");
        mount_new("/a/n").make_unbindable();
        make_file("/a/n/f");
        mount_new("/other");
        mount::bind(&at("/a"), at("/flat"), false).unwrap();
        mount::bind(&at("/a"), at("/deep"), true).unwrap();
        assert!(!exists("/flat/m/inner") && exists("/deep/m/inner/f"));
        assert!(exists("/a/n/f") && !exists("/deep/n/f"), "it must not be bound");
        assert_eq!(at("/deep/m/inner/f").path(), b"/deep/m/inner/f");
    });
}

#[test]
fn what_is_unbindable_is_not_bound() {
    machine(|| {
        make_directory("/a");
        make_directory("/b");
        let mount = mount_new("/a");
        mount.make_unbindable();
        assert_eq!(bind("/a", "/b"), Err(Errno::EINVAL));
        mount.make_private();
        assert_eq!(bind("/a", "/b"), Ok(()));
    });
}

#[test]
fn a_mount_moves_with_what_is_in_it() {
    machine(|| {
        for directory in ["/a", "/b", "/c"] {
            make_directory(directory);
        }
        mount_new("/a");
        make_directory("/a/m");
        mount_new("/a/m");
        make_file("/a/m/f");
        mount::move_to(&at("/a"), at("/b")).unwrap();
        assert!(exists("/b/m/f") && !exists("/a/m"));
        assert_eq!(at("/b/m/f").path(), b"/b/m/f");
        assert_eq!(mount::move_to(&at("/b"), at("/b/m")), Err(Errno::ELOOP), "into itself");
        assert_eq!(mount::move_to(&at("/c"), at("/a")), Err(Errno::EINVAL), "no mount");
        make_file("/f");
        assert_eq!(mount::move_to(&at("/b"), at("/f")), Err(Errno::EINVAL), "no directory");
    });
}

#[test]
fn a_mount_in_use_stays() {
    machine(|| {
        make_directory("/m");
        mount_new("/m");
        make_directory("/m/inner");
        let file = create("/m/f");
        assert_eq!(unmount("/m"), Err(Errno::EBUSY), "an open file");
        drop(file);
        mount_new("/m/inner");
        assert_eq!(unmount("/m"), Err(Errno::EBUSY), "a mount in it");
        unmount("/m/inner").unwrap();
        unmount("/m").unwrap();
    });
}

#[test]
fn a_mount_goes_lazily_though_it_is_in_use() {
    machine(|| {
        make_directory("/m");
        mount_new("/m");
        make_directory("/m/inner");
        mount_new("/m/inner");
        make_file("/m/inner/f");
        let file = create("/m/f");
        let directory = at("/m/inner");
        mount::unmount(at("/m"), true, false).unwrap();
        assert!(!exists("/m/f"));
        write(&file, b"still there").unwrap();
        assert_eq!(file.path().path(), b"/f", "it is in no tree any more");
        assert!(directory.mount.mountpoint().is_none());
        assert_eq!(mount::bind(&directory, at("/m"), false), Err(Errno::EINVAL));
        let other =
            Mount::new(Dentry::root(Inode::directory(directory.superblock.clone(), 0o755)), Vec::new(), 0);
        assert_eq!(mount::attach(&other, directory), Err(Errno::EINVAL));
    });
}

#[test]
fn a_mount_expires_if_nobody_uses_it_meanwhile() {
    machine(|| {
        make_directory("/m");
        let mount = mount_new("/m");
        make_file("/m/f");
        drop(mount);
        let expire = || mount::unmount(at("/m"), false, true);
        assert_eq!(expire(), Err(Errno::EAGAIN));
        drop(open("/m/f", abi::O_RDONLY));
        assert_eq!(expire(), Err(Errno::EAGAIN), "somebody has");
        assert_eq!(expire(), Ok(()));
        assert!(!exists("/m/f"));
    });
}

#[test]
fn the_root_is_not_unmounted() {
    machine(|| {
        assert_eq!(mount::unmount(mount::root(), false, false), Err(Errno::EINVAL));
        assert_eq!(mount::unmount(Path::root_of(mount::anonymous()), false, false), Err(Errno::EINVAL));
    });
}

#[test]
fn nothing_is_changed_through_a_read_only_mount() {
    machine(|| {
        make_directory("/a");
        make_directory("/b");
        make_file("/a/f");
        bind("/a", "/b").unwrap();
        at("/b").mount.set_flags(abi::MS_RDONLY).unwrap();
        assert!(at("/b").mount.is_read_only() && !at("/a").mount.is_read_only());
        assert_eq!(at("/b").check_writable(), Err(Errno::EROFS));
        assert_eq!(try_open("/b/f", abi::O_WRONLY).err(), Some(Errno::EROFS));
        assert_eq!(exo_vfs::path::resolve_new(None, b"/b/new", false).err(), Some(Errno::EROFS));
        assert!(try_open("/b/f", abi::O_RDONLY).is_ok() && try_open("/a/f", abi::O_WRONLY).is_ok());
        at("/b").mount.set_flags(0).unwrap();
        assert!(try_open("/b/f", abi::O_WRONLY).is_ok());
    });
}

#[test]
fn a_mount_does_not_become_read_only_while_a_file_is_open_for_writing() {
    machine(|| {
        make_directory("/a");
        make_directory("/b");
        make_file("/a/f");
        bind("/a", "/b").unwrap();
        let file = open("/b/f", abi::O_RDWR);
        let mount = at("/b").mount;
        assert_eq!(mount.set_flags(abi::MS_RDONLY), Err(Errno::EBUSY));
        assert_eq!(mount.set_read_only(true), Err(Errno::EBUSY), "nor its file system");
        assert!(!mount.is_read_only());
        assert_eq!(at("/a").mount.set_read_only(true), Err(Errno::EBUSY));
        drop(file);
        mount.set_read_only(true).unwrap();
        assert!(mount.is_read_only() && at("/a").mount.is_read_only());
        mount.set_read_only(false).unwrap();
    });
}

#[test]
fn flags_that_a_mount_does_not_keep_are_dropped() {
    machine(|| {
        make_directory("/m");
        let mount = mount_new("/m");
        mount.make_unbindable();
        mount.set_flags(abi::MS_NOSUID | abi::MS_REMOUNT).unwrap();
        assert_eq!(mount.flags(), abi::MS_NOSUID | abi::MS_UNBINDABLE);
        assert!(mount.has(abi::MS_NOSUID) && !mount.has(abi::MS_NODEV));
        assert_eq!(
            (mount.source.as_slice(), mount.mountpoint().unwrap().path()),
            (&b"new"[..], b"/m".to_vec())
        );
    });
}

#[test]
fn a_program_that_runs_is_not_written_and_one_that_is_written_does_not_run() {
    machine(|| {
        make_file("/f");
        let path = at("/f");
        let (one, two) = (Executing::new(&path).unwrap(), Executing::new(&path).unwrap());
        assert_eq!(try_open("/f", abi::O_WRONLY).err(), Some(Errno::ETXTBSY));
        assert!(one.path().is(&path) && try_open("/f", abi::O_RDONLY).is_ok());
        drop(one);
        assert_eq!(Writing::new(&path).err(), Some(Errno::ETXTBSY));
        drop(two);
        let writing = Writing::new(&path).unwrap();
        assert_eq!(Executing::new(&path).err(), Some(Errno::ETXTBSY));
        drop(writing);
        assert!(Executing::new(&path).is_ok());
        assert!(at("/").mount.set_read_only(true).is_ok(), "what was refused is not counted");
        at("/").mount.set_read_only(false).unwrap();
    });
}

#[test]
fn mounts_are_listed_in_their_order() {
    machine(|| {
        make_directory("/a");
        make_directory("/b");
        let ids = [mount_new("/b").id, mount_new("/a").id];
        let all: Vec<u64> = mount::list().iter().map(|mount| mount.id).collect();
        assert_eq!(all[all.len() - 2..], ids);
        assert!(all.is_sorted());
    });
}

#[test]
fn there_are_so_many_mounts_at_most() {
    machine(|| {
        let root = at("/");
        let mut count = 0;
        let error = loop {
            let name = format!("/{count}");
            make_directory(&name);
            match mount::bind(&root, at(&name), false) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error, Errno::ENOSPC);
        assert!(count > 1000);
        mount::unmount(at("/0"), false, false).unwrap();
        assert_eq!(mount::bind(&root, at("/0"), false), Ok(()));
    });
}

#[test]
fn names_are_told_from_where_one_is() {
    machine(|| {
        make_directory("/jail");
        make_directory("/jail/a");
        make_directory("/outside");
        mount_new("/jail/a");
        make_directory("/jail/a/b");
        let (inside, outside) = (at("/jail/a/b"), at("/outside"));
        change_root("/jail");
        assert_eq!(inside.names_below(&at("/")).unwrap(), (b"/a/b".to_vec(), true));
        let (_, is_below) = outside.names_below(&at("/")).unwrap();
        assert!(!is_below);
    });
}

#[test]
fn types_are_known_by_their_names_and_mounted_with_their_options() {
    machine(|| {
        make_directory("/a");
        let mount = |kind: &[u8], data: &[u8]| mounting::mount(b"none", at("/a"), kind, 0, data);
        assert_eq!(mount(b"no-such-type", b""), Err(Errno::ENODEV));
        assert_eq!(mount(b"stored", b"nonsense"), Err(Errno::EINVAL));
        assert_eq!(mounting::register(&Stored), Err(Errno::EBUSY), "there is one of that name");
        let mut names = Vec::new();
        mounting::each(|system| names.push(system.name()));
        assert_eq!(names, ["stored"]);
        mount(b"stored", b"").unwrap();
        assert_eq!(at("/a").mount.superblock.system.name(), "stored");
        unmount("/a").unwrap();
    });
}

#[test]
fn a_remount_that_fails_changes_nothing() {
    machine(|| {
        make_directory("/a");
        mounting::mount(b"none", at("/a"), b"stored", abi::MS_RDONLY, b"").unwrap();
        let mount = at("/a").mount;
        assert_eq!(mounting::remount(&mount, 0, b"nonsense"), Err(Errno::EINVAL));
        assert!(mount.is_read_only());
        mounting::remount(&mount, 0, b"").unwrap();
        assert_eq!(mounting::remount(&mount, abi::MS_RDONLY, b"nonsense"), Err(Errno::EINVAL));
        assert!(!mount.is_read_only());
        let file = create("/a/file");
        assert_eq!(mounting::remount(&mount, abi::MS_RDONLY, b""), Err(Errno::EBUSY));
        drop(file);
        mounting::remount(&mount, abi::MS_RDONLY, b"").unwrap();
        assert!(mount.is_read_only());
        drop(mount);
        unmount("/a").unwrap();
    });
}
