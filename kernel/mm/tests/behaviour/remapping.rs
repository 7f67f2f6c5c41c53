// SPDX-License-Identifier: MIT OR Apache-2.0
//! mremap: longer, shorter, elsewhere.

use std::sync::Arc;

use exo_core::{errno::Errno, limits::index};
use exo_hal::{USER_END, mm::frame};
use exo_logic::areas::Flags;
use exo_mm::{Pages, Sharing, map::Placement};

use crate::support::{
    BASE, PAGE, READ, WRITE, anonymous_at, areas, backing, can_read, can_write, get, machine, map_file, put,
    set_limit, space, within,
};

const ELSEWHERE: usize = 0x3000_0000;

fn remap(
    old: usize,
    old_pages: usize,
    pages: usize,
    may_move: bool,
    target: Option<usize>,
) -> Result<usize, Errno> {
    space().remap(old, old_pages * PAGE, pages * PAGE, may_move, target)
}

/// Maps pages at [`BASE`], each full of its number, from 1 on.
fn numbered(pages: usize) {
    anonymous_at(BASE, pages);
    for page in 0..pages {
        put(BASE + page * PAGE, &[page as u8 + 1; PAGE]);
    }
}

fn first_bytes(at: usize, pages: usize) -> Vec<u8> {
    (0..pages).map(|page| get(at + page * PAGE, 1)[0]).collect()
}

#[test]
fn a_mapping_becomes_shorter() {
    machine(|| {
        numbered(3);
        assert_eq!(remap(BASE, 3, 1, false, None), Ok(BASE));
        assert_eq!((areas(), space().resident_pages()), (vec![(BASE, BASE + PAGE, WRITE)], 1));
    });
}

#[test]
fn a_mapping_grows_where_it_is_if_there_is_room() {
    machine(|| {
        numbered(2);
        assert_eq!(remap(BASE, 2, 4, false, None), Ok(BASE));
        assert_eq!(first_bytes(BASE, 4), [1, 2, 0, 0]);
        assert_eq!(areas().len(), 1);
        assert_eq!(remap(BASE, 4, 4, false, None), Ok(BASE));
    });
}

#[test]
fn a_mapping_without_room_moves_only_if_it_may() {
    machine(|| {
        numbered(2);
        anonymous_at(BASE + 2 * PAGE, 1);
        space().protect(BASE + 2 * PAGE, PAGE, Flags::READ, false).unwrap();
        assert_eq!(remap(BASE, 2, 3, false, None), Err(Errno::ENOMEM));
        let frames = frame::in_use() - space().table_pages();
        let new = remap(BASE, 2, 3, true, None).unwrap();
        assert_eq!((first_bytes(new, 2), can_read(BASE)), (vec![1, 2], false));
        assert_eq!(frame::in_use() - space().table_pages(), frames, "pages move, they are not copied");
        assert!(can_write(new + 2 * PAGE));
        // A part of a mapping cannot grow where it is either.
        let part = remap(new, 1, 2, true, None).unwrap();
        assert_eq!((first_bytes(part, 2), first_bytes(new + PAGE, 1)), (vec![1, 0], vec![2]));
    });
}

#[test]
fn a_mapping_moves_to_a_wished_place_and_replaces_what_is_there() {
    machine(|| {
        numbered(3);
        anonymous_at(ELSEWHERE, 4);
        put(ELSEWHERE, &[9; 4 * PAGE]);
        assert_eq!(remap(BASE + PAGE, 2, 3, true, Some(ELSEWHERE)), Ok(ELSEWHERE));
        assert_eq!(first_bytes(ELSEWHERE, 4), [2, 3, 0, 9]);
        assert_eq!((first_bytes(BASE, 1), can_read(BASE + PAGE)), (vec![1], false));
        assert_eq!(space().mapped_bytes(), 5 * PAGE);
        // Shorter than it was.
        assert_eq!(remap(ELSEWHERE, 3, 1, true, Some(BASE + 8 * PAGE)), Ok(BASE + 8 * PAGE));
        assert_eq!((first_bytes(BASE + 8 * PAGE, 1), can_read(ELSEWHERE + PAGE)), (vec![2], false));
        assert_eq!((can_read(BASE + 9 * PAGE), space().resident_pages()), (false, 3));
    });
}

#[test]
fn permissions_move_along() {
    machine(|| {
        numbered(2);
        space().protect(BASE, 2 * PAGE, Flags::READ, false).unwrap();
        remap(BASE, 2, 3, true, Some(ELSEWHERE)).unwrap();
        assert_eq!(areas(), [(ELSEWHERE, ELSEWHERE + 3 * PAGE, READ)]);
        assert!(!can_write(ELSEWHERE));
        assert_eq!(first_bytes(ELSEWHERE, 3), [1, 2, 0]);
    });
}

#[test]
fn a_mapping_over_several_tables_moves() {
    machine(|| {
        let pages = 1200;
        anonymous_at(BASE, pages);
        for page in (0..pages).step_by(7) {
            put(BASE + page * PAGE, &(page as u32).to_le_bytes());
        }
        let to = ELSEWHERE + 5 * PAGE;
        assert_eq!(remap(BASE, pages, pages, true, Some(to)), Ok(to));
        for page in (0..pages).step_by(7) {
            assert_eq!(get(to + page * PAGE, 4), (page as u32).to_le_bytes());
        }
        assert_eq!(space().resident_pages(), pages.div_ceil(7));
        assert_eq!((areas().len(), space().usage().peak), (1, pages * PAGE));
    });
}

