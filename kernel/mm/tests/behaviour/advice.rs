// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs say about their memory.

use exo_core::errno::Errno;
use exo_hal::mm::frame;
use exo_logic::areas::Flags;
use exo_mm::{AddressSpace, Backing, map::Placement};

use crate::support::{
    BASE, PAGE, READ, anonymous, anonymous_at, areas, backing, file, get, kill_self, machine, map_file, put,
    space, within,
};

#[test]
fn what_is_discarded_is_zeros_again() {
    machine(|| {
        let at = anonymous(3);
        put(at, &[7; 3 * PAGE]);
        let frames = frame::in_use();
        space().discard(at + PAGE, at + 2 * PAGE).unwrap();
        assert_eq!(frame::in_use(), frames - 1);
        assert_eq!([0, 1, 2].map(|page| get(at + page * PAGE, 1)[0]), [7, 0, 7]);
        assert_eq!(space().usage().resident_peak, 3 * PAGE);
    });
}

#[test]
fn what_is_discarded_of_a_private_file_is_the_files_again() {
    machine(|| {
        let pages = file(b"content");
        let at = map_file(&pages, 1, false);
        put(at, b"C");
        space().discard(at, at + PAGE).unwrap();
        assert_eq!(get(at, 7), b"content");
    });
}

#[test]
fn discarding_shared_memory_loses_nothing() {
    machine(|| {
        let pages = file(b"content");
        let at = map_file(&pages, 1, true);
        put(at, b"C");
        space().discard(at, at + PAGE).unwrap();
        assert_eq!(get(at, 7), b"Content");
    });
}

#[test]
fn a_child_keeps_what_its_parent_discards() {
    machine(|| {
        let at = anonymous(1);
        put(at, b"x");
        let child = space().fork().unwrap();
        space().discard(at, at + PAGE).unwrap();
        assert_eq!(get(at, 1), [0]);
        within(&child, || assert_eq!(get(at, 1), b"x"));
    });
}

#[test]
fn a_task_that_is_killed_stops_discarding() {
    machine(|| {
        let at = anonymous(1000);
        space().populate(at, at + 1000 * PAGE, None).unwrap();
        kill_self();
        assert_eq!(space().discard(at, at + 1000 * PAGE), Err(Errno::EINTR));
        assert!(space().resident_pages() > 0);
    });
}

#[test]
fn populated_pages_are_there_and_can_be_written_without_a_fault() {
    machine(|| {
        let at = anonymous(3);
        space().populate(at, at + 3 * PAGE, None).unwrap();
        let frames = frame::in_use();
        put(at, &[7; 3 * PAGE]);
        assert_eq!((frame::in_use(), space().resident_pages()), (frames, 3));
        space().populate(at, at + 3 * PAGE, Some(true)).unwrap();
        assert_eq!(get(at, 1), [7]);
    });
}

#[test]
fn populating_to_read_copies_nothing_of_a_file() {
    machine(|| {
        let pages = file(&[7; 2 * PAGE]);
        let at = map_file(&pages, 2, false);
        let frames = frame::in_use();
        space().populate(at, at + 2 * PAGE, Some(false)).unwrap();
        assert_eq!(frame::in_use() - frames, space().table_pages() - 1, "tables, and no page");
        let before = frame::in_use();
        space().populate(at, at + 2 * PAGE, Some(true)).unwrap();
        assert_eq!(frame::in_use() - before, 2);
    });
}

#[test]
fn what_cannot_be_populated_has_its_error() {
    machine(|| {
        let populate = |at, pages, write| space().populate(at, at + pages * PAGE, write);
        assert_eq!(populate(BASE, 1, None), Err(Errno::ENOMEM), "a gap");
        let fixed = space().map(Placement::Hint(0), PAGE, READ, Backing::Anonymous, false).unwrap();
        assert_eq!(populate(fixed, 1, Some(true)), Err(Errno::EINVAL));
        let pages = file(b"content");
        assert_eq!(populate(map_file(&pages, 2, true), 2, None), Err(Errno::EFAULT), "behind the end");
        let at = anonymous(2);
        frame::set_free(0);
        assert_eq!(populate(at, 2, None), Err(Errno::EAGAIN));
        frame::set_free(100);
        kill_self();
        assert_eq!(populate(at, 2, None), Err(Errno::EINTR));
    });
}

