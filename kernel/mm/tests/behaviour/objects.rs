// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that come later: who waits for one, and what may happen meanwhile.

use std::sync::{Arc, atomic::Ordering};

use exo_hal::mm::user;
use exo_logic::areas::Flags;
use exo_mm::{Backing, VmObject, fault::Unresolved, map::Placement, object::Wanted};
use parking_lot::Mutex;

use crate::{
    disk::{kill, let_others_run, map_cached, numbered, on_disk},
    support::{PAGE, TestTask, WRITE, anonymous_at, can_read, get, machine, put, space, start},
};

/// What came of a task's touch, as soon as that has ended.
type Outcome = Arc<Mutex<Option<Result<(), Unresolved>>>>;

/// Starts a task that touches `address`.
fn toucher(address: usize, write: bool) -> (Arc<TestTask>, Outcome) {
    let outcome = Arc::new(Mutex::new(None));
    let to = outcome.clone();
    let memory = space();
    let own = memory.clone();
    let task = start(memory, move || *to.lock() = Some(own.handle_fault(address, write, false)));
    (task, outcome)
}

#[test]
fn all_who_wait_for_a_page_get_it_and_it_is_read_once() {
    machine(|| {
        let file = numbered(3);
        let at = map_cached(&file, 3, true);
        file.store().hold();
        let tasks: Vec<_> =
            (0..3).map(|_| start(space(), move || assert_eq!(get(at + PAGE, 2), [1, 1]))).collect();
        let_others_run();
        assert_eq!(file.store().reads.load(Ordering::SeqCst), 1);
        file.store().release();
        tasks.iter().for_each(|task| task.join());
        assert_eq!((file.store().reads.load(Ordering::SeqCst), file.resident()), (1, 1));
    });
}

#[test]
fn who_is_killed_waits_no_longer_and_another_goes_on() {
    machine(|| {
        let file = numbered(1);
        let at = map_cached(&file, 1, true);
        file.store().hold();
        let (first, of_first) = toucher(at, false);
        let_others_run();
        let (second, of_second) = toucher(at, false);
        let_others_run();
        kill(&first);
        first.join();
        assert_eq!(*of_first.lock(), Some(Err(Unresolved::Killed)));
        let_others_run();
        assert_eq!(*of_second.lock(), None, "the page is being read for the second");
        file.store().release();
        second.join();
        assert_eq!(*of_second.lock(), Some(Ok(())));
        assert_eq!(file.store().reads.load(Ordering::SeqCst), 2);
        // And one who only waits for the other.
        file.invalidate(0, 1).unwrap();
        file.store().hold();
        let (first, of_first) = toucher(at, false);
        let (second, of_second) = toucher(at, false);
        let_others_run();
        kill(&second);
        second.join();
        assert_eq!((*of_first.lock(), *of_second.lock()), (None, Some(Err(Unresolved::Killed))));
        file.store().release();
        first.join();
        assert_eq!(*of_first.lock(), Some(Ok(())));
    });
}

#[test]
fn what_is_mapped_after_the_wait_counts() {
    machine(|| {
        let file = numbered(4);
        let at = map_cached(&file, 4, true);
        file.store().hold();
        let reader = start(space(), move || assert_eq!(get(at, 1), [0], "what has taken its place"));
        let (_, unmapped) = toucher(at + PAGE, false);
        let (_, protected) = toucher(at + 2 * PAGE, true);
        let (_, moved) = toucher(at + 3 * PAGE, true);
        let_others_run();
        anonymous_at(at, 1);
        space().unmap(at + PAGE, PAGE).unwrap();
        space().protect(at + 2 * PAGE, PAGE, Flags::READ, false).unwrap();
        let to = space().remap(at + 3 * PAGE, PAGE, PAGE, true, Some(at + 16 * PAGE)).unwrap();
        file.store().release();
        reader.join();
        let_others_run();
        assert_eq!(*unmapped.lock(), Some(Err(Unresolved::NotMapped)));
        assert_eq!(*protected.lock(), Some(Err(Unresolved::NotAllowed)));
        assert_eq!(*moved.lock(), Some(Err(Unresolved::NotMapped)));
        assert_eq!(get(to, 1), [3]);
    });
}

