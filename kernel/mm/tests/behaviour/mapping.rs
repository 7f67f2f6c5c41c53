// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where mappings go, and what is left of them.

use exo_core::{errno::Errno, limits::index};
use exo_hal::{USER_END, mm::frame};
use exo_logic::areas::{Flags, MAY_ALL};
use exo_mm::{AddressSpace, Backing, LOWEST, map::Placement, page_up};

use crate::support::{
    BASE, PAGE, READ, WRITE, anonymous, anonymous_at, areas, can_read, can_write, get, kill_self, machine,
    put, set_limit, space, start,
};

fn map(place: Placement, length: usize) -> Result<usize, Errno> {
    space().map(place, length, WRITE, Backing::Anonymous, false)
}

#[test]
fn what_is_mapped_can_be_used_and_what_is_unmapped_cannot() {
    machine(|| {
        let at = anonymous(3);
        put(at + PAGE - 2, b"over the edge");
        assert_eq!(get(at + PAGE - 2, 13), b"over the edge");
        space().unmap(at + PAGE, PAGE).unwrap();
        assert_eq!((can_read(at), can_read(at + PAGE), can_read(at + 2 * PAGE)), (true, false, true));
        assert_eq!(areas().len(), 2);
        assert_eq!(space().mapped_bytes(), 2 * PAGE);
    });
}

#[test]
fn a_length_is_rounded_up_to_pages_and_zero_is_none() {
    machine(|| {
        let at = map(Placement::Hint(0), 1).unwrap();
        assert_eq!(areas(), [(at, at + PAGE, WRITE)]);
        assert_eq!(map(Placement::Hint(0), 0), Err(Errno::EINVAL));
        assert_eq!(map(Placement::Hint(0), usize::MAX), Err(Errno::ENOMEM));
        assert_eq!(space().unmap(at, 0), Err(Errno::EINVAL));
        assert_eq!(space().unmap(at + 1, PAGE), Err(Errno::EINVAL));
        assert_eq!(space().unmap(at, usize::MAX), Err(Errno::EINVAL));
        assert_eq!((page_up(1), page_up(PAGE), page_up(usize::MAX)), (Some(PAGE), Some(PAGE), None));
    });
}

#[test]
fn a_hint_is_followed_where_there_is_room() {
    machine(|| {
        assert_eq!(map(Placement::Hint(BASE + 5), 2 * PAGE), Ok(BASE));
        let elsewhere = map(Placement::Hint(BASE + PAGE), PAGE).unwrap();
        assert!(elsewhere > BASE + 2 * PAGE);
        // What is too low, or above where mappings go, is no hint.
        assert!(map(Placement::Hint(PAGE), PAGE).unwrap() > LOWEST);
        assert!(map(Placement::Hint(USER_END - PAGE), PAGE).unwrap() < USER_END - PAGE);
    });
}

#[test]
fn mappings_without_a_wish_lie_below_each_other_and_fill_gaps() {
    machine(|| {
        let (first, second, third) = (anonymous(2), anonymous(2), anonymous(2));
        assert_eq!((first - second, second - third), (2 * PAGE, 2 * PAGE));
        space().unmap(second, 2 * PAGE).unwrap();
        assert_eq!(anonymous(2), second);
    });
}

#[test]
fn a_gap_is_found_behind_any_number_of_mappings() {
    machine(|| {
        let top = anonymous(1000);
        for page in (1..1000).step_by(2) {
            space().unmap(top + page * PAGE, PAGE).unwrap();
        }
        assert_eq!(map(Placement::Hint(0), 2 * PAGE), Ok(top - 2 * PAGE), "no gap above is so large");
        assert_eq!(map(Placement::Hint(0), PAGE), Ok(top + 999 * PAGE));
        assert_eq!(map(Placement::Hint(0), USER_END - LOWEST - PAGE), Err(Errno::ENOMEM));
    });
}

#[test]
fn a_fixed_mapping_replaces_what_is_there() {
    machine(|| {
        anonymous_at(BASE, 3);
        put(BASE, &[1; 3 * PAGE]);
        assert_eq!(map(Placement::Fixed(BASE + PAGE), PAGE), Ok(BASE + PAGE));
        assert_eq!((get(BASE, 1)[0], get(BASE + PAGE, 1)[0], get(BASE + 2 * PAGE, 1)[0]), (1, 0, 1));
        assert_eq!(space().mapped_bytes(), 3 * PAGE);
    });
}

#[test]
fn a_fixed_mapping_that_must_not_replace_needs_a_free_range() {
    machine(|| {
        anonymous_at(BASE, 2);
        assert_eq!(map(Placement::FixedFree(BASE + PAGE), 2 * PAGE), Err(Errno::EEXIST));
        assert_eq!(map(Placement::FixedFree(BASE + 2 * PAGE), PAGE), Ok(BASE + 2 * PAGE));
    });
}

