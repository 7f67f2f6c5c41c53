// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that may be refused.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use exo_core::{
    errno::Errno,
    fallible::{self, LEFT_FOR_FAULTS, SMALL},
    limits::index,
    room,
    thread::{running, soft_limit, soft_limit_now, work},
};
use exo_hal::{PAGE_SIZE, mm::frame, thread::current};

use crate::support::{TestTask, machine, task};

#[test]
fn a_list_leaves_frames_for_page_faults() {
    machine(1, || {
        frame::set_free(LEFT_FOR_FAULTS + 10);
        assert_eq!(fallible::list::<u8>(10 * PAGE_SIZE).unwrap().capacity(), 10 * PAGE_SIZE);
        frame::set_free(LEFT_FOR_FAULTS + 9);
        assert_eq!(fallible::list::<u8>(10 * PAGE_SIZE), Err(Errno::ENOMEM));
    });
}

#[test]
fn a_list_of_less_than_a_page_comes_from_the_reserve() {
    machine(1, || {
        frame::set_free(0);
        assert!(fallible::list::<u64>(PAGE_SIZE / 8 - 1).is_ok());
        assert_eq!(fallible::list::<u64>(PAGE_SIZE / 8), Err(Errno::ENOMEM));
    });
}

#[test]
fn a_small_list_needs_no_more_than_it_takes() {
    machine(1, || {
        frame::set_free(SMALL);
        assert!(fallible::list::<u8>(SMALL * PAGE_SIZE).is_ok());
        assert_eq!(fallible::list::<u8>((SMALL + 1) * PAGE_SIZE), Err(Errno::ENOMEM));
    });
}

#[test]
fn a_size_beyond_all_numbers_is_refused() {
    machine(1, || {
        assert_eq!(fallible::list::<u64>(usize::MAX), Err(Errno::ENOMEM));
        assert_eq!(fallible::reserve(&mut vec![1u64], usize::MAX), Err(Errno::ENOMEM));
    });
}

#[test]
fn what_cannot_grow_is_as_it_was() {
    machine(1, || {
        let mut list: Vec<u64> = (0..PAGE_SIZE as u64).collect();
        let mut queue: VecDeque<u64> = list.iter().copied().collect();
        list.shrink_to_fit();
        while queue.len() < queue.capacity() {
            queue.push_back(0);
        }
        let (before, queued) = (list.clone(), queue.clone());
        frame::set_free(3);
        assert_eq!(fallible::push(&mut list, 1), Err(Errno::ENOMEM));
        assert_eq!(fallible::push_back(&mut queue, 1), Err(Errno::ENOMEM));
        assert_eq!(fallible::reserve(&mut list, PAGE_SIZE), Err(Errno::ENOMEM));
        assert_eq!((&list, &queue), (&before, &queued));
        frame::set_free(1000);
        fallible::push(&mut list, 1).unwrap();
        fallible::push_back(&mut queue, 1).unwrap();
        assert_eq!((list.len(), queue.len()), (before.len() + 1, queued.len() + 1));
    });
}

#[test]
fn room_that_is_there_needs_no_memory() {
    machine(1, || {
        let (mut list, mut queue) = (Vec::with_capacity(4), VecDeque::with_capacity(4));
        fallible::fail_nth(&running(), 1);
        for number in 0..4 {
            fallible::push(&mut list, number).unwrap();
            fallible::push_back(&mut queue, number).unwrap();
        }
        list.clear();
        fallible::reserve(&mut list, 4).unwrap();
        assert!(fallible::is_nth(), "none was asked before");
    });
}

/// Six allocations that may fail, each of another kind. Which of them failed.
fn allocate() -> Vec<usize> {
    let mut list = Vec::new();
    let mut queue = VecDeque::new();
    let results = [
        fallible::list::<u8>(100).map(drop),
        fallible::reserve(&mut list, 10),
        fallible::push_back(&mut queue, 1),
        fallible::arc(5).map(drop),
        fallible::boxed(5).map(drop),
        fallible::push(&mut Vec::new(), 5),
    ];
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(Errno::ENOMEM))));
    list.push(1);
    (0..results.len()).filter(|&at| results[at].is_err()).collect()
}

#[test]
fn the_nth_allocation_fails_and_no_other() {
    machine(1, || {
        for nth in 1..=6 {
            fallible::fail_nth(&running(), nth);
            assert_eq!(allocate(), [nth as usize - 1]);
            assert_eq!(allocate(), [0; 0], "it was the only one");
        }
        fallible::fail_nth(&running(), 8);
        assert_eq!(allocate(), [0; 0]);
        assert_eq!(allocate(), [1], "the count goes on");
        fallible::fail_nth(&running(), 3);
        fallible::fail_nth(&running(), 0);
        assert_eq!(allocate(), [0; 0], "0 takes it back");
    });
}

#[test]
fn another_tasks_allocations_do_not_count() {
    machine(1, || {
        // The first is for the other task itself.
        fallible::fail_nth(&running(), 3);
        let other = task("other").start(|| assert_eq!(allocate(), [0; 0]));
        other.join();
        assert_eq!(allocate(), [1]);
    });
}

#[test]
fn a_value_is_made_only_if_there_is_memory_for_it() {
    machine(1, || {
        let is_made = AtomicBool::new(false);
        let make = || is_made.store(true, Ordering::Relaxed);
        fallible::fail_nth(&running(), 1);
        assert!(fallible::arc_with(make).is_err());
        assert!(!is_made.load(Ordering::Relaxed));
        let made: Arc<()> = fallible::arc_with(make).unwrap();
        assert!(is_made.load(Ordering::Relaxed));
        drop(made);
    });
}

#[test]
fn outside_of_tasks_no_allocation_is_the_nth() {
    assert!(!fallible::is_nth());
}

#[test]
fn a_call_that_was_refused_memory_is_marked_with_the_most_it_wanted() {
    machine(1, || {
        let is_marked = || running().work.load(Ordering::Relaxed) & work::OUT_OF_MEMORY != 0;
        frame::set_free(20);
        assert!(room::has_room(20));
        assert!(!is_marked());
        assert!(!room::has_room(21));
        assert!(!room::has_room(30));
        assert!(!room::has_room(25));
        assert!(is_marked());
        assert_eq!(running().frames_wanted.load(Ordering::Relaxed), 30);
        running().work.store(0, Ordering::Relaxed);
    });
}

#[test]
fn limits_are_those_of_the_running_task() {
    machine(1, || {
        current::<TestTask>().limits.lock()[index::DATA].soft = 4711;
        assert_eq!(soft_limit(index::DATA), 4711);
        assert_eq!(soft_limit_now(index::DATA), Some(4711));
        let task = current::<TestTask>();
        let held = task.limits.lock();
        assert_eq!(soft_limit_now(index::DATA), None);
        drop(held);
        task_with_other_limits();
    });
}

fn task_with_other_limits() {
    let other = task("other").start(|| assert_eq!(soft_limit(index::STACK), 8 << 20));
    other.join();
}
