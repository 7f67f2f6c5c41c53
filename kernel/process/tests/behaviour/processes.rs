// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes: how they are made, and how they end.

use exo_test_support::{call, programs::*};

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
