// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks of ranges and of whole files.

use std::sync::Arc;

use exo_core::errno::Errno;
use exo_hal::mm::frame;
use exo_logic::range_locks::{Lock, Mode, Span};
use exo_vfs::{
    FileTable,
    locks::{FileLocks, LAST_BYTE, Owner, write_list},
};
use linux_raw_sys::general as abi;

use crate::support::{at, create, let_others_run, machine, open, start};

fn span(first: u64, last: u64) -> Span {
    Span { first, last }
}

fn lock(table: u64, mode: Mode, first: u64, last: u64) -> Lock<Owner> {
    Lock { owner: Owner::Table(table), pid: table as i32, mode, span: span(first, last) }
}

fn locks_of(path: &str) -> Arc<FileLocks> {
    create(path).node().file_locks().unwrap()
}

#[test]
fn readers_share_a_range_and_a_writer_does_not() {
    machine(|| {
        let locks = locks_of("/f");
        assert_eq!(locks.set(lock(1, Mode::Read, 0, 9)), Ok(()));
        assert_eq!(locks.set(lock(2, Mode::Read, 5, 15)), Ok(()));
        assert_eq!(locks.set(lock(2, Mode::Write, 5, 15)), Err(Errno::EAGAIN));
        assert_eq!(locks.set(lock(2, Mode::Write, 10, 15)), Ok(()));
        assert_eq!(locks.set(lock(3, Mode::Read, 15, LAST_BYTE)), Err(Errno::EAGAIN));
        assert_eq!(locks.set(lock(3, Mode::Write, 16, LAST_BYTE)), Ok(()));
        let found = locks.conflict(Owner::Table(3), Mode::Write, span(0, LAST_BYTE)).unwrap();
        assert_eq!((found.owner, found.span, found.pid), (Owner::Table(1), span(0, 9), 1));
        assert_eq!(locks.own(Owner::Table(2), span(12, 12)).unwrap().mode, Mode::Write);
        assert!(locks.own(Owner::Table(1), span(10, LAST_BYTE)).is_none());
    });
}

#[test]
fn an_owner_replaces_and_splits_its_own_locks() {
    machine(|| {
        let locks = locks_of("/f");
        locks.set(lock(1, Mode::Write, 0, 99)).unwrap();
        locks.set(lock(1, Mode::Read, 20, 29)).unwrap();
        assert_eq!(locks.set(lock(2, Mode::Read, 20, 29)), Ok(()));
        locks.clear(Owner::Table(1), span(50, 59)).unwrap();
        assert_eq!(locks.set(lock(2, Mode::Write, 50, 59)), Ok(()));
        assert_eq!(locks.set(lock(2, Mode::Write, 49, 49)), Err(Errno::EAGAIN));
        locks.clear_owner(Owner::Table(1));
        assert_eq!(locks.set(lock(3, Mode::Write, 60, LAST_BYTE)), Ok(()));
    });
}

#[test]
fn who_waits_gets_the_range_when_it_is_free() {
    machine(|| {
        let locks = locks_of("/f");
        locks.set(lock(1, Mode::Write, 0, 9)).unwrap();
        let waits = {
            let locks = locks.clone();
            start(move || assert_eq!(locks.wait_and_set(lock(2, Mode::Write, 5, 5), 2), Ok(())))
        };
        let_others_run();
        locks.clear(Owner::Table(1), span(0, 4)).unwrap();
        let_others_run();
        assert!(!waits.has_ended());
        // A writer that becomes a reader lets readers in alone.
        locks.set(lock(1, Mode::Read, 5, 9)).unwrap();
        let_others_run();
        assert!(!waits.has_ended());
        locks.clear(Owner::Table(1), span(5, 5)).unwrap();
        waits.join();
        assert_eq!(locks.set(lock(1, Mode::Read, 5, 5)), Err(Errno::EAGAIN));
    });
}

#[test]
fn a_wait_for_a_range_ends_with_a_signal() {
    machine(|| {
        let locks = locks_of("/f");
        locks.set(lock(1, Mode::Write, 0, 9)).unwrap();
        let (ranges, wholes) = (locks.clone(), locks.clone());
        locks.flock(1, 1, Mode::Write, false).unwrap();
        let one =
            start(move || assert_eq!(ranges.wait_and_set(lock(2, Mode::Read, 0, 0), 2), Err(Errno::RESTART)));
        let two = start(move || assert_eq!(wholes.flock(2, 2, Mode::Read, true), Err(Errno::RESTART)));
        let_others_run();
        one.interrupt();
        two.interrupt();
        one.join();
        two.join();
    });
}

