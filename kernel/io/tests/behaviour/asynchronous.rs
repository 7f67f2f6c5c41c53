// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals about files that are ready (O_ASYNC).

use exo_test_support::{call, programs::*};

use crate::support::*;

const F_SETSIG: u32 = 10;

/// Notes signals with what came with them: number, code, band and descriptor.
fn note_signals(signal: u32) -> Log {
    let log = Log::default();
    let noted = log.clone();
    let code = user::handler(move || {
        let info = get::<[u32; 8]>(user::regs().rsi as usize);
        noted.note(format!("{} {} {:#x} {}", info[0], info[2] as i32, info[4], info[6]));
    });
    action(signal, code, abi::SA_SIGINFO, 0).unwrap();
    log
}

fn control(fd: usize, command: u32, argument: i64) -> Result {
    call!(abi::__NR_fcntl, fd, command, argument)
}

#[test]
fn who_asks_gets_a_signal_when_there_is_something() {
    machine(|| {
        let log = note_signals(abi::SIGIO);
        let [from, to] = pipe().unwrap();
        write(to, b"before").unwrap();
        control(from, abi::F_SETOWN, pid() as i64).unwrap();
        assert_eq!(control(from, abi::F_GETOWN, 0), Ok(pid()));
        control(from, abi::F_SETFL, abi::FASYNC.into()).unwrap();
        assert_eq!(control(from, abi::F_GETFL, 0).unwrap() as u32 & abi::FASYNC, abi::FASYNC);
        write(to, b"x").unwrap();
        let_others_run();
        assert_eq!(log.take().len(), 1);
        control(from, abi::F_SETFL, 0).unwrap();
        write(to, b"y").unwrap();
        let_others_run();
        assert_eq!(log.take(), [""; 0]);
    });
}

#[test]
fn another_signal_says_more() {
    machine(|| {
        const SIGNAL: u32 = 36;
        const POLL_IN: i32 = 1;
        let log = note_signals(SIGNAL);
        let [from, to] = pipe().unwrap();
        control(from, abi::F_SETOWN, pid() as i64).unwrap();
        control(from, F_SETSIG, SIGNAL.into()).unwrap();
        control(from, abi::F_SETFL, abi::FASYNC.into()).unwrap();
        write(to, b"x").unwrap();
        let_others_run();
        let band = abi::POLLIN | 0x40;
        assert_eq!(log.take(), [format!("{SIGNAL} {POLL_IN} {band:#x} {from}")]);
        assert_eq!(control(from, F_SETSIG, 65), Err(Errno::EINVAL));
    });
}

#[test]
fn a_group_may_be_told() {
    machine(|| {
        let [from, to] = pipe().unwrap();
        let log = Log::default();
        let children: Vec<usize> = (0..2)
            .map(|_| {
                let noted = log.clone();
                fork(move || {
                    on_signal(abi::SIGIO, 0, || {});
                    assert_eq!(call!(abi::__NR_pause), Err(Errno::EINTR));
                    noted.note("told");
                })
            })
            .collect();
        for child in &children {
            call!(abi::__NR_setpgid, *child, children[0]).unwrap();
        }
        let_others_run();
        control(from, abi::F_SETOWN, -(children[0] as i64)).unwrap();
        control(from, abi::F_SETFL, abi::FASYNC.into()).unwrap();
        write(to, b"x").unwrap();
        let_others_run();
        assert_eq!(log.take(), ["told", "told"]);
    });
}
