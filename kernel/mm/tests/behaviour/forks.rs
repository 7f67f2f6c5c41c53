// SPDX-License-Identifier: MIT OR Apache-2.0
//! A copy of an address space for a child.

use std::sync::Arc;

use exo_core::{errno::Errno, io_buf::IoBuf};
use exo_hal::mm::frame;
use exo_logic::areas::Flags;
use exo_mm::{AddressSpace, Pages, Sharing, map::Placement};

use crate::support::{
    BASE, PAGE, READ, anonymous, anonymous_at, areas, backing, can_read, can_write, file, get, kill_self,
    machine, map_file, put, space, within,
};

fn fork() -> Arc<AddressSpace> {
    space().fork().unwrap()
}

/// The number of the frame at an address.
fn frame_at(address: usize) -> u32 {
    space().locate(address).unwrap().number()
}

#[test]
fn neither_sees_what_the_other_writes() {
    machine(|| {
        let at = anonymous(2);
        put(at, b"both");
        let child = fork();
        put(at, b"mine");
        within(&child, || {
            assert_eq!(get(at, 4), b"both");
            put(at + PAGE, b"child");
        });
        assert_eq!((get(at, 4), get(at + PAGE, 5)), (b"mine".to_vec(), vec![0; 5]));
        within(&child, || assert_eq!((get(at, 4), get(at + PAGE, 5)), (b"both".to_vec(), b"child".to_vec())));
    });
}

#[test]
fn a_child_gets_no_frame_before_somebody_writes() {
    machine(|| {
        let at = anonymous(10);
        space().populate(at, at + 10 * PAGE, None).unwrap();
        let before = frame::in_use();
        let child = fork();
        let tables = child.table_pages();
        assert_eq!(frame::in_use(), before + tables);
        within(&child, || get(at, 10 * PAGE));
        assert_eq!(frame::in_use(), before + tables, "reading copies nothing");
        within(&child, || put(at, b"x"));
        put(at + PAGE, b"x");
        assert_eq!(frame::in_use(), before + tables + 2);
        // The last who has a page writes to that.
        put(at, b"y");
        within(&child, || put(at + PAGE, b"y"));
        assert_eq!(frame::in_use(), before + tables + 2);
    });
}

#[test]
fn a_page_that_is_no_longer_shared_is_not_copied() {
    machine(|| {
        let at = anonymous(1);
        put(at, b"x");
        let before = frame_at(at);
        drop(fork());
        put(at, b"y");
        assert_eq!(frame_at(at), before);
        let child = fork();
        put(at, b"z");
        assert_ne!(frame_at(at), before);
        within(&child, || {
            put(at, b"c");
            assert_eq!(frame_at(at), before, "the child has it alone now");
        });
    });
}

#[test]
fn generations_share_until_they_write() {
    machine(|| {
        let at = anonymous(1);
        put(at, b"0");
        let child = fork();
        let grandchild = within(&child, fork);
        within(&child, || put(at, b"1"));
        within(&grandchild, || assert_eq!(get(at, 1), b"0"));
        within(&grandchild, || put(at, b"2"));
        assert_eq!(get(at, 1), b"0");
        within(&child, || assert_eq!(get(at, 1), b"1"));
    });
}

#[test]
fn what_the_kernel_writes_is_not_seen_by_the_other_either() {
    machine(|| {
        let at = anonymous(1);
        put(at, b"both");
        let child = fork();
        child.write(at, b"kern").unwrap();
        assert_eq!(get(at, 4), b"both");
        let mut out = [0; 4];
        child.read(at, &mut out);
        assert_eq!(&out, b"kern");
    });
}

#[test]
fn shared_memory_stays_shared() {
    machine(|| {
        let pages = Arc::new(Pages::new(2 * PAGE as u64));
        let at = map_file(&pages, 2, true);
        put(at, b"before");
        let child = fork();
        put(at + PAGE, b"parent");
        within(&child, || {
            assert_eq!((get(at, 6), get(at + PAGE, 6)), (b"before".to_vec(), b"parent".to_vec()));
            put(at, b"child");
        });
        assert_eq!(get(at, 5), b"child");
    });
}

