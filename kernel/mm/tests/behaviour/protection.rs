// SPDX-License-Identifier: MIT OR Apache-2.0
//! mprotect: what may be done with pages.

use std::sync::Arc;

use exo_core::{errno::Errno, io_buf::IoBuf};
use exo_hal::mm::frame;
use exo_logic::areas::Flags;
use exo_mm::{Backing, Pages, map::Placement};

use crate::support::{
    BASE, PAGE, READ, WRITE, anonymous, anonymous_at, areas, backing, can_read, can_write, file, get,
    kill_self, machine, map_file, put, space,
};

const READ_ONLY: Flags = Flags::READ;
const READ_WRITE: Flags = Flags::READ.union(Flags::WRITE);

fn protect(start: usize, pages: usize, protection: Flags) -> Result<(), Errno> {
    space().protect(start, pages * PAGE, protection, false)
}

#[test]
fn a_page_without_access_keeps_its_content() {
    machine(|| {
        let at = anonymous(1);
        put(at, b"kept");
        protect(at, 1, Flags::empty()).unwrap();
        assert_eq!((can_read(at), can_write(at)), (false, false));
        protect(at, 1, READ_ONLY).unwrap();
        assert_eq!((get(at, 4), can_write(at)), (b"kept".to_vec(), false));
        protect(at, 1, READ_WRITE).unwrap();
        put(at, b"K");
        assert_eq!(get(at, 4), b"Kept");
    });
}

#[test]
fn protecting_a_part_splits_an_area_and_giving_it_back_joins_it() {
    machine(|| {
        anonymous_at(BASE, 3);
        put(BASE, &[7; 3 * PAGE]);
        protect(BASE + PAGE, 1, READ_ONLY).unwrap();
        assert_eq!(
            areas(),
            [
                (BASE, BASE + PAGE, WRITE),
                (BASE + PAGE, BASE + 2 * PAGE, READ),
                (BASE + 2 * PAGE, BASE + 3 * PAGE, WRITE)
            ]
        );
        assert_eq!([0, 1, 2].map(|page| can_write(BASE + page * PAGE)), [true, false, true]);
        protect(BASE, 3, READ_WRITE).unwrap();
        assert_eq!(areas(), [(BASE, BASE + 3 * PAGE, WRITE)]);
    });
}

#[test]
fn a_page_that_becomes_writable_again_is_not_copied() {
    machine(|| {
        let at = anonymous(1);
        put(at, b"x");
        let frames = frame::in_use();
        protect(at, 1, READ_ONLY).unwrap();
        protect(at, 1, READ_WRITE).unwrap();
        put(at, b"y");
        assert_eq!(frame::in_use(), frames);
    });
}

#[test]
fn a_page_of_a_file_that_becomes_writable_is_copied_at_the_first_write() {
    machine(|| {
        let pages = file(b"content");
        let at = space().map(Placement::Hint(0), PAGE, READ, backing(&pages, 0, false), false).unwrap();
        get(at, 1);
        protect(at, 1, READ_WRITE).unwrap();
        put(at, b"C");
        let mut out = [0; 7];
        pages.read(0, &mut IoBuf::kernel(&mut out)).unwrap();
        assert_eq!((get(at, 7), &out), (b"Content".to_vec(), b"content"));
    });
}

#[test]
fn a_range_with_a_gap_is_refused() {
    machine(|| {
        anonymous_at(BASE, 1);
        anonymous_at(BASE + 2 * PAGE, 1);
        assert_eq!(protect(BASE, 3, READ_ONLY), Err(Errno::ENOMEM));
        assert_eq!(protect(BASE + PAGE, 2, READ_ONLY), Err(Errno::ENOMEM));
        assert_eq!(protect(BASE + 2 * PAGE, 2, READ_ONLY), Err(Errno::ENOMEM));
        assert!(can_write(BASE) && can_write(BASE + 2 * PAGE), "nothing has changed");
        assert_eq!(protect(BASE + 1, 1, READ_ONLY), Err(Errno::EINVAL));
        assert_eq!(protect(BASE, 0, READ_ONLY), Ok(()));
    });
}

#[test]
fn a_shared_mapping_becomes_what_its_file_was_opened_for() {
    machine(|| {
        let pages = Arc::new(Pages::new(PAGE as u64));
        let map = |flags| {
            let flags = Flags::READ | Flags::SHARED | flags;
            space().map(Placement::Hint(0), PAGE, flags, backing(&pages, 0, true), false).unwrap()
        };
        let (fixed, writable) = (map(Flags::empty()), map(Flags::MAY_WRITE));
        assert_eq!(protect(fixed, 1, READ_WRITE), Err(Errno::EACCES));
        assert_eq!(protect(fixed, 1, Flags::READ | Flags::EXECUTE), Err(Errno::EACCES));
        assert_eq!(protect(writable, 1, READ_WRITE), Ok(()));
        assert!(!can_write(fixed) && can_write(writable));
    });
}

#[test]
fn a_stack_is_protected_from_its_start() {
    machine(|| {
        const STACK: usize = 0x7fff_f000_0000;
        space().add_stack(STACK).unwrap();
        space().protect(STACK - PAGE, PAGE, READ_ONLY, true).unwrap();
        let start = areas()[0].0;
        assert!(areas().len() == 1 && !can_write(start));
        let at = anonymous(1);
        assert_eq!(space().protect(at, PAGE, READ_ONLY, true), Err(Errno::EINVAL));
        assert_eq!(space().protect(BASE, PAGE, READ_ONLY, true), Err(Errno::ENOMEM));
    });
}

#[test]
fn many_areas_are_protected_to_the_end_though_the_task_is_killed() {
    machine(|| {
        let pages = file(&[7; PAGE]);
        for page in 0..100 {
            let backing = if page % 2 == 0 { Backing::Anonymous } else { backing(&pages, 0, false) };
            space().map(Placement::Fixed(BASE + page * PAGE), PAGE, WRITE, backing, false).unwrap();
            put(BASE + page * PAGE, b"x");
        }
        protect(BASE, 100, READ_ONLY).unwrap();
        assert!((0..100).all(|page| !can_write(BASE + page * PAGE)));
        kill_self();
        assert_eq!(protect(BASE, 100, READ_WRITE), Err(Errno::EINTR), "it had not begun");
        protect(BASE, 100, READ_WRITE).unwrap();
        assert!((0..100).all(|page| can_write(BASE + page * PAGE)));
    });
}

#[test]
fn shared_memory_becomes_read_only_for_one_and_not_for_the_other() {
    machine(|| {
        let pages = Arc::new(Pages::new(PAGE as u64));
        let (one, two) = (map_file(&pages, 1, true), map_file(&pages, 1, true));
        put(one, b"x");
        protect(one, 1, READ_ONLY).unwrap();
        put(two, b"y");
        assert_eq!((get(one, 1), can_write(one)), (b"y".to_vec(), false));
    });
}