#[test]
fn fixed_places_are_checked() {
    machine(|| {
        for place in [Placement::Fixed, Placement::FixedFree] {
            assert_eq!(map(place(BASE + 1), PAGE), Err(Errno::EINVAL));
            assert_eq!(map(place(LOWEST - PAGE), PAGE), Err(Errno::EPERM));
            assert_eq!(map(place(USER_END), PAGE), Err(Errno::ENOMEM));
            assert_eq!(map(place(usize::MAX - PAGE + 1), PAGE), Err(Errno::ENOMEM));
        }
        assert_eq!(
            space().map_fixed(BASE + 1, BASE + PAGE, READ, Backing::Anonymous),
            Err(Errno::EINVAL),
            "not the start of a page"
        );
        assert_eq!(areas(), []);
    });
}

#[test]
fn neighbours_that_are_alike_are_one_area() {
    machine(|| {
        anonymous_at(BASE, 1);
        anonymous_at(BASE + 2 * PAGE, 1);
        anonymous_at(BASE + PAGE, 1);
        assert_eq!(areas(), [(BASE, BASE + 3 * PAGE, WRITE)]);
    });
}

#[test]
fn unmapping_where_nothing_is_does_nothing() {
    machine(|| {
        anonymous_at(BASE, 1);
        space().unmap(BASE - 4 * PAGE, 4 * PAGE).unwrap();
        space().unmap(BASE + PAGE, 100 * PAGE).unwrap();
        assert_eq!(areas().len(), 1);
    });
}

#[test]
fn many_pages_and_areas_are_unmapped_at_once() {
    machine(|| {
        anonymous_at(BASE, 1000);
        for page in (0..1000).step_by(3) {
            put(BASE + page * PAGE, b"x");
        }
        for area in 0..20 {
            space().unmap(BASE + (area * 50 + 1) * PAGE, PAGE).unwrap();
        }
        assert!(space().resident_pages() > 300);
        space().unmap(BASE, 1000 * PAGE).unwrap();
        assert_eq!((areas(), space().resident_pages(), space().mapped_bytes()), (vec![], 0, 0));
        assert_eq!(space().table_pages(), 1);
    });
}

#[test]
fn a_task_that_is_killed_stops_unmapping() {
    machine(|| {
        anonymous_at(BASE, 1000);
        space().populate(BASE, BASE + 1000 * PAGE, None).unwrap();
        kill_self();
        assert_eq!(space().unmap(BASE, 1000 * PAGE), Err(Errno::EINTR));
        assert!((1..1000).contains(&space().resident_pages()));
    });
}

#[test]
fn clearing_goes_on_when_the_task_is_killed() {
    machine(|| {
        anonymous_at(BASE, 1000);
        space().populate(BASE, BASE + 1000 * PAGE, None).unwrap();
        kill_self();
        space().clear();
        assert_eq!((space().resident_pages(), areas()), (0, vec![]));
    });
}

#[test]
fn a_change_waits_for_another_threads() {
    machine(|| {
        let at = anonymous(1000);
        space().populate(at, at + 1000 * PAGE, None).unwrap();
        assert!(!space().await_change());
        let other = start(space(), move || {
            assert!(!can_read(at));
            assert!(!space().await_change());
        });
        space().unmap(at, 1000 * PAGE).unwrap();
        other.join();
    });
}

#[test]
fn the_address_space_may_be_limited() {
    machine(|| {
        anonymous(2);
        set_limit(index::AS, 4 * PAGE as u64);
        assert_eq!(map(Placement::Hint(0), 3 * PAGE), Err(Errno::ENOMEM));
        anonymous(2);
        assert_eq!(map(Placement::Hint(0), 1), Err(Errno::ENOMEM));
    });
}

#[test]
fn data_may_be_limited_and_what_cannot_be_written_is_none() {
    machine(|| {
        set_limit(index::DATA, 2 * PAGE as u64);
        assert_eq!(map(Placement::Hint(0), 3 * PAGE), Err(Errno::ENOMEM));
        let at = anonymous(2);
        assert_eq!(map(Placement::Hint(0), 1), Err(Errno::ENOMEM));
        let code = space().map(Placement::Hint(0), PAGE, READ, Backing::Anonymous, false).unwrap();
        // It would be data if it could be written.
        assert_eq!(space().protect(code, PAGE, Flags::READ | Flags::WRITE, false), Err(Errno::ENOMEM));
        space().unmap(at, PAGE).unwrap();
        space().protect(code, PAGE, Flags::READ | Flags::WRITE, false).unwrap();
    });
}

#[test]
fn more_than_all_memory_is_refused_if_it_is_to_be_reserved() {
    machine(|| {
        frame::set_total(1000);
        let map = |flags, reserve| {
            space().map(Placement::Hint(0), 1001 * PAGE, flags, Backing::Anonymous, reserve).map(drop)
        };
        assert_eq!(map(WRITE, true), Err(Errno::ENOMEM));
        assert_eq!(map(WRITE, false), Ok(()));
        assert_eq!(map(READ, true), Ok(()));
    });
}

