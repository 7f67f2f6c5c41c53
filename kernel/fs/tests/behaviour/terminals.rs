// SPDX-License-Identifier: MIT OR Apache-2.0
//! Terminals and sessions: whose terminal it is, who is in the foreground, and what those in the background may do.

use std::sync::Arc;

use exo_drivers::character::CharDevice;
use exo_test_support::{call, programs::*};
use linux_raw_sys::ioctl::*;

use crate::wire::*;

fn set_foreground(fd: usize, group: usize) -> Result {
    call!(abi::__NR_ioctl, fd, TIOCSPGRP, put(&(group as u32)))
}

fn number(fd: usize, request: u32) -> Result<u32> {
    let at = put(&0_u32);
    call!(abi::__NR_ioctl, fd, request, at)?;
    Ok(get(at))
}

/// A child in a group of its own.
fn job<R>(code: impl FnOnce() -> R + Send + 'static) -> usize {
    let child = fork(|| {
        call!(abi::__NR_setpgid, 0, 0).unwrap();
        code()
    });
    call!(abi::__NR_setpgid, child, 0).unwrap();
    child
}

#[test]
fn who_leads_a_session_without_a_terminal_gets_the_first_that_it_opens() {
    at_terminal(|fd, _wire| {
        let own = pid() as u32;
        assert_eq!((number(fd, TIOCGSID), number(fd, TIOCGPGRP)), (Ok(own), Ok(own)));
        let again = open("/dev/tty", abi::O_RDWR).unwrap();
        assert_eq!(number(again, TIOCGSID), Ok(own));
        let other = fork(|| {
            call!(abi::__NR_setsid).unwrap();
            assert_eq!(open("/dev/tty", abi::O_RDWR), Err(Errno::ENXIO));
            let fd = open("/dev/ttyS1", abi::O_RDWR).unwrap();
            assert_eq!(number(fd, TIOCGSID), Err(Errno::ENOTTY), "it is another's");
            assert_eq!(call!(abi::__NR_ioctl, fd, TIOCSCTTY, 0), Err(Errno::EPERM));
        });
        assert_eq!(end_of(other), 0);
    });
}

#[test]
fn keys_send_signals_to_the_foreground() {
    at_terminal(|fd, wire| {
        for (key, signal) in [("\x03", abi::SIGINT), ("\x1c", abi::SIGQUIT)] {
            let (first, second) = (job(|| sleep(1000 * MS)), job(|| sleep(50 * MS)));
            set_foreground(fd, first).unwrap();
            wire.types(key);
            assert_eq!(end_of(first), signal);
            assert_eq!(end_of(second), 0, "not to others");
            action(abi::SIGTTOU, 1, 0, 0).unwrap();
            set_foreground(fd, pid()).unwrap();
        }
        let job = job(|| sleep(1000 * MS));
        set_foreground(fd, job).unwrap();
        wire.types("lost\x1a");
        assert_eq!(wait(job as i64, abi::WUNTRACED), Ok((job, stopped(abi::SIGTSTP))));
        kill(job as i64, abi::SIGKILL).unwrap();
        assert!(wire.shows().ends_with("^Z"), "keys are shown as they are called");
    });
}

#[test]
fn the_background_is_stopped_when_it_reads() {
    at_terminal(|fd, wire| {
        wire.types("for the background\n");
        let job = job(move || assert_eq!(read(fd, 100), Ok(b"for the background\n".to_vec())));
        assert_eq!(wait(job as i64, abi::WUNTRACED), Ok((job, stopped(abi::SIGTTIN))));
        set_foreground(fd, job).unwrap();
        kill(job as i64, abi::SIGCONT).unwrap();
        assert_eq!(end_of(job), 0);
        action(abi::SIGTTOU, 1, 0, 0).unwrap();
        set_foreground(fd, pid()).unwrap();
    });
}

