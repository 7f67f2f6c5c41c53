// SPDX-License-Identifier: MIT OR Apache-2.0
//! inotify.

use exo_test_support::{call, programs::*};
use linux_raw_sys::general::{IN_CLOSE_NOWRITE, IN_OPEN, IN_Q_OVERFLOW};

const BOUND: &str = "/proc/sys/fs/inotify/max_queued_events";
/// Bytes of an event without a name.
const EVENT: usize = 16;

/// The bits of up to `count` events.
fn events(fd: usize, count: usize) -> Vec<u32> {
    let bytes = read(fd, count * EVENT).unwrap();
    bytes.chunks_exact(EVENT).map(|event| u32::from_ne_bytes(event[4..8].try_into().unwrap())).collect()
}

#[test]
fn after_some_were_lost_events_are_kept_again_as_soon_as_there_is_room() {
    machine(|| {
        let before = text(BOUND);
        store(BOUND, b"4").unwrap();
        make_file("/file", b"");
        let fd = call!(abi::__NR_inotify_init1, 0).unwrap();
        call!(abi::__NR_inotify_add_watch, fd, put_bytes(b"/file\0"), IN_OPEN | IN_CLOSE_NOWRITE).unwrap();
        for _ in 0..3 {
            close(open("/file", abi::O_RDONLY).unwrap()).unwrap();
        }
        assert_eq!(events(fd, 2), [IN_OPEN, IN_CLOSE_NOWRITE]);
        let file = open("/file", abi::O_RDONLY).unwrap();
        assert_eq!(events(fd, 9), [IN_OPEN, IN_CLOSE_NOWRITE, IN_Q_OVERFLOW, IN_OPEN]);
        close(file).unwrap();
        store(BOUND, before.trim().as_bytes()).unwrap();
    });
}

fn create(flags: u32) -> usize {
    call!(abi::__NR_inotify_init1, flags | abi::O_NONBLOCK).unwrap()
}

fn watch(fd: usize, path: &str, mask: u32) -> Result {
    call!(abi::__NR_inotify_add_watch, fd, put_bytes(&[path.as_bytes(), b"\0"].concat()), mask)
}

fn remove(fd: usize, number: usize) -> Result {
    call!(abi::__NR_inotify_rm_watch, fd, number)
}

/// All events: of which watch, what, and the name with it.
fn all(fd: usize) -> Vec<(usize, u32, String)> {
    let mut found = Vec::new();
    while let Ok(bytes) = read(fd, 4096) {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let number = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
            let (watch, mask, length) = (number(0), number(4), number(12) as usize);
            let name =
                String::from_utf8_lossy(&rest[EVENT..EVENT + length]).trim_end_matches('\0').to_owned();
            found.push((watch as usize, mask, name));
            rest = &rest[EVENT + length..];
        }
    }
    found
}

fn touch(path: &str) {
    close(open(path, abi::O_RDONLY).unwrap()).unwrap();
}

#[test]
fn an_event_like_the_last_is_not_kept_again() {
    machine(|| {
        make_file("/file", b"");
        let fd = create(0);
        let number = watch(fd, "/file", abi::IN_MODIFY | IN_OPEN).unwrap();
        let file = open("/file", abi::O_WRONLY).unwrap();
        for _ in 0..5 {
            write(file, b"x").unwrap();
        }
        touch("/file");
        write(file, b"x").unwrap();
        let what: Vec<u32> = all(fd).into_iter().map(|event| event.1).collect();
        assert_eq!(what, [IN_OPEN, abi::IN_MODIFY, IN_OPEN, abi::IN_MODIFY]);
        write(file, b"x").unwrap();
        assert_eq!(all(fd), [(number, abi::IN_MODIFY, String::new())], "one that was read is no last one");
        close(file).unwrap();
        unlink("/file").unwrap();
    });
}

