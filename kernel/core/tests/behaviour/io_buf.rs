// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory of reads and writes, whoever's it is and however it is cut up.

use exo_core::{
    errno::Errno,
    io_buf::{Frames, IoBuf, IoSource, Run},
    sched::spans,
    user::{self, IoVec},
};
use exo_hal::{
    PAGE_SIZE, USER_END,
    mm::{
        frame::{Frame, Pinned},
        user as fake,
    },
    time,
};

use crate::support::{MS, machine, task};

/// Where two pages are mapped, with none before and after.
const START: usize = 0x10_0000;
const END: usize = START + 2 * PAGE_SIZE;

fn with_two_pages(test: impl FnOnce() + Send + 'static) {
    machine(1, || {
        fake::map(START, 2);
        test();
    });
}

fn part(base: usize, length: usize) -> IoVec {
    IoVec { base, length }
}

fn fill(address: usize, bytes: &[u8]) {
    user::copy_out(address, bytes).unwrap();
}

fn get(address: usize, count: usize) -> Vec<u8> {
    let mut out = vec![0; count];
    user::copy_in(&mut out, address).unwrap();
    out
}

fn frames(count: usize) -> Vec<Frame> {
    (0..count).map(|_| Frame::allocate_zeroed().unwrap()).collect()
}

fn in_frames(frames: &[Frame], offset: usize, count: usize) -> Vec<u8> {
    let mut out = vec![0; count];
    IoSource::frames(Frames::Held(frames), offset, count).take_all(&mut out).unwrap();
    out
}

/// Takes all that is left, `step` bytes at a time.
fn take_by(mut from: IoSource<'_>, step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while !from.is_empty() {
        let mut bytes = vec![0; step];
        let before = from.left();
        let count = from.take(&mut bytes).unwrap();
        assert_eq!((count, from.left()), (step.min(before), before - count));
        out.extend(&bytes[..count]);
    }
    out
}

#[test]
fn bytes_go_through_all_parts_in_order() {
    with_two_pages(|| {
        let parts =
            [part(0, 0), part(START, 3), part(1, 0), part(END - 4, 4), part(START + 100, 5), part(0, 0)];
        for step in 1..14 {
            let mut to = IoBuf::vector(&parts);
            assert!(to.has_parts() && to.left() == 12);
            for bytes in b"hello, parts".chunks(step) {
                assert_eq!(to.put(bytes), Ok(bytes.len()));
            }
            assert_eq!((to.left(), to.put(b"more")), (0, Ok(0)));
            assert_eq!(
                (get(START, 4), get(END - 4, 4), get(START + 100, 6)),
                (b"hel\0".to_vec(), b"lo, ".to_vec(), b"parts\0".to_vec())
            );
            assert_eq!(take_by(IoSource::vector(&parts), step), b"hello, parts");
            fill(START, &[0; 2 * PAGE_SIZE]);
        }
    });
}

#[test]
fn one_part_is_no_vector_and_none_is_empty() {
    with_two_pages(|| {
        assert!(!IoBuf::user(START, 5).has_parts() && IoBuf::vector(&[]).is_empty());
        let parts = [part(START, 5)];
        let mut one = IoBuf::vector(&parts);
        assert!(matches!(one.run(), Run::Program { address: START, length: 5 }));
        assert!(!one.has_parts(), "once it has begun");
        assert_eq!((IoBuf::vector(&[]).put(b"x"), IoSource::vector(&[]).take(&mut [0])), (Ok(0), Ok(0)));
        assert_eq!(IoBuf::vector(&[]).run().length(), 0);
        let most = [part(0, usize::MAX), part(0, usize::MAX)];
        assert_eq!(IoBuf::vector(&most).left(), usize::MAX);
    });
}