#[test]
fn a_file_that_is_cut_meanwhile_ends_before_the_page() {
    machine(|| {
        let file = numbered(3);
        let at = map_cached(&file, 3, true);
        file.store().hold();
        let (first, of_first) = toucher(at + 2 * PAGE, false);
        let (second, of_second) = toucher(at + 2 * PAGE, true);
        let_others_run();
        file.set_size(PAGE as u64 + 7);
        let_others_run();
        assert_eq!(
            *of_second.lock(),
            Some(Err(Unresolved::BeyondEnd)),
            "who waited for the other need not go on"
        );
        file.store().release();
        first.join();
        second.join();
        assert_eq!(*of_first.lock(), Some(Err(Unresolved::BeyondEnd)));
        assert_eq!(file.resident(), 0);
        assert_eq!(get(at + PAGE, 1), [1]);
    });
}

#[test]
fn what_is_cut_off_goes_and_the_rest_of_the_page_reads_as_zeros() {
    machine(|| {
        let file = numbered(2);
        let (shared, private) = (map_cached(&file, 2, true), map_cached(&file, 2, false));
        get(shared + PAGE, 1);
        put(private + PAGE, b"own");
        put(shared, b"abcdef");
        file.set_size(3);
        assert!(!can_read(shared + PAGE) && !can_read(private + PAGE));
        assert_eq!(get(shared, 6), b"abc\0\0\0");
    });
}

#[test]
fn what_is_cut_off_a_page_while_it_is_read_reads_as_zeros() {
    machine(|| {
        let file = on_disk(&[7; PAGE]);
        let at = map_cached(&file, 1, true);
        file.store().hold();
        let reader = start(space(), move || drop(get(at, 1)));
        let_others_run();
        file.set_size(3);
        file.store().release();
        reader.join();
        file.set_size(PAGE as u64);
        assert_eq!(get(at, 5), [7, 7, 7, 0, 0]);
    });
}

