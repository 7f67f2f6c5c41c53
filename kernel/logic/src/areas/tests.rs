// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
struct At(Option<usize>);

impl Backing for At {
    fn advance(&self, bytes: usize) -> Self {
        At(self.0.map(|o| o + bytes))
    }
    fn continues(&self, bytes: usize, next: &Self) -> bool {
        self.advance(bytes) == *next
    }
    /// Two objects: offsets are above 2^32 in the second.
    fn object(&self) -> Option<usize> {
        self.0.map(|offset| offset >> 32)
    }
}

fn area(start: usize, end: usize, offset: Option<usize>) -> Area<At> {
    Area { start, end, flags: Flags::READ, backing: At(offset) }
}

fn ranges(areas: &Areas<At>) -> Vec<(usize, usize)> {
    areas.iter().map(|a| (a.start, a.end)).collect()
}

#[test]
fn neighbours_join_only_if_alike() {
    let mut areas = Areas::new();
    areas.insert(area(0x1000, 0x2000, None));
    areas.insert(area(0x3000, 0x4000, None));
    areas.insert(area(0x2000, 0x3000, None));
    assert_eq!(ranges(&areas), [(0x1000, 0x4000)]);
    areas.insert(area(0x4000, 0x5000, Some(0)));
    areas.insert(area(0x5000, 0x6000, Some(0x1000)));
    areas.insert(area(0x6000, 0x7000, Some(0x9000)));
    assert_eq!(ranges(&areas), [(0x1000, 0x4000), (0x4000, 0x6000), (0x6000, 0x7000)]);
}

#[test]
fn a_hole_splits_and_keeps_offsets() {
    let mut areas = Areas::new();
    areas.insert(area(0x1000, 0x9000, Some(0)));
    let removed = areas.remove(0x3000, 0x5000);
    assert_eq!(removed, [area(0x3000, 0x5000, Some(0x2000))]);
    assert_eq!(areas.find(0x5000).unwrap().backing, At(Some(0x4000)));
    assert!(areas.find(0x4fff).is_none() && areas.find(0x2fff).is_some());
    assert!(!areas.covers(0x2000, 0x6000) && areas.covers(0x5000, 0x9000));
}

#[test]
fn protect_needs_no_gap() {
    let mut areas = Areas::new();
    areas.insert(area(0x1000, 0x4000, None));
    assert!(!areas.protect(0x3000, 0x5000, Flags::WRITE));
    assert!(areas.protect(0x2000, 0x3000, Flags::WRITE));
    assert_eq!(ranges(&areas), [(0x1000, 0x2000), (0x2000, 0x3000), (0x3000, 0x4000)]);
    assert!(areas.protect(0x2000, 0x3000, Flags::READ));
    assert_eq!(ranges(&areas), [(0x1000, 0x4000)]);
}

#[test]
fn free_space_is_found_from_the_top() {
    let mut areas = Areas::new();
    assert_eq!(areas.find_free(0x1000, 0x1000, 0x10000), Some(0xf000));
    areas.insert(area(0xe000, 0x10000, None));
    assert_eq!(areas.find_free(0x1000, 0x1000, 0x10000), Some(0xd000));
    areas.insert(area(0x1000, 0x8000, None));
    assert_eq!(areas.find_free(0x6000, 0x1000, 0x10000), Some(0x8000));
    assert_eq!(areas.find_free(0x7000, 0x1000, 0x10000), None);
    assert_eq!(areas.find_free(usize::MAX, 0x1000, 0x10000), None);
}

#[test]
fn what_an_area_may_become_is_kept_with_it() {
    let shared = Flags::READ | Flags::SHARED | Flags::MAY_EXECUTE;
    assert!(shared.may_become(Flags::READ | Flags::EXECUTE) && !shared.may_become(Flags::WRITE));
    assert!((Flags::READ | MAY_ALL).may_become(PROTECTION) && Flags::READ.may_become(Flags::empty()));
}