#[test]
fn a_fault_counts_what_is_before_the_bad_page() {
    with_two_pages(|| {
        let bytes = [7; 3 * PAGE_SIZE];
        for (start, good) in [(START, 2 * PAGE_SIZE), (START + 100, 2 * PAGE_SIZE - 100), (END - 1, 1)] {
            let mut to = IoBuf::user(start, bytes.len());
            assert_eq!((to.put(&bytes), to.left()), (Ok(good), bytes.len() - good));
            assert_eq!((to.put(&bytes), to.left()), (Err(Errno::EFAULT), bytes.len() - good));
            let mut from = IoSource::user(start, bytes.len());
            assert_eq!(from.take(&mut [0; 3 * PAGE_SIZE]), Ok(good));
            assert_eq!(from.take(&mut [0]), Err(Errno::EFAULT));
        }
        assert_eq!(user::read::<u8>(END - 1), Ok(7));
        for bad in [END, START - 1, 0, USER_END, usize::MAX - 1] {
            assert_eq!(IoBuf::user(bad, 2).put(b"xx"), Err(Errno::EFAULT), "{bad:#x}");
            assert_eq!(IoSource::user(bad, 2).take(&mut [0; 2]), Err(Errno::EFAULT), "{bad:#x}");
            assert_eq!((IoBuf::user(bad, 0).put(b"xx"), IoBuf::user(bad, 9).put(b"")), (Ok(0), Ok(0)));
        }
    });
}

#[test]
fn a_fault_at_a_part_counts_the_parts_before() {
    with_two_pages(|| {
        fill(START, b"abc");
        let parts = [part(START, 3), part(END - 2, 4), part(START, 3)];
        let mut from = IoSource::vector(&parts);
        assert_eq!((from.take(&mut [0; 10]), from.left()), (Ok(5), 5));
        assert_eq!(from.take(&mut [0; 10]), Err(Errno::EFAULT));
        let parts = [part(START, 3), part(END, 1)];
        assert_eq!(IoBuf::vector(&parts).put(b"wxyz"), Ok(3));
        assert_eq!(get(START, 3), b"wxy");
    });
}

#[test]
fn all_or_nothing_stays_where_it_is() {
    with_two_pages(|| {
        fill(START, b"abcdef");
        let parts = [part(START, 3), part(END, 1)];
        let mut from = IoSource::vector(&parts);
        let mut out = [0; 4];
        assert_eq!((from.take_all(&mut out), from.left()), (Err(Errno::EFAULT), 4));
        assert_eq!((from.take_all(&mut out[..2]), from.take_value::<u8>()), (Ok(()), Ok(b'c')));
        assert_eq!((&out[..2], from.left()), (&b"ab"[..], 1));
        let mut to = IoBuf::vector(&parts);
        assert_eq!((to.put_value(&5u32), to.left()), (Err(Errno::EFAULT), 4));
        assert_eq!(to.put_all(b"12345"), Err(Errno::EFAULT), "more than there is room for");
        assert_eq!((to.put_all(b"xyz"), to.left(), get(START, 3)), (Ok(()), 1, b"xyz".to_vec()));
        let mut small = [0; 3];
        assert_eq!(IoBuf::kernel(&mut small).put_value(&5u32), Err(Errno::EFAULT));
        assert_eq!(IoSource::kernel(&small).take_value::<u32>(), Err(Errno::EFAULT));
        // A value over the edge of two parts.
        let halves = [part(START, 3), part(START + 8, 5)];
        IoBuf::vector(&halves).put_value(&0x0123_4567_89ab_cdef_u64).unwrap();
        assert_eq!(IoSource::vector(&halves).take_value(), Ok(0x0123_4567_89ab_cdef_u64));
    });
}

#[test]
fn the_kernels_memory_is_filled_and_emptied() {
    machine(1, || {
        let mut memory = [0xee; 10];
        let mut to = IoBuf::kernel(&mut memory);
        assert_eq!((to.put(b"abc"), to.zero(2), to.put(b"defghijk"), to.left()), (Ok(3), Ok(2), Ok(5), 0));
        assert!(matches!(to.run(), Run::Kernel { length: 0 }));
        assert_eq!(&memory, b"abc\0\0defgh");
        for step in 1..12 {
            assert_eq!(take_by(IoSource::kernel(&memory), step), memory);
        }
    });
}

