// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory is out: calls fail and say so, and nothing is lost. That each test ends with as many frames in use as it began with is seen to in
//! [`machine`].

use std::sync::Arc;

use exo_core::{errno::Errno, fallible, io_buf::IoSource, thread::running};
use exo_hal::mm::{frame, user};
use exo_logic::areas::Flags;
use exo_mm::{AddressSpace, Backing, MAX_AREAS, Pages, fault::Unresolved, map::Placement};

use crate::support::{
    BASE, PAGE, READ, WRITE, anonymous, anonymous_at, areas, backing, can_write, file, get, machine,
    map_file, put, space, within,
};

#[test]
fn a_fault_without_a_frame_can_be_tried_again() {
    machine(|| {
        let at = anonymous(2);
        put(at, b"x");
        frame::set_free(0);
        assert_eq!(space().handle_fault(at + PAGE, true, false), Err(Unresolved::NoMemory));
        assert_eq!(user::copy_out(at + PAGE, b"y"), Err(user::BadAddress));
        assert_eq!(space().write(at + PAGE, b"y"), Err(Errno::ENOMEM));
        frame::set_free(1);
        put(at + PAGE, b"y");
        assert_eq!(frame::free_for_programs(), 0);
    });
}

#[test]
fn a_copy_without_a_frame_leaves_the_page_shared() {
    machine(|| {
        let at = anonymous(1);
        put(at, b"both");
        let child = space().fork().unwrap();
        frame::set_free(0);
        assert_eq!(space().handle_fault(at, true, false), Err(Unresolved::NoMemory));
        assert_eq!(get(at, 4), b"both");
        drop(child);
        put(at, b"mine");
    });
}

#[test]
fn a_file_without_a_frame_is_told_from_one_that_may_have_none() {
    machine(|| {
        let pages = Arc::new(Pages::new(PAGE as u64));
        let at = map_file(&pages, 1, true);
        frame::set_free(0);
        assert_eq!(space().handle_fault(at, false, false), Err(Unresolved::NoMemory));
        assert_eq!(pages.resident(), 0);
        assert_eq!(Pages::from_bytes(b"x").err(), Some(Errno::ENOSPC));
        assert_eq!(pages.write(Some(0), &mut IoSource::kernel(b"x"), |_| Ok(1)), Err(Errno::ENOSPC));
    });
}

#[test]
fn neighbours_that_find_no_table_are_left_out() {
    machine(|| {
        let pages = file(&[7; 32 * PAGE]);
        // Over the edge of what a table is for.
        let at = 0x4000_0000 - 8 * PAGE;
        space().map(Placement::Fixed(at), 32 * PAGE, READ, backing(&pages, 0, false), false).unwrap();
        frame::set_free(3);
        assert_eq!(get(at, 1), [7]);
        assert_eq!(space().resident_pages(), 8);
        frame::set_free(10);
        assert_eq!(get(at + 12 * PAGE, 1), [7]);
    });
}

#[test]
fn a_fork_without_frames_leaves_the_parent_as_it_was() {
    machine(|| {
        let at = anonymous(600);
        space().populate(at, at + 600 * PAGE, None).unwrap();
        put(at, b"mine");
        let before = frame::in_use();
        // A root, and more tables.
        for free in 0..5 {
            frame::set_free(free);
            assert_eq!(space().fork().err(), Some(Errno::ENOMEM), "{free} frames");
            assert_eq!((frame::in_use(), frame::free_for_programs()), (before, free));
        }
        frame::set_free(0);
        assert_eq!(get(at, 4), b"mine");
        put(at, b"MINE");
        assert!(can_write(at + 599 * PAGE), "no copy is needed");
    });
}

#[test]
fn a_fork_that_cannot_copy_a_pinned_page_fails() {
    machine(|| {
        let at = anonymous(1);
        let buffer = space().pin(at, 4, true).unwrap();
        frame::set_free(4);
        assert_eq!(space().fork().err(), Some(Errno::ENOMEM));
        frame::set_free(5);
        let child = space().fork().unwrap();
        within(&child, || assert_eq!(get(at, 4), [0; 4]));
        drop(buffer);
    });
}

#[test]
fn a_kernel_without_memory_maps_nothing() {
    machine(|| {
        anonymous_at(BASE, 2);
        let before = areas();
        space().set_heap(0x2000_0000);
        frame::exhaust();
        let map = space().map(Placement::Hint(0), PAGE, WRITE, Backing::Anonymous, false);
        assert_eq!(map, Err(Errno::ENOMEM));
        assert_eq!(space().protect(BASE, PAGE, Flags::READ, false), Err(Errno::ENOMEM));
        assert_eq!(space().brk(0x2000_1000), 0x2000_0000);
        assert_eq!(space().remap(BASE, 2 * PAGE, 3 * PAGE, true, None), Err(Errno::ENOMEM));
        assert_eq!(AddressSpace::new().err(), Some(Errno::ENOMEM));
        assert_eq!(space().fork().err(), Some(Errno::ENOMEM));
        assert_eq!(areas(), before);
        frame::set_free(100);
    });
}