#[test]
fn a_stack_keeps_its_distance_and_its_limit() {
    let mut areas = Areas::new();
    areas.insert(Area { flags: Flags::READ | Flags::GROWS_DOWN, ..area(0x80_0000, 0x80_1000, None) });
    assert!(areas.growing(0x70_0000, 0x10_1000).is_some() && areas.growing(0x70_0000, 0x10_0fff).is_none());
    areas.insert(area(0x60_0000, 0x60_1000, None));
    assert!(areas.growing(0x70_1000, u64::MAX).is_some() && areas.growing(0x70_0000, u64::MAX).is_none());
    assert_eq!(areas.find_free(0x1000, 0, 0x80_1000), Some(0x6f_f000));
}

#[test]
fn flags_change_where_something_is_mapped() {
    let mut areas = Areas::new();
    areas.insert(area(0x1000, 0x3000, None));
    areas.insert(area(0x4000, 0x5000, None));
    areas.change(0x2000, 0x6000, |flags| flags | Flags::LOCKED);
    assert_eq!(ranges(&areas), [(0x1000, 0x2000), (0x2000, 0x3000), (0x4000, 0x5000)]);
}

#[test]
fn stack_grows() {
    let mut areas = Areas::new();
    areas.insert(area(0x8000, 0x9000, None));
    areas.grow_down(0x8000, 0x5000);
    assert_eq!(ranges(&areas), [(0x5000, 0x9000)]);
}

/// Areas and free ranges at random, against a search that remembers nothing.
#[test]
fn what_is_remembered_of_searches_is_true() {
    const HIGH: usize = 0x40_0000;
    let mut areas = Areas::new();
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let bytes = 0x1000 * (1 + random(12));
        let at = 0x1000 * random(HIGH / 0x1000 - 12);
        match random(4) {
            0 | 1 => {
                let afresh =
                    Areas { map: areas.map.clone(), ..Areas::default() }.find_free(bytes, 0x1000, HIGH);
                let mut search = areas.search(bytes, 0x1000, HIGH);
                let found = loop {
                    match areas.search_on(&mut search, 3) {
                        Found::NotYet => {}
                        Found::At(start) => break Some(start),
                        Found::Nothing => break None,
                    }
                };
                assert_eq!(found, afresh);
                if let Some(start) = found {
                    let flags = if random(10) == 0 { Flags::GROWS_DOWN } else { Flags::READ };
                    areas.insert(Area { flags, ..area(start, start + bytes, None) });
                }
            }
            2 => drop(areas.remove(at, at + bytes)),
            _ => areas.change(at, at + bytes, |flags| flags ^ Flags::WRITE),
        }
    }
    assert!(areas.len() > 10);
}

/// Changes at random: the areas of each object are found from every address, and no others.
#[test]
fn areas_are_found_by_what_they_show() {
    let mut areas = Areas::new();
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..5_000 {
        let at = 0x1000 * random(64);
        let end = at + 0x1000 * (1 + random(8));
        match random(6) {
            0..3 => {
                areas.remove(at, end);
                // What goes on is joined.
                let offset = [None, Some(at), Some((1 << 32) + at), Some(random(1 << 20))][random(4)];
                areas.insert(area(at, end, offset));
            }
            3 => drop(areas.remove(at, end)),
            4 => drop(areas.protect(at, end, [Flags::READ, Flags::WRITE][random(2)])),
            _ => areas.change(at, end, |flags| flags ^ Flags::LOCKED),
        }
        for object in 0..3 {
            let of_it: Vec<_> = areas.iter().filter(|area| area.backing.object() == Some(object)).collect();
            assert_eq!(areas.shows(object), !of_it.is_empty());
            let from = 0x1000 * random(72) + random(2);
            let expected = of_it.iter().find(|area| from < area.end).copied();
            assert_eq!(areas.find_showing(object, from), expected);
        }
    }
    assert!(areas.len() > 10);
}