#[test]
fn frames_are_one_memory_across_their_edges() {
    machine(1, || {
        let page = PAGE_SIZE;
        let frames = frames(3);
        let mut to = IoBuf::frames(Frames::Held(&frames), page - 2, 3 * page);
        assert_eq!(to.left(), 2 * page + 2, "as far as they go");
        assert_eq!((to.put(b"abcd"), to.put(&vec![b'x'; page]), to.left()), (Ok(4), Ok(page), page - 2));
        assert_eq!((to.zero(2), to.put(&vec![b'y'; page]), to.left()), (Ok(2), Ok(page - 4), 0));
        assert_eq!(in_frames(&frames, page - 3, 6), b"\0abcdx");
        assert_eq!(in_frames(&frames, 2 * page, 5), b"xx\0\0y");
        assert_eq!(in_frames(&frames, 3 * page - 1, 1), b"y");
        assert!(IoBuf::frames(Frames::Held(&frames), 3 * page, 1).is_empty());
        assert!(IoSource::frames(Frames::Held(&frames), usize::MAX, 1).is_empty());
        let pinned: Vec<_> = frames.iter().map(|frame| Pinned::new(frame.clone()).unwrap()).collect();
        IoBuf::frames(Frames::Pinned(&pinned), page, 1).put(b"!").unwrap();
        assert_eq!(take_by(IoSource::frames(Frames::Pinned(&pinned), page - 1, 3), 2), b"b!d");
    });
}

#[test]
fn frames_go_to_frames_and_programs() {
    with_two_pages(|| {
        let (one, two) = (frames(2), frames(2));
        let page = PAGE_SIZE;
        IoBuf::frames(Frames::Held(&one), page - 3, 6).put(b"abcdef").unwrap();
        // Into a frame, from the edge of two.
        let mut from = IoSource::frames(Frames::Held(&one), page - 3, 6);
        assert_eq!((from.take_to_frame(&two[0], 10, 4), from.take_to_frame(&two[1], 0, 9)), (Ok(4), Ok(2)));
        assert_eq!(
            (in_frames(&two, 9, 6), in_frames(&two, page, 3)),
            (b"\0abcd\0".to_vec(), b"ef\0".to_vec())
        );
        // Out of a frame, to the edge of two.
        let mut to = IoBuf::frames(Frames::Held(&one), page - 1, 9);
        assert_eq!(to.put_frame(&two[0], 10, 4), Ok(4));
        assert_eq!(in_frames(&one, page - 2, 6), b"babcd\0");
        // Within the same frame.
        let mut to = IoBuf::frames(Frames::Held(&two), 11, 9);
        assert_eq!((to.put_frame(&two[0], 10, 3), in_frames(&two, 9, 6)), (Ok(3), b"\0aabc\0".to_vec()));
        // To a program and from one, up to a bad page.
        assert_eq!(IoBuf::user(END - 2, 4).put_frame(&two[0], 10, 4), Ok(2));
        assert_eq!(IoBuf::user(END, 4).put_frame(&two[0], 10, 4), Err(Errno::EFAULT));
        assert_eq!(get(END - 2, 2), b"aa");
        fill(END - 2, b"zz");
        assert_eq!(IoSource::user(END - 2, 4).take_to_frame(&two[0], 0, 4), Ok(2));
        assert_eq!(in_frames(&two, 0, 3), b"zz\0");
        // To the kernel and from it.
        let mut memory = [0; 3];
        assert_eq!(IoBuf::kernel(&mut memory).put_frame(&two[0], 0, 9), Ok(3));
        assert_eq!(IoSource::kernel(b"kernel").take_to_frame(&two[1], page - 2, 2), Ok(2));
        assert_eq!((&memory, in_frames(&two, 2 * page - 2, 2)), (b"zz\0", b"ke".to_vec()));
    });
}

#[test]
fn pages_that_are_lent_read_as_zeros_where_they_have_no_frame() {
    machine(1, || {
        let page = PAGE_SIZE;
        let frame = Frame::allocate_zeroed().unwrap();
        frame.write(0, &[b'x'; PAGE_SIZE]);
        let lent = [None, Some(frame), None];
        let mut from = IoSource::frames(Frames::Lent(&lent), page - 2, page + 4);
        assert!(matches!(from.run(), Run::Kernel { length: 2 }), "no device can read it");
        let target = Frame::allocate_zeroed().unwrap();
        target.write(0, &[b'o'; 10]);
        assert_eq!(from.take_to_frame(&target, 0, 3), Ok(3));
        let mut out = [0; 4];
        target.read(0, &mut out);
        assert_eq!(&out, b"\0\0xo");
        assert!(
            matches!(from.run(), Run::Frames { length, offset, .. } if (length, offset) == (page - 1, page + 1))
        );
        assert!(
            matches!(from.run().from(5), Run::Frames { length, offset, .. } if (length, offset) == (page - 6, page + 6))
        );
        from.skip(page - 2);
        let mut out = [9; 5];
        assert_eq!((from.take(&mut out), &out), (Ok(3), b"x\0\0\x09\x09"));
        assert!(IoBuf::frames(Frames::Lent(&lent), 0, 9).is_empty(), "nobody writes to them");
    });
}