#[test]
fn a_private_copy_of_a_file_is_inherited() {
    machine(|| {
        let pages = file(b"content");
        let at = map_file(&pages, 1, false);
        put(at, b"C");
        let child = fork();
        put(at, b"P");
        within(&child, || assert_eq!(get(at, 7), b"Content"));
        assert_eq!((get(at, 1), read(&pages)), (b"P".to_vec(), b"content".to_vec()));
    });
}

fn read(pages: &Pages) -> Vec<u8> {
    let mut out = vec![0; pages.size() as usize];
    pages.read(0, &mut IoBuf::kernel(&mut out)).unwrap();
    out
}

#[test]
fn permissions_are_inherited_and_locks_are_not() {
    machine(|| {
        anonymous_at(BASE, 3);
        put(BASE, &[1; 3 * PAGE]);
        space().protect(BASE, PAGE, Flags::READ, false).unwrap();
        space().protect(BASE + PAGE, PAGE, Flags::empty(), false).unwrap();
        space().lock_all(Some(true), false);
        let child = fork();
        within(&child, || {
            assert!(areas().iter().all(|(_, _, flags)| !flags.contains(Flags::LOCKED)));
            assert!(can_read(BASE) && !can_write(BASE));
            assert!(!can_read(BASE + PAGE) && can_write(BASE + 2 * PAGE));
            space().protect(BASE + PAGE, PAGE, Flags::READ, false).unwrap();
            assert_eq!(get(BASE + PAGE, 1), [1]);
        });
    });
}

#[test]
fn areas_may_be_kept_from_a_child_or_wiped_for_it() {
    machine(|| {
        anonymous_at(BASE, 3);
        put(BASE, &[1; 3 * PAGE]);
        space().change_flags(BASE, BASE + PAGE, |flags| flags | Flags::DONT_FORK).unwrap();
        space().change_flags(BASE + PAGE, BASE + 2 * PAGE, |flags| flags | Flags::WIPE_ON_FORK).unwrap();
        let child = fork();
        within(&child, || {
            assert!(!can_read(BASE));
            assert_eq!((get(BASE + PAGE, 1), get(BASE + 2 * PAGE, 1)), (vec![0], vec![1]));
        });
        assert_eq!(get(BASE + PAGE, 1), [1]);
    });
}

#[test]
fn pages_of_one_process_are_not_inherited() {
    machine(|| {
        let frames = vec![frame::Frame::allocate_zeroed().unwrap()];
        let pages = Arc::new(Pages::of_frames(frames, Sharing::OneProcess, Arc::new(())));
        let at = space().map(Placement::Hint(0), PAGE, READ, backing(&pages, 0, true), false).unwrap();
        assert!(can_read(at));
        let child = fork();
        within(&child, || assert_eq!((areas(), can_read(at)), (vec![], false)));
    });
}

#[test]
fn the_heap_is_inherited() {
    machine(|| {
        space().set_heap(BASE);
        space().brk(BASE + 2 * PAGE);
        let child = fork();
        assert_eq!((child.heap_start(), child.brk(BASE + PAGE)), (BASE, BASE + PAGE));
        assert!(can_write(BASE + PAGE));
    });
}

#[test]
fn a_large_and_scattered_address_space_is_copied_whole() {
    machine(|| {
        for area in 0..50 {
            let at = anonymous_at(BASE + area * 16 * PAGE, 10);
            put(at, &[area as u8; 10 * PAGE]);
        }
        let at = anonymous_at(0x2000_0000, 1000);
        space().populate(at, at + 1000 * PAGE, None).unwrap();
        let child = fork();
        assert_eq!(child.resident_pages(), 1500);
        assert_eq!((child.usage().mapped, child.usage().peak), (1500 * PAGE, 1500 * PAGE));
        within(&child, || {
            for area in 0..50 {
                assert_eq!(get(BASE + area * 16 * PAGE + 9 * PAGE, 1), [area as u8]);
            }
        });
    });
}

#[test]
fn a_task_that_is_killed_forks_nothing() {
    machine(|| {
        let at = anonymous(1000);
        space().populate(at, at + 1000 * PAGE, None).unwrap();
        kill_self();
        assert_eq!(space().fork().err(), Some(Errno::EINTR));
    });
}
