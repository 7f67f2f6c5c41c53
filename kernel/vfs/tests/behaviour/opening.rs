// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what is at a place.

use exo_core::{
    errno::Errno,
    io_buf::{IoBuf, IoSource},
};
use exo_hal::{PAGE_SIZE, time};
use exo_vfs::{
    dentry::Dentry,
    file::Io,
    inode::{Inode, InodeContent, kind},
    mount,
    open::{open_nameless, open_path},
    open_file::Owner,
};
use linux_raw_sys::general as abi;

use crate::support::{
    MEMORY, at, at_link, create, machine, make_directory, make_file, make_link, make_with, memory, open,
    read, try_open, write,
};

#[test]
fn a_file_is_used_as_it_was_opened() {
    machine(|| {
        write(&create("/f"), b"content").unwrap();
        let reader = open("/f", abi::O_RDONLY);
        let writer = open("/f", abi::O_WRONLY);
        // As on Linux, the fourth mode allows neither.
        let neither = open("/f", abi::O_ACCMODE);
        assert_eq!(read(&reader, 7).unwrap(), b"content");
        assert_eq!(write(&reader, b"x"), Err(Errno::EBADF));
        assert_eq!(read(&writer, 1), Err(Errno::EBADF));
        assert_eq!(write(&writer, b"CONTENT"), Ok(7));
        assert_eq!((read(&neither, 1), write(&neither, b"x")), (Err(Errno::EBADF), Err(Errno::EBADF)));
        assert_eq!(reader.read_at(0, &mut IoBuf::user(MEMORY, 4)), Ok(4));
        assert_eq!(memory(4), b"CONT");
        assert_eq!(reader.write_at(0, &mut IoSource::user(MEMORY, 4)), Err(Errno::EBADF));
        assert_eq!(writer.read_at(0, &mut IoBuf::user(MEMORY, 4)), Err(Errno::EBADF));
        assert_eq!(reader.write_as(reader.call(None), &mut IoSource::vector(&[])), Err(Errno::EBADF));
    });
}

#[test]
fn a_link_is_not_opened_but_for_its_place() {
    machine(|| {
        make_link("target", "/link");
        assert_eq!(open_path(&at_link("/link"), abi::O_RDONLY).err(), Some(Errno::ELOOP));
        assert!(open_path(&at_link("/link"), abi::O_PATH).unwrap().is_path_only());
    });
}

