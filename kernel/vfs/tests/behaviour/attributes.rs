// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes.

use exo_core::errno::Errno;
use exo_hal::mm::frame;
use exo_vfs::{
    dentry::Dentry,
    file_system::FileSystem,
    inode::{Inode, InodeContent, kind},
    mount::{self, Mount, Path},
    superblock::SuperBlock,
    xattr::{self, When},
};
use linux_raw_sys::general as abi;

use crate::support::{
    SHOWN, acting_as, at, at_link, change, machine, make_directory, make_file, make_link, make_with,
};

const USER: u32 = 1000;

fn set(path: &str, name: &str, value: &[u8]) -> Result<(), Errno> {
    xattr::set(&at(path), name.as_bytes(), value.to_vec(), When::Always)
}

fn get(path: &str, name: &str) -> Result<Vec<u8>, Errno> {
    xattr::get(&at(path), name.as_bytes()).map(|value| value.to_vec())
}

fn remove(path: &str, name: &str) -> Result<(), Errno> {
    xattr::remove(&at(path), name.as_bytes())
}

#[test]
fn an_attribute_is_what_it_was_set_to() {
    machine(|| {
        make_file("/f");
        assert_eq!(get("/f", "user.a"), Err(Errno::ENODATA));
        set("/f", "user.a", b"one").unwrap();
        set("/f", "user.b", b"").unwrap();
        set("/f", "user.a", b"two").unwrap();
        assert_eq!((get("/f", "user.a"), get("/f", "user.b")), (Ok(b"two".to_vec()), Ok(vec![])));
        assert_eq!(xattr::list(&at("/f")), b"user.a\0user.b\0");
        remove("/f", "user.a").unwrap();
        assert_eq!(
            (remove("/f", "user.a"), xattr::list(&at("/f"))),
            (Err(Errno::ENODATA), b"user.b\0".to_vec())
        );
    });
}

#[test]
fn an_attribute_may_have_to_be_new_or_to_exist() {
    machine(|| {
        make_file("/f");
        let set = |when| xattr::set(&at("/f"), b"user.a", b"x".to_vec(), when);
        assert_eq!(set(When::Exists), Err(Errno::ENODATA));
        assert_eq!(set(When::New), Ok(()));
        assert_eq!(set(When::New), Err(Errno::EEXIST));
        assert_eq!(set(When::Exists), Ok(()));
    });
}

#[test]
fn names_outside_of_the_known_spaces_are_refused() {
    machine(|| {
        make_file("/f");
        for name in ["user", "other.a", "system.posix_acl_access", "system.a"] {
            assert_eq!(set("/f", name, b"x"), Err(Errno::EOPNOTSUPP), "{name}");
            assert_eq!(get("/f", name), Err(Errno::EOPNOTSUPP), "{name}");
        }
        assert_eq!(set("/f", "user.", b"x"), Err(Errno::EINVAL));
        assert_eq!(remove("/f", "other.a"), Err(Errno::EOPNOTSUPP));
    });
}

#[test]
fn users_attributes_follow_the_permissions_of_the_file() {
    machine(|| {
        make_file("/f");
        change("/f", 0o640, 0, 7);
        set("/f", "user.a", b"x").unwrap();
        acting_as(USER, &[7], || {
            assert_eq!(get("/f", "user.a"), Ok(b"x".to_vec()));
            assert_eq!(set("/f", "user.a", b"y"), Err(Errno::EACCES));
        });
        acting_as(USER, &[8], || assert_eq!(get("/f", "user.a"), Err(Errno::EACCES)));
    });
}

#[test]
fn users_attributes_belong_to_files_and_directories() {
    machine(|| {
        make_directory("/d");
        make_with("/socket", kind::SOCKET | 0o666, InodeContent::Socket).unwrap();
        make_link("f", "/link");
        assert_eq!(set("/d", "user.a", b"x"), Ok(()));
        assert_eq!(set("/socket", "user.a", b"x"), Err(Errno::EPERM));
        assert_eq!(get("/socket", "user.a"), Err(Errno::ENODATA));
        assert_eq!(set("/socket", "trusted.a", b"x"), Ok(()));
        let link = at_link("/link");
        assert_eq!(xattr::set(&link, b"user.a", vec![], When::Always), Err(Errno::EPERM));
        // In a directory for everybody, only its owner may.
        change("/d", 0o1777, 0, 0);
        acting_as(USER, &[8], || assert_eq!(set("/d", "user.b", b"x"), Err(Errno::EPERM)));
        change("/d", 0o1777, USER, 0);
        acting_as(USER, &[8], || assert_eq!(set("/d", "user.b", b"x"), Ok(())));
    });
}