#[test]
fn who_cannot_be_stopped_gets_an_error() {
    at_terminal(|fd, _wire| {
        let ignores = job(move || {
            action(abi::SIGTTIN, 1, 0, 0).unwrap();
            assert_eq!(read(fd, 1), Err(Errno::EIO));
        });
        assert_eq!(end_of(ignores), 0);
        let blocks = job(move || {
            mask(abi::SIG_BLOCK, signals(&[abi::SIGTTIN]));
            assert_eq!(read(fd, 1), Err(Errno::EIO));
        });
        assert_eq!(end_of(blocks), 0);
    });
}

#[test]
fn the_background_may_write_unless_that_is_to_stop_it() {
    at_terminal(|fd, wire| {
        let writer = job(move || assert_eq!(write(fd, b"x"), Ok(1)));
        assert_eq!(end_of(writer), 0);
        let mut new = termios(fd);
        new.flags[LOCAL] |= abi::TOSTOP;
        set_termios(fd, &new).unwrap();
        let writer = job(move || write(fd, b"y"));
        assert_eq!(wait(writer as i64, abi::WUNTRACED), Ok((writer, stopped(abi::SIGTTOU))));
        kill(writer as i64, abi::SIGKILL).unwrap();
        end_of(writer);
        let changer = job(move || set_termios(fd, &termios(fd)));
        assert_eq!(
            wait(changer as i64, abi::WUNTRACED),
            Ok((changer, stopped(abi::SIGTTOU))),
            "always for settings"
        );
        kill(changer as i64, abi::SIGKILL).unwrap();
        assert_eq!(wire.shows(), "x");
    });
}

#[test]
fn the_foreground_is_a_group_of_the_session() {
    at_terminal(|fd, _wire| {
        assert_eq!(set_foreground(fd, 99_999), Err(Errno::ESRCH));
        assert_eq!(set_foreground(fd, 1), Err(Errno::EPERM), "of another session");
        assert_eq!(call!(abi::__NR_ioctl, fd, TIOCSPGRP, put(&-1_i32)), Err(Errno::EINVAL));
    });
}

#[test]
fn the_end_of_a_sessions_leader_hangs_up_the_foreground() {
    machine(|| {
        let wire = Arc::new(Wire::default());
        let port: Arc<dyn CharDevice> = wire;
        exo_fs::tty::add(&port).unwrap();
        let [from, to] = pipe().unwrap();
        let leader = fork(move || {
            call!(abi::__NR_setsid).unwrap();
            let fd = open("/dev/ttyS0", abi::O_RDWR).unwrap();
            let job = job(move || {
                on_signal(abi::SIGHUP, 0, || {});
                assert_eq!(call!(abi::__NR_pause), Err(Errno::EINTR));
                let_others_run();
                assert_eq!(open("/dev/tty", abi::O_RDWR), Err(Errno::ENXIO), "nobody has it any more");
                write(to, b"hung up").unwrap();
            });
            set_foreground(fd, job).unwrap();
            let_others_run();
        });
        assert_eq!(end_of(leader), 0);
        close(to).unwrap();
        assert_eq!(read(from, 100), Ok(b"hung up".to_vec()));
        exo_fs::tty::remove(&port);
    });
}

#[test]
fn a_terminal_can_be_given_up_and_claimed() {
    at_terminal(|fd, _wire| {
        let session = pid();
        let child = job(move || {
            call!(abi::__NR_ioctl, fd, TIOCNOTTY, 0).unwrap();
            assert_eq!(open("/dev/tty", abi::O_RDWR), Err(Errno::ENXIO), "for this process alone");
            assert_eq!(
                call!(abi::__NR_ioctl, fd, TIOCSCTTY, 0),
                Err(Errno::EPERM),
                "only a leader claims one"
            );
        });
        assert_eq!(end_of(child), 0);
        action(abi::SIGHUP, 1, 0, 0).unwrap();
        call!(abi::__NR_ioctl, fd, TIOCNOTTY, 0).unwrap();
        assert_eq!(number(fd, TIOCGSID), Err(Errno::ENOTTY));
        call!(abi::__NR_ioctl, fd, TIOCSCTTY, 0).unwrap();
        assert_eq!(number(fd, TIOCGSID), Ok(session as u32));
    });
}

