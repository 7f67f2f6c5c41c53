// SPDX-License-Identifier: MIT OR Apache-2.0
//! Endpoints: messages that go straight from one process to another.

use exo_test_support::programs::*;

const CREATE: u32 = 0x1001;
const SEND: u32 = 0x1002;
const RECEIVE: u32 = 0x1003;
const CALL: u32 = 0x1004;
const REPLY_RECEIVE: u32 = 0x1005;

fn create() -> usize {
    user::call(CREATE, &[]).unwrap()
}

fn send(fd: usize, words: [u64; 3]) -> Result {
    user::call(SEND, &[fd as u64, words[0], words[1], words[2]])
}

/// A message, and the token of who waits for an answer.
fn message(number: u32, fd: usize, words: [u64; 3], token: u64) -> Result<([u64; 3], u64)> {
    let arguments = [fd as u64, words[0], words[1], words[2], token, 0];
    let (value, regs) = user::raw_regs(number, arguments);
    match value {
        error @ -4095..0 => Err(Errno(-error as i32)),
        _ => Ok(([regs.rdi, regs.rsi, regs.rdx], regs.r10)),
    }
}

fn receive(fd: usize) -> Result<([u64; 3], u64)> {
    message(RECEIVE, fd, [0; 3], 0)
}

#[test]
fn a_message_waits_for_its_receiver_and_the_other_way_round() {
    machine(|| {
        let fd = create();
        let sender = fork(move || assert_eq!(send(fd, [1, 2, 3]), Ok(0)));
        let_others_run();
        assert_eq!(wait(sender as i64, abi::WNOHANG), Ok((0, 0)));
        assert_eq!(receive(fd), Ok(([1, 2, 3], 0)));
        assert_eq!(end_of(sender), 0);
        let receiver = fork(move || assert_eq!(receive(fd), Ok(([4, 5, u64::MAX], 0))));
        let_others_run();
        send(fd, [4, 5, u64::MAX]).unwrap();
        assert_eq!(end_of(receiver), 0);
    });
}

#[test]
fn messages_come_in_the_order_of_their_senders() {
    machine(|| {
        let fd = create();
        for number in 0..3 {
            fork(move || send(fd, [number, 0, 0]));
            let_others_run();
        }
        for number in 0..3 {
            assert_eq!(receive(fd).unwrap().0[0], number);
        }
    });
}

#[test]
fn a_call_has_an_answer() {
    machine(|| {
        let fd = create();
        let server = fork(move || {
            let (mut words, mut token) = receive(fd).unwrap();
            for _ in 0..2 {
                assert_ne!(token, 0);
                let answer = [words[0] * 2, words[1], 7];
                (words, token) = message(REPLY_RECEIVE, fd, answer, token).unwrap();
            }
            assert_eq!((words, token), ([99, 0, 0], 0));
        });
        for number in [10, 20] {
            assert_eq!(message(CALL, fd, [number, 1, 0], 0).unwrap().0, [2 * number, 1, 7]);
        }
        send(fd, [99, 0, 0]).unwrap();
        assert_eq!(end_of(server), 0);
    });
}

#[test]
fn nobody_answers_who_has_not_asked() {
    machine(|| {
        let fd = create();
        let child = fork(move || {
            sleep(5 * MS);
            send(fd, [1, 0, 0])
        });
        let wrong = message(REPLY_RECEIVE, fd, [0; 3], 12_345);
        assert_eq!(wrong, Ok(([1, 0, 0], 0)), "who is gone is not missed");
        assert_eq!(end_of(child), 0);
        assert_eq!(send(0, [0; 3]), Err(Errno::EINVAL), "no endpoint");
        assert_eq!(send(99, [0; 3]), Err(Errno::EBADF));
    });
}

#[test]
fn a_signal_ends_the_wait_and_no_message_is_lost() {
    machine(|| {
        let fd = create();
        let child = fork(move || {
            on_signal(abi::SIGUSR1, 0, || {});
            assert_eq!(receive(fd), Err(Errno::EINTR));
            assert_eq!(receive(fd).unwrap().0, [5, 6, 7]);
        });
        let_others_run();
        kill(child as i64, abi::SIGUSR1).unwrap();
        let_others_run();
        send(fd, [5, 6, 7]).unwrap();
        assert_eq!(end_of(child), 0);
        let sender = fork(move || {
            on_signal(abi::SIGUSR1, 0, || {});
            assert_eq!(send(fd, [1, 1, 1]), Err(Errno::EINTR));
        });
        let_others_run();
        kill(sender as i64, abi::SIGUSR1).unwrap();
        assert_eq!(end_of(sender), 0);
        fork(move || send(fd, [2, 2, 2]));
        assert_eq!(receive(fd).unwrap().0, [2, 2, 2], "what was withdrawn does not come");
    });
}

#[test]
fn a_caller_that_is_killed_is_out_of_the_queue() {
    machine(|| {
        let fd = create();
        let caller = fork(move || message(CALL, fd, [1, 0, 0], 0));
        let_others_run();
        kill(caller as i64, abi::SIGKILL).unwrap();
        end_of(caller);
        fork(move || send(fd, [2, 0, 0]));
        assert_eq!(receive(fd).unwrap().0, [2, 0, 0]);
    });
}
