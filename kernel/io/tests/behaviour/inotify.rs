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
