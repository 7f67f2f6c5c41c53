// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several names of one file.

use exo_core::errno::Errno;
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
        give_name(&file.node, "/d/g").unwrap();
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
        let node = at("/f").node.clone();
        assert_eq!(at("/").link(b"g", &node), Err(Errno::EEXIST));
    });
}

#[test]
fn a_file_is_told_by_the_name_that_it_was_found_by() {
    machine(|| {
        make_file("/f");
        let node = at("/f").node.clone();
        give_name(&node, "/g").unwrap();
        assert_eq!(at("/g").path(), b"/f", "a new name changes nothing");
        node.remember_file_place(&at("/"), b"g");
        assert_eq!(at("/f").path(), b"/g");
        at("/").unlink(b"g").unwrap();
        assert_eq!(at("/f").path(), b"/g (deleted)");
        node.remember_file_place(&at("/"), b"f");
        assert_eq!(at("/f").path(), b"/f");
    });
}

#[test]
fn directories_and_what_is_elsewhere_keep_their_place() {
    machine(|| {
        make_directory("/d");
        at("/d").remember_file_place(&at("/"), b"other");
        assert_eq!(at("/d").path(), b"/d");
        let (pipe, _write) = exo_vfs::pipe::end::new_pair(0).unwrap();
        pipe.node.remember_file_place(&at("/"), b"pipe");
        assert!(pipe.node.parent().is_none());
    });
}

#[test]
fn a_file_without_a_name_shows_where_it_was_made() {
    machine(|| {
        let node = exo_vfs::inode::Inode::file(at("/").superblock.clone(), 0o600);
        node.put_into_removed(&at("/"), b"#7");
        let place = at("/").with(node.clone());
        assert_eq!(
            (place.path(), node.names_in_file_system()),
            (b"/#7 (deleted)".to_vec(), b"/#7//deleted".to_vec())
        );
    });
}

#[test]
fn sizes_are_those_of_the_content() {
    machine(|| {
        make_link("target", "/link");
        let file = create("/f");
        write(&file, b"12345").unwrap();
        assert_eq!(at_link("/link").size(), 6);
        assert_eq!(open("/f", abi::O_RDONLY).node.size(), 5);
        assert!(at("/").size() > 0);
    });
}