#[test]
fn a_child_of_a_fork_waits_for_itself() {
    machine(|| {
        let file = numbered(1);
        let at = map_cached(&file, 1, true);
        file.store().hold();
        let parents = start(space(), move || assert_eq!(get(at, 1), [0]));
        let_others_run();
        let child = start(space().fork().unwrap(), move || put(at, b"c"));
        let_others_run();
        file.store().release();
        parents.join();
        child.join();
        assert_eq!(get(at, 1), b"c");
        assert_eq!(file.store().reads.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn an_error_is_told_to_all_who_waited_and_the_next_tries_again() {
    machine(|| {
        let file = numbered(1);
        let at = map_cached(&file, 1, true);
        file.store().hold();
        file.store().fail(true);
        let (first, of_first) = toucher(at, false);
        let (second, of_second) = toucher(at, true);
        let_others_run();
        file.store().release();
        first.join();
        second.join();
        assert_eq!(
            (*of_first.lock(), *of_second.lock()),
            (Some(Err(Unresolved::Failed)), Some(Err(Unresolved::Failed)))
        );
        assert!(!can_read(at));
        file.store().fail(false);
        assert_eq!(get(at, 1), [0]);
    });
}

#[test]
fn who_may_not_sleep_is_told_so() {
    machine(|| {
        let file = numbered(1);
        let at = map_cached(&file, 1, true);
        assert!(user::now::copy_out(at, b"x").is_err());
        assert_eq!(space().handle_fault_now(at, false, false), Err(Unresolved::MustWait));
        exo_core::user::make_writable(at, 1).unwrap();
        assert_eq!(user::now::copy_out(at, b"x"), Ok(()));
        assert_eq!(get(at, 1), b"x");
    });
}

#[test]
fn the_store_is_told_once_before_a_page_is_written_until_it_is_clean_again() {
    machine(|| {
        let file = numbered(2);
        let at = map_cached(&file, 2, true);
        let again = map_cached(&file, 2, true);
        get(at, 1);
        get(again, 1);
        assert_eq!(*file.store().dirtied.lock(), []);
        put(at, b"a");
        put(at + 1, b"b");
        put(again + 2, b"c");
        assert_eq!(*file.store().dirtied.lock(), [0]);
        assert_eq!(file.next_dirty(0), Some(0));
        file.write_page(0).unwrap();
        assert_eq!((file.store().bytes(0, 3), file.next_dirty(0)), (b"abc".to_vec(), None));
        // Each mapping has lost the right to write.
        put(again, b"A");
        put(at + 1, b"B");
        assert_eq!((file.store().dirtied.lock().clone(), file.next_dirty(0)), (vec![0, 0], Some(0)));
        file.write_page(0).unwrap();
        assert_eq!(file.store().bytes(0, 3), b"ABc");
        file.write_page(0).unwrap();
        assert_eq!(*file.store().written.lock(), [0, 0], "nothing to write the third time");
        // A private mapping makes nothing dirty.
        let private = map_cached(&file, 2, false);
        put(private + PAGE, b"own");
        assert_eq!((file.next_dirty(0), file.store().dirtied.lock().len()), (None, 2));
    });
}

#[test]
fn what_is_written_while_a_page_is_on_its_way_makes_it_dirty_again() {
    machine(|| {
        let file = numbered(1);
        let at = map_cached(&file, 1, true);
        put(at, b"old");
        let writer = {
            let file = file.clone();
            file.store().hold();
            start(space(), move || file.write_page(0).unwrap())
        };
        let_others_run();
        assert_eq!(file.next_dirty(0), Some(0), "it is not there yet");
        let programs = start(space(), move || put(at, b"new"));
        let_others_run();
        file.store().release();
        writer.join();
        programs.join();
        assert_eq!(file.next_dirty(0), Some(0));
        file.write_page(0).unwrap();
        assert_eq!(file.store().bytes(0, 3), b"new");
    });
}

#[test]
fn a_page_that_cannot_be_written_stays_dirty_and_the_others_are_written() {
    machine(|| {
        let file = numbered(3);
        let at = map_cached(&file, 3, true);
        (0..3).for_each(|page| put(at + page * PAGE, b"new"));
        file.store().fail(true);
        let object: &dyn VmObject = &*file;
        assert_eq!(object.sync(0, u64::MAX), Err(exo_core::errno::Errno::EIO));
        assert_eq!((file.store().written.lock().clone(), file.next_dirty(0)), (vec![0, 1, 2], Some(0)));
        file.store().fail(false);
        // Of those that a byte is meant of.
        object.sync(PAGE as u64, 2 * PAGE as u64 + 1).unwrap();
        assert_eq!(
            (file.store().bytes(2, 3), file.next_dirty(0), file.next_dirty(1)),
            (b"new".to_vec(), Some(0), None)
        );
    });
}

#[test]
fn a_page_that_may_not_be_dirty_is_not_written() {
    machine(|| {
        let file = numbered(1);
        let at = map_cached(&file, 1, true);
        get(at, 1);
        file.store().fail(true);
        assert_eq!(space().handle_fault(at, true, false), Err(Unresolved::Failed));
        assert_eq!((get(at, 1), file.next_dirty(0)), (vec![0], None));
    });
}

#[test]
fn a_pinned_page_stays_dirty() {
    machine(|| {
        let file = numbered(1);
        let at = map_cached(&file, 1, true);
        let pinned = space().pin_for_writing(at).unwrap();
        file.write_page(0).unwrap();
        assert_eq!(file.next_dirty(0), Some(0));
        pinned.frame().write(0, b"late");
        drop(pinned);
        file.write_page(0).unwrap();
        assert_eq!((file.store().bytes(0, 4), file.next_dirty(0)), (b"late".to_vec(), None));
        let pinned = file.pin_for_writing(0).unwrap();
        file.write_page(0).unwrap();
        pinned.frame().write(0, b"more");
        drop(pinned);
        assert_eq!(file.next_dirty(0), Some(0));
    });
}

#[test]
fn pages_that_are_clean_and_unused_are_given_up() {
    machine(|| {
        let file = numbered(4);
        let at = map_cached(&file, 4, true);
        let private = map_cached(&file, 4, false);
        (0..3).for_each(|page| drop(get(at + page * PAGE, 1)));
        put(at, b"dirty");
        put(private + PAGE, b"own");
        assert_eq!(file.resident(), 3);
        // All were used a moment ago.
        assert_eq!(file.reclaim(0, 10), (0, None));
        get(at + 2 * PAGE, 1);
        assert_eq!(file.reclaim(0, 10), (1, None), "page 1");
        assert_eq!(file.resident(), 2);
        assert_eq!((get(private + PAGE, 3), get(at + PAGE, 1)), (b"own".to_vec(), vec![1]));
        assert_eq!(file.store().reads.load(Ordering::SeqCst), 4);
        assert_eq!(file.reclaim(0, 1), (0, Some(1)), "page 0, which is dirty, was looked at");
    });
}

#[test]
fn a_page_that_could_not_be_filled_is_given_up_too() {
    machine(|| {
        let file = numbered(1);
        let at = map_cached(&file, 1, true);
        file.store().fail(true);
        assert_eq!(space().handle_fault(at, false, false), Err(Unresolved::Failed));
        assert_eq!((file.resident(), file.reclaim(0, 10), file.resident()), (1, (1, None), 0));
    });
}

#[test]
fn what_is_invalid_is_read_again_but_for_what_is_dirty_or_somebodys_own() {
    machine(|| {
        let file = numbered(3);
        let (at, private) = (map_cached(&file, 3, true), map_cached(&file, 3, false));
        (0..3).for_each(|page| drop(get(at + page * PAGE, 1)));
        put(at + PAGE, b"dirty");
        put(private, b"own");
        assert_eq!(file.invalidate(0, 3), Err(exo_core::errno::Errno::EBUSY));
        assert_eq!((file.resident(), get(private, 3)), (1, b"own".to_vec()));
        assert_eq!(get(at + PAGE, 5), b"dirty");
        assert_eq!(get(at, 1), [0]);
        assert_eq!(file.store().reads.load(Ordering::SeqCst), 4);
        let kept = file.page(2, Wanted::Read).unwrap();
        assert!(file.invalidate(2, 3).is_err());
        drop(kept);
        assert_eq!(file.invalidate(2, 3), Ok(()));
    });
}

#[test]
fn reading_waits_too_and_ends_with_the_file() {
    machine(|| {
        let file = on_disk(&[7; PAGE + 2]);
        let mut out = vec![0; 5];
        assert_eq!((file.read(PAGE as u64 - 1, &mut out), out), (3, vec![7, 7, 7, 0, 0]));
    });
}

#[test]
fn only_what_is_there_is_in_core_and_comes_along() {
    machine(|| {
        let file = numbered(3);
        let at = map_cached(&file, 3, false);
        file.page(1, Wanted::Read).unwrap();
        let mut out = [9; 3];
        space().residency(at, &mut out).unwrap();
        assert_eq!(out, [0, 1, 0]);
        file.store().hold();
        let waits = start(space(), move || drop(get(at, 1)));
        let_others_run();
        space().residency(at, &mut out).unwrap();
        assert_eq!(out, [0, 1, 0], "a page that is being read is not there");
        file.store().release();
        waits.join();
        assert_eq!(space().resident_pages(), 2);
    });
}

/// An object that is not told of writes before them, and asks the processor.
struct Noted {
    frame: exo_hal::mm::frame::Frame,
    mappings: exo_mm::mappings::Mappings,
    marks: Mutex<Vec<(u64, bool, bool)>>,
}

impl VmObject for Noted {
    fn get_page(&self, _: u64, _: Wanted) -> exo_mm::object::GetPage {
        exo_mm::object::GetPage::Ready { frame: self.frame.clone(), writable: true }
    }
    fn resident_pages(&self, _: u64, _: &mut [Option<exo_hal::mm::frame::Frame>]) {}
    fn mappings(&self) -> &exo_mm::mappings::Mappings {
        &self.mappings
    }
    fn read(&self, _: u64, _: &mut [u8]) -> usize {
        0
    }
    fn wants_marks(&self) -> bool {
        true
    }
    fn note_marks(&self, index: u64, marks: exo_hal::mm::paging::Marks) {
        self.marks.lock().push((index, marks.accessed, marks.dirty));
    }
}

#[test]
fn what_the_processor_has_noted_is_told_when_it_is_unmapped() {
    machine(|| {
        let object = Arc::new(Noted {
            frame: exo_hal::mm::frame::Frame::allocate_zeroed().unwrap(),
            mappings: exo_mm::mappings::Mappings::new(),
            marks: Mutex::default(),
        });
        let backing = Backing::File { object: object.clone(), offset: PAGE as u64, shared: true, file: None };
        let at = space().map(Placement::Hint(0), 4 * PAGE, WRITE | Flags::SHARED, backing, false).unwrap();
        get(at, 1);
        put(at + PAGE, b"x");
        space().handle_fault(at + 2 * PAGE, true, false).unwrap();
        space().protect(at, 4 * PAGE, Flags::READ, false).unwrap();
        space().unmap(at, 2 * PAGE).unwrap();
        assert_eq!(*object.marks.lock(), [(1, true, false), (2, true, true)]);
        space().discard(at, at + 4 * PAGE).unwrap();
        assert_eq!(object.marks.lock()[2..], [(3, false, false)]);
        put_again(&object, at);
    });
}

/// Marks are taken once.
fn put_again(object: &Noted, at: usize) {
    space().protect(at + 2 * PAGE, PAGE, Flags::READ | Flags::WRITE, false).unwrap();
    put(at + 2 * PAGE, b"y");
    let take = || object.mappings.take_marks(3, &object.frame);
    let first = take();
    assert!(first.dirty && first.accessed && take() == Default::default());
    put(at + 2 * PAGE, b"z");
    assert!(object.mappings.write_protect(3, &object.frame).dirty);
    assert_eq!(space().handle_fault(at + 2 * PAGE, true, false), Ok(()));
}
