// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files in an address space.

use std::sync::Arc;

use exo_core::{
    errno::Errno,
    io_buf::{IoBuf, IoSource},
};
use exo_logic::areas::{Area, Backing as _, Flags};
use exo_mm::{Backing, MappedFile, Pages, Quota, fault::Unresolved, map::Placement};
use linux_raw_sys::general::F_SEAL_WRITE;

use crate::support::{
    BASE, PAGE, READ, WRITE, anonymous, anonymous_at, areas, backing, can_read, can_write, file, get,
    kill_self, machine, map_file, put, space, within,
};

fn content(pages: &Pages, count: usize) -> Vec<u8> {
    let mut out = vec![0; count];
    let done = pages.read(0, &mut IoBuf::kernel(&mut out)).unwrap();
    out.truncate(done);
    out
}

#[test]
fn a_shared_mapping_shows_the_file_and_changes_it() {
    machine(|| {
        let pages = file(b"content");
        let at = map_file(&pages, 1, true);
        assert_eq!(get(at, 8), b"content\0");
        put(at, b"C");
        assert_eq!(content(&pages, 7), b"Content");
        pages.write(Some(1), &mut IoSource::kernel(b"O"), |_| Ok(1)).unwrap();
        assert_eq!(get(at, 7), b"COntent");
    });
}

#[test]
fn a_private_mapping_shows_the_file_until_it_is_written() {
    machine(|| {
        let pages = file(b"content");
        let at = map_file(&pages, 1, false);
        assert_eq!(get(at, 7), b"content");
        pages.write(Some(0), &mut IoSource::kernel(b"C"), |_| Ok(1)).unwrap();
        assert_eq!(get(at, 7), b"Content");
        put(at + 1, b"O");
        pages.write(Some(2), &mut IoSource::kernel(b"N"), |_| Ok(1)).unwrap();
        assert_eq!((get(at, 7), content(&pages, 7)), (b"COntent".to_vec(), b"CoNtent".to_vec()));
    });
}

#[test]
fn a_private_mapping_that_is_written_first_has_the_rest_of_the_page() {
    machine(|| {
        let pages = file(b"content");
        let at = map_file(&pages, 1, false);
        put(at, b"C");
        assert_eq!((get(at, 7), content(&pages, 7)), (b"Content".to_vec(), b"content".to_vec()));
    });
}

#[test]
fn a_mapping_begins_at_its_offset() {
    machine(|| {
        let mut bytes = vec![1; PAGE];
        bytes.extend(vec![2; PAGE]);
        bytes.extend(vec![3; PAGE]);
        let pages = file(&bytes);
        let flags = READ | Flags::SHARED;
        let file = backing(&pages, PAGE as u64, true);
        let at = space().map(Placement::Fixed(BASE), 2 * PAGE, flags, file, false).unwrap();
        assert_eq!((get(at, 1), get(at + PAGE, 1)), (vec![2], vec![3]));
        // What is left of it still shows the same.
        space().unmap(at, PAGE).unwrap();
        assert_eq!(get(at + PAGE, 1), [3]);
    });
}

#[test]
fn neighbours_of_a_page_come_along_if_they_are_in_memory() {
    machine(|| {
        let pages = Arc::new(Pages::new(40 * PAGE as u64));
        for page in [0, 1, 2, 5, 20] {
            pages.write(Some(page * PAGE as u64), &mut IoSource::kernel(b"x"), |_| Ok(1)).unwrap();
        }
        let at = map_file(&pages, 40, false);
        get(at + PAGE, 1);
        assert_eq!(space().resident_pages(), 4, "pages 0, 1, 2 and 5");
        assert_eq!(pages.resident(), 5, "holes are no neighbours");
        put(at, b"private");
        assert_eq!(content(&pages, 1), b"x");
    });
}

