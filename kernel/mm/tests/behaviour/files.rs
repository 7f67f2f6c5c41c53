// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of files, mapped or not.

use std::sync::Arc;

use exo_core::{
    errno::Errno,
    io_buf::{IoBuf, IoSource},
    thread::running,
    thread::work,
    user::IoVec,
};
use exo_hal::mm::frame::{self, Frame};
use exo_mm::{MAX_SIZE, Pages, Quota, Sharing, VmObject, dead_pages};
use linux_raw_sys::general::{F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE};

use crate::support::{PAGE, anonymous, file, get, kill_self, machine, put};

fn write(pages: &Pages, offset: u64, bytes: &[u8]) -> Result<(u64, usize), Errno> {
    pages.write(Some(offset), &mut IoSource::kernel(bytes), |_| Ok(bytes.len()))
}

fn append(pages: &Pages, bytes: &[u8]) -> Result<(u64, usize), Errno> {
    pages.write(None, &mut IoSource::kernel(bytes), |_| Ok(bytes.len()))
}

fn read(pages: &Pages, offset: u64, count: usize) -> Vec<u8> {
    let mut out = vec![0xee; count];
    let done = pages.read(offset, &mut IoBuf::kernel(&mut out)).unwrap();
    out.truncate(done);
    out
}

fn part(base: usize, length: usize) -> IoVec {
    IoVec { base, length }
}

#[test]
fn what_is_written_is_read_across_pages() {
    machine(|| {
        let pages = Pages::new(0);
        assert_eq!(write(&pages, PAGE as u64 - 3, b"across"), Ok((PAGE as u64 - 3, 6)));
        assert_eq!(pages.size(), PAGE as u64 + 3);
        assert_eq!(read(&pages, PAGE as u64 - 4, 100), b"\0across");
        assert_eq!(read(&pages, PAGE as u64 + 3, 1), b"");
        assert_eq!(read(&pages, u64::MAX, 1), b"");
        assert_eq!(pages.resident(), 2);
    });
}

#[test]
fn a_file_is_made_of_bytes() {
    machine(|| {
        let content: Vec<u8> = (0..3 * PAGE + 5).map(|at| (at % 251) as u8).collect();
        let pages = Pages::from_bytes(&content).unwrap();
        assert_eq!(read(&pages, 0, 5 * PAGE), content);
        pages.truncate(4 * PAGE as u64).unwrap();
        assert_eq!(read(&pages, 3 * PAGE as u64 + 5, PAGE), vec![0; PAGE - 5], "zeros behind the old end");
    });
}

#[test]
fn what_is_appended_goes_to_the_end() {
    machine(|| {
        let pages = Pages::new(0);
        assert_eq!(append(&pages, b"one"), Ok((0, 3)));
        assert_eq!(append(&pages, b"two"), Ok((3, 3)));
        assert_eq!(read(&pages, 0, 10), b"onetwo");
    });
}

#[test]
fn a_write_is_cut_to_what_may_be_written() {
    machine(|| {
        let pages = Pages::new(0);
        assert_eq!(
            pages.write(Some(2), &mut IoSource::kernel(b"abcdef"), |at| Ok(6 - at as usize)),
            Ok((2, 4))
        );
        assert_eq!(
            pages.write(Some(2), &mut IoSource::kernel(b"x"), |_| Err(Errno::EFBIG)),
            Err(Errno::EFBIG)
        );
        assert_eq!(read(&pages, 0, 10), b"\0\0abcd");
        assert_eq!(write(&pages, 100, b""), Ok((100, 0)));
        assert_eq!(pages.size(), 6, "writing nothing extends nothing");
    });
}

#[test]
fn a_file_ends_at_the_largest_size() {
    machine(|| {
        let pages = Pages::new(0);
        assert_eq!(write(&pages, MAX_SIZE - 2, b"abc"), Ok((MAX_SIZE - 2, 2)));
        assert_eq!(write(&pages, MAX_SIZE, b"a"), Err(Errno::EFBIG));
        assert_eq!(pages.truncate(MAX_SIZE + 1), Err(Errno::EFBIG));
        assert_eq!(pages.size(), MAX_SIZE);
    });
}

#[test]
fn a_hole_reads_as_zeros_and_takes_no_memory() {
    machine(|| {
        let pages = Pages::new(0);
        write(&pages, 1000 * PAGE as u64, b"far").unwrap();
        assert_eq!((read(&pages, 500 * PAGE as u64, 4), pages.resident()), (vec![0; 4], 1));
        assert!(pages.existing(500).is_none() && pages.existing(1000).is_some());
    });
}

