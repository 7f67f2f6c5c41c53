// SPDX-License-Identifier: MIT OR Apache-2.0
//! From paths to inodes.

use std::sync::Arc;

use exo_core::{errno::Errno, user::PATH_MAX};
use exo_vfs::{
    dentry::Dentry,
    inode::{
        Inode, InodeContent, MagicLink, NAME_MAX,
        directory::{DirectoryOperations, Each, What},
        kind,
    },
    mount::{self, Mount},
    path::{self, Follow, Path},
};
use linux_raw_sys::general as abi;

use crate::support::{
    SHOWN, at, at_link, change_directory, change_root, content_of_text, exists, machine, make_directory,
    make_file, make_link, make_new, make_with, names, resolve,
};

fn error(path: &str) -> Option<Errno> {
    resolve(path).err()
}

/// As openat2 walks from a directory.
fn within(start: &str, path: &str, bounds: u32) -> Result<Path, Errno> {
    let start = at(start);
    path::walk_within(Some(&start), path.as_bytes(), Follow::Yes, bounds)?.found.ok_or(Errno::ENOENT)
}

fn tree() {
    make_directory("/a");
    make_directory("/a/b");
    make_file("/a/b/f");
}

#[test]
fn a_path_is_walked_from_the_root_or_the_working_directory() {
    machine(|| {
        tree();
        assert!(at("/a/b/f").is(&at("a/b/f")));
        change_directory("/a/b");
        assert!(at("f").is(&at("/a/b/f")));
        assert!(at("//a///b//f").is(&at("f")));
        assert!(path::resolve(Some(&at("/a")), b"b/f", Follow::Yes).unwrap().is(&at("f")));
        assert!(path::resolve(Some(&at("/a")), b"/a/b", Follow::Yes).unwrap().is(&at("/a/b")));
    });
}

#[test]
fn dots_lead_to_the_same_directory_and_the_one_above() {
    machine(|| {
        tree();
        assert!(at("/a/./b/.").is(&at("/a/b")));
        assert!(at("/a/b/../b/f").is(&at("/a/b/f")));
        assert!(at("/..").is(&at("/")) && at("/../../a").is(&at("/a")), "above the root is the root");
        assert_eq!(error("/a/b/f/.."), Some(Errno::ENOTDIR));
        assert_eq!(error("/a/missing/.."), Some(Errno::ENOENT));
    });
}

#[test]
fn the_root_of_a_process_is_as_high_as_it_gets() {
    machine(|| {
        tree();
        change_root("/a");
        change_directory("/b");
        assert!(at("../../..").is(&at("/")) && exists("/b/f") && !exists("/a"));
        assert_eq!(at("/b/f").path(), b"/b/f");
    });
}

#[test]
fn what_is_missing_has_its_error() {
    machine(|| {
        tree();
        assert_eq!(error(""), Some(Errno::ENOENT));
        assert_eq!(error("/missing"), Some(Errno::ENOENT));
        assert_eq!(error("/missing/f"), Some(Errno::ENOENT));
        assert_eq!(error("/a/b/f/g"), Some(Errno::ENOTDIR));
        assert_eq!(error(&format!("/{}", "n".repeat(NAME_MAX))), Some(Errno::ENOENT));
        assert_eq!(error(&format!("/{}", "n".repeat(NAME_MAX + 1))), Some(Errno::ENAMETOOLONG));
    });
}

#[test]
fn a_slash_at_the_end_asks_for_a_directory() {
    machine(|| {
        tree();
        make_link("b", "/a/to_b");
        make_link("b/f", "/a/to_f");
        assert!(exists("/a/b/") && exists("/a/b//") && exists("/a/to_b/"));
        assert_eq!(error("/a/b/f/"), Some(Errno::ENOTDIR));
        assert_eq!(error("/a/to_f/"), Some(Errno::ENOTDIR));
        // A link is followed then although it was not to be.
        let followed = path::resolve(None, b"/a/to_b/", Follow::No).unwrap();
        assert!(followed.is(&at("/a/b")));
    });
}

#[test]
fn a_link_is_followed_from_where_it_is() {
    machine(|| {
        tree();
        make_link("b/f", "/a/near");
        make_link("/a/b", "/a/b/far");
        make_link("..", "/a/b/up");
        assert!(at("/a/near").is(&at("/a/b/f")));
        assert!(at("/a/b/far/f").is(&at("/a/b/f")));
        assert!(at("/a/b/up").is(&at("/a")));
        assert_eq!(at_link("/a/near").read_link().unwrap(), b"b/f");
        assert_eq!(at("/a").read_link(), Err(Errno::EINVAL));
    });
}