#[test]
fn a_new_size_is_told_to_the_foreground() {
    at_terminal(|fd, _wire| {
        let size = zeros(8);
        call!(abi::__NR_ioctl, fd, TIOCGWINSZ, size).unwrap();
        assert_eq!(get::<[u16; 2]>(size), [24, 80]);
        mask(abi::SIG_BLOCK, signals(&[abi::SIGWINCH]));
        on_signal(abi::SIGWINCH, 0, || {});
        call!(abi::__NR_ioctl, fd, TIOCSWINSZ, put(&[50_u16, 132, 0, 0])).unwrap();
        assert_eq!(pending(), signals(&[abi::SIGWINCH]));
        call!(abi::__NR_ioctl, fd, TIOCGWINSZ, size).unwrap();
        assert_eq!(get::<[u16; 2]>(size), [50, 132]);
        call!(abi::__NR_ioctl, fd, TIOCSWINSZ, put(&[24_u16, 80, 0, 0])).unwrap();
    });
}

#[test]
fn a_port_without_a_driver_cannot_be_opened_and_one_that_goes_hangs_up() {
    machine(|| {
        assert_eq!(open("/dev/ttyS2", abi::O_RDWR), Err(Errno::ENXIO));
        let wire = Arc::new(Wire::default());
        let port: Arc<dyn CharDevice> = wire;
        exo_fs::tty::add(&port).unwrap();
        let fd = open("/dev/ttyS0", abi::O_RDWR | abi::O_NOCTTY).unwrap();
        assert_eq!(poll(fd, abi::POLLOUT), abi::POLLOUT);
        exo_fs::tty::remove(&port);
        assert_eq!(poll(fd, abi::POLLOUT), abi::POLLHUP);
        assert_eq!(write(fd, b"x"), Err(Errno::EIO));
    });
}

#[test]
fn a_pipe_can_be_given_to_a_line() {
    at_terminal(|fd, wire| {
        let source = "/sys/class/tty/ttyS1/source";
        assert_eq!(text(source), "0 0 none\n");
        let [from, to] = pipe().unwrap();
        assert_eq!(
            store(source, from.to_string().as_bytes()),
            Err(Errno::EINVAL),
            "a line that changes bytes"
        );
        let mut new = termios(fd);
        new.flags[OUTPUT] &= !abi::OPOST;
        set_termios(fd, &new).unwrap();
        assert_eq!(store(source, to.to_string().as_bytes()), Err(Errno::EINVAL), "the wrong end");
        store(source, from.to_string().as_bytes()).unwrap();
        close(from).unwrap();
        write(to, b"by itself\n").unwrap();
        assert_eq!(wire.shows(), "by itself\n");
        assert_eq!(text(source), "10 0 open\n");
        close(to).unwrap();
        assert_eq!(text(source), "10 0 none\n");
    });
}

#[test]
fn a_group_that_nobody_could_continue_gets_an_error() {
    at_terminal(|fd, _wire| {
        let [from, to] = pipe().unwrap();
        let first = job(move || {
            fork(move || {
                let_others_run();
                let_others_run();
                let result = read(fd, 1);
                write(to, format!("{result:?}").as_bytes()).unwrap();
            });
        });
        end_of(first);
        assert_eq!(read(from, 100), Ok(format!("{:?}", Err::<Vec<u8>, _>(Errno::EIO)).into_bytes()));
    });
}

#[test]
fn who_does_not_want_a_terminal_gets_none() {
    machine(|| {
        let port: Arc<dyn CharDevice> = Arc::new(Wire::default());
        exo_fs::tty::add(&port).unwrap();
        let child = fork(|| {
            call!(abi::__NR_setsid).unwrap();
            open("/dev/ttyS0", abi::O_RDWR | abi::O_NOCTTY).unwrap();
            assert_eq!(open("/dev/tty", abi::O_RDWR), Err(Errno::ENXIO));
            open("/dev/ttyS0", abi::O_RDWR).unwrap();
            assert!(open("/dev/tty", abi::O_RDWR).is_ok());
        });
        assert_eq!(end_of(child), 0);
        exo_fs::tty::remove(&port);
    });
}