#[test]
fn the_heap_grows_and_shrinks() {
    machine(|| {
        let space = space();
        space.set_heap(BASE);
        assert_eq!((space.heap_start(), space.brk(0)), (BASE, BASE));
        assert_eq!(space.brk(BASE + 100), BASE + 100);
        put(BASE, &[7; PAGE]);
        assert_eq!(space.brk(BASE + 3 * PAGE), BASE + 3 * PAGE);
        assert_eq!(areas(), [(BASE, BASE + 3 * PAGE, Flags::READ | Flags::WRITE | Flags::HEAP | MAY_ALL)]);
        put(BASE + PAGE, &[7; 2 * PAGE]);
        assert_eq!(space.brk(BASE + PAGE + 1), BASE + PAGE + 1);
        assert_eq!((can_write(BASE + PAGE), can_read(BASE + 2 * PAGE)), (true, false));
        assert_eq!(space.brk(BASE), BASE);
        assert_eq!(areas(), []);
        // What it gets again is zeros.
        space.brk(BASE + PAGE);
        assert_eq!(get(BASE, PAGE), [0; PAGE]);
    });
}

#[test]
fn the_heap_stays_where_it_cannot_go() {
    machine(|| {
        let space = space();
        space.set_heap(BASE);
        anonymous_at(BASE + 4 * PAGE, 1);
        assert_eq!(space.brk(BASE + 4 * PAGE), BASE + 4 * PAGE);
        assert_eq!(space.brk(BASE + 5 * PAGE), BASE + 4 * PAGE, "something is in its way");
        assert_eq!(space.brk(BASE - 1), BASE + 4 * PAGE, "before its start");
        assert_eq!(space.brk(usize::MAX), BASE + 4 * PAGE);
        assert_eq!(space.brk(USER_END), BASE + 4 * PAGE);
        space.brk(BASE);
        // The page above counts too.
        set_limit(index::DATA, 3 * PAGE as u64);
        assert_eq!(space.brk(BASE + 2 * PAGE + 1), BASE);
        assert_eq!(space.brk(BASE + 2 * PAGE), BASE + 2 * PAGE);
        set_limit(index::DATA, u64::MAX);
        set_limit(index::AS, 4 * PAGE as u64);
        assert_eq!(space.brk(BASE + 4 * PAGE), BASE + 2 * PAGE);
    });
}

#[test]
fn locking_reaches_what_there_is_and_what_comes_later() {
    machine(|| {
        anonymous_at(BASE, 1);
        space().lock_all(Some(true), false);
        anonymous_at(BASE + 2 * PAGE, 1);
        let is_locked = || areas().iter().map(|area| area.2.contains(Flags::LOCKED)).collect::<Vec<_>>();
        assert_eq!(is_locked(), [true, false]);
        space().lock_all(None, true);
        anonymous_at(BASE + 4 * PAGE, 1);
        assert_eq!(is_locked(), [true, false, true]);
        space().lock_all(Some(false), false);
        anonymous_at(BASE + 6 * PAGE, 1);
        assert_eq!(is_locked(), [false; 4]);
    });
}

#[test]
fn nothing_can_be_done_in_the_space_of_those_that_have_ended() {
    machine(|| {
        let none = AddressSpace::none();
        assert_eq!((none.mapped_bytes(), none.area_bytes(), none.read(BASE, &mut [0])), (0, 0, 0));
        assert_eq!(none.write(BASE, b"x"), Err(Errno::EFAULT));
    });
}

#[test]
fn another_address_space_is_written_and_read_from_outside() {
    machine(|| {
        let other = AddressSpace::new().unwrap();
        other.map_fixed(BASE, BASE + 2 * PAGE, Flags::READ | Flags::WRITE, Backing::Anonymous).unwrap();
        other.write(BASE + PAGE - 2, b"abcd").unwrap();
        other.write_u32(BASE + 8, 0x0403_0201).unwrap();
        other.zero(BASE + PAGE + 1, 1).unwrap();
        let mut out = [0xee; 6];
        assert_eq!(other.read(BASE + PAGE - 3, &mut out), 6);
        assert_eq!(&out, b"\0abc\0\0");
        assert_eq!((other.read(BASE + 8, &mut out), &out[..4]), (6, &[1u8, 2, 3, 4][..]));
        assert_eq!(other.read(BASE + 2 * PAGE - 2, &mut out), 2, "up to the end of what is mapped");
        assert_eq!(other.write(BASE + 2 * PAGE - 1, b"ab"), Err(Errno::EFAULT));
        assert_eq!(other.write(usize::MAX, b"ab"), Err(Errno::EFAULT));
        assert!(!can_read(BASE), "it is not this one");
    });
}
