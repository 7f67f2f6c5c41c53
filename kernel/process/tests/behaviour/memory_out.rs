// SPDX-License-Identifier: MIT OR Apache-2.0
//! Out of memory: who is ended, and who goes on.

use exo_hal::mm::frame;
use exo_test_support::{call, programs::*};

/// A child that has touched so many pages.
fn with_pages(pages: usize) -> usize {
    let child = fork(move || {
        let at = map(pages * 4096).unwrap();
        for page in 0..pages {
            memory::write(at + 4096 * page, b"x");
        }
        let _ = call!(abi::__NR_pause);
    });
    let_others_run();
    child
}

/// Touches pages until somebody was ended, or `most`.
fn use_memory(most: usize) {
    let at = map(most * 4096).unwrap();
    for page in 0..most {
        memory::write(at + 4096 * page, b"x");
        let_others_run();
    }
}

#[test]
fn who_has_most_is_ended() {
    machine(|| {
        let (small, large) = (with_pages(50), with_pages(300));
        store(&format!("/proc/{}/oom_score_adj", pid()), b"-1000").unwrap();
        frame::set_free(40);
        use_memory(100);
        assert_eq!(wait(large as i64, abi::WNOHANG), Ok((large, abi::SIGKILL)));
        assert_eq!(wait(small as i64, abi::WNOHANG), Ok((0, 0)));
        kill(small as i64, abi::SIGKILL).unwrap();
    });
}

#[test]
fn a_process_may_be_spared_or_offered() {
    machine(|| {
        let (small, large) = (with_pages(50), with_pages(300));
        store(&format!("/proc/{large}/oom_score_adj"), b"-1000").unwrap();
        assert_eq!(text(&format!("/proc/{large}/oom_score")), "0\n");
        store(&format!("/proc/{small}/oom_score_adj"), b"500").unwrap();
        store(&format!("/proc/{}/oom_score_adj", pid()), b"-1000").unwrap();
        frame::set_free(40);
        use_memory(60);
        assert_eq!(wait(small as i64, abi::WNOHANG), Ok((small, abi::SIGKILL)));
        assert_eq!(wait(large as i64, abi::WNOHANG), Ok((0, 0)));
        kill(large as i64, abi::SIGKILL).unwrap();
    });
}

#[test]
fn who_asks_for_too_much_is_ended_itself_if_it_has_most() {
    machine(|| {
        let child = fork(|| {
            frame::set_free(200);
            use_memory(10_000);
        });
        assert_eq!(end_of(child), abi::SIGKILL);
        assert_eq!(pid(), call!(abi::__NR_gettid).unwrap(), "the others go on");
    });
}

#[test]
fn a_fork_that_finds_no_memory_fails_and_leaves_nothing() {
    machine(|| {
        let before = frame::in_use();
        frame::set_free(10);
        assert_eq!(try_fork(|| {}), Err(Errno::ENOMEM));
        frame::set_free(100_000);
        assert!(frame::in_use() <= before + 2, "{} and {before} frames", frame::in_use());
        assert_eq!(wait(-1, 0), Err(Errno::ECHILD));
        let child = fork(|| {});
        assert_eq!(end_of(child), 0);
    });
}