#[test]
fn a_page_that_both_have_moves_for_one() {
    machine(|| {
        numbered(1);
        let child = space().fork().unwrap();
        let new = remap(BASE, 1, 1, true, Some(ELSEWHERE)).unwrap();
        put(new, b"x");
        within(&child, || assert_eq!((get(BASE, 1), can_read(ELSEWHERE)), (vec![1], false)));
    });
}

#[test]
fn places_that_overlap_or_are_none_are_refused() {
    machine(|| {
        numbered(3);
        let target = |at| remap(BASE, 3, 3, true, Some(at));
        assert_eq!(target(BASE + PAGE), Err(Errno::EINVAL));
        assert_eq!(target(BASE - PAGE), Err(Errno::EINVAL));
        assert_eq!(target(BASE + 1), Err(Errno::EINVAL));
        assert_eq!(target(PAGE), Err(Errno::EINVAL));
        assert_eq!(target(USER_END), Err(Errno::EINVAL));
        assert_eq!(remap(BASE + 1, 1, 1, true, None), Err(Errno::EINVAL));
        assert_eq!(remap(BASE, 3, 0, true, None), Err(Errno::EINVAL));
        assert_eq!(space().remap(BASE, PAGE, usize::MAX, true, None), Err(Errno::EINVAL));
        assert_eq!(first_bytes(BASE, 3), [1, 2, 3]);
    });
}

#[test]
fn what_is_not_one_mapping_is_refused() {
    machine(|| {
        numbered(2);
        space().protect(BASE, PAGE, Flags::READ, false).unwrap();
        assert_eq!(remap(ELSEWHERE, 1, 2, true, None), Err(Errno::EFAULT));
        assert_eq!(remap(BASE, 2, 3, true, None), Err(Errno::EFAULT), "two areas");
        assert_eq!(remap(BASE, 2, 1, true, None), Err(Errno::EFAULT));
    });
}

#[test]
fn shared_memory_is_mapped_twice_by_moving_nothing_of_it() {
    machine(|| {
        let pages = Arc::new(Pages::new(PAGE as u64));
        let at = map_file(&pages, 1, true);
        put(at, b"shared");
        assert_eq!(remap(at, 0, 1, false, None), Err(Errno::ENOMEM));
        let again = remap(at, 0, 1, true, None).unwrap();
        assert_eq!((get(at, 6), get(again, 6)), (b"shared".to_vec(), b"shared".to_vec()));
        numbered(1);
        assert_eq!(remap(BASE, 0, 1, true, None), Err(Errno::EINVAL), "private memory is not");
    });
}

#[test]
fn the_rest_of_a_file_is_seen_behind() {
    machine(|| {
        let mut bytes = vec![1; PAGE];
        bytes.extend(vec![2; PAGE]);
        let pages = crate::support::file(&bytes);
        let at = space().map(Placement::Fixed(BASE), PAGE, READ, backing(&pages, 0, false), false).unwrap();
        assert_eq!(remap(at, 1, 2, false, None), Ok(at));
        assert_eq!(first_bytes(at, 2), [1, 2]);
        let second = remap(at + PAGE, 1, 1, true, Some(ELSEWHERE)).unwrap();
        assert_eq!(first_bytes(second, 1), [2]);
    });
}

#[test]
fn the_kernels_own_pages_do_not_grow() {
    machine(|| {
        let frames = vec![frame::Frame::allocate_zeroed().unwrap()];
        let pages = Arc::new(Pages::of_frames(frames, Sharing::ReadOnly, Arc::new(())));
        let at = space().map(Placement::Fixed(BASE), PAGE, READ, backing(&pages, 0, true), false).unwrap();
        assert_eq!(remap(at, 1, 2, true, None), Err(Errno::EFAULT));
        assert_eq!(remap(at, 1, 1, true, Some(ELSEWHERE)), Ok(ELSEWHERE));
    });
}

#[test]
fn limits_hold_for_what_is_added() {
    machine(|| {
        numbered(2);
        set_limit(index::AS, 3 * PAGE as u64);
        assert_eq!(remap(BASE, 2, 4, true, None), Err(Errno::ENOMEM));
        assert_eq!(remap(BASE, 2, 3, true, None), Ok(BASE));
    });
}

#[test]
fn without_memory_for_tables_everything_stays_where_it_was() {
    machine(|| {
        let pages = 1000;
        anonymous_at(BASE, pages);
        space().populate(BASE, BASE + pages * PAGE, None).unwrap();
        put(BASE, b"first");
        put(BASE + 999 * PAGE, b"last");
        // For the tables on the way to the first leaf table, and none for the second one.
        let far = 0x5000_0000_0000;
        frame::set_free(3);
        let before = frame::in_use();
        assert_eq!(remap(BASE, pages, pages, true, Some(far)), Err(Errno::ENOMEM));
        assert_eq!((frame::in_use(), frame::free_for_programs()), (before, 3));
        assert_eq!((get(BASE, 5), get(BASE + 999 * PAGE, 4)), (b"first".to_vec(), b"last".to_vec()));
        assert_eq!(areas(), [(BASE, BASE + pages * PAGE, WRITE)]);
        frame::set_free(100);
        assert_eq!(remap(BASE, pages, pages, true, Some(far)), Ok(far));
        assert_eq!((get(far, 5), get(far + 999 * PAGE, 4)), (b"first".to_vec(), b"last".to_vec()));
    });
}
