// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may do what with a file.

use std::sync::Arc;

use exo_core::{credentials::Credentials, errno::Errno, thread::running};
use exo_logic::credentials::Ids;
use exo_vfs::{
    dentry::MustBeDirectory,
    inode::{
        directory::{Rename, What},
        kind,
    },
    path,
    permission::{self, Caller, EXECUTE, READ, WRITE},
};

use crate::support::{
    acting_as, at, change, create, machine, make_directory, make_file, make_new, resolve, write,
};

const USER: u32 = 1000;
const OTHER: u32 = 1001;
const GROUP: u32 = 100;

#[test]
fn bits_of_the_first_class_that_fits_decide() {
    machine(|| {
        make_file("/f");
        let node = at("/f");
        // Permission bits, and what the owner, a member of the group and others may do: read, write, execute.
        let table = [
            (0o700, [7, 0, 0]),
            (0o070, [0, 7, 0]),
            (0o007, [0, 0, 7]),
            (0o640, [6, 4, 0]),
            (0o451, [4, 5, 1]),
        ];
        for (bits, allowed) in table {
            change("/f", bits, USER, GROUP);
            let callers = [(USER, [GROUP]), (OTHER, [GROUP]), (OTHER, [7])];
            for ((user, groups), allowed) in callers.into_iter().zip(allowed) {
                acting_as(user, &groups, || {
                    for wanted in 1..=7 {
                        let expected = if wanted & !allowed == 0 { Ok(()) } else { Err(Errno::EACCES) };
                        assert_eq!(permission::check(&node, wanted), expected, "{bits:o} {user} {wanted}");
                    }
                });
            }
        }
        assert_eq!((READ, WRITE, EXECUTE), (4, 2, 1));
    });
}

#[test]
fn a_supplementary_group_counts_as_the_first() {
    machine(|| {
        make_file("/f");
        change("/f", 0o040, USER, GROUP);
        acting_as(OTHER, &[7, GROUP], || assert_eq!(permission::check(&at("/f"), READ), Ok(())));
        acting_as(OTHER, &[7, GROUP], || {
            assert!(permission::is_in_group(GROUP) && !permission::is_in_group(8))
        });
    });
}

#[test]
fn the_superuser_may_do_all_but_execute_what_nobody_may() {
    machine(|| {
        make_file("/f");
        make_directory("/d");
        change("/f", 0, USER, GROUP);
        change("/d", 0, USER, GROUP);
        assert_eq!(permission::check(&at("/f"), READ | WRITE), Ok(()));
        assert_eq!(permission::check(&at("/f"), EXECUTE), Err(Errno::EACCES));
        assert_eq!(permission::check(&at("/d"), EXECUTE), Ok(()));
        change("/f", 0o001, USER, GROUP);
        assert_eq!(permission::check(&at("/f"), EXECUTE), Ok(()));
        assert!(Caller::current().is_exempt());
    });
}

#[test]
fn a_directory_is_walked_by_who_may_search_it() {
    machine(|| {
        make_directory("/d");
        make_file("/d/f");
        change("/d", 0o600, USER, GROUP);
        acting_as(USER, &[GROUP], || {
            assert_eq!(resolve("/d/f").err(), Some(Errno::EACCES));
            assert_eq!(resolve("/d/missing").err(), Some(Errno::EACCES), "nothing is told about names");
            assert!(resolve("/d").is_ok());
        });
        change("/d", 0o100, USER, GROUP);
        acting_as(USER, &[GROUP], || assert!(resolve("/d/f").is_ok()));
        assert!(resolve("/d/f").is_ok());
    });
}

#[test]
fn access_is_asked_for_the_real_user() {
    machine(|| {
        make_directory("/d");
        make_file("/d/f");
        change("/d/f", 0o600, 0, 0);
        let check = || Caller::real().check(&at("/d/f"), READ);
        assert_eq!(check(), Ok(()));
        // A program of USER's that acts as the superuser.
        acting_as(0, &[0], || {
            let users = Ids { real: USER, effective: 0, saved: 0, fs: 0 };
            let own = (*running().credentials.get()).clone();
            running().credentials.replace(Arc::new(Credentials { users, ..own }));
            assert_eq!(check(), Err(Errno::EACCES));
            assert_eq!(permission::check(&at("/d/f"), READ), Ok(()));
            change("/d", 0o700, 0, 0);
            let walk = path::walk_as(Caller::real(), None, b"/d/f", path::Follow::Yes, 0).map(drop);
            assert_eq!(walk, Err(Errno::EACCES));
        });
    });
}

#[test]
fn names_are_made_by_who_may_write_the_directory() {
    machine(|| {
        make_directory("/d");
        let new = || path::resolve_new(None, b"/d/new", false).map(drop);
        change("/d", 0o755, 0, 0);
        acting_as(USER, &[GROUP], || assert_eq!(new(), Err(Errno::EACCES)));
        change("/d", 0o757, 0, 0);
        acting_as(USER, &[GROUP], || assert_eq!(new(), Ok(())));
        change("/d", 0o756, 0, 0);
        acting_as(USER, &[GROUP], || assert_eq!(new(), Err(Errno::EACCES), "it has to be searched, too"));
    });
}