#[test]
fn data_and_holes_are_found() {
    machine(|| {
        let page = |page: u64| page * PAGE as u64;
        let pages = Pages::new(0);
        for at in [0, 1, 2, 127, 128, 129, 400] {
            write(&pages, page(at), b"x").unwrap();
        }
        pages.truncate(page(500) + 7).unwrap();
        assert_eq!(pages.next_data(5), Some(5));
        assert_eq!(pages.next_data(page(3)), Some(page(127)));
        assert_eq!(pages.next_data(page(130)), Some(page(400)));
        assert_eq!(pages.next_data(page(401)), None);
        assert_eq!(pages.next_data(page(501)), None);
        assert_eq!(pages.next_hole(0), Some(page(3)));
        assert_eq!(pages.next_hole(page(50) + 3), Some(page(50) + 3));
        assert_eq!(pages.next_hole(page(127)), Some(page(130)));
        assert_eq!(pages.next_hole(page(400)), Some(page(401)));
        assert_eq!(pages.next_hole(page(500) + 7), None);
        // The end is a hole.
        pages.truncate(page(400) + 1).unwrap();
        assert_eq!(pages.next_hole(page(400)), Some(page(400) + 1));
        assert_eq!(pages.next_data(page(400)), Some(page(400)));
    });
}

#[test]
fn what_was_cut_off_comes_back_as_zeros() {
    machine(|| {
        let pages = file(&[7; 3 * PAGE]);
        pages.truncate(PAGE as u64 + 10).unwrap();
        assert_eq!(pages.resident(), 2);
        pages.truncate(3 * PAGE as u64).unwrap();
        assert_eq!(read(&pages, PAGE as u64, 11), [&[7; 10][..], &[0]].concat());
        assert_eq!(read(&pages, PAGE as u64 + 10, 2 * PAGE), vec![0; 2 * PAGE - 10]);
        pages.truncate(0).unwrap();
        assert_eq!((pages.resident(), pages.size()), (0, 0));
    });
}

#[test]
fn a_hole_may_be_punched_anywhere() {
    machine(|| {
        let page = PAGE as u64;
        let pages = file(&[7; 5 * PAGE]);
        pages.punch_hole(10, 20).unwrap();
        pages.punch_hole(page + 5, 3 * page + 5).unwrap();
        pages.punch_hole(4 * page, 4 * page).unwrap();
        let content = read(&pages, 0, 5 * PAGE);
        let is_hole = |at: &usize| (10..20).contains(at) || (PAGE + 5..3 * PAGE + 5).contains(at);
        let expected: Vec<u8> = (0..5 * PAGE).map(|at| if is_hole(&at) { 0 } else { 7 }).collect();
        assert_eq!((content == expected, pages.size()), (true, 5 * page));
        assert_eq!(pages.resident(), 4, "one page is in the hole as a whole");
        pages.punch_hole(0, u64::MAX / 2).unwrap();
        assert_eq!((pages.resident(), pages.size()), (0, 5 * page));
    });
}

#[test]
fn memory_is_given_in_advance() {
    machine(|| {
        let page = PAGE as u64;
        let pages = file(b"content");
        pages.allocate(3, 2 * page + 1, true).unwrap();
        assert_eq!((pages.resident(), pages.size()), (3, 7));
        pages.allocate(page, 2 * page + 1, false).unwrap();
        assert_eq!((pages.resident(), pages.size()), (3, 2 * page + 1));
        assert_eq!(read(&pages, 0, 8), b"content\0");
    });
}

#[test]
fn memory_in_advance_is_all_or_nothing() {
    machine(|| {
        let page = PAGE as u64;
        let pages = file(b"content");
        frame::set_free(5);
        assert_eq!(pages.allocate(0, 10 * page, false), Err(Errno::ENOSPC));
        assert_eq!((pages.resident(), pages.size(), frame::free_for_programs()), (1, 7, 5));
        assert_eq!(pages.allocate(0, 1 << 60, false), Err(Errno::ENOSPC), "more than the machine has");
        frame::set_free(1 << 20);
        kill_self();
        assert_eq!(pages.allocate(page, 10 * page, false), Err(Errno::EINTR));
        assert_eq!((pages.resident(), pages.size()), (1, 7));
    });
}