#[test]
fn a_link_at_the_end_is_followed_only_if_it_shall_be() {
    machine(|| {
        tree();
        make_link("missing", "/dangling");
        assert_eq!(error("/dangling"), Some(Errno::ENOENT));
        assert_eq!(at_link("/dangling").kind(), kind::LINK);
        let last = path::walk(None, b"/dangling", Follow::Yes).unwrap();
        assert_eq!((&*last.name, last.found.is_none()), (&b"missing"[..], true), "what a call would make");
        let last = path::walk(None, b"/dangling", Follow::Name).unwrap();
        assert_eq!((&*last.name, last.found.unwrap().kind()), (&b"dangling"[..], kind::LINK));
    });
}

#[test]
fn forty_links_are_followed_and_no_more() {
    machine(|| {
        make_file("/0");
        for link in 1..=41 {
            make_link(&format!("{}", link - 1), &format!("/{link}"));
        }
        assert!(at("/40").is(&at("/0")));
        assert_eq!(error("/41"), Some(Errno::ELOOP));
        make_link("self", "/self");
        assert_eq!(error("/self"), Some(Errno::ELOOP));
        assert_eq!(error("/self/x"), Some(Errno::ELOOP));
    });
}

#[test]
fn a_link_to_nothing_or_to_too_much_is_refused() {
    machine(|| {
        make_link("", "/empty");
        make_link(&"a/".repeat(PATH_MAX), "/long");
        assert_eq!(error("/empty"), Some(Errno::ENOENT));
        assert_eq!(error("/long/b"), Some(Errno::ENAMETOOLONG));
    });
}

#[test]
fn what_ends_a_path_is_told() {
    machine(|| {
        tree();
        let name = |path: &'static [u8]| path::walk(None, path, Follow::Name).unwrap().name.into_owned();
        assert_eq!((name(b"/a/b/f"), name(b"/a/new/")), (b"f".to_vec(), b"new".to_vec()));
        assert_eq!((name(b"/"), name(b"/a/."), name(b"a/..")), (vec![], b".".to_vec(), b"..".to_vec()));
        let last = path::walk(None, b"/a/new/", Follow::Name).unwrap();
        assert!(last.must_be_directory && last.found.is_none() && last.directory.is(&at("/a")));
    });
}

#[test]
fn a_new_name_needs_a_place() {
    machine(|| {
        tree();
        let new = |path: &str, directory| path::resolve_new(None, path.as_bytes(), directory).map(drop);
        assert_eq!(new("/a/new", false), Ok(()));
        assert_eq!(new("/a/new/", true), Ok(()));
        assert_eq!(new("/a/new/", false), Err(Errno::ENOENT));
        assert_eq!(new("/a/b", true), Err(Errno::EEXIST));
        assert_eq!(new("/", true), Err(Errno::EEXIST));
        assert_eq!(new("/a/.", true), Err(Errno::EEXIST));
        assert_eq!(new("/missing/new", false), Err(Errno::ENOENT));
        assert_eq!(new("/a/b/f/new", false), Err(Errno::ENOTDIR));
    });
}

#[test]
fn a_walk_may_be_kept_beneath_its_start() {
    machine(|| {
        tree();
        make_link("../../a", "/a/b/out_and_in");
        make_link("/a", "/a/b/absolute");
        make_link("f", "/a/b/near");
        let beneath = |path| within("/a/b", path, abi::RESOLVE_BENEATH).map(drop);
        assert_eq!((beneath("f"), beneath("near"), beneath(".")), (Ok(()), Ok(()), Ok(())));
        assert_eq!(beneath(".."), Err(Errno::EXDEV));
        assert_eq!(beneath("/f"), Err(Errno::EXDEV));
        assert_eq!(beneath("out_and_in"), Err(Errno::EXDEV));
        assert_eq!(beneath("absolute"), Err(Errno::EXDEV));
    });
}

#[test]
fn a_walk_may_take_its_start_for_the_root() {
    machine(|| {
        tree();
        make_link("/f", "/a/b/absolute");
        let in_root = |path| within("/a/b", path, abi::RESOLVE_IN_ROOT).unwrap();
        assert!(in_root("/f").is(&at("/a/b/f")) && in_root("absolute").is(&at("/a/b/f")));
        assert!(in_root("../../..").is(&at("/a/b")));
    });
}

#[test]
fn a_walk_may_refuse_links_and_mounts() {
    machine(|| {
        tree();
        make_link("b", "/a/link");
        mount::bind(&at("/a/b"), at("/a/b"), false).unwrap();
        assert_eq!(within("/a", "link", abi::RESOLVE_NO_SYMLINKS).err(), Some(Errno::ELOOP));
        assert_eq!(within("/", "a", abi::RESOLVE_NO_XDEV).err(), None);
        assert_eq!(within("/a", "b", abi::RESOLVE_NO_XDEV).err(), Some(Errno::EXDEV));
        assert_eq!(within("/a/b", "..", abi::RESOLVE_NO_XDEV).err(), Some(Errno::EXDEV));
        make_link("/a", "/a/b/absolute");
        assert_eq!(within("/a/b", "absolute", abi::RESOLVE_NO_XDEV).err(), Some(Errno::EXDEV));
    });
}

