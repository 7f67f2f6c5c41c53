// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log, as /dev/kmsg and syslog show it.

use exo_hal::{dev::serial, log};
use exo_test_support::{call, programs::*};

const READ_NEXT: u32 = 2;
const READ_ALL: u32 = 3;
const READ_CLEAR: u32 = 4;
const SIZE_UNREAD: u32 = 9;
const SIZE_BUFFER: u32 = 10;

fn syslog(action: u32, room: usize) -> Result<String> {
    let at = reserve(room);
    let count = call!(abi::__NR_syslog, action, at, room)?;
    Ok(String::from_utf8(get_bytes(at, count)).unwrap())
}

/// Opened at the end of what there is.
fn messages() -> usize {
    let fd = open("/dev/kmsg", abi::O_RDWR | abi::O_NONBLOCK).unwrap();
    call!(abi::__NR_lseek, fd, 0, abi::SEEK_END).unwrap();
    fd
}

fn line(fd: usize) -> Result<String> {
    read(fd, 8192).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn a_record_is_read_whole_with_its_number_and_time() {
    machine(|| {
        let fd = messages();
        assert_eq!(line(fd), Err(Errno::EAGAIN));
        log!("something {} has happened", 5);
        log::line_at(log::ERROR, format_args!("and more"));
        let records = [line(fd).unwrap(), line(fd).unwrap()];
        let fields = records.clone().map(|record| {
            let (fields, text) = record.split_once(';').unwrap();
            let fields: Vec<u64> = fields.split(',').take(3).map(|field| field.parse().unwrap()).collect();
            (fields, text.to_string())
        });
        assert_eq!((fields[0].0[0], fields[1].0[0]), (6, 3), "priorities");
        assert_eq!(fields[1].0[1], fields[0].0[1] + 1, "numbers");
        assert_eq!(fields[0].0[2], exo_hal::time::now_ns() / 1000, "microseconds");
        assert_eq!((&fields[0].1[..], &fields[1].1[..]), ("something 5 has happened\n", "and more\n"));
        log!("a long line");
        assert_eq!(read(fd, 5), Err(Errno::EINVAL), "there must be room for a whole record");
        assert_eq!(line(fd), Err(Errno::EAGAIN), "and it is gone then");
    });
}

#[test]
fn programs_write_to_it_but_not_in_the_kernels_name() {
    machine(|| {
        let fd = messages();
        write(fd, b"<3>a program's\n").unwrap();
        write(fd, b"without\tpriority\\").unwrap();
        assert!(line(fd).unwrap().starts_with("11,"), "user's facility, level 3");
        assert!(
            line(fd).unwrap().ends_with(";without\\x09priority\\x5c\n"),
            "what does not print is escaped"
        );
        assert_eq!(write(fd, &[b'x'; 5000]), Err(Errno::EINVAL));
    });
}

#[test]
fn each_reader_has_its_own_place() {
    machine(|| {
        let (first, second) = (messages(), messages());
        log!("one");
        assert!(line(first).unwrap().ends_with("one\n"));
        assert_eq!(poll(first, abi::POLLIN), 0);
        assert_eq!(poll(second, abi::POLLIN), abi::POLLIN);
        assert!(line(second).unwrap().ends_with("one\n"));
        call!(abi::__NR_lseek, first, 0, abi::SEEK_SET).unwrap();
        assert!(line(first).is_ok(), "from the oldest one");
        assert_eq!(call!(abi::__NR_lseek, first, 5, abi::SEEK_SET), Err(Errno::ESPIPE));
    });
}

#[test]
fn who_is_too_slow_is_told_once() {
    machine(|| {
        let fd = messages();
        for number in 0..2000 {
            log!("line {number} of many, so that the oldest ones are overwritten by the newest ones");
        }
        assert_eq!(line(fd), Err(Errno::EPIPE));
        let first = line(fd).unwrap();
        assert!(first.contains("line ") && !first.contains("line 0 "), "{first}");
    });
}

#[test]
fn a_reader_that_waits_sees_the_next_line() {
    machine(|| {
        let fd = open("/dev/kmsg", abi::O_RDONLY).unwrap();
        call!(abi::__NR_lseek, fd, 0, abi::SEEK_END).unwrap();
        fork(|| {
            sleep(100 * MS);
            log!("at last");
        });
        assert!(line(fd).unwrap().ends_with(";at last\n"));
    });
}

#[test]
fn syslog_shows_the_last_lines_and_can_clear_them() {
    machine(|| {
        log!("before");
        syslog(READ_CLEAR, 200_000).unwrap();
        assert_eq!(syslog(READ_ALL, 1000), Ok(String::new()));
        log!("first");
        log!("second");
        let all = syslog(READ_ALL, 1000).unwrap();
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("<6>[") && lines[0].ends_with("] first"), "{all}");
        let last = syslog(READ_ALL, lines[1].len() + 5).unwrap();
        assert_eq!(last, format!("{}\n", lines[1]), "whole lines, the last ones");
        assert!(call!(abi::__NR_syslog, SIZE_BUFFER, 0, 0).unwrap() >= 16384);
    });
}

#[test]
fn what_is_unread_is_read_once() {
    machine(|| {
        while call!(abi::__NR_syslog, SIZE_UNREAD, 0, 0).unwrap() > 0 {
            syslog(READ_NEXT, 100_000).unwrap();
        }
        log!("next");
        let size = call!(abi::__NR_syslog, SIZE_UNREAD, 0, 0).unwrap();
        let text = syslog(READ_NEXT, 4).unwrap() + &syslog(READ_NEXT, 1000).unwrap();
        assert!(text.len() == size && text.ends_with("next\n"), "{text}");
        assert_eq!(call!(abi::__NR_syslog, SIZE_UNREAD, 0, 0), Ok(0));
    });
}

#[test]
fn not_everybody_may_do_all_of_it() {
    machine(|| {
        let child = fork(|| {
            call!(abi::__NR_setresuid, 5, 5, 5).unwrap();
            assert!(syslog(READ_ALL, 100).is_ok());
            for action in [READ_NEXT, READ_CLEAR, 5, 6, 7, 8, SIZE_UNREAD] {
                assert_eq!(syslog(action, 100), Err(Errno::EPERM), "{action}");
            }
            assert_eq!(open("/dev/kmsg", abi::O_WRONLY), Err(Errno::EACCES));
        });
        assert_eq!(end_of(child), 0);
        assert_eq!(syslog(99, 1), Err(Errno::EINVAL));
        assert_eq!(call!(abi::__NR_syslog, READ_ALL, put(&0_u32), -1), Err(Errno::EINVAL));
        assert_eq!(call!(abi::__NR_syslog, 8, 0, 9), Err(Errno::EINVAL));
    });
}

#[test]
fn the_console_shows_what_is_important_enough() {
    machine(|| {
        let shown = || String::from_utf8(serial::CONSOLE.take_sent()).unwrap();
        shown();
        log!("seen");
        assert!(shown().ends_with("] seen\r\n"));
        call!(abi::__NR_syslog, 6, 0, 0).unwrap();
        log!("hidden");
        assert_eq!(shown(), "");
        call!(abi::__NR_syslog, 8, 0, 4).unwrap();
        log::line_at(log::ERROR, format_args!("an error"));
        log!("hidden");
        assert!(shown().ends_with("] an error\r\n"));
        call!(abi::__NR_syslog, 7, 0, 0).unwrap();
    });
}