#[test]
fn a_directory_is_listed_and_not_read() {
    machine(|| {
        make_directory("/d");
        make_file("/d/f");
        let directory = open("/d", abi::O_RDONLY | abi::O_DIRECTORY);
        assert_eq!(read(&directory, 1), Err(Errno::EISDIR));
        assert_eq!(write(&directory, b"x"), Err(Errno::EBADF));
        assert_eq!(directory.file().sync(), Ok(()));
        let mut seen = Vec::new();
        let mut list = |most: usize| {
            seen.clear();
            directory
                .read_entries(|name, kind, _, _| {
                    if seen.len() == most {
                        return false;
                    }
                    seen.push((String::from_utf8(name.to_vec()).unwrap(), kind));
                    true
                })
                .unwrap();
            seen.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(list(1), ["."]);
        assert_eq!(list(1), [".."]);
        assert_eq!(list(9), ["f"]);
        assert_eq!(list(9), [""; 0]);
        directory.seek(0, abi::SEEK_SET).unwrap();
        assert_eq!(list(9), [".", "..", "f"]);
    });
}

#[test]
fn a_place_is_no_file_to_use() {
    machine(|| {
        make_file("/f");
        let place = open("/f", abi::O_PATH | abi::O_RDWR);
        assert!(place.is_path_only() && !place.can_read() && !place.can_write());
        assert_eq!(read(&place, 1), Err(Errno::EBADF));
        assert_eq!(write(&place, b"x"), Err(Errno::EBADF));
        assert_eq!(place.seek(0, abi::SEEK_SET), Err(Errno::EBADF));
        assert_eq!(
            place.file().read(Io { offset: 0, no_wait: false, direct: false }, &mut IoBuf::user(0, 1)),
            Err(Errno::EBADF)
        );
        // It does not count as one who writes.
        assert_eq!(at("/f").mount.set_read_only(true), Ok(()));
        at("/f").mount.set_read_only(false).unwrap();
        assert_eq!(place.path().path(), b"/f");
    });
}

#[test]
fn sockets_and_what_has_no_driver_are_not_opened() {
    machine(|| {
        make_with("/socket", kind::SOCKET | 0o600, InodeContent::Socket).unwrap();
        make_with("/character", kind::CHARACTER | 0o600, InodeContent::Device(200, 1)).unwrap();
        make_with("/block", kind::BLOCK | 0o600, InodeContent::Device(1, 1)).unwrap();
        make_with("/local", kind::BLOCK | 0o600, InodeContent::Device(240, 999)).unwrap();
        for path in ["/socket", "/character", "/block", "/local"] {
            assert_eq!(try_open(path, abi::O_RDONLY).err(), Some(Errno::ENXIO), "{path}");
        }
        assert!(!at("/socket").is_stored() && !at("/character").is_stored());
    });
}

#[test]
fn a_mount_may_forbid_devices() {
    machine(|| {
        make_directory("/m");
        make_with("/m/null", kind::CHARACTER | 0o600, InodeContent::Device(200, 1)).unwrap();
        mount::bind(&at("/m"), at("/m"), false).unwrap();
        at("/m").mount.set_flags(abi::MS_NODEV).unwrap();
        assert_eq!(try_open("/m/null", abi::O_RDONLY).err(), Some(Errno::EACCES));
    });
}

#[test]
fn flags_of_an_open_file_change_as_far_as_they_may() {
    machine(|| {
        let file = create("/f");
        file.set_flags(abi::O_APPEND | abi::O_NONBLOCK | abi::O_WRONLY | abi::O_CREAT);
        assert_eq!(file.flags(), abi::O_RDWR | abi::O_APPEND | abi::O_NONBLOCK);
        assert!(file.call(None).append);
        file.set_flags(0);
        assert_eq!(file.flags(), abi::O_RDWR);
    });
}

#[test]
fn a_file_without_a_name_is_read_and_written() {
    machine(|| {
        let node = Inode::file(at("/").superblock.clone(), 0o600);
        let InodeContent::File(pages) = &node.content else { unreachable!("a file") };
        let file = open_nameless(&at("/").with(Dentry::nameless(node.clone()).unwrap()), pages, abi::O_RDWR)
            .unwrap();
        write(&file, b"nameless").unwrap();
        file.set_position(0);
        assert_eq!(read(&file, 8).unwrap(), b"nameless");
        node.change(|metadata| metadata.links = 0);
        assert_eq!(file.file().kernel_memory(), PAGE_SIZE, "only its descriptors keep it");
        assert!(
            !open_nameless(&at("/").with(Dentry::nameless(node.clone()).unwrap()), pages, 0)
                .unwrap()
                .can_write()
        );
    });
}

#[test]
fn who_is_told_of_a_file_and_how_is_kept() {
    machine(|| {
        let file = create("/f");
        assert!(file.owner_with_credentials().is_none() && file.owner().number == 0 && file.signal() == 0);
        file.set_owner(Owner { kind: 1, number: 7 });
        file.set_signal(10);
        let (owner, by) = file.owner_with_credentials().unwrap();
        assert_eq!((owner.kind, owner.number, by.users.real, file.signal()), (1, 7, 0, 10));
        file.set_owner(Owner::default());
        assert!(file.owner_with_credentials().is_none());
        assert_ne!(file.id(), open("/f", 0).id());
    });
}

#[test]
fn a_file_is_described_by_its_path_or_its_kind() {
    machine(|| {
        let file = create("/f");
        assert_eq!(file.description(), b"/f");
        let (read, write) = exo_vfs::pipe::end::new_pair(0).unwrap();
        assert_eq!(read.description(), write.description());
        assert!(read.description().starts_with(b"pipe:["));
    });
}

#[test]
fn an_access_is_noted_once_after_each_change_and_once_a_day() {
    machine(|| {
        let file = create("/f");
        at("/").mount.set_flags(abi::MS_RELATIME).unwrap();
        let accessed = || at("/f").metadata().accessed;
        let read_later = |ns| {
            time::advance(ns);
            let before = accessed();
            file.read_at(0, &mut IoBuf::user(MEMORY, 1)).unwrap();
            accessed() - before
        };
        time::advance(5);
        write(&file, b"changed").unwrap();
        assert_eq!(read_later(5), 10);
        assert_eq!(read_later(5), 0, "nothing has changed since");
        assert_eq!(read_later(24 * 3600 * 1_000_000_000), 24 * 3600 * 1_000_000_000 + 5);
        at("/").mount.set_flags(0).unwrap();
        assert_eq!(read_later(5), 5, "each time");
        at("/").mount.set_flags(abi::MS_NOATIME).unwrap();
        assert_eq!(read_later(5), 0);
        at("/").mount.set_flags(0).unwrap();
        file.set_flags(abi::O_NOATIME);
        assert_eq!(read_later(5), 0);
    });
}

#[test]
fn accesses_to_directories_may_go_unnoted_alone() {
    machine(|| {
        make_directory("/d");
        let directory = open("/d", abi::O_RDONLY);
        let accessed_later = || {
            time::advance(5);
            let before = at("/d").metadata().accessed;
            directory.read_entries(|_, _, _, _| true).unwrap();
            at("/d").metadata().accessed - before
        };
        assert_eq!(accessed_later(), 5);
        at("/").mount.set_flags(abi::MS_NODIRATIME).unwrap();
        assert_eq!(accessed_later(), 0);
    });
}

#[test]
fn a_file_shows_its_pages_to_be_mapped() {
    machine(|| {
        let file = create("/f");
        write(&file, b"content").unwrap();
        let request = exo_vfs::file::MapRequest { length: 1, offset: 0, area: exo_logic::areas::Flags::READ };
        let object = file.file().map(request).unwrap().unwrap();
        let mut content = [0; 9];
        assert_eq!((object.read(0, &mut content), &content[..7]), (7, b"content".as_slice()));
        assert_eq!(file.file().mapped_from(5), 5);
        make_directory("/d");
        assert_eq!(open("/d", 0).file().pages().err(), Some(Errno::ENODEV));
        assert_eq!(file.file().ioctl(1, 2), Err(Errno::ENOTTY));
        assert_eq!(file.file().sync(), Ok(()));
    });
}
