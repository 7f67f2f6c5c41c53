// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an address space is said to have.

use exo_logic::areas::Flags;
use exo_mm::{Backing, map::Placement};

use crate::support::{BASE, PAGE, READ, anonymous_at, file, kill_self, machine, map_file, put, space};

const STACK: usize = 0x7fff_f000_0000;

#[test]
fn memory_is_counted_by_its_kind() {
    machine(|| {
        anonymous_at(BASE, 4);
        put(BASE, &[1; 2 * PAGE]);
        let code = Flags::READ | Flags::EXECUTE;
        space().map(Placement::Fixed(BASE + 8 * PAGE), 3 * PAGE, code, Backing::Anonymous, false).unwrap();
        space().add_stack(STACK).unwrap();
        space().change_flags(BASE, BASE + PAGE, |flags| flags | Flags::LOCKED).unwrap();
        let usage = space().usage();
        assert_eq!((usage.data, usage.code, usage.locked), (4 * PAGE, 3 * PAGE, PAGE));
        assert_eq!(usage.mapped, usage.data + usage.code + usage.stack);
        assert_eq!((usage.resident, usage.resident_peak), (2 * PAGE, 2 * PAGE));
        assert_eq!(usage.tables, space().table_pages() * PAGE);
        assert!(usage.stack > 0 && space().area_bytes() > 0);
    });
}

#[test]
fn the_most_that_there_was_is_kept() {
    machine(|| {
        anonymous_at(BASE, 4);
        put(BASE, &[1; 3 * PAGE]);
        space().unmap(BASE, 4 * PAGE).unwrap();
        let usage = space().usage();
        assert_eq!(
            (usage.mapped, usage.peak, usage.resident, usage.resident_peak),
            (0, 4 * PAGE, 0, 3 * PAGE)
        );
    });
}

#[test]
fn resident_bytes_of_a_range_are_counted() {
    machine(|| {
        anonymous_at(BASE, 1000);
        for page in [0, 3, 500, 999] {
            put(BASE + page * PAGE, b"x");
        }
        assert_eq!(space().resident_in(BASE, BASE + 1000 * PAGE), 4 * PAGE);
        assert_eq!(space().resident_in(BASE + PAGE, BASE + 500 * PAGE), PAGE);
    });
}

#[test]
fn what_a_file_has_too_is_counted_apart() {
    machine(|| {
        anonymous_at(BASE, 1);
        put(BASE, b"x");
        let pages = file(&[7; 2 * PAGE]);
        let shared = map_file(&pages, 2, true);
        put(shared, b"x");
        put(map_file(&pages, 2, false), b"private");
        assert_eq!(space().resident_shared(), PAGE);
    });
}

#[test]
fn who_is_killed_counts_no_further() {
    machine(|| {
        anonymous_at(BASE, 2000);
        space().populate(BASE, BASE + 2000 * PAGE, None).unwrap();
        let pages = file(&[7; PAGE]);
        for _ in 0..3 {
            put(map_file(&pages, 1, true), b"x");
        }
        kill_self();
        assert!(space().resident_in(BASE, BASE + 2000 * PAGE) < 2000 * PAGE);
        kill_self();
        assert!(space().resident_shared() <= 3 * PAGE);
    });
}

#[test]
fn areas_are_found_one_after_the_other() {
    machine(|| {
        anonymous_at(BASE, 1);
        space().map(Placement::Fixed(BASE + 4 * PAGE), PAGE, READ, Backing::Anonymous, false).unwrap();
        let start = |above| space().area_above(above).map(|area| area.start);
        assert_eq!(start(0), Some(BASE));
        assert_eq!(start(BASE + PAGE - 1), Some(BASE));
        assert_eq!(start(BASE + PAGE), Some(BASE + 4 * PAGE));
        assert_eq!(start(BASE + 5 * PAGE), None);
    });
}
