// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of a file system that is not in memory: what is remembered of them, and for how long.

use std::sync::{Arc, atomic::Ordering};

use exo_core::errno::Errno;
use exo_hal::sync::SpinLock;
use exo_vfs::{
    dentry::{MustBeDirectory, cache},
    inode::{
        Inode,
        directory::{Rename, What},
    },
    mount,
};
use linux_raw_sys::general as abi;

use crate::{
    disk::Disk,
    support::{
        at, change_directory, exists, give_name, let_others_run, machine, make_directory, make_file,
        make_new, names, resolve, shared, start,
    },
};

fn unlink(directory: &str, name: &str) -> Result<(), Errno> {
    at(directory).unlink(name.as_bytes())
}

fn rename(from: &str, name: &str, to: &str, new_name: &str, how: Rename) -> Result<(), Errno> {
    at(from).rename(name.as_bytes(), &at(to), new_name.as_bytes(), how, MustBeDirectory::default())
}

fn make_socket(path: &str) {
    make_new(path, What::Socket, 0o644).unwrap();
}

#[test]
fn what_was_found_is_not_asked_for_again() {
    machine(|| {
        let disk = Disk::mount("/disk");
        disk.put_file("f");
        assert!(exists("/disk/f"));
        assert_eq!(disk.take_lookups(), 1);
        let (one, two) = (at("/disk/f"), at("/disk/f"));
        assert!(one.is(&two) && one.path() == b"/disk/f");
        assert_eq!(disk.take_lookups(), 0);
    });
}

#[test]
fn what_is_missing_is_not_asked_for_again_until_it_is_made() {
    machine(|| {
        let disk = Disk::mount("/disk");
        for _ in 0..3 {
            assert_eq!(resolve("/disk/f").err(), Some(Errno::ENOENT));
        }
        assert_eq!(disk.take_lookups(), 1);
        make_socket("/disk/f");
        assert!(exists("/disk/f"));
        assert_eq!((disk.take_lookups(), disk.stored_names()), (0, vec!["f".to_string()]));
        unlink("/disk", "f").unwrap();
        assert!(!exists("/disk/f"));
        assert_eq!((disk.take_lookups(), disk.stored_names().len()), (0, 0));
    });
}

#[test]
fn all_that_is_done_with_names_is_done_on_the_disk() {
    machine(|| {
        let disk = Disk::mount("/disk");
        make_directory("/disk/d");
        make_socket("/disk/f");
        give_name(&at("/disk/f"), "/disk/d/g").unwrap();
        assert!(Arc::ptr_eq(&at("/disk/f"), &at("/disk/d/g")));
        assert_eq!((names("/disk"), names("/disk/d")), (vec!["d".into(), "f".into()], vec!["g".to_string()]));
        assert_eq!((at("/disk").metadata().links, at("/disk/f").metadata().links), (3, 2));
        rename("/disk", "f", "/disk/d", "h", Rename::Replace).unwrap();
        assert_eq!((exists("/disk/f"), at("/disk/d/h").path()), (false, b"/disk/d/h".to_vec()));
        rename("/disk/d", "h", "/disk", "f", Rename::Whiteout).unwrap();
        assert!(!Arc::ptr_eq(&at("/disk/f"), &at("/disk/d/h")));
        unlink("/disk/d", "h").unwrap();
        assert_eq!(at("/disk").remove_directory(b"d"), Err(Errno::ENOTEMPTY));
        unlink("/disk/d", "g").unwrap();
        let directory = at("/disk/d");
        at("/disk").remove_directory(b"d").unwrap();
        assert_eq!(
            (directory.path(), disk.stored_names()),
            (b"/disk/d (deleted)".to_vec(), vec!["f".to_string()])
        );
        assert_eq!(directory.create(b"f", What::Socket, 0o600).err(), Some(Errno::ENOENT));
        assert_eq!(directory.dentry.lookup(b"f").err(), Some(Errno::ENOENT));
        make_directory("/disk/d");
        assert_eq!(directory.path(), b"/disk/d (deleted)");
        rename("/disk", "f", "/disk", "d", Rename::Exchange).unwrap();
        assert!(at("/disk/f").is_directory() && !at("/disk/d").is_directory());
        assert_eq!(at("/").dentry.add(b"x", &at("/disk/d")).map(drop), Ok(()), "in memory is room for all");
        assert_eq!(at("/disk").dentry.add(b"x", &at("/disk/d")).err(), Some(Errno::EPERM));
    });
}