#[test]
fn neighbours_outside_of_the_mapping_are_left_alone() {
    machine(|| {
        let pages = file(&[7; 16 * PAGE]);
        let middle = backing(&pages, 4 * PAGE as u64, false);
        let at = space().map(Placement::Fixed(BASE), 4 * PAGE, READ, middle, false).unwrap();
        let (below, above) = (anonymous_at(BASE - PAGE, 1), anonymous_at(BASE + 4 * PAGE, 1));
        get(at + PAGE, 1);
        assert_eq!(space().resident_pages(), 4);
        assert_eq!((get(below, 1), get(above, 1)), (vec![0], vec![0]));
    });
}

#[test]
fn a_page_of_a_hole_gets_memory_when_it_is_touched() {
    machine(|| {
        let pages = Arc::new(Pages::new(3 * PAGE as u64));
        let at = map_file(&pages, 3, true);
        assert_eq!((get(at, 1), pages.resident()), (vec![0], 1));
        put(at + PAGE, b"x");
        assert_eq!((content(&pages, PAGE + 1)[PAGE], pages.resident()), (b'x', 2));
    });
}

#[test]
fn nothing_is_behind_the_end_of_a_file_but_the_rest_of_its_page() {
    machine(|| {
        let pages = file(b"content");
        let at = map_file(&pages, 2, true);
        put(at + 7, b"beyond");
        assert_eq!(get(at + 7, 6), b"beyond");
        assert_eq!(pages.size(), 7);
        assert_eq!(space().handle_fault(at + PAGE, false, false), Err(Unresolved::BeyondEnd));
        pages.truncate(PAGE as u64 + 1).unwrap();
        assert!(can_read(at + PAGE));
    });
}

#[test]
fn what_is_cut_off_is_gone_from_all_mappings() {
    machine(|| {
        let pages = file(&[7; 3 * PAGE]);
        let (shared, private) = (map_file(&pages, 3, true), map_file(&pages, 3, false));
        let other = anonymous(1);
        put(other, b"x");
        get(shared, 3 * PAGE);
        put(private, &[8; 3 * PAGE]);
        let child = space().fork().unwrap();
        pages.truncate(PAGE as u64 + 5).unwrap();
        let look = move || {
            assert!(can_read(shared + PAGE) && !can_read(shared + 2 * PAGE));
            assert_eq!(get(shared + PAGE + 4, 2), [7, 0]);
            assert!(can_read(private + PAGE) && !can_read(private + 2 * PAGE));
            assert_eq!(get(private, 1), [8], "a private copy before the end stays");
            assert_eq!(get(other, 1), b"x");
        };
        look();
        within(&child, look);
    });
}

#[test]
fn what_comes_back_after_a_cut_is_zeros() {
    machine(|| {
        let pages = file(&[7; 2 * PAGE]);
        let at = map_file(&pages, 2, true);
        get(at, 2 * PAGE);
        pages.truncate(1).unwrap();
        pages.truncate(2 * PAGE as u64).unwrap();
        assert_eq!((get(at, 2), get(at + PAGE, 1)), (vec![7, 0], vec![0]));
    });
}

#[test]
fn a_punched_hole_is_seen_in_mappings() {
    machine(|| {
        let pages = file(&[7; 4 * PAGE]);
        let flags = WRITE | Flags::SHARED;
        let file = backing(&pages, PAGE as u64, true);
        let at = space().map(Placement::Hint(0), 3 * PAGE, flags, file, false).unwrap();
        get(at, 3 * PAGE);
        pages.punch_hole(2 * PAGE as u64, 3 * PAGE as u64).unwrap();
        assert_eq!((get(at, 1), get(at + PAGE, 1), get(at + 2 * PAGE, 1)), (vec![7], vec![0], vec![7]));
        put(at + PAGE, b"new");
        assert_eq!(content(&pages, 3 * PAGE)[2 * PAGE..2 * PAGE + 3], *b"new");
    });
}