#[test]
fn trusted_attributes_are_the_superusers_alone() {
    machine(|| {
        make_file("/f");
        change("/f", 0o666, USER, 0);
        set("/f", "trusted.a", b"x").unwrap();
        acting_as(USER, &[8], || {
            assert_eq!(get("/f", "trusted.a"), Err(Errno::ENODATA));
            assert_eq!(set("/f", "trusted.a", b"y"), Err(Errno::EPERM));
            assert_eq!(xattr::list(&at("/f")), b"");
        });
        assert_eq!(xattr::list(&at("/f")), b"trusted.a\0");
    });
}

#[test]
fn security_attributes_are_read_by_all_and_set_by_few() {
    machine(|| {
        make_file("/f");
        change("/f", 0o600, 0, 0);
        set("/f", "security.a", b"x").unwrap();
        set("/f", "security.capability", b"x").unwrap();
        acting_as(USER, &[8], || {
            assert_eq!(get("/f", "security.a"), Ok(b"x".to_vec()));
            assert_eq!(set("/f", "security.a", b"y"), Err(Errno::EPERM));
            assert_eq!(remove("/f", "security.capability"), Err(Errno::EPERM));
        });
        remove("/f", "security.capability").unwrap();
    });
}

#[test]
fn nothing_is_set_on_a_read_only_mount() {
    machine(|| {
        make_directory("/d");
        mount::bind(&at("/d"), at("/d"), false).unwrap();
        at("/d").mount.set_flags(abi::MS_RDONLY).unwrap();
        assert_eq!(set("/d", "user.a", b"x"), Err(Errno::EROFS));
        assert_eq!(remove("/d", "user.a"), Err(Errno::EROFS));
    });
}

#[test]
fn file_systems_without_attributes_or_without_files_have_none() {
    /// Holds files, and no attributes, as ramfs.
    struct Plain;

    impl FileSystem for Plain {
        fn name(&self) -> &'static str {
            "plain"
        }

        fn magic(&self) -> i64 {
            3
        }

        fn holds_files(&self) -> bool {
            true
        }

        fn holds_attributes(&self) -> bool {
            false
        }
    }

    machine(|| {
        for system in [SuperBlock::new(&Plain).unwrap().into(), (&SHOWN).into()] {
            let superblock: std::sync::Arc<SuperBlock> = system;
            let node = Inode::directory(superblock, 0o755);
            let path = Path::root_of(Mount::new(Dentry::root(node), Vec::new(), 0));
            let result = xattr::set(&path, b"user.a", vec![], When::Always);
            assert_eq!(result, Err(Errno::EOPNOTSUPP));
        }
    });
}

#[test]
fn attributes_are_counted_in_the_pages_of_the_file_system() {
    machine(|| {
        make_file("/f");
        let quota = at("/f").superblock.quota.clone();
        let used = quota.used();
        set("/f", "user.a", &[1; 10]).unwrap();
        assert_eq!(quota.used(), used + 1);
        set("/f", "user.b", &[1; 60_000]).unwrap();
        assert_eq!(quota.used(), used + 15);
        set("/f", "user.b", &[1; 10]).unwrap();
        assert_eq!(quota.used(), used + 1);
        remove("/f", "user.b").unwrap();
        remove("/f", "user.a").unwrap();
        assert_eq!(quota.used(), used);
        set("/f", "user.a", &[1; 10]).unwrap();
        at("/").unlink(b"f").unwrap();
        assert_eq!(quota.used(), used);
    });
}

#[test]
fn there_is_room_for_so_much() {
    machine(|| {
        make_file("/f");
        for name in 0..256 {
            set("/f", &format!("user.{name}"), b"").unwrap();
        }
        assert_eq!(set("/f", "user.one_more", b""), Err(Errno::ENOSPC));
        assert_eq!(set("/f", "user.0", b"new"), Ok(()));
        make_file("/g");
        assert_eq!(set("/g", "user.a", &vec![0; 300 << 10]), Err(Errno::ENOSPC));
        let quota = at("/g").superblock.quota.clone();
        let limit = quota.limit();
        quota.set_limit(quota.used()).unwrap();
        assert_eq!(set("/g", "user.a", b"x"), Err(Errno::ENOSPC));
        quota.set_limit(limit).unwrap();
        frame::set_free(1);
        assert_eq!(set("/g", "user.a", &[0; 9000]), Err(Errno::ENOMEM));
        assert_eq!((xattr::list(&at("/g")), quota.limit()), (vec![], limit));
    });
}