#[test]
fn in_a_sticky_directory_names_are_removed_by_their_owners() {
    machine(|| {
        make_directory("/tmp");
        make_file("/tmp/mine");
        make_file("/tmp/roots");
        change("/tmp", 0o1777, 0, 0);
        change("/tmp/mine", 0o644, USER, GROUP);
        let check = |path| permission::check_old_name(&at("/tmp"), &at(path));
        acting_as(USER, &[GROUP], || {
            assert_eq!(check("/tmp/mine"), Ok(()));
            assert_eq!(check("/tmp/roots"), Err(Errno::EPERM));
        });
        change("/tmp", 0o1777, USER, GROUP);
        acting_as(USER, &[GROUP], || assert_eq!(check("/tmp/roots"), Ok(()), "the directory is his"));
        acting_as(OTHER, &[GROUP], || assert_eq!(check("/tmp/mine"), Err(Errno::EPERM)));
        assert_eq!(check("/tmp/mine"), Ok(()));
        change("/tmp", 0o777, 0, 0);
        acting_as(OTHER, &[GROUP], || assert_eq!(check("/tmp/mine"), Ok(())));
        change("/tmp", 0o755, 0, 0);
        acting_as(OTHER, &[GROUP], || assert_eq!(check("/tmp/mine"), Err(Errno::EACCES)));
    });
}

fn made(path: &str, directory: bool, permissions: u32) -> (u32, u32, u32) {
    make_new(path, if directory { What::Directory } else { What::File }, permissions).unwrap();
    let metadata = at(path).metadata();
    (metadata.uid, metadata.gid, metadata.mode & !kind::MASK)
}

#[test]
fn what_is_new_belongs_to_who_made_it() {
    machine(|| {
        change("/", 0o777, 0, 0);
        assert_eq!(made("/root", false, 0o644), (0, 0, 0o644));
        acting_as(USER, &[GROUP], || assert_eq!(made("/f", false, 0o2755), (USER, GROUP, 0o2755)));
    });
}

#[test]
fn a_directory_with_the_group_bit_hands_its_group_on() {
    machine(|| {
        make_directory("/d");
        change("/d", 0o2777, 0, 50);
        acting_as(USER, &[GROUP], || {
            assert_eq!(made("/d/f", false, 0o644), (USER, 50, 0o644));
            assert_eq!(made("/d/sub", true, 0o755), (USER, 50, 0o2755));
            assert_eq!(made("/d/program", false, 0o2755), (USER, 50, 0o755), "he is not in that group");
            assert_eq!(made("/d/locked", false, 0o2644), (USER, 50, 0o2644));
        });
        acting_as(USER, &[GROUP, 50], || assert_eq!(made("/d/own", false, 0o2755), (USER, 50, 0o2755)));
    });
}

#[test]
fn a_file_is_given_away_by_the_superuser_alone() {
    machine(|| {
        make_file("/f");
        change("/f", 0o644, USER, GROUP);
        let may = |uid, gid| permission::may_give(&at("/f").metadata(), uid, gid);
        assert!(may(Some(7), Some(7)));
        acting_as(USER, &[GROUP, 50], || {
            assert!(may(None, None) && may(Some(USER), Some(GROUP)) && may(None, Some(50)));
            assert!(!may(Some(OTHER), None) && !may(None, Some(51)));
            assert!(permission::is_owner(&at("/f")) && !permission::is_owner(&at("/")));
        });
        acting_as(OTHER, &[GROUP], || assert!(!may(None, Some(GROUP)) && may(None, None)));
        assert!(permission::is_owner(&at("/f")));
    });
}

#[test]
fn a_program_that_is_changed_acts_as_nobody_else() {
    machine(|| {
        let file = create("/f");
        let mode = || at("/f").metadata().mode & 0o7777;
        change("/f", 0o6777, 0, 0);
        write(&file, b"by the superuser").unwrap();
        assert_eq!(mode(), 0o6777);
        acting_as(USER, &[GROUP], || write(&file, b"by another").unwrap());
        assert_eq!(mode(), 0o777);
        change("/f", 0o6767, 0, 0);
        acting_as(USER, &[GROUP], || write(&file, b"by another").unwrap());
        assert_eq!(mode(), 0o2767, "without the right to execute it the bit means something else");
    });
}

#[test]
fn names_in_a_sticky_directory_are_their_owners() {
    machine(|| {
        make_directory("/d");
        make_directory("/d/s");
        make_file("/d/f");
        change("/d", 0o1777, 0, 0);
        change("/d/s", 0o755, USER, GROUP);
        change("/d/f", 0o644, USER, GROUP);
        let change_all = || {
            let directory = at("/d");
            let must_be = MustBeDirectory::default();
            [
                directory.rename(b"f", &directory, b"g", Rename::Keep, must_be),
                directory.rename(b"g", &directory, b"s", Rename::Exchange, must_be),
                directory.unlink(b"s"),
                directory.remove_directory(b"g"),
            ]
        };
        let refused = Err(Errno::EPERM);
        acting_as(OTHER, &[GROUP], || {
            assert_eq!(change_all(), [refused, Err(Errno::ENOENT), refused, Err(Errno::ENOENT)]);
            assert_eq!(at("/d").remove_directory(b"s"), refused);
        });
        change("/d", 0o1755, 0, 0);
        acting_as(OTHER, &[GROUP], || assert_eq!(at("/d").unlink(b"f"), Err(Errno::EACCES)));
        change("/d", 0o1777, 0, 0);
        acting_as(USER, &[GROUP], || assert_eq!(change_all(), [Ok(()); 4]));
    });
}