#[test]
fn residency_is_told_page_by_page() {
    machine(|| {
        anonymous_at(BASE, 3);
        put(BASE + PAGE, b"x");
        let mut out = [9; 3];
        space().residency(BASE, &mut out).unwrap();
        assert_eq!(out, [0, 1, 0]);
        assert_eq!(space().residency(BASE + PAGE, &mut out), Err(Errno::ENOMEM), "it ends there");
        // Of a file, what is in memory there counts.
        let pages = file(&[7; PAGE]);
        pages.truncate(3 * PAGE as u64).unwrap();
        let at = map_file(&pages, 3, true);
        space().residency(at, &mut out).unwrap();
        assert_eq!(out, [1, 0, 0]);
    });
}

#[test]
fn flags_are_changed_in_a_range_alone() {
    machine(|| {
        anonymous_at(BASE, 3);
        space().change_flags(BASE + PAGE, BASE + 2 * PAGE, |flags| flags | Flags::DONT_DUMP).unwrap();
        let is_kept: Vec<bool> = areas().iter().map(|area| area.2.contains(Flags::DONT_DUMP)).collect();
        assert_eq!(is_kept, [false, true, false]);
        space().change_flags(BASE, BASE + 9 * PAGE, |flags| flags - Flags::DONT_DUMP).unwrap();
        assert_eq!(areas().len(), 1);
    });
}

/// The areas that a walk over a range sees, and how it ends.
fn seen(start: usize, end: usize, stops_at_gap: bool) -> (Vec<(usize, usize)>, Result<(), Errno>) {
    let mut seen = Vec::new();
    let each = |_: &AddressSpace, area: &exo_logic::areas::Area<Backing>| {
        seen.push((area.start, area.end));
        Ok(())
    };
    let result = if stops_at_gap {
        space().each_until_gap(start, end, each)
    } else {
        space().each_in(start, end, each)
    };
    (seen, result)
}

#[test]
fn a_walk_sees_each_area_cut_to_the_range_and_tells_of_gaps_at_its_end() {
    machine(|| {
        let (first, second) = (anonymous_at(BASE, 4), anonymous_at(BASE + 6 * PAGE, 2));
        let both = vec![(first + PAGE, first + 4 * PAGE), (second, second + PAGE)];
        assert_eq!(seen(BASE + PAGE, BASE + 7 * PAGE, false), (both, Err(Errno::ENOMEM)));
        let one = vec![(first + PAGE, first + 4 * PAGE)];
        assert_eq!(seen(BASE + PAGE, BASE + 7 * PAGE, true), (one.clone(), Err(Errno::ENOMEM)));
        assert_eq!(seen(BASE + PAGE, BASE + 4 * PAGE, true), (one.clone(), Ok(())));
        assert_eq!(seen(BASE + PAGE, BASE + 5 * PAGE, false), (one, Err(Errno::ENOMEM)));
    });
}

#[test]
fn a_walk_hands_out_a_file_from_where_it_is_cut() {
    machine(|| {
        let pages = file(&[7; 3 * PAGE]);
        let file = backing(&pages, PAGE as u64, false);
        space().map(Placement::Fixed(BASE), 2 * PAGE, READ, file, false).unwrap();
        let mut offsets = Vec::new();
        let each = |_: &AddressSpace, area: &exo_logic::areas::Area<Backing>| {
            if let Backing::File { offset, .. } = area.backing {
                offsets.push(offset);
            }
            Err(Errno::EBUSY)
        };
        assert_eq!(space().each_in(BASE + PAGE, BASE + 2 * PAGE, each), Err(Errno::EBUSY));
        assert_eq!(offsets, [2 * PAGE as u64]);
    });
}
