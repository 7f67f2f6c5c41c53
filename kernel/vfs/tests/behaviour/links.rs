// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several names of one file.

use std::sync::Arc;

use exo_core::errno::Errno;
use exo_vfs::{
    dentry::MustBeDirectory,
    inode::directory::{Rename, What},
    mount, permission,
};
use linux_raw_sys::general as abi;

use crate::support::{
    at, at_link, content, create, give_name, machine, make_directory, make_file, make_link, names, open,
    write,
};

#[test]
fn all_names_lead_to_the_same_file() {
    machine(|| {
        let file = create("/f");
        make_directory("/d");
        give_name(file.node(), "/d/g").unwrap();
        write(&file, b"content").unwrap();
        assert_eq!(content("/d/g"), b"content");
        at("/").unlink(b"f").unwrap();
        assert_eq!((content("/d/g"), names("/")), (b"content".to_vec(), vec!["d".to_string()]));
    });
}

#[test]
fn a_name_that_is_taken_is_not_given_again() {
    machine(|| {
        make_file("/f");
        make_file("/g");
        let node = Arc::clone(&at("/f"));
        assert_eq!(at("/").link(b"g", &node).err(), Some(Errno::EEXIST));
    });
}

#[test]
fn a_file_is_told_by_the_name_that_it_was_found_by() {
    machine(|| {
        make_file("/f");
        give_name(&at("/f"), "/g").unwrap();
        let (f, g) = (open("/f", abi::O_RDONLY), open("/g", abi::O_RDONLY));
        assert!(Arc::ptr_eq(f.node(), g.node()));
        assert_eq!((f.path().path(), g.path().path()), (b"/f".to_vec(), b"/g".to_vec()));
        at("/").unlink(b"g").unwrap();
        assert_eq!((f.path().path(), g.path().path()), (b"/f".to_vec(), b"/g (deleted)".to_vec()));
        make_file("/g");
        assert_eq!(g.path().path(), b"/g (deleted)", "another file has the name");
    });
}

#[test]
fn a_file_that_is_renamed_is_told_by_its_new_name() {
    machine(|| {
        make_directory("/d");
        give_name(create("/f").node(), "/g").unwrap();
        let (f, g) = (open("/f", abi::O_RDONLY), open("/g", abi::O_RDONLY));
        let (how, must_be) = (Rename::Replace, MustBeDirectory::default());
        at("/").rename(b"f", &at("/d"), b"new", how, must_be).unwrap();
        assert_eq!((f.path().path(), g.path().path()), (b"/d/new".to_vec(), b"/g".to_vec()));
        at("/").rename(b"g", &at("/d"), b"new", how, must_be).unwrap();
        assert_eq!(names("/d"), ["new"], "two names of one file: nothing is done");
        assert_eq!(g.path().path(), b"/g");
    });
}

#[test]
fn what_is_mounted_on_one_name_of_a_file_does_not_cover_another() {
    machine(|| {
        write(&create("/shown"), b"shown").unwrap();
        let file = create("/f");
        write(&file, b"file").unwrap();
        give_name(file.node(), "/g").unwrap();
        mount::bind(&at("/shown"), at("/f"), false).unwrap();
        assert_eq!((content("/f"), content("/g")), (b"shown".to_vec(), b"file".to_vec()));
        assert_eq!(at("/").unlink(b"f"), Err(Errno::EBUSY));
        assert_eq!(at("/").unlink(b"g"), Ok(()));
        mount::unmount(at("/f"), false, false).unwrap();
    });
}

#[test]
fn a_file_without_a_name_shows_where_it_was_made() {
    machine(|| {
        let new = permission::owned(&at("/"), What::File, 0o600);
        let dentry = at("/").dentry.create_nameless(&new).unwrap();
        let number = dentry.inode.number;
        let place = at("/").with(dentry);
        assert_eq!(place.path(), format!("/#{number} (deleted)").as_bytes());
        assert_eq!(place.dentry.names_in_file_system(), format!("/#{number}//deleted").as_bytes());
        assert_eq!(place.metadata().links, 0);
    });
}

#[test]
fn sizes_are_those_of_the_content() {
    machine(|| {
        make_link("target", "/link");
        let file = create("/f");
        write(&file, b"12345").unwrap();
        assert_eq!(at_link("/link").size(), 6);
        assert_eq!(open("/f", abi::O_RDONLY).node().size(), 5);
        assert!(at("/").size() > 0);
    });
}
