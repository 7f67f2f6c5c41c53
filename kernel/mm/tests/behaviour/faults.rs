// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program finds when it touches a page.

use std::sync::Arc;

use exo_core::{errno::Errno, limits::index};
use exo_hal::{USER_END, mm::user, thread::current};
use exo_logic::areas::{Flags, GUARD_GAP};
use exo_mm::{Backing, Pages, fault::Unresolved, map::Placement};

use crate::support::{
    BASE, PAGE, READ, TestTask, anonymous, anonymous_at, can_read, can_write, get, machine, map_file, put,
    set_limit, space,
};

const STACK: usize = 0x7fff_f000_0000;

#[test]
fn a_page_is_zeros_when_it_is_read_first() {
    machine(|| {
        let at = anonymous(2);
        assert_eq!(space().resident_pages(), 0);
        assert_eq!(get(at, 2 * PAGE), [0; 2 * PAGE]);
        put(at + 5, b"after");
        assert_eq!(get(at + 4, 7), b"\0after\0");
        assert_eq!(space().resident_pages(), 2);
    });
}

#[test]
fn a_page_is_zeros_around_what_is_written_first() {
    machine(|| {
        let at = anonymous(1);
        put(at + 100, b"x");
        let page = get(at, PAGE);
        assert_eq!((page[100], page.iter().filter(|byte| **byte != 0).count()), (b'x', 1));
    });
}

#[test]
fn what_is_not_mapped_cannot_be_had() {
    machine(|| {
        let at = anonymous(1);
        for address in [0, at - 1, at + PAGE, USER_END - 1, USER_END, usize::MAX] {
            assert_eq!(
                space().handle_fault(address, false, false),
                Err(Unresolved::NotMapped),
                "{address:#x}"
            );
        }
        assert_eq!(user::copy_out(at + PAGE - 2, b"abc"), Err(user::BadAddress));
        assert_eq!(get(at + PAGE - 2, 2), b"ab", "what comes before the bad page is written");
    });
}

#[test]
fn an_access_needs_its_permission() {
    machine(|| {
        // With these permissions, one may read, write and execute.
        let table = [
            (Flags::empty(), [false, false, false]),
            (Flags::READ, [true, false, false]),
            (Flags::WRITE, [true, true, false]),
            (Flags::READ | Flags::WRITE, [true, true, false]),
            (Flags::EXECUTE, [true, false, true]),
            (Flags::READ | Flags::EXECUTE, [true, false, true]),
        ];
        for (flags, allowed) in table {
            let at = space().map(Placement::Hint(0), PAGE, flags, Backing::Anonymous, false).unwrap();
            let may = |write, execute| match space().handle_fault(at, write, execute) {
                Ok(()) => true,
                Err(why) => {
                    assert_eq!(why, Unresolved::NotAllowed);
                    false
                }
            };
            assert_eq!([may(false, false), may(true, false), may(false, true)], allowed, "{flags:?}");
        }
    });
}

#[test]
fn a_fault_that_somebody_else_has_resolved_changes_nothing() {
    machine(|| {
        let at = anonymous(1);
        put(at, b"kept");
        for write in [false, true] {
            assert_eq!(space().handle_fault(at, write, false), Ok(()));
        }
        assert_eq!(get(at, 4), b"kept");
    });
}

#[test]
fn words_are_exchanged_in_a_page_that_is_not_there_yet() {
    machine(|| {
        let at = anonymous(1);
        assert_eq!(user::compare_exchange_u32(at, 0, 7), Ok(0));
        assert_eq!(user::compare_exchange_u32(at, 0, 8), Ok(7));
        assert_eq!(user::load_u32(at), Ok(7));
        let fixed = space().map(Placement::Hint(0), PAGE, READ, Backing::Anonymous, false).unwrap();
        assert_eq!(user::load_u32(fixed), Ok(0));
        assert!(user::compare_exchange_u32(fixed, 0, 1).is_err());
    });
}

#[test]
fn a_stack_grows_when_it_is_touched_below() {
    machine(|| {
        space().add_stack(STACK).unwrap();
        let mapped = space().mapped_bytes();
        assert!(can_write(STACK - mapped - 5 * PAGE));
        assert_eq!(space().mapped_bytes(), mapped + 5 * PAGE);
        assert!(!can_read(STACK - (8 << 20) - 1), "beyond the limit");
        assert!(can_read(STACK - (8 << 20)));
    });
}

#[test]
fn a_stack_grows_as_far_as_the_limits_allow() {
    machine(|| {
        space().add_stack(STACK).unwrap();
        set_limit(index::STACK, 1 << 20);
        assert!(!can_write(STACK - (1 << 20) - 1) && can_write(STACK - (1 << 20)));
        set_limit(index::STACK, u64::MAX);
        set_limit(index::AS, 2 << 20);
        assert!(!can_write(STACK - (2 << 20) - 1) && can_write(STACK - (2 << 20)));
        set_limit(index::AS, u64::MAX);
        assert!(!can_write(STACK - (256 << 20) - 1) && can_write(STACK - (256 << 20)));
    });
}

#[test]
fn a_stack_grows_to_the_usual_limit_while_the_limits_are_locked() {
    machine(|| {
        space().add_stack(STACK).unwrap();
        set_limit(index::STACK, 1 << 20);
        let task = current::<TestTask>();
        let locked = task.limits.lock();
        let fault = |address| space().handle_fault_now(address, true, false);
        assert_eq!(fault(STACK - (8 << 20) - 1), Err(Unresolved::NotMapped));
        assert_eq!(fault(STACK - (8 << 20)), Ok(()));
        drop(locked);
    });
}

#[test]
fn a_stack_keeps_its_distance_from_what_is_below() {
    machine(|| {
        space().add_stack(STACK).unwrap();
        let below = anonymous_at(STACK - (4 << 20), 1);
        assert!(!can_write(below + PAGE + GUARD_GAP - PAGE));
        assert!(can_write(below + PAGE + GUARD_GAP));
        // What cannot be accessed is no neighbour to keep away from.
        space().protect(below, PAGE, Flags::empty(), false).unwrap();
        assert!(can_write(below + PAGE));
    });
}

#[test]
fn only_a_stack_grows() {
    machine(|| {
        let at = anonymous_at(BASE, 1);
        assert!(!can_write(at - 1));
    });
}

#[test]
fn an_error_of_a_fault_has_a_number() {
    assert_eq!(Errno::from(Unresolved::NoMemory), Errno::ENOMEM);
    for why in [Unresolved::NotMapped, Unresolved::NotAllowed, Unresolved::BeyondEnd] {
        assert_eq!(Errno::from(why), Errno::EFAULT);
    }
}

#[test]
fn a_word_is_located_by_its_frame_or_by_what_is_shared() {
    machine(|| {
        let at = anonymous(1);
        assert!(space().locate(at + 8).is_none(), "nobody has touched it");
        put(at, b"x");
        let mut byte = [0];
        space().locate(at + 8).unwrap().read(0, &mut byte);
        assert_eq!((byte, space().shared_name(at)), (*b"x", None));
        assert!(space().locate(at + PAGE).is_none());
        let file = Arc::new(Pages::new(2 * PAGE as u64));
        let (shared, again, private) =
            (map_file(&file, 2, true), map_file(&file, 2, true), map_file(&file, 2, false));
        let name = space().shared_name(shared + PAGE + 8);
        assert!(name.is_some() && name == space().shared_name(again + PAGE + 8));
        assert_ne!(name, space().shared_name(shared + 8));
        assert_eq!(space().shared_name(private), None);
    });
}