#[test]
fn an_error_is_not_remembered_and_changes_nothing() {
    machine(|| {
        let disk = Disk::mount("/disk");
        make_socket("/disk/f");
        make_directory("/disk/d");
        disk.is_broken.store(true, Ordering::SeqCst);
        assert_eq!(resolve("/disk/g").err(), Some(Errno::EIO));
        assert_eq!(unlink("/disk", "f"), Err(Errno::EIO));
        assert_eq!(at("/disk").remove_directory(b"d"), Err(Errno::EIO));
        assert_eq!(rename("/disk", "f", "/disk", "d", Rename::Exchange), Err(Errno::EIO));
        disk.is_broken.store(false, Ordering::SeqCst);
        assert_eq!(at("/disk/f").path(), b"/disk/f");
        assert_eq!(resolve("/disk/g").err(), Some(Errno::ENOENT));
        assert_eq!(disk.take_lookups(), 4, "f, d, and g twice");
        assert!(unlink("/disk", "f").is_ok() && at("/disk").remove_directory(b"d").is_ok());
    });
}

#[test]
fn two_that_look_for_the_same_name_ask_once() {
    machine(|| {
        let disk = Disk::mount("/disk");
        disk.put_file("f");
        disk.delay_ns.store(50_000_000, Ordering::SeqCst);
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                start(move || assert_eq!(exists(["/disk/f", "/disk/missing"][task % 2]), task % 2 == 0))
            })
            .collect();
        tasks.iter().for_each(|task| task.join());
        assert_eq!(disk.take_lookups(), 2);
    });
}

#[test]
fn who_waits_for_a_look_up_can_be_killed() {
    machine(|| {
        let disk = Disk::mount("/disk");
        disk.put_file("f");
        disk.is_stuck.store(true, Ordering::SeqCst);
        let ask = || start(|| assert_eq!(resolve("/disk/f").err(), Some(Errno::EINTR)));
        let (asks, waits) = (ask(), ask());
        let_others_run();
        assert_eq!((disk.take_lookups(), asks.has_ended(), waits.has_ended()), (1, false, false));
        waits.kill();
        waits.join();
        asks.kill();
        asks.join();
        disk.is_stuck.store(false, Ordering::SeqCst);
        assert!(exists("/disk/f"));
    });
}

#[test]
fn what_is_known_is_found_while_the_disk_works() {
    machine(|| {
        let disk = Disk::mount("/disk");
        make_socket("/disk/known");
        disk.put_file("f");
        disk.delay_ns.store(50_000_000, Ordering::SeqCst);
        let asks = start(|| assert!(exists("/disk/f")));
        let_others_run();
        assert!(exists("/disk/known") && !asks.has_ended());
        asks.join();
    });
}

#[test]
fn what_the_kernel_makes_needs_no_sleep() {
    machine(|| {
        let root = at("/").dentry;
        make_file("/f");
        // As a driver that is called in an interrupt, and may have something locked.
        let lock = shared(SpinLock::new(()));
        let held = lock.lock();
        let file = Inode::file(root.inode.superblock.clone(), 0o644);
        let device = root.add(b"device", &file).unwrap();
        assert_eq!(root.add(b"device", &file).err(), Some(Errno::EEXIST));
        assert_eq!((root.take_out(b"device"), root.take_out(b"device")), (Ok(()), Err(Errno::ENOENT)));
        drop(held);
        assert_eq!(
            (at("/").with(device).path(), names("/")),
            (b"/device (deleted)".to_vec(), vec!["f".to_string()])
        );
        make_directory("/d");
        make_file("/d/f");
        let inside = at("/d/f");
        root.take_out(b"d").unwrap();
        assert_eq!((inside.path(), at("/").metadata().links), (b"/d/f (deleted)".to_vec(), 2));
        assert_eq!(at("/f").dentry.add(b"x", &file).err(), Some(Errno::ENOTDIR));
    });
}

#[test]
fn names_that_nobody_uses_are_bounded() {
    machine(|| {
        let disk = Disk::mount("/disk");
        let before = cache::count();
        make_directory("/disk/d");
        make_socket("/disk/d/in use");
        disk.put_file("hot");
        change_directory("/disk/d");
        disk.take_lookups();
        for number in 0..100_000 {
            let name = format!("/disk/{number}");
            if number % 4 == 0 {
                disk.put_file(&name[6..]);
            }
            assert_eq!(exists(&name), number % 4 == 0);
            assert!(cache::count() <= cache::MOST, "{} names are kept", cache::count());
            if number % 1000 == 0 {
                assert!(exists("/disk/hot"));
            }
        }
        assert_eq!(disk.take_lookups(), 100_001, "what is used often stays");
        assert_eq!(at(".").path(), b"/disk/d");
        assert!(exists("/disk/d"));
        assert_eq!(disk.take_lookups(), 0, "and so does what is in use");
        assert!(!exists("/disk/1") && exists("/disk/0"));
        assert_eq!(disk.take_lookups(), 2, "what is not, has gone");
        change_directory("/");
        mount::unmount(at("/disk"), false, false).unwrap();
        assert_eq!(cache::count(), before, "names go with their file system");
    });
}