#[test]
fn an_address_space_has_so_many_areas_at_most() {
    machine(|| {
        // Every other page: none of them can be joined.
        for area in 0..MAX_AREAS - 1 {
            let at = BASE + 2 * area * PAGE;
            space().map(Placement::Fixed(at), PAGE, WRITE, Backing::Anonymous, false).unwrap();
        }
        let last = anonymous_at(0x6000_0000_0000, 3);
        let map = space().map(Placement::Hint(0), PAGE, READ, Backing::Anonymous, false);
        assert_eq!(map, Err(Errno::ENOMEM));
        assert_eq!(space().unmap(last + PAGE, PAGE), Err(Errno::ENOMEM), "one would become two");
        assert_eq!(space().protect(last + PAGE, PAGE, Flags::READ, false), Err(Errno::ENOMEM));
        let change = space().change_flags(last, last + PAGE, |flags| flags | Flags::DONT_FORK);
        assert_eq!(change, Err(Errno::ENOMEM));
        let moved = space().remap(last, 3 * PAGE, 3 * PAGE, true, Some(0x5000_0000_0000));
        assert_eq!(moved, Err(Errno::ENOMEM));
        assert!(can_write(last + 2 * PAGE));
        // What makes fewer is done.
        assert_eq!(space().unmap(last + 2 * PAGE, PAGE), Ok(()));
        assert_eq!(space().unmap(BASE, 2 * MAX_AREAS * PAGE), Ok(()));
        assert_eq!(areas().len(), 1);
    });
}

/// A bit of everything that takes memory.
fn life() -> Result<(), Errno> {
    let own = AddressSpace::new()?;
    within(&own, || {
        let space = crate::support::space();
        let at = space.map(Placement::Hint(0), 3 * PAGE, WRITE, Backing::Anonymous, true)?;
        user::copy_out(at, &[1; 2 * PAGE])?;
        let pages = Arc::new(Pages::from_bytes(&[2; PAGE])?);
        pages.write(Some(PAGE as u64), &mut IoSource::kernel(b"more"), |_| Ok(4))?;
        pages.allocate(0, 4 * PAGE as u64, false)?;
        let flags = WRITE | Flags::SHARED;
        let shared = space.map(Placement::Hint(0), 4 * PAGE, flags, backing(&pages, 0, true), false)?;
        let private = space.map(Placement::Hint(0), 4 * PAGE, WRITE, backing(&pages, 0, false), false)?;
        user::copy_out(shared, b"x")?;
        user::copy_out(private, b"x")?;
        let pinned = space.pin(at, 10, true)?;
        let child = space.fork()?;
        within(&child, || user::copy_out(at + PAGE, b"child"))?;
        drop(pinned);
        space.populate(at, at + 3 * PAGE, None)?;
        let moved = space.remap(at, 3 * PAGE, 5 * PAGE, true, Some(0x4000_0000_0000))?;
        space.protect(moved, PAGE, Flags::READ, false)?;
        pages.truncate(PAGE as u64)
    })
}

#[test]
fn whichever_allocation_fails_the_call_says_so_and_nothing_is_lost() {
    machine(|| {
        let before = frame::in_use();
        let mut failures = 0;
        for nth in 1.. {
            fallible::fail_nth(&running(), nth);
            let result = life();
            let came = fallible_left() == 0;
            fallible::fail_nth(&running(), 0);
            assert_eq!(frame::in_use(), before, "allocation {nth} failed");
            if !came {
                assert_eq!(result, Ok(()));
                break;
            }
            if let Err(error) = result {
                let expected = [Errno::ENOMEM, Errno::ENOSPC, Errno::EAGAIN, Errno::EFAULT];
                assert!(expected.contains(&error), "allocation {nth}: {error:?}");
                failures += 1;
            }
        }
        assert!(failures > 20, "{failures}");
    });
}

/// How many allocations are to come until one fails.
fn fallible_left() -> u32 {
    running().fail_nth.load(std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn however_few_frames_there_are_nothing_is_lost() {
    machine(|| {
        let before = frame::in_use();
        let mut free = 0;
        loop {
            frame::set_free(free);
            let result = life();
            assert_eq!((frame::in_use(), frame::free_for_programs()), (before, free));
            if result.is_ok() {
                break;
            }
            free += 1;
        }
        assert!(free > 20, "{free}");
    });
}