#[test]
fn a_mount_may_forbid_to_follow_links() {
    machine(|| {
        tree();
        make_link("f", "/a/b/link");
        mount::bind(&at("/a/b"), at("/a/b"), false).unwrap();
        at("/a/b").mount.set_flags(abi::MS_NOSYMFOLLOW).unwrap();
        assert_eq!(error("/a/b/link"), Some(Errno::ELOOP));
        assert!(exists("/a/b/f"));
    });
}

/// A link that leads to the root of the test, whatever its name.
struct ToRoot;

impl MagicLink for ToRoot {
    fn target(&self) -> Result<Path, Errno> {
        Ok(at("/a"))
    }

    fn text(&self) -> Result<Vec<u8>, Errno> {
        Ok(b"somewhere".to_vec())
    }
}

#[test]
fn a_link_may_lead_to_a_place_without_a_path() {
    machine(|| {
        tree();
        make_with("/magic", kind::LINK | 0o777, InodeContent::Magic(Box::new(ToRoot))).unwrap();
        assert!(at("/magic").is(&at("/a")) && at("/magic/b").is(&at("/a/b")) && at("/magic/").is(&at("/a")));
        let link = at_link("/magic");
        assert_eq!((link.read_link().unwrap(), link.size()), (b"somewhere".to_vec(), 0));
        assert_eq!(within("/", "magic", abi::RESOLVE_NO_MAGICLINKS).err(), Some(Errno::ELOOP));
        assert_eq!(within("/", "magic", abi::RESOLVE_BENEATH).err(), Some(Errno::EXDEV));
    });
}

/// A directory with one file for each number below ten.
struct Digits;

impl DirectoryOperations for Digits {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>, Errno> {
        match name {
            [digit @ b'0'..=b'9'] => {
                let text = vec![*digit];
                let content = InodeContent::Text(Box::new(move || Ok(text.clone().into())));
                Ok(Inode::new(&SHOWN, kind::REGULAR | 0o444, content))
            }
            b"self" => {
                let content = InodeContent::DynamicLink(Box::new(|| Ok(b"7".to_vec())));
                Ok(Inode::new(&SHOWN, kind::LINK | 0o777, content))
            }
            _ => Err(Errno::ENOENT),
        }
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<(), Errno> {
        for digit in after..10 {
            if !each(&[b'0' + digit as u8], kind::REGULAR, digit + 100, digit + 1) {
                break;
            }
        }
        Ok(())
    }
}

#[test]
fn a_directory_may_be_made_when_it_is_looked_at() {
    machine(|| {
        make_directory("/digits");
        let content = InodeContent::directory(Digits);
        let root = Inode::new(&SHOWN, kind::DIRECTORY | 0o555, content);
        mount::attach(&Mount::new(Dentry::root(root), b"digits".to_vec(), 0), at("/digits")).unwrap();
        assert_eq!(content_of_text("/digits/7"), b"7");
        assert_eq!(content_of_text("/digits/self"), b"7");
        assert_eq!(at("/digits/3").path(), b"/digits/3");
        assert_eq!(at("/digits/3").dentry.names_in_file_system(), b"/3");
        assert_eq!((error("/digits/x"), names("/digits").len()), (Some(Errno::ENOENT), 10));
        assert_eq!(at("/digits").unlink(b"3"), Err(Errno::EPERM));
        let file = Inode::file(&SHOWN, 0o644);
        assert_eq!(at("/digits").dentry.add(b"new", &file).err(), Some(Errno::EPERM));
        assert_eq!(make_new("/digits/new", What::File, 0o644), Err(Errno::ENOENT));
    });
}

#[test]
fn a_path_is_told_from_the_place() {
    machine(|| {
        tree();
        assert_eq!(at("/a/b/f").path(), b"/a/b/f");
        assert_eq!(at("/").path(), b"/");
        let deep = at("/a/b");
        change_root("/a/b");
        assert_eq!(deep.path(), b"/");
        let file = deep.with(deep.dentry.lookup(b"f").unwrap());
        deep.unlink(b"f").unwrap();
        assert_eq!(file.path(), b"/f (deleted)");
    });
}

#[test]
fn a_path_that_is_too_long_is_not_told() {
    machine(|| {
        let mut directory = at("/");
        for _ in 0..20 {
            let next = Inode::directory(directory.superblock.clone(), 0o755);
            directory = directory.with(directory.dentry.add(&[b'n'; NAME_MAX], &next).unwrap());
        }
        assert_eq!(directory.path(), b"(too long)");
        assert_eq!(directory.names_below(&at("/")).err(), Some(Errno::ENAMETOOLONG));
        assert!(directory.dentry.names_in_file_system().len() < PATH_MAX + NAME_MAX + 2);
    });
}
