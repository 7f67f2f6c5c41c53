// SPDX-License-Identifier: MIT OR Apache-2.0
//! An object knows its mappings, all of them and no others.

use std::sync::Arc;

use exo_hal::USER_END;
use exo_logic::areas::{Area, Flags};
use exo_mm::{AddressSpace, Backing, LOWEST, Pages, VmObject, map::Placement};

use crate::support::{BASE, PAGE, READ, WRITE, backing, can_read, get, machine, map_file, put, space};

type Mapping = (usize, usize, u64, bool);

fn is_of(area: &Area<Backing>, pages: &Arc<Pages>) -> Option<Mapping> {
    match &area.backing {
        Backing::File { object, offset, shared, .. }
            if std::ptr::addr_eq(Arc::as_ptr(object), Arc::as_ptr(pages)) =>
        {
            Some((area.start, area.end, *offset, *shared))
        }
        _ => None,
    }
}

/// As the object knows them.
fn known(pages: &Arc<Pages>) -> Vec<Mapping> {
    let mut found = Vec::new();
    pages.mappings().each(|area| found.push(is_of(area, pages).expect("an area of this object")));
    found.sort_unstable();
    found
}

/// As they are.
fn mapped(spaces: &[Arc<AddressSpace>], pages: &Arc<Pages>) -> Vec<Mapping> {
    let mut found = Vec::new();
    for space in spaces {
        space.each_area(|area| found.extend(is_of(area, pages)));
    }
    found.sort_unstable();
    found
}

#[test]
fn it_follows_each_change() {
    machine(|| {
        let pages = Arc::new(Pages::new(16 * PAGE as u64));
        assert!(pages.mappings().are_none());
        let at = map_file(&pages, 8, true);
        assert_eq!(known(&pages), [(at, at + 8 * PAGE, 0, true)]);
        // Split by protection, and joined again.
        space().protect(at + 2 * PAGE, PAGE, Flags::READ, false).unwrap();
        assert_eq!(known(&pages).len(), 3);
        space().protect(at + 2 * PAGE, PAGE, Flags::READ | Flags::WRITE, false).unwrap();
        assert_eq!(known(&pages).len(), 1);
        space().unmap(at + 4 * PAGE, PAGE).unwrap();
        let to = space().remap(at, PAGE, PAGE, true, Some(BASE)).unwrap();
        assert_eq!(known(&pages), mapped(&[space()], &pages));
        assert_eq!((known(&pages).len(), known(&pages)[0]), (3, (to, to + PAGE, 0, true)));
        let child = space().fork().unwrap();
        assert_eq!(known(&pages).len(), 6);
        space().unmap(LOWEST, USER_END - LOWEST).unwrap();
        assert_eq!(known(&pages), mapped(std::slice::from_ref(&child), &pages));
        // Exit and exec clear it; a fork that failed drops it as it is.
        let other = child.fork().unwrap();
        child.clear();
        assert_eq!(known(&pages).len(), 3);
        drop(other);
        assert!(pages.mappings().are_none());
    });
}

#[test]
fn nobody_else_is_touched_when_a_file_is_cut() {
    machine(|| {
        let (cut, other) = (Arc::new(Pages::new(4 * PAGE as u64)), Arc::new(Pages::new(4 * PAGE as u64)));
        let (at, elsewhere) = (map_file(&cut, 4, true), map_file(&other, 4, true));
        put(at + 3 * PAGE, b"x");
        put(elsewhere + 3 * PAGE, b"x");
        let before = space().resident_pages();
        cut.truncate(PAGE as u64).unwrap();
        assert_eq!(space().resident_pages(), before - 1);
        assert!(!can_read(at + 3 * PAGE) && can_read(elsewhere + 3 * PAGE));
    });
}

#[test]
fn it_holds_exactly_the_mappings_whatever_happens() {
    machine(|| {
        let mut seed = 7_u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let files = [Arc::new(Pages::new(1 << 20)), Arc::new(Pages::new(1 << 20))];
        let mut spaces = vec![space()];
        for _ in 0..3000 {
            let memory = spaces[random(spaces.len())].clone();
            let (at, length) = (BASE + PAGE * random(48), PAGE * (1 + random(6)));
            match random(12) {
                0..5 => {
                    let shared = random(2) == 0;
                    // Those that go on are joined.
                    let file = backing(&files[random(2)], (at - BASE) as u64, shared);
                    let flags = if shared { WRITE | Flags::SHARED } else { READ };
                    memory.map(Placement::Fixed(at), length, flags, file, false).unwrap();
                }
                5 | 6 => memory.unmap(at, length).unwrap(),
                7 | 8 => drop(memory.protect(at, length, [Flags::READ, Flags::empty()][random(2)], false)),
                9 => drop(memory.remap(
                    at,
                    length,
                    PAGE * (1 + random(6)),
                    true,
                    Some(BASE + PAGE * (64 + random(16))),
                )),
                10 if spaces.len() < 4 => spaces.push(memory.fork().unwrap()),
                10 if spaces.len() > 2 => {
                    let gone = spaces.swap_remove(1 + random(spaces.len() - 1));
                    if random(2) == 0 {
                        gone.clear();
                    }
                    drop(gone);
                }
                _ => drop(memory.change_flags(at, at + length, |flags| flags ^ Flags::DONT_DUMP)),
            }
            drop(memory);
            for file in &files {
                assert_eq!(known(file), mapped(&spaces, file));
            }
        }
        assert!(files.iter().any(|file| !file.mappings().are_none()));
    });
}

#[test]
fn a_hole_leaves_private_copies_alone_and_a_cut_does_not() {
    machine(|| {
        let pages = Arc::new(Pages::new(200 * PAGE as u64));
        let (shared, private) = (map_file(&pages, 200, true), map_file(&pages, 200, false));
        (0..200).for_each(|page| put(shared + page * PAGE, b"file"));
        (0..200).for_each(|page| assert_eq!(get(private + page * PAGE, 4), b"file"));
        put(private + 150 * PAGE, b"own");
        pages.punch_hole(PAGE as u64, 199 * PAGE as u64).unwrap();
        assert_eq!(pages.resident(), 2);
        for page in [1, 64, 65, 149, 151, 198] {
            assert_eq!(
                (get(shared + page * PAGE, 4), get(private + page * PAGE, 4)),
                (vec![0; 4], vec![0; 4])
            );
        }
        assert_eq!(
            (get(private + 150 * PAGE, 4), get(shared + 150 * PAGE, 4)),
            (b"owne".to_vec(), vec![0; 4])
        );
        assert_eq!((get(private, 4), get(private + 199 * PAGE, 4)), (b"file".to_vec(), b"file".to_vec()));
        pages.truncate(0).unwrap();
        assert!(!can_read(private + 150 * PAGE));
    });
}
