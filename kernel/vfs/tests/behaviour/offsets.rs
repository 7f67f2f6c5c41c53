// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where reads and writes take place.

use exo_core::{
    errno::Errno,
    io_buf::{IoBuf, IoSource},
    limits::index,
    user::IoVec,
};
use exo_hal::PAGE_SIZE;
use exo_vfs::{OpenFile, io::Call, size_limit};
use linux_raw_sys::general as abi;

use crate::support::{
    MEMORY, MEMORY_SIZE, content, create, fill, kill_self, machine, make_directory, memory, open, read,
    set_limit, start, take_signals, write,
};

/// Beyond the program's memory.
const BAD: usize = MEMORY + MEMORY_SIZE;

fn part(base: usize, length: usize) -> IoVec {
    IoVec { base, length }
}

#[test]
fn each_open_file_has_its_own_offset() {
    machine(|| {
        let (one, two) = (create("/f"), open("/f", abi::O_RDWR));
        write(&one, b"hello").unwrap();
        assert_eq!((one.position(), two.position()), (5, 0));
        assert_eq!(read(&two, 3).unwrap(), b"hel");
        assert_eq!(read(&two, 9).unwrap(), b"lo");
        assert_eq!(read(&two, 9).unwrap(), b"");
        write(&two, b"!").unwrap();
        assert_eq!(content("/f"), b"hello!");
        two.set_position(1);
        assert_eq!(read(&two, 2).unwrap(), b"el");
    });
}

#[test]
fn what_is_appended_goes_to_the_end_wherever_that_is() {
    machine(|| {
        let (one, two) = (create("/f"), open("/f", abi::O_WRONLY | abi::O_APPEND));
        write(&one, b"one").unwrap();
        write(&two, b"two").unwrap();
        assert_eq!((content("/f"), two.position()), (b"onetwo".to_vec(), 6));
        // As on Linux, also when a place is named.
        fill(b"end");
        assert_eq!(two.write_at(0, &mut IoSource::user(MEMORY, 3)), Ok(3));
        assert_eq!(content("/f"), b"onetwoend");
        assert_eq!(two.position(), 6, "the offset stays then");
        assert_eq!(
            two.write_as(Call { append: false, ..two.call(Some(0)) }, &mut IoSource::user(MEMORY, 3)),
            Ok(3)
        );
        assert_eq!(content("/f"), b"endtwoend");
    });
}

#[test]
fn reads_and_writes_at_a_place_leave_the_offset() {
    machine(|| {
        let file = create("/f");
        fill(b"abc");
        assert_eq!(file.write_at(2, &mut IoSource::user(MEMORY, 3)), Ok(3));
        assert_eq!(file.read_at(1, &mut IoBuf::user(MEMORY, 10)), Ok(4));
        assert_eq!((memory(4), file.position()), (b"\0abc".to_vec(), 0));
        assert_eq!(file.read_at(u64::MAX, &mut IoBuf::user(MEMORY, 1)), Err(Errno::EINVAL));
        assert_eq!(file.write_at(i64::MAX as u64, &mut IoSource::user(MEMORY, 1)), Err(Errno::EINVAL));
    });
}

#[test]
fn the_offset_is_moved_from_the_start_the_offset_and_the_end() {
    machine(|| {
        let file = create("/f");
        write(&file, b"0123456789").unwrap();
        assert_eq!(file.seek(3, abi::SEEK_SET), Ok(3));
        assert_eq!(file.seek(2, abi::SEEK_CUR), Ok(5));
        assert_eq!(file.seek(-1, abi::SEEK_END), Ok(9));
        assert_eq!(file.seek(100, abi::SEEK_END), Ok(110));
        assert_eq!(read(&file, 1).unwrap(), b"");
        assert_eq!(file.seek(-1, abi::SEEK_SET), Err(Errno::EINVAL));
        assert_eq!(file.seek(i64::MAX, abi::SEEK_CUR), Err(Errno::EINVAL));
        assert_eq!(file.seek(0, 99), Err(Errno::EINVAL));
        assert_eq!(file.position(), 110, "what fails moves nothing");
    });
}

#[test]
fn data_and_holes_are_sought() {
    machine(|| {
        let file = create("/f");
        fill(b"x");
        let page = PAGE_SIZE as i64;
        file.write_at(3 * page as u64, &mut IoSource::user(MEMORY, 1)).unwrap();
        assert_eq!(file.seek(0, abi::SEEK_DATA), Ok(3 * page as usize));
        assert_eq!(file.seek(0, abi::SEEK_HOLE), Ok(0));
        assert_eq!(file.seek(3 * page, abi::SEEK_HOLE), Ok(3 * page as usize + 1));
        assert_eq!(file.seek(3 * page + 1, abi::SEEK_DATA), Err(Errno::ENXIO));
        assert_eq!(file.seek(-1, abi::SEEK_DATA), Err(Errno::ENXIO));
    });
}

#[test]
fn a_vector_is_written_in_one_and_read_behind_itself() {
    machine(|| {
        let file = create("/f");
        fill(b"onetwo");
        let parts = [part(MEMORY, 3), part(0, 0), part(MEMORY + 3, 3)];
        assert_eq!(file.write_as(file.call(None), &mut IoSource::vector(&parts)), Ok(6));
        assert_eq!(file.write_as(file.call(Some(1)), &mut IoSource::vector(&parts[..1])), Ok(3));
        assert_eq!((content("/f"), file.position()), (b"oonewo".to_vec(), 6));
        assert_eq!(
            file.write_as(Call { append: true, ..file.call(None) }, &mut IoSource::vector(&parts)),
            Ok(6)
        );
        assert_eq!((content("/f").len(), file.position()), (12, 12));
        let bad = [part(MEMORY, 3), part(BAD, 3)];
        assert_eq!(
            file.write_as(file.call(None), &mut IoSource::vector(&bad)),
            Ok(3),
            "the part before the bad one"
        );
        assert_eq!(file.write_as(file.call(None), &mut IoSource::vector(&bad[1..])), Err(Errno::EFAULT));
        assert_eq!(
            file.write_as(file.call(Some(i64::MAX as u64)), &mut IoSource::vector(&parts)),
            Err(Errno::EINVAL)
        );
    });
}