#[test]
fn names_are_given_back_when_memory_is_short() {
    machine(|| {
        let disk = Disk::mount("/disk");
        make_directory("/disk/d");
        for name in ["/disk/f", "/disk/d/f", "/disk/d/g"] {
            make_socket(name);
        }
        let held = at("/disk/d/f");
        assert!(!exists("/disk/missing"));
        disk.take_lookups();
        assert_eq!(cache::give_back(usize::MAX), 3, "all but what is held, and what that is in");
        assert!(exists("/disk/d/f") && at("/disk/d/f").is(&held));
        assert_eq!(disk.take_lookups(), 0);
        assert!(exists("/disk/f") && exists("/disk/d/g") && !exists("/disk/missing"));
        assert_eq!(disk.take_lookups(), 3);
        drop(held);
        assert_eq!(cache::give_back(1), 1);
        assert_eq!(cache::give_back(usize::MAX), 4);
        assert_eq!(cache::give_back(usize::MAX), 0);
    });
}

#[test]
fn who_is_in_an_unmounted_file_system_stays_there() {
    machine(|| {
        let disk = Disk::mount("/disk");
        make_directory("/disk/a");
        make_directory("/disk/a/b");
        make_socket("/disk/a/b/f");
        change_directory("/disk/a/b");
        mount::unmount(at("/disk"), true, false).unwrap();
        assert!(!exists("/disk/a") && exists("f") && exists("../b/f"));
        cache::give_back(usize::MAX);
        assert!(exists("f") && exists("../../a/b/f"));
        make_new("g", What::Socket, 0o600).unwrap();
        assert_eq!(names("."), ["f", "g"]);
        assert!(disk.take_lookups() > 0);
        change_directory("/");
    });
}

#[test]
fn a_bound_directory_keeps_the_names_above_it() {
    machine(|| {
        let disk = Disk::mount("/disk");
        make_directory("/disk/a");
        make_directory("/disk/a/b");
        make_directory("/shown");
        mount::bind(&at("/disk/a/b"), at("/shown"), false).unwrap();
        mount::unmount(at("/disk"), true, false).unwrap();
        cache::give_back(usize::MAX);
        assert_eq!(at("/shown").dentry.names_in_file_system(), b"/a/b");
        make_socket("/shown/f");
        assert_eq!(at("/shown/f").dentry.names_in_file_system(), b"/a/b/f");
        drop(disk);
    });
}

#[test]
fn directories_that_were_read_keep_their_place_over_a_sleep() {
    machine(|| {
        let disk = Disk::mount("/disk");
        for number in 0..5 {
            make_socket(&format!("/disk/{number}"));
        }
        let file = crate::support::open("/disk", abi::O_RDONLY);
        let mut seen = Vec::new();
        for _ in 0..8 {
            let mut left = 1;
            let each = |name: &[u8], _, _, _| {
                left -= 1;
                if left >= 0 {
                    seen.push(String::from_utf8(name.to_vec()).unwrap());
                }
                left >= 0
            };
            file.read_entries(each).unwrap();
        }
        assert_eq!(seen, [".", "..", "0", "1", "2", "3", "4"]);
        disk.is_broken.store(true, Ordering::SeqCst);
        file.seek(0, abi::SEEK_SET).unwrap();
        assert_eq!(file.read_entries(|_, _, _, _| true), Err(Errno::EIO));
    });
}

#[test]
fn a_chain_of_cached_directories_goes_without_recursion() {
    machine(|| {
        let _disk = Disk::mount("/disk");
        let mut at_end = at("/disk");
        for _ in 0..20_000 {
            at_end = at_end.create(b"d", What::Directory, 0o755).unwrap();
        }
        let kept = shared(std::sync::Mutex::new(Some(at_end.dentry.clone())));
        drop(at_end);
        mount::unmount(at("/disk"), true, false).unwrap();
        drop(kept.lock().unwrap().take());
    });
}

#[test]
fn in_memory_and_on_disk_a_moved_directory_is_found_at_its_new_place() {
    machine(|| {
        let disk = Disk::mount("/disk");
        for root in ["", "/disk"] {
            for name in ["/a", "/a/b", "/c"] {
                make_directory(&format!("{root}{name}"));
            }
            if root.is_empty() {
                make_file("/a/b/f")
            } else {
                make_socket("/disk/a/b/f")
            }
            let held = at(&format!("{root}/a/b/f"));
            let top = if root.is_empty() { "/" } else { root };
            rename(&format!("{root}/a"), "b", &format!("{root}/c"), "b", Rename::Replace).unwrap();
            assert_eq!(held.path(), format!("{root}/c/b/f").as_bytes());
            assert_eq!(rename(top, "c", &format!("{root}/c/b"), "x", Rename::Replace), Err(Errno::EINVAL));
            assert_eq!(rename(&format!("{root}/c/b"), "f", top, "c", Rename::Replace), Err(Errno::ENOTEMPTY));
        }
        drop(disk);
    });
}