#[test]
fn zeros_go_as_far_as_memory_does() {
    machine(1, || {
        fake::map(START, 9);
        let length = 9 * PAGE_SIZE;
        fill(START, &vec![1; length]);
        assert_eq!(IoBuf::user(START, length).zero(length), Ok(length));
        assert_eq!(get(START, length), vec![0; length]);
        fake::unmap(START + 5 * PAGE_SIZE, 1);
        assert_eq!(IoBuf::user(START + 1, length).zero(length), Ok(5 * PAGE_SIZE - 1));
        assert_eq!(IoBuf::user(START + 5 * PAGE_SIZE, length).zero(1), Err(Errno::EFAULT));
        assert_eq!(IoBuf::user(0, 0).zero(9), Ok(0));
    });
}

#[test]
fn a_killed_task_stops_writing_zeros() {
    machine(1, || {
        fake::map(START, 16);
        let killed = task("killed").start(|| {
            spans::window();
            time::advance(MS);
            assert_eq!(IoBuf::user(START, 16 * PAGE_SIZE).zero(usize::MAX), Ok(4 * PAGE_SIZE));
        });
        killed.kill();
        killed.join();
    });
}

#[test]
fn a_part_of_it_is_used_alone() {
    with_two_pages(|| {
        let mut to = IoBuf::user(START, 10);
        assert_eq!(to.within(3, |to| (to.left(), to.put(b"abcdef"))), (3, Ok(3)));
        assert_eq!(to.within(100, |to| to.left()), 7);
        to.skip(2);
        to.truncate(4);
        to.truncate(100);
        assert_eq!((to.left(), to.put(b"ghijkl"), to.left()), (4, Ok(4), 0));
        assert_eq!(get(START, 10), b"abc\0\0ghij\0");
        let mut from = IoSource::user(START, 5);
        assert_eq!((from.skip_all(), from.left(), from.skip_all()), (5, 0, 0));
    });
}

#[test]
fn what_was_moved_counts_before_an_error() {
    machine(1, || {
        let mut memory = [0; 10];
        let mut to = IoBuf::kernel(&mut memory);
        assert_eq!(to.count(|_| Err(Errno::EIO)), Err(Errno::EIO));
        assert_eq!(to.count(|_| Ok(())), Ok(0));
        let two = |to: &mut IoBuf<'_>| to.put(b"xy").and(Err(Errno::EIO));
        assert_eq!((to.count(two), to.count(|to| to.put_all(b"abc")), to.left()), (Ok(2), Ok(3), 5));
    });
}

#[test]
fn parts_are_taken_one_by_one_until_one_is_short() {
    with_two_pages(|| {
        let parts = [part(0, 0), part(START, 2), part(START + 8, 3), part(END, 0), part(START + 16, 4)];
        let lengths = |last: usize| {
            let (mut seen, mut calls) = (Vec::new(), 0);
            let done = IoBuf::vector(&parts).each_part(|part| {
                seen.push(part.left());
                calls += 1;
                let length = if calls == last { 1 } else { part.left() };
                part.zero(length)
            });
            (done, seen)
        };
        assert_eq!(lengths(9), (Ok(9), vec![2, 3, 4]));
        assert_eq!(lengths(2), (Ok(3), vec![2, 3]));
        let bad = [part(START, 2), part(END, 1)];
        assert_eq!(IoBuf::vector(&bad).each_part(|part| part.put(b"xx")), Ok(2));
        assert_eq!(IoBuf::vector(&bad[1..]).each_part(|part| part.put(b"xx")), Err(Errno::EFAULT));
        assert_eq!(IoBuf::vector(&[]).each_part(|_| unreachable!()), Ok(0));
        assert_eq!(
            IoSource::kernel(b"abc").each_part(|all| Ok(all.skip_all())),
            Ok(3),
            "all else is one part"
        );
    });
}