#[test]
fn a_quota_limits_the_pages_of_several_files() {
    machine(|| {
        let quota = Arc::new(Quota::default());
        quota.set_limit(3).unwrap();
        let (one, two) = (Pages::charged_to(quota.clone()), Pages::charged_to(quota.clone()));
        write(&one, 0, &[1; 2 * PAGE]).unwrap();
        assert_eq!(write(&two, 0, &[2; 2 * PAGE]), Ok((0, PAGE)), "as much as there is room for");
        assert_eq!(write(&two, PAGE as u64, b"x"), Err(Errno::ENOSPC));
        assert_eq!(two.allocate(0, 4 * PAGE as u64, false), Err(Errno::ENOSPC));
        assert_eq!((quota.used(), quota.limit()), (3, 3));
        assert_eq!(quota.set_limit(2), Err(Errno::EINVAL));
        one.truncate(1).unwrap();
        assert_eq!(quota.used(), 2);
        drop(one);
        assert_eq!(quota.used(), 1);
        quota.set_limit(0).unwrap();
        write(&two, PAGE as u64, &[2; 9 * PAGE]).unwrap();
        assert!(!quota.charge_pages(usize::MAX));
        quota.uncharge(10);
        assert_eq!(quota.used(), 0);
        quota.charge_pages(10);
    });
}

#[test]
fn files_have_half_of_the_memory_and_leave_an_eighth() {
    machine(|| {
        frame::set_total(80);
        let pages = Pages::charged_to(Arc::default());
        assert_eq!(write(&pages, 0, &[1; 60 * PAGE]), Ok((0, 40 * PAGE)));
        pages.truncate(0).unwrap();
        frame::set_free(15);
        assert_eq!(write(&pages, 0, &[1; 60 * PAGE]), Ok((0, 6 * PAGE)));
        assert_eq!(write(&pages, 6 * PAGE as u64, b"x"), Err(Errno::ENOSPC));
    });
}

#[test]
fn a_program_reads_and_writes_a_file() {
    machine(|| {
        let at = anonymous(4);
        put(at, b"hello, files");
        let pages = Pages::new(0);
        let parts = [part(at, 5), part(0, 0), part(at + 5, 7)];
        assert_eq!(
            pages.write(Some(PAGE as u64 - 4), &mut IoSource::vector(&parts), |_| Ok(12)),
            Ok((PAGE as u64 - 4, 12))
        );
        assert_eq!(pages.read(PAGE as u64 - 5, &mut IoBuf::user(at + 2 * PAGE - 3, 100)), Ok(13));
        assert_eq!(get(at + 2 * PAGE - 3, 13), b"\0hello, files");
        pages.truncate(100 * PAGE as u64).unwrap();
        put(at, &[1; PAGE]);
        assert_eq!(pages.read(50 * PAGE as u64, &mut IoBuf::user(at, PAGE)), Ok(PAGE));
        assert_eq!(get(at, PAGE), [0; PAGE], "a hole is zeros");
    });
}

#[test]
fn a_bad_address_ends_a_read_or_write_with_what_was_done() {
    machine(|| {
        let at = anonymous(1);
        put(at, &[b'x'; PAGE]);
        let bad = at + PAGE;
        let pages = Pages::new(0);
        let write =
            |parts: &[IoVec], count| pages.write(Some(0), &mut IoSource::vector(parts), |_| Ok(count));
        assert_eq!(write(&[part(bad, 4)], 4), Err(Errno::EFAULT));
        assert_eq!(pages.size(), 0);
        assert_eq!(write(&[part(at, 3), part(bad, 4)], 7), Ok((0, 3)));
        assert_eq!(read(&pages, 0, 9), b"xxx");
        let long = file(&[b'y'; 3 * PAGE]);
        assert_eq!(long.read(0, &mut IoBuf::user(bad, 5)), Err(Errno::EFAULT));
        assert_eq!(long.read(0, &mut IoBuf::user(at, 2 * PAGE)), Ok(PAGE));
        assert_eq!(get(at, PAGE), [b'y'; PAGE]);
    });
}

#[test]
fn a_task_that_is_killed_stops_between_two_pages() {
    machine(|| {
        let pages = file(&[7; 3 * PAGE]);
        kill_self();
        assert_eq!(read(&pages, 0, 3 * PAGE).len(), PAGE);
        kill_self();
        assert_eq!(write(&pages, 0, &[8; 3 * PAGE]), Ok((0, PAGE)));
    });
}

