// SPDX-License-Identifier: MIT OR Apache-2.0
//! clone's flags: what is shared, who is told of numbers and ends, and what does not go together.

use exo_test_support::{call, programs::*};

use crate::support::*;

const SIGCHLD: u64 = abi::SIGCHLD as u64;

fn flags(flags: u32) -> u64 {
    u64::from(flags) | SIGCHLD
}

#[test]
fn memory_is_shared_with_clone_vm() {
    machine(|| {
        let at = put(&0_u32);
        let child = clone(flags(abi::CLONE_VM), 0, [0; 3], move || set_word(at, 5)).unwrap();
        end_of(child);
        assert_eq!(get::<u32>(at), 5);
    });
}

#[test]
fn descriptors_are_shared_with_clone_files_and_copied_without() {
    machine(|| {
        for (shared, result) in [(abi::CLONE_FILES, Err(Errno::EBADF)), (0, Ok(0))] {
            let fd = open("/dev/null", 0).unwrap();
            let child = clone(flags(shared), 0, [0; 3], move || close(fd).unwrap()).unwrap();
            end_of(child);
            assert_eq!(close(fd), result);
        }
    });
}

#[test]
fn directory_and_mask_are_shared_with_clone_fs() {
    machine(|| {
        for (shared, mask) in [(abi::CLONE_FS, 0o11), (0, 0o22)] {
            call!(abi::__NR_umask, 0o22).unwrap();
            let child = clone(flags(shared), 0, [0; 3], || call!(abi::__NR_umask, 0o11)).unwrap();
            end_of(child);
            assert_eq!(call!(abi::__NR_umask, 0o22), Ok(mask));
        }
    });
}

#[test]
fn handlers_are_shared_with_clone_sighand() {
    machine(|| {
        let both = abi::CLONE_VM | abi::CLONE_SIGHAND;
        for (shared, ignored) in [(both, true), (0, false)] {
            action(abi::SIGUSR1, 0, 0, 0).unwrap();
            let ignore = || action(abi::SIGUSR1, 1, 0, 0);
            end_of(clone(flags(shared), 0, [0; 3], ignore).unwrap());
            let old = reserve(32);
            call!(abi::__NR_rt_sigaction, abi::SIGUSR1, 0, old, 8).unwrap();
            assert_eq!(get::<u64>(old) == 1, ignored);
        }
    });
}

#[test]
fn numbers_are_written_where_they_are_wanted() {
    machine(|| {
        let (parents, childs) = (put(&0_u32), put(&0_u32));
        let wanted = abi::CLONE_PARENT_SETTID | abi::CLONE_CHILD_SETTID;
        let child = clone(flags(wanted), 0, [parents, childs, 0], move || {
            assert_eq!(get::<u32>(childs), pid() as u32);
        });
        let child = child.unwrap();
        assert_eq!(end_of(child), 0);
        assert_eq!(
            (get::<u32>(parents), get::<u32>(childs)),
            (child as u32, 0),
            "the child's is in its memory"
        );
    });
}

#[test]
fn a_word_is_cleared_at_the_end_and_who_waits_for_it_is_woken() {
    machine(|| {
        let word = put(&1_u32);
        let stack = map(64 << 10).unwrap() + 65_000;
        let all = u64::from(THREAD | abi::CLONE_CHILD_CLEARTID | abi::CLONE_CHILD_SETTID);
        let thread = clone(all, stack, [0, word, 0], || sleep(2 * MS)).unwrap() as u32;
        let_others_run();
        assert_eq!(get::<u32>(word), thread);
        assert_eq!(wait_while(word, thread), Ok(0));
        assert_eq!(get::<u32>(word), 0);
    });
}

#[test]
fn a_stack_and_a_segment_are_the_childs() {
    machine(|| {
        let stack = map(8192).unwrap() + 8000;
        let child = clone(flags(abi::CLONE_SETTLS), stack, [0, 0, 0x1234_5000], move || {
            assert_eq!(user::regs().rsp(), stack as u64);
            assert_eq!(user::regs().rax, 0, "in the child the call gives 0");
            let at = reserve(8);
            call!(abi::__NR_arch_prctl, 0x1003, at).unwrap();
            assert_eq!(get::<u64>(at), 0x1234_5000);
        });
        assert_eq!(end_of(child.unwrap()), 0);
    });
}