#[test]
fn a_queue_is_bounded_and_says_once_that_something_was_lost() {
    machine(|| {
        let before = text(BOUND);
        store(BOUND, b"3").unwrap();
        make_file("/file", b"");
        let fd = create(0);
        watch(fd, "/file", IN_OPEN | IN_CLOSE_NOWRITE).unwrap();
        for _ in 0..1000 {
            touch("/file");
        }
        let found = all(fd);
        assert_eq!(found.len(), 4);
        assert_eq!(found[3], (u32::MAX as usize, IN_Q_OVERFLOW, String::new()));
        touch("/file");
        assert_eq!(all(fd).len(), 2, "there is room again");
        store(BOUND, before.trim().as_bytes()).unwrap();
    });
}

#[test]
fn what_is_watched_no_more_is_said_and_silent() {
    machine(|| {
        make_file("/file", b"");
        let fd = create(0);
        let number = watch(fd, "/file", IN_OPEN).unwrap();
        touch("/file");
        remove(fd, number).unwrap();
        touch("/file");
        assert_eq!(all(fd), [(number, IN_OPEN, String::new()), (number, abi::IN_IGNORED, String::new())]);
        assert_eq!(remove(fd, number), Err(Errno::EINVAL));
        let again = watch(fd, "/file", IN_OPEN).unwrap();
        assert!(again > number, "numbers are not used again");
        assert_eq!(remove(99, again), Err(Errno::EBADF));
    });
}

#[test]
fn a_file_that_goes_takes_its_watch_with_it() {
    machine(|| {
        make_file("/file", b"");
        let fd = create(0);
        let number = watch(fd, "/file", abi::IN_DELETE_SELF | abi::IN_ATTRIB).unwrap();
        unlink("/file").unwrap();
        let what: Vec<u32> = all(fd).into_iter().map(|event| event.1).collect();
        assert_eq!(what, [abi::IN_ATTRIB, abi::IN_DELETE_SELF, abi::IN_IGNORED]);
        assert_eq!(remove(fd, number), Err(Errno::EINVAL));
    });
}

#[test]
fn a_folder_names_what_happens_in_it_and_a_mask_can_be_changed() {
    machine(|| {
        mkdir("/folder").unwrap();
        let fd = create(0);
        let number = watch(fd, "/folder", abi::IN_CREATE).unwrap();
        make_file("/folder/one", b"");
        assert_eq!(watch(fd, "/folder", abi::IN_DELETE | abi::IN_MASK_ADD), Ok(number));
        make_file("/folder/another", b"");
        unlink("/folder/one").unwrap();
        assert_eq!(watch(fd, "/folder", abi::IN_DELETE), Ok(number));
        make_file("/folder/third", b"");
        unlink("/folder/third").unwrap();
        let expected = [
            (number, abi::IN_CREATE, "one"),
            (number, abi::IN_CREATE, "another"),
            (number, abi::IN_DELETE, "one"),
            (number, abi::IN_DELETE, "third"),
        ];
        assert_eq!(all(fd), expected.map(|(number, what, name)| (number, what, name.to_owned())));
        assert_eq!(watch(fd, "/folder", abi::IN_DELETE | abi::IN_MASK_CREATE), Err(Errno::EEXIST));
        assert_eq!(watch(fd, "/folder", 0), Err(Errno::EINVAL));
    });
}

#[test]
fn an_event_is_read_whole_or_not_at_all() {
    machine(|| {
        mkdir("/whole").unwrap();
        let fd = create(0);
        watch(fd, "/whole", abi::IN_CREATE).unwrap();
        assert_eq!(read(fd, 100), Err(Errno::EAGAIN));
        make_file("/whole/name", b"");
        assert_eq!(read(fd, EVENT), Err(Errno::EINVAL), "its name has no room");
        assert_eq!(poll(fd, abi::POLLIN), abi::POLLIN);
        assert_eq!(read(fd, 2 * EVENT).unwrap().len(), 2 * EVENT);
        assert_eq!(poll(fd, abi::POLLIN), 0);
    });
}