#[test]
fn who_would_wait_for_each_other_for_ever_is_told() {
    machine(|| {
        let (f, g) = (locks_of("/f"), locks_of("/g"));
        f.set(lock(1, Mode::Write, 0, 0)).unwrap();
        g.set(lock(2, Mode::Write, 0, 0)).unwrap();
        let other = {
            let f = f.clone();
            start(move || assert_eq!(f.wait_and_set(lock(2, Mode::Write, 0, 0), 2), Ok(())))
        };
        let_others_run();
        assert_eq!(g.wait_and_set(lock(1, Mode::Write, 0, 0), 1), Err(Errno::EDEADLK));
        f.clear_owner(Owner::Table(1));
        other.join();
        assert_eq!(g.set(lock(1, Mode::Write, 1, 1)), Ok(()));
    });
}

#[test]
fn who_has_given_up_waiting_keeps_nobody_waiting() {
    machine(|| {
        let (f, g) = (locks_of("/f"), locks_of("/g"));
        f.set(lock(1, Mode::Write, 0, 0)).unwrap();
        g.set(lock(2, Mode::Write, 0, 0)).unwrap();
        let other = start(move || {
            assert_eq!(f.wait_and_set(lock(2, Mode::Write, 0, 0), 2), Err(Errno::RESTART));
        });
        let_others_run();
        other.interrupt();
        other.join();
        let waits = {
            let g = g.clone();
            start(move || assert_eq!(g.wait_and_set(lock(1, Mode::Write, 0, 0), 1), Ok(())))
        };
        let_others_run();
        assert!(!waits.has_ended(), "this is no deadlock");
        g.clear_owner(Owner::Table(2));
        waits.join();
    });
}

#[test]
fn nobody_says_that_an_open_file_waits() {
    machine(|| {
        let locks = locks_of("/f");
        let own = |first| Lock { owner: Owner::OpenFile(7), ..lock(0, Mode::Write, first, first) };
        locks.set(own(0)).unwrap();
        locks.set(lock(1, Mode::Write, 1, 1)).unwrap();
        let waits = {
            let locks = locks.clone();
            start(move || assert_eq!(locks.wait_and_set(lock(1, Mode::Write, 0, 0), 1), Ok(())))
        };
        let_others_run();
        assert_eq!(locks.set(own(1)), Err(Errno::EAGAIN));
        locks.end_open_file(7);
        waits.join();
    });
}

#[test]
fn locks_of_a_process_end_when_it_closes_any_descriptor_of_the_file() {
    machine(|| {
        let table = FileTable::new();
        let file = create("/f");
        let locks = file.node().file_locks().unwrap();
        let (one, two) = (table.add(file, false, 0).unwrap(), table.add(open("/f", 0), false, 0).unwrap());
        let place = table.add(open("/f", abi::O_PATH), false, 0).unwrap();
        locks.set(lock(table.number(), Mode::Write, 0, 9)).unwrap();
        table.close(place as i32).unwrap();
        assert_eq!(locks.set(lock(0, Mode::Read, 0, 0)), Err(Errno::EAGAIN), "a place is no file");
        table.close(two as i32).unwrap();
        assert_eq!(locks.set(lock(0, Mode::Read, 0, 0)), Ok(()));
        table.close(one as i32).unwrap();
    });
}

#[test]
fn locks_of_an_open_file_end_with_it() {
    machine(|| {
        let file = create("/f");
        let locks = file.node().file_locks().unwrap();
        let owner = Owner::OpenFile(file.id());
        locks.set(Lock { owner, ..lock(0, Mode::Write, 0, 9) }).unwrap();
        locks.flock(file.id(), 1, Mode::Write, false).unwrap();
        let other = open("/f", abi::O_RDWR);
        assert_eq!(locks.flock(other.id(), 1, Mode::Read, false), Err(Errno::EAGAIN));
        drop(file);
        assert_eq!(locks.flock(other.id(), 1, Mode::Read, false), Ok(()));
        assert_eq!(locks.set(lock(1, Mode::Write, 0, 9)), Ok(()));
    });
}