#[test]
fn what_does_not_go_together_is_refused() {
    machine(|| {
        for wrong in [abi::CLONE_THREAD, abi::CLONE_SIGHAND, abi::CLONE_THREAD | abi::CLONE_VM] {
            assert_eq!(clone(flags(wrong), 0, [0; 3], || {}), Err(Errno::EINVAL), "{wrong:#x}");
        }
        assert_eq!(
            clone(flags(abi::CLONE_NEWNET), 0, [0; 3], || {}),
            Err(Errno::EINVAL),
            "what there is not"
        );
        let bad = clone(flags(abi::CLONE_PARENT_SETTID), 0, [8, 0, 0], || {});
        assert_eq!(bad, Err(Errno::EFAULT));
        assert_eq!(wait(-1, 0), Err(Errno::ECHILD), "and nothing is left of it");
    });
}

#[test]
fn a_sibling_is_the_parents_child() {
    machine(|| {
        let own = pid();
        let child = fork(move || {
            clone(flags(abi::CLONE_PARENT), 0, [0; 3], move || {
                assert_eq!(call!(abi::__NR_getppid), Ok(own));
                exit(9);
            })
            .unwrap();
            assert_eq!(wait(-1, 0), Err(Errno::ECHILD));
        });
        let mut ends = [wait(-1, 0).unwrap(), wait(-1, 0).unwrap()];
        ends.sort_by_key(|(pid, _)| *pid);
        assert_eq!((ends[0], ends[1].1), ((child, 0), exited(9)));
    });
}

#[test]
fn a_parent_waits_for_its_vfork_child_to_end_or_to_start_a_program() {
    machine(|| {
        let log = Log::default();
        let borrowed = u64::from(abi::CLONE_VM | abi::CLONE_VFORK) | SIGCHLD;
        let noted = log.clone();
        let child = clone(borrowed, 0, [0; 3], move || {
            sleep(3 * MS);
            noted.note("child");
        });
        log.note("parent");
        assert_eq!(log.take(), ["child", "parent"]);
        end_of(child.unwrap());
        let noted = log.clone();
        make_program("program", move || {
            sleep(3 * MS);
            noted.note("program");
        });
        let child = clone(borrowed, 0, [0; 3], || exec("program", &[], &[]));
        log.note("parent");
        end_of(child.unwrap());
        assert_eq!(log.take(), ["parent", "program"]);
    });
}

#[test]
fn another_signal_may_report_the_end() {
    machine(|| {
        mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1, abi::SIGCHLD]));
        let child = clone(abi::SIGUSR1.into(), 0, [0; 3], || exit(2)).unwrap();
        let_others_run();
        assert_eq!(pending(), signals(&[abi::SIGUSR1]));
        assert_eq!(wait(child as i64, 0), Err(Errno::ECHILD), "it is no ordinary child");
        assert_eq!(wait(child as i64, abi::__WCLONE), Ok((child, exited(2))));
        let silent = clone(0, 0, [0; 3], || {}).unwrap();
        assert_eq!(wait(silent as i64, abi::__WALL), Ok((silent, 0)));
    });
}

#[test]
fn clone3_reads_a_structure_that_may_grow() {
    machine(|| {
        let clone3 = |words: &[u64], size: usize| call!(abi::__NR_clone3, put(words), size);
        let mut words = [0_u64; 12];
        words[4] = SIGCHLD;
        assert_eq!(clone3(&words, 56), Err(Errno::EINVAL), "shorter than the first one");
        assert_eq!(clone3(&words, 5000), Err(Errno::E2BIG));
        words[11] = 1;
        assert_eq!(clone3(&words, 96), Err(Errno::E2BIG), "something unknown is wanted");
        (words[11], words[5]) = (0, 0x1000);
        assert_eq!(clone3(&words, 88), Err(Errno::EINVAL), "a stack without a size");
        (words[5], words[4]) = (0, 65);
        assert_eq!(clone3(&words, 88), Err(Errno::EINVAL), "no signal has this number");
    });
}