#[test]
fn the_kernels_frames_become_pages_and_keep_what_they_need() {
    machine(|| {
        let frames = (0..2).map(|_| Frame::allocate_zeroed().unwrap()).collect::<Vec<_>>();
        frames[1].write(0, b"second");
        let needed = Arc::new(());
        let pages = Pages::of_frames(frames, Sharing::ReadOnly, needed.clone());
        assert_eq!((pages.size(), pages.resident()), (2 * PAGE as u64, 2));
        assert_eq!((pages.sharing(), Pages::new(0).sharing()), (Sharing::ReadOnly, Sharing::Free));
        assert_eq!(read(&pages, PAGE as u64, 6), b"second");
        assert_eq!(Arc::strong_count(&needed), 2);
        drop(pages);
        assert_eq!(Arc::strong_count(&needed), 1);
    });
}

#[test]
fn seals_have_to_be_allowed() {
    machine(|| {
        let pages = Pages::new(10);
        assert_eq!(pages.seals.bits(), F_SEAL_SEAL);
        assert_eq!(pages.seal(F_SEAL_GROW, || false), Err(Errno::EPERM));
        pages.seals.allow();
        assert_eq!(pages.seals.bits(), 0);
        pages.seal(F_SEAL_GROW, || false).unwrap();
        assert_eq!(pages.truncate(11), Err(Errno::EPERM));
        assert_eq!(write(&pages, 9, b"ab"), Err(Errno::EPERM));
        assert_eq!(pages.allocate(0, 11, false), Err(Errno::EPERM));
        assert_eq!((write(&pages, 9, b"a"), pages.truncate(5)), (Ok((9, 1)), Ok(())));
        pages.seal(F_SEAL_SHRINK | F_SEAL_SEAL, || false).unwrap();
        assert_eq!(pages.truncate(4), Err(Errno::EPERM));
        assert_eq!(pages.seal(F_SEAL_WRITE, || false), Err(Errno::EPERM), "the seal of seals");
    });
}

#[test]
fn a_file_is_not_sealed_against_writing_while_it_is_written() {
    machine(|| {
        let pages = file(b"content");
        pages.seals.allow();
        assert_eq!(pages.seal(F_SEAL_WRITE | F_SEAL_GROW, || true), Err(Errno::EBUSY));
        assert_eq!(pages.seals.bits(), 0);
        let pinned = frame::Pinned::new(pages.frame(0).unwrap()).unwrap();
        assert_eq!(pages.seal(F_SEAL_WRITE, || false), Err(Errno::EBUSY));
        drop(pinned);
        pages.seal(F_SEAL_WRITE, || false).unwrap();
        assert_eq!(write(&pages, 0, b"x"), Err(Errno::EPERM));
        assert_eq!(pages.punch_hole(0, 1), Err(Errno::EPERM));
        assert_eq!(write(&pages, 0, b""), Ok((0, 0)));
        // It is sealed already, so nobody is asked.
        pages.seal(F_SEAL_WRITE, || true).unwrap();
    });
}

#[test]
fn a_seal_against_later_writing_holds_for_calls_at_once() {
    machine(|| {
        let pages = file(b"content");
        pages.seals.allow();
        pages.seal(F_SEAL_FUTURE_WRITE, || true).unwrap();
        assert!(pages.seals.forbid_writing());
        assert_eq!(write(&pages, 0, b"x"), Err(Errno::EPERM));
    });
}

#[test]
fn many_pages_are_given_back_on_the_way_to_the_program() {
    machine(|| {
        let before = frame::in_use();
        let pages = Pages::new(0);
        write(&pages, 0, &vec![1; 300 * PAGE]).unwrap();
        drop(pages);
        assert_eq!(frame::in_use(), before + 300);
        assert_ne!(running().work.load(std::sync::atomic::Ordering::Relaxed) & work::DEAD_PAGES, 0);
        dead_pages::give_back();
        assert_eq!(frame::in_use(), before);
        assert_eq!(running().work.load(std::sync::atomic::Ordering::Relaxed), 0);
        let few = file(&[1; PAGE]);
        drop(few);
        assert_eq!(frame::in_use(), before);
    });
}

#[test]
fn seals_are_bits() {
    let pages = Pages::new(0);
    pages.seals.allow();
    pages.seals.add(F_SEAL_GROW | F_SEAL_SHRINK);
    pages.seals.take_back(F_SEAL_GROW);
    assert_eq!(pages.seals.bits(), F_SEAL_SHRINK);
    assert_eq!(pages.seals.check_size(1, 2), Ok(()));
    assert_eq!(pages.seals.check_size(2, 1), Err(Errno::EPERM));
}
