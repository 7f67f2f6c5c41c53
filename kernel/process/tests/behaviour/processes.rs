// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes: how they are made, what their children get of them, and who gets the children of those that end.

use exo_test_support::{call, programs::*};

use crate::support::*;

#[test]
fn a_child_has_a_number_and_an_end() {
    machine(|| {
        let parent = pid();
        let child = fork(move || {
            assert_eq!(call!(abi::__NR_getppid), Ok(parent));
            exit(7);
        });
        assert_ne!(child, parent);
        assert_eq!(wait(child as i64, 0), Ok((child, exited(7))));
        assert_eq!(wait(-1, 0), Err(Errno::ECHILD));
    });
}

#[test]
#[should_panic(expected = "but these wait")]
fn a_wait_for_what_never_comes_fails_the_test() {
    machine(|| {
        let [from, _to] = pipe().unwrap();
        let _ = read(from, 1);
    });
}

#[test]
#[should_panic(expected = "a program's own")]
fn a_panic_in_a_program_fails_the_test() {
    machine(|| {
        fork(|| panic!("a program's own"));
    });
}

#[test]
fn private_memory_is_copied_and_shared_memory_is_not() {
    machine(|| {
        let (private, shared) = (map(4096).unwrap(), map_shared(4096).unwrap());
        memory::write(private, b"parent");
        let child = fork(move || {
            assert_eq!(get_bytes(private, 6), b"parent");
            memory::write(private, b"child!");
            memory::write(shared, b"child!");
        });
        end_of(child);
        assert_eq!(get_bytes(private, 6), b"parent");
        assert_eq!(get_bytes(shared, 6), b"child!");
    });
}

#[test]
fn a_child_has_copies_of_descriptors_directory_and_mask() {
    machine(|| {
        mkdir("sub").unwrap();
        let [from, to] = pipe().unwrap();
        call!(abi::__NR_umask, 0o77).unwrap();
        let child = fork(move || {
            assert_eq!(call!(abi::__NR_umask, 0), Ok(0o77));
            call!(abi::__NR_chdir, memory::string("sub")).unwrap();
            write(to, b"x").unwrap();
            close(from).unwrap();
        });
        end_of(child);
        assert_eq!(read(from, 1), Ok(b"x".to_vec()));
        assert_eq!(call!(abi::__NR_umask, 0o22), Ok(0o77));
        assert!(names(".").contains(&"sub".to_string()));
    });
}

#[test]
fn orphans_go_to_the_first_program_or_to_who_asked_for_them() {
    machine(|| {
        for asks in [false, true] {
            call!(abi::__NR_prctl, PR_SET_CHILD_SUBREAPER, u32::from(asks), 0, 0, 0).unwrap();
            let own = pid();
            let (from, to) = {
                let [from, to] = pipe().unwrap();
                (from, to)
            };
            let child = fork(move || {
                fork(move || {
                    sleep(5 * MS);
                    let parent = call!(abi::__NR_getppid).unwrap();
                    write(to, &(parent as u32).to_ne_bytes()).unwrap();
                    exit(3);
                });
            });
            end_of(child);
            let parent = u32::from_ne_bytes(read(from, 4).unwrap().try_into().unwrap()) as usize;
            assert_eq!(parent, if asks { own } else { 1 });
            let ended = wait(-1, 0).map(|(_, status)| status);
            assert_eq!(ended, if asks { Ok(exited(3)) } else { Err(Errno::ECHILD) });
        }
    });
}

const PR_SET_PDEATHSIG: u32 = 1;
const PR_SET_CHILD_SUBREAPER: u32 = 36;

#[test]
fn a_child_is_told_of_its_parents_end_if_it_wants() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        let child = fork(move || {
            let noted = noted.clone();
            fork(move || {
                on_signal(abi::SIGUSR2, 0, || {});
                call!(abi::__NR_prctl, PR_SET_PDEATHSIG, abi::SIGUSR2, 0, 0, 0).unwrap();
                assert_eq!(call!(abi::__NR_pause), Err(Errno::EINTR));
                noted.note(format!("parent is {}", call!(abi::__NR_getppid).unwrap()));
            });
            let_others_run();
        });
        end_of(child);
        let_others_run();
        assert_eq!(log.take(), ["parent is 1"]);
    });
}

#[test]
fn there_are_as_many_processes_as_the_limit_says_for_who_is_not_the_superuser() {
    machine(|| {
        set_limit(abi::RLIMIT_NPROC, 2);
        let child = fork(|| {
            call!(abi::__NR_setresuid, 77, 77, 77).unwrap();
            let first = try_fork(|| sleep(MS)).unwrap();
            assert_eq!(try_fork(|| {}), Err(Errno::EAGAIN));
            end_of(first);
            let second = try_fork(|| {}).unwrap();
            end_of(second);
        });
        assert_eq!(end_of(child), 0);
        assert!((0..5).map(|_| try_fork(|| {})).all(|child| child.is_ok()), "the superuser has no limit");
    });
}

#[test]
fn numbers_are_not_given_again_soon_and_the_largest_is_kept_to() {
    machine(|| {
        let numbers: Vec<usize> = (0..20)
            .map(|_| {
                let child = fork(|| {});
                end_of(child);
                child
            })
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    });
}

#[test]
fn an_orphan_is_an_ordinary_child_of_who_gets_it() {
    machine(|| {
        call!(abi::__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0).unwrap();
        let child = fork(|| {
            clone(abi::SIGUSR1.into(), 0, [0; 3], || {
                sleep(5 * MS);
                exit(3);
            })
            .unwrap();
        });
        end_of(child);
        assert_eq!(
            wait(-1, 0).map(|(_, status)| status),
            Ok(exited(3)),
            "whatever signal its parent had chosen"
        );
    });
}
