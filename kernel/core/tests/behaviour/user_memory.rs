// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values in a program's memory, up to where that ends.

use exo_core::{
    errno::Errno,
    fallible,
    thread::running,
    user::{self, IoVec, MAX_IO, PATH_MAX, TimeSpec, TimeVal},
};
use exo_hal::{
    PAGE_SIZE, USER_END,
    mm::{frame, user as fake},
};

use crate::support::machine;

/// Where two pages are mapped, with none before and after.
const START: usize = 0x10_0000;
const END: usize = START + 2 * PAGE_SIZE;

/// Runs `test` in a task that has these two pages.
fn with_two_pages(test: impl FnOnce() + Send + 'static) {
    machine(1, || {
        fake::map(START, 2);
        test();
    });
}

#[test]
fn a_value_is_read_as_it_was_written_also_across_pages() {
    with_two_pages(|| {
        for at in [START, START + PAGE_SIZE - 3, END - 8] {
            user::write(at, &0x0123_4567_89ab_cdef_u64).unwrap();
            assert_eq!(user::read::<u64>(at), Ok(0x0123_4567_89ab_cdef));
        }
    });
}

#[test]
fn a_value_that_is_partly_bad_gives_efault() {
    with_two_pages(|| {
        let bad =
            [0, 1, START - 1, START - 7, END - 7, END, USER_END - 7, USER_END, usize::MAX - 6, usize::MAX];
        for at in bad {
            assert_eq!(user::read::<u64>(at), Err(Errno::EFAULT), "{at:#x}");
            assert_eq!(user::write(at, &1u64), Err(Errno::EFAULT), "{at:#x}");
        }
        assert_eq!(user::write_optional(1, &1u64), Err(Errno::EFAULT));
        assert_eq!(user::write_optional(0, &1u64), Ok(()), "there is no address");
    });
}

#[test]
fn words_that_threads_share_are_aligned() {
    with_two_pages(|| {
        user::write(START, &5u32).unwrap();
        assert_eq!(user::compare_exchange_u32(START, 4, 9), Ok(5));
        assert_eq!(user::load_u32(START), Ok(5));
        assert_eq!(user::compare_exchange_u32(START, 5, 9), Ok(5));
        assert_eq!(user::load_u32(START), Ok(9));
        assert!(user::load_u32(START + 2).is_err() && user::load_u32(END).is_err());
        assert!(user::compare_exchange_u32(START + 1, 0, 0).is_err());
    });
}

/// Puts `text` and a zero byte so that they end at `end`; where the text begins.
fn string_before(end: usize, text: &[u8]) -> usize {
    let start = end - text.len() - 1;
    user::copy_out(start, text).unwrap();
    user::write(end - 1, &0u8).unwrap();
    start
}

#[test]
fn a_string_may_end_where_memory_does() {
    with_two_pages(|| {
        let long = [b'x'; 5000];
        for text in [b"".as_slice(), b"a", b"some text", &long[..64], &long[..63], &long[..4095]] {
            let at = string_before(END, text);
            assert_eq!(user::read_string(at, 8000, Errno::E2BIG).as_deref(), Ok(text));
        }
    });
}

#[test]
fn a_string_that_runs_into_bad_memory_gives_efault() {
    with_two_pages(|| {
        user::copy_out(END - 100, &[b'x'; 100]).unwrap();
        assert_eq!(user::read_string(END - 100, 8000, Errno::E2BIG), Err(Errno::EFAULT));
        assert_eq!(user::read_string(END, 8000, Errno::E2BIG), Err(Errno::EFAULT));
        assert_eq!(user::read_string(usize::MAX, 8000, Errno::E2BIG), Err(Errno::EFAULT));
    });
}

#[test]
fn a_string_is_too_long_when_it_has_no_end_within_the_limit() {
    with_two_pages(|| {
        user::copy_out(END - 100, &[b'x'; 100]).unwrap();
        assert_eq!(user::read_string(END - 100, 100, Errno::E2BIG), Err(Errno::E2BIG), "nor is more read");
        user::write(END - 1, &0u8).unwrap();
        assert_eq!(user::read_string(END - 100, 100, Errno::E2BIG).map(|text| text.len()), Ok(99));
        assert_eq!(user::read_string(END - 100, 99, Errno::E2BIG), Err(Errno::E2BIG));
        assert_eq!(user::read_string(END - 100, 50, Errno::E2BIG), Err(Errno::E2BIG));
    });
}

#[test]
fn a_path_has_4095_bytes_at_most() {
    with_two_pages(|| {
        let at = string_before(END, &[b'x'; PATH_MAX - 1]);
        assert_eq!(user::read_path(at).map(|path| path.len()), Ok(PATH_MAX - 1));
        let at = string_before(END, &[b'x'; PATH_MAX]);
        assert_eq!(user::read_path(at), Err(Errno::ENAMETOOLONG));
    });
}