#[test]
fn a_cut_reaches_a_large_mapping_to_its_end_though_the_task_is_killed() {
    machine(|| {
        let pages = Arc::new(Pages::new(1000 * PAGE as u64));
        let at = map_file(&pages, 1000, true);
        space().populate(at, at + 1000 * PAGE, Some(true)).unwrap();
        kill_self();
        pages.truncate(0).unwrap();
        assert_eq!((space().resident_pages(), pages.resident()), (0, 0));
    });
}

#[test]
fn a_page_that_a_file_may_not_have_is_behind_its_end() {
    machine(|| {
        let quota = Arc::new(Quota::default());
        quota.set_limit(1).unwrap();
        let pages = Arc::new(Pages::charged_to(quota));
        pages.truncate(2 * PAGE as u64).unwrap();
        let at = map_file(&pages, 2, true);
        put(at, b"x");
        assert_eq!(space().handle_fault(at + PAGE, true, false), Err(Unresolved::BeyondEnd));
    });
}

#[test]
fn a_mapped_file_stays_when_nobody_else_has_it() {
    machine(|| {
        let pages = file(b"content");
        let at = map_file(&pages, 1, true);
        let weak = Arc::downgrade(&pages);
        drop(pages);
        assert_eq!(get(at, 7), b"content");
        space().unmap(at, PAGE).unwrap();
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn a_mapping_says_what_file_it_is_of() {
    struct Named;
    impl MappedFile for Named {
        fn path(&self) -> Vec<u8> {
            b"/bin/true".to_vec()
        }
        fn numbers(&self) -> (u32, u64) {
            (8, 9)
        }
    }
    machine(|| {
        let file = Backing::File {
            object: file(&[7; 2 * PAGE]),
            offset: 0,
            shared: false,
            file: Some(Arc::new(Named)),
        };
        let at = space().map(Placement::Hint(0), 2 * PAGE, READ, file, false).unwrap();
        space().unmap(at, PAGE).unwrap();
        let area = space().area_above(0).unwrap();
        let Backing::File { offset, file: Some(file), .. } = &area.backing else { panic!("a file's") };
        assert_eq!((*offset, file.path(), file.numbers()), (PAGE as u64, b"/bin/true".to_vec(), (8, 9)));
    });
}

#[test]
fn mappings_of_one_file_are_one_area_where_they_go_on() {
    machine(|| {
        let pages = file(&[7; 4 * PAGE]);
        let map = |at, page: u64, shared| {
            let file = backing(&pages, page * PAGE as u64, shared);
            space().map(Placement::Fixed(at), PAGE, READ, file, false).unwrap();
        };
        map(BASE, 0, false);
        map(BASE + PAGE, 1, false);
        map(BASE + 2 * PAGE, 3, false);
        map(BASE + 3 * PAGE, 4, true);
        let starts: Vec<usize> = areas().iter().map(|area| area.0).collect();
        assert_eq!(starts, [BASE, BASE + 2 * PAGE, BASE + 3 * PAGE]);
        let anonymous = Backing::Anonymous;
        assert!(!anonymous.continues(PAGE, &backing(&pages, 0, false)));
    });
}

#[test]
fn a_sealed_file_is_not_made_writable_where_it_is_shared() {
    machine(|| {
        let pages = file(b"content");
        pages.seals.allow();
        let map = |flags: Flags, shared| {
            space().map(Placement::Hint(0), PAGE, flags, backing(&pages, 0, shared), false).unwrap()
        };
        let (shared, private) = (map(READ | Flags::SHARED, true), map(READ, false));
        pages.seal(F_SEAL_WRITE, || false).unwrap();
        let protect = |at| space().protect(at, PAGE, Flags::READ | Flags::WRITE, false);
        assert_eq!((protect(shared), protect(private)), (Err(Errno::EACCES), Ok(())));
        assert!(can_write(private));
        let is_special: Vec<bool> = {
            let mut all = Vec::new();
            space().each_area(|area: &Area<Backing>| all.push(exo_mm::AddressSpace::is_special(area)));
            all
        };
        assert_eq!(is_special, [false, false]);
    });
}