#[test]
fn a_whole_file_is_locked_by_readers_or_a_writer() {
    machine(|| {
        let locks = locks_of("/f");
        let flock = |file, mode| locks.flock(file, 1, mode, false);
        assert_eq!((flock(1, Mode::Read), flock(2, Mode::Read)), (Ok(()), Ok(())));
        assert_eq!(flock(3, Mode::Write), Err(Errno::EAGAIN));
        assert_eq!(flock(1, Mode::Read), Ok(()), "it has that already");
        // As on Linux, the old lock is given up first.
        assert_eq!(flock(1, Mode::Write), Err(Errno::EAGAIN));
        locks.unflock(2);
        assert_eq!(flock(3, Mode::Write), Ok(()));
        assert_eq!(flock(1, Mode::Read), Err(Errno::EAGAIN));
        assert_eq!(locks.set(lock(9, Mode::Write, 0, LAST_BYTE)), Ok(()), "ranges are another matter");
    });
}

#[test]
fn who_waits_for_a_whole_file_gets_it() {
    machine(|| {
        let locks = locks_of("/f");
        locks.flock(1, 1, Mode::Write, false).unwrap();
        let waits = {
            let locks = locks.clone();
            start(move || assert_eq!(locks.flock(2, 2, Mode::Write, true), Ok(())))
        };
        let_others_run();
        assert!(!waits.has_ended());
        locks.unflock(1);
        waits.join();
        assert_eq!(locks.flock(1, 1, Mode::Read, false), Err(Errno::EAGAIN));
    });
}

#[test]
fn a_writer_that_becomes_a_reader_lets_readers_in() {
    machine(|| {
        let locks = locks_of("/f");
        locks.flock(1, 1, Mode::Write, false).unwrap();
        let waits = {
            let locks = locks.clone();
            start(move || assert_eq!(locks.flock(2, 2, Mode::Read, true), Ok(())))
        };
        let_others_run();
        locks.flock(1, 1, Mode::Read, false).unwrap();
        waits.join();
    });
}

#[test]
fn a_file_has_so_many_locks_at_most() {
    machine(|| {
        let locks = locks_of("/f");
        let set = |at: u64| locks.set(lock(1, Mode::Write, 2 * at, 2 * at));
        let count = (0..10_000).take_while(|at| set(*at).is_ok()).count();
        assert_eq!((count, set(9999)), (4096, Err(Errno::ENOLCK)));
        let flock = |file: usize| locks.flock(file, 1, Mode::Read, false);
        let count = (0..10_000).take_while(|file| flock(*file).is_ok()).count();
        assert_eq!((count, flock(9999)), (4096, Err(Errno::ENOLCK)));
    });
}

#[test]
fn without_memory_there_are_no_locks() {
    machine(|| {
        let locks = locks_of("/f");
        let other = create("/g");
        frame::exhaust();
        assert_eq!(locks.set(lock(1, Mode::Write, 0, 0)), Err(Errno::ENOLCK));
        assert_eq!(other.node().file_locks().err(), Some(Errno::ENOLCK));
        frame::set_free(10);
        assert!(other.node().locks.get().is_none() && other.node().file_locks().is_ok());
    });
}

#[test]
fn locks_are_listed_as_linux_lists_them() {
    machine(|| {
        let file = create("/f");
        let locks = file.node().file_locks().unwrap();
        locks.set(lock(7, Mode::Read, 3, 5)).unwrap();
        locks.set(Lock { owner: Owner::OpenFile(1), ..lock(0, Mode::Write, 6, LAST_BYTE) }).unwrap();
        locks.flock(2, 9, Mode::Write, false).unwrap();
        let (device, inode) = (at("/").superblock.device, file.node().number);
        let mut text = String::new();
        write_list(&mut text).unwrap();
        assert_eq!(
            text,
            format!(
                "1: FLOCK  ADVISORY  WRITE 9 00:{device:02x}:{inode} 0 EOF\n\
                 2: POSIX  ADVISORY  READ  7 00:{device:02x}:{inode} 3 5\n\
                 3: OFDLCK ADVISORY  WRITE -1 00:{device:02x}:{inode} 6 EOF\n"
            )
        );
        let mut text = String::new();
        locks.write_of(7, 2, &mut text).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.starts_with("lock:\t1: FLOCK "));
    });
}