#[test]
fn a_string_that_there_is_no_memory_for_gives_enomem() {
    with_two_pages(|| {
        let at = string_before(END, &[b'x'; 200]);
        for nth in 1..=2 {
            fallible::fail_nth(&running(), nth);
            assert_eq!(user::read_path(at), Err(Errno::ENOMEM));
        }
        assert_eq!(user::read_path(at).map(|path| path.len()), Ok(200));
    });
}

/// Writes a vector of `(base, length)` that ends at `end`; its address.
fn vector_before(end: usize, parts: &[(usize, usize)]) -> usize {
    let start = end - 16 * parts.len();
    for (at, &(base, length)) in (start..).step_by(16).zip(parts) {
        user::write(at, &IoVec { base, length }).unwrap();
    }
    start
}

#[test]
fn a_vector_may_end_where_memory_does() {
    with_two_pages(|| {
        let at = vector_before(END, &[(1, 2), (3, 4), (5, 0)]);
        let read = user::read_vector(at, 3).unwrap();
        let parts: Vec<_> = read.iter().map(|part| (part.base, part.length)).collect();
        assert_eq!(parts, [(1, 2), (3, 4), (5, 0)]);
        assert_eq!(user::read_vector(at, 4).err(), Some(Errno::EFAULT));
        assert_eq!(user::read_vector(0, 0).map(|read| read.len()), Ok(0));
    });
}

#[test]
fn a_vector_has_1024_elements_at_most() {
    machine(1, || {
        fake::map(START, 5);
        assert_eq!(user::read_vector(START, 1024).map(|read| read.len()), Ok(1024));
        assert_eq!(user::read_vector(START, 1025).err(), Some(Errno::EINVAL));
        assert_eq!(user::read_vector(0, usize::MAX).err(), Some(Errno::EINVAL));
        frame::set_free(0);
        assert_eq!(user::read_vector(START, 1024).err(), Some(Errno::ENOMEM));
    });
}

#[test]
fn the_sizes_of_a_vector_are_cut_to_what_one_call_moves() {
    with_two_pages(|| {
        let at = vector_before(END, &[(0, MAX_IO - 10), (0, 100), (0, 5)]);
        let lengths: Vec<_> = user::read_vector(at, 3).unwrap().iter().map(|part| part.length).collect();
        assert_eq!(lengths, [MAX_IO - 10, 10, 0]);
        let at = vector_before(END, &[(0, isize::MAX as usize)]);
        assert_eq!(user::read_vector(at, 1).unwrap()[0].length, MAX_IO);
        let at = vector_before(END, &[(0, MAX_IO), (0, isize::MAX as usize + 1)]);
        assert_eq!(user::read_vector(at, 2).err(), Some(Errno::EINVAL));
    });
}

#[test]
fn times_are_converted_and_what_is_none_is_refused() {
    let spec = |seconds, nanoseconds| TimeSpec { seconds, nanoseconds }.to_ns();
    assert_eq!(spec(3, 7), Ok(3_000_000_007));
    assert_eq!(spec(0, 999_999_999), Ok(999_999_999));
    let val = |seconds, microseconds| TimeVal { seconds, microseconds }.to_ns();
    assert_eq!(val(3, 7), Ok(3_000_007_000));
    assert_eq!(val(0, 999_999), Ok(999_999_000));
    for (seconds, part) in [(-1, 0), (0, -1), (i64::MIN, 0), (0, i64::MIN), (0, i64::MAX), (0, 1_000_000_000)]
    {
        assert_eq!(spec(seconds, part), Err(Errno::EINVAL));
        assert_eq!(val(seconds, part), Err(Errno::EINVAL));
    }
    assert_eq!(val(0, 1_000_000), Err(Errno::EINVAL));
}

#[test]
fn a_time_that_is_too_long_is_the_longest() {
    let longest = i64::try_from(u64::MAX / 1_000_000_000).unwrap();
    let spec = |seconds, nanoseconds| TimeSpec { seconds, nanoseconds }.to_ns();
    assert_eq!(spec(longest, 709_551_615), Ok(u64::MAX));
    assert_eq!(spec(longest, 709_551_614), Ok(u64::MAX - 1));
    assert_eq!(spec(longest, 709_551_616), Ok(u64::MAX));
    assert_eq!(spec(i64::MAX, 999_999_999), Ok(u64::MAX));
    assert_eq!(TimeVal { seconds: i64::MAX, microseconds: 5 }.to_ns(), Ok(u64::MAX));
    assert_eq!(TimeSpec::from_ns(u64::MAX), TimeSpec { seconds: longest, nanoseconds: 709_551_615 });
    let val = TimeVal::from_ns(u64::MAX);
    assert_eq!((val.seconds, val.microseconds), (longest, 709_551));
}