#[test]
fn a_bad_address_moves_nothing() {
    machine(|| {
        let file = create("/f");
        write(&file, b"content").unwrap();
        file.set_position(0);
        assert_eq!(file.read(&mut IoBuf::user(BAD, 3)), Err(Errno::EFAULT));
        assert_eq!(file.write(&mut IoSource::user(BAD, 3)), Err(Errno::EFAULT));
        assert_eq!((file.position(), content("/f")), (0, b"content".to_vec()));
    });
}

/// The program reads without waiting.
fn transfer_in(file: &OpenFile, offset: Option<u64>, length: usize) -> Result<usize, Errno> {
    file.read_as(Call { no_wait: true, ..file.call(offset) }, &mut IoBuf::user(MEMORY, length))
}

/// The program writes without waiting.
fn transfer_out(file: &OpenFile, offset: Option<u64>, length: usize) -> Result<usize, Errno> {
    file.write_as(Call { no_wait: true, ..file.call(offset) }, &mut IoSource::user(MEMORY, length))
}

#[test]
fn a_call_that_does_not_wait_takes_a_place_or_the_offset() {
    machine(|| {
        let file = create("/f");
        fill(b"abcdef");
        assert_eq!(transfer_out(&file, None, 6), Ok(6));
        assert_eq!(transfer_out(&file, Some(1), 2), Ok(2));
        file.set_position(0);
        assert_eq!(transfer_in(&file, None, 3), Ok(3));
        assert_eq!((memory(3), file.position()), (b"aab".to_vec(), 3));
        assert_eq!(transfer_in(&file, Some(3), 3), Ok(3));
        assert_eq!(memory(3), b"def");
        assert_eq!(transfer_out(&open("/f", abi::O_RDONLY), None, 1), Err(Errno::EBADF));
        let (reader, writer) = exo_vfs::pipe::end::new_pair(0).unwrap();
        assert_eq!(transfer_in(&reader, None, 1), Err(Errno::EAGAIN), "it does not wait");
        assert_eq!(transfer_out(&writer, None, 3), Ok(3));
        assert_eq!(transfer_in(&reader, None, 9), Ok(3));
    });
}

#[test]
fn pipes_have_no_places() {
    machine(|| {
        let (reader, writer) = exo_vfs::pipe::end::new_pair(0).unwrap();
        assert_eq!(reader.read_at(0, &mut IoBuf::user(MEMORY, 1)), Err(Errno::ESPIPE));
        assert_eq!(writer.write_at(0, &mut IoSource::user(MEMORY, 1)), Err(Errno::ESPIPE));
        assert_eq!(reader.seek(0, abi::SEEK_SET), Err(Errno::ESPIPE));
        assert_eq!(
            writer.write_as(writer.call(Some(0)), &mut IoSource::vector(&[part(MEMORY, 1)])),
            Err(Errno::ESPIPE)
        );
        fill(b"ab");
        assert_eq!(
            writer
                .write_as(writer.call(None), &mut IoSource::vector(&[part(MEMORY, 1), part(MEMORY + 1, 1)])),
            Ok(2)
        );
        assert_eq!(read(&reader, 5).unwrap(), b"ab");
    });
}

#[test]
fn a_directory_has_no_end_to_be_sought() {
    machine(|| {
        make_directory("/d");
        let directory = open("/d", abi::O_RDONLY);
        assert_eq!(directory.seek(5, abi::SEEK_SET), Ok(5));
        assert_eq!(directory.seek(0, abi::SEEK_DATA), Err(Errno::ENXIO));
    });
}

#[test]
fn a_file_grows_to_the_limit_of_sizes_and_no_further() {
    machine(|| {
        let file = create("/f");
        set_limit(index::FSIZE, 10);
        assert_eq!(write(&file, b"0123456789abc"), Ok(10), "as much as fits");
        assert_eq!(take_signals(), [0; 0]);
        assert_eq!(write(&file, b"x"), Err(Errno::EFBIG));
        assert_eq!(take_signals(), [abi::SIGXFSZ]);
        file.set_position(3);
        assert_eq!(write(&file, b"xyz"), Ok(3), "what is below is below");
        assert_eq!(file.write_at(10, &mut IoSource::kernel(b"x")), Err(Errno::EFBIG));
        assert_eq!(size_limit::clip(10, 0), Ok(0));
        assert_eq!((size_limit::check_end(10), size_limit::check_end(11)), (Ok(()), Err(Errno::EFBIG)));
        assert_eq!(take_signals(), [abi::SIGXFSZ, abi::SIGXFSZ]);
    });
}

#[test]
fn who_is_killed_stops_half_way() {
    machine(|| {
        let file = create("/f");
        kill_self();
        assert_eq!(file.write(&mut IoSource::user(MEMORY, 64 * PAGE_SIZE)), Ok(PAGE_SIZE));
        assert_eq!(file.node().size(), PAGE_SIZE as u64);
    });
}

#[test]
fn two_writers_at_one_offset_write_behind_each_other() {
    machine(|| {
        let file = create("/f");
        let other = file.clone();
        let task = start(move || {
            write(&other, b"second").unwrap();
        });
        write(&file, b"first ").unwrap();
        task.join();
        assert_eq!(content("/f"), b"first second");
    });
}
