// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files read and written with memory of each kind: a program's in parts, the kernel's, and frames.

use std::sync::atomic::{AtomicUsize, Ordering};

use exo_core::{
    errno::Errno,
    io_buf::{Frames, IoBuf, IoSource},
    user::IoVec,
};
use exo_hal::{PAGE_SIZE, mm::frame::Frame};
use exo_vfs::{
    OpenFile,
    file::{File, Io},
    inode::{Inode, InodeContent, kind},
    io::Call,
    pipe::end,
    superblock::ANONYMOUS,
    text,
};
use linux_raw_sys::general as abi;

use crate::support::{MEMORY, MEMORY_SIZE, content, create, fill, machine, make_with, memory, open, write};

/// Beyond the program's memory.
const BAD: usize = MEMORY + MEMORY_SIZE;

fn part(base: usize, length: usize) -> IoVec {
    IoVec { base, length }
}

fn frames(count: usize) -> Vec<Frame> {
    (0..count).map(|_| Frame::allocate_zeroed().unwrap()).collect()
}

#[test]
fn a_file_is_written_and_read_by_the_kernel() {
    machine(|| {
        let file = create("/f");
        assert_eq!(file.write(&mut IoSource::kernel(b"kernel")), Ok(6));
        file.set_position(2);
        let mut out = [0; 9];
        assert_eq!((file.read(&mut IoBuf::kernel(&mut out)), file.position()), (Ok(4), 6));
        assert_eq!(&out, b"rnel\0\0\0\0\0");
        let append = Call { append: true, ..file.call(Some(0)) };
        assert_eq!((file.write_as(append, &mut IoSource::kernel(b"!")), file.position()), (Ok(1), 6));
        assert_eq!(content("/f"), b"kernel!");
    });
}

#[test]
fn pages_go_from_file_to_file_by_frames() {
    machine(|| {
        let (from, to) = (create("/from"), create("/to"));
        let bytes: Vec<u8> = (0..3 * PAGE_SIZE).map(|at| (at % 251) as u8).collect();
        from.write(&mut IoSource::kernel(&bytes)).unwrap();
        // With a hole in the middle.
        from.write_at(6 * PAGE_SIZE as u64, &mut IoSource::kernel(b"end")).unwrap();
        let all = 6 * PAGE_SIZE + 3;
        let (mut done, mut pieces) = (5, 0);
        while done < all {
            let lent = from.lend(done as u64, 100_000).unwrap();
            let mut source = lent.source();
            assert_eq!(source.left(), (8 * PAGE_SIZE - done % PAGE_SIZE).min(all - done));
            done += to.write(&mut source).unwrap();
            pieces += 1;
        }
        assert_eq!((done, pieces), (all, 1));
        let mut expected = bytes[5..].to_vec();
        expected.resize(6 * PAGE_SIZE - 5, 0);
        expected.extend(b"end");
        assert_eq!(content("/to"), expected);
        assert!(from.lend(all as u64, 9).unwrap().source().is_empty(), "behind the end");
        assert_eq!(from.lend(10, 3).unwrap().source().left(), 3);
    });
}

#[test]
fn a_file_is_read_into_frames() {
    machine(|| {
        let file = create("/f");
        file.write_at(PAGE_SIZE as u64 - 2, &mut IoSource::kernel(b"over the edge")).unwrap();
        let frames = frames(2);
        let mut to = IoBuf::frames(Frames::Held(&frames), PAGE_SIZE - 5, 100);
        assert_eq!(file.read_at(PAGE_SIZE as u64 - 4, &mut to), Ok(15));
        let mut out = [0; 17];
        IoSource::frames(Frames::Held(&frames), PAGE_SIZE - 6, 17).take_all(&mut out).unwrap();
        assert_eq!(&out, b"\0\0\0over the edge\0");
    });
}

#[test]
fn what_is_before_a_bad_page_is_in_the_file() {
    machine(|| {
        let file = create("/f");
        fill(&[b'x'; 100]);
        let parts = [part(MEMORY, 10), part(BAD - 5, 10), part(MEMORY, 10)];
        assert_eq!((file.write(&mut IoSource::vector(&parts)), file.position()), (Ok(15), 15));
        assert_eq!(content("/f").len(), 15);
        file.set_position(0);
        assert_eq!((file.read(&mut IoBuf::vector(&parts)), file.position()), (Ok(15), 15));
        assert_eq!(file.read_at(0, &mut IoBuf::vector(&parts[1..])), Ok(5));
        assert_eq!(file.read_at(0, &mut IoBuf::user(BAD, 1)), Err(Errno::EFAULT));
    });
}

#[test]
fn a_text_is_read_into_parts_and_a_setting_taken_from_them() {
    machine(|| {
        static STORED: AtomicUsize = AtomicUsize::new(0);
        let generate = text::written(|out| out.write_str("some text"));
        let store = Box::new(|value: &[u8]| {
            STORED.store(value.len(), Ordering::Relaxed);
            Ok(())
        });
        make_with("/s", kind::REGULAR | 0o600, InodeContent::Setting(generate, store)).unwrap();
        let file = open("/s", abi::O_RDWR);
        let parts = [part(MEMORY + 50, 5), part(0, 0), part(MEMORY, 100)];
        assert_eq!(file.read(&mut IoBuf::vector(&parts)), Ok(9));
        assert_eq!((memory(4), memory(55)[50..].to_vec()), (b"text".to_vec(), b"some ".to_vec()));
        let frames = frames(1);
        assert_eq!(file.read_at(5, &mut IoBuf::frames(Frames::Held(&frames), 0, 3)), Ok(3));
        assert_eq!(file.write(&mut IoSource::vector(&parts[..2])), Ok(5));
        assert_eq!(STORED.load(Ordering::Relaxed), 5);
        assert_eq!(file.write(&mut IoSource::vector(&[part(MEMORY, 1), part(BAD, 1)])), Err(Errno::EFAULT));
    });
}

#[test]
fn a_run_of_a_pipe_is_copied_whole_or_not_at_all() {
    machine(|| {
        let (reader, writer) = end::new_pair(abi::O_NONBLOCK).unwrap();
        let parts = [part(MEMORY, 10), part(BAD - 5, 10)];
        assert_eq!(writer.write(&mut IoSource::vector(&parts)), Err(Errno::EFAULT));
        assert_eq!(reader.read(&mut IoBuf::user(MEMORY, 9)), Err(Errno::EAGAIN), "as on Linux");
        write(&writer, &[b'y'; 100]).unwrap();
        assert_eq!(reader.read(&mut IoBuf::vector(&parts)), Err(Errno::EFAULT));
        let mut out = [0; 30];
        assert_eq!(reader.read(&mut IoBuf::kernel(&mut out)), Ok(30));
        let frames = frames(1);
        assert_eq!(reader.read(&mut IoBuf::frames(Frames::Held(&frames), 0, 60)), Ok(60));
        assert_eq!(reader.read(&mut IoBuf::vector(&[part(MEMORY, 3), part(MEMORY + 10, 90)])), Ok(10));
        assert_eq!(writer.write(&mut IoSource::frames(Frames::Held(&frames), 1, 5)), Ok(5));
        assert_eq!(reader.read(&mut IoBuf::kernel(&mut out)), Ok(5));
        assert_eq!(&out[..6], b"yyyyyy");
    });
}

/// Answers how large each call's memory was, by as many bytes less one.
struct Short;

impl File for Short {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result<usize, Errno> {
        let length = if io.offset == 3 { to.left() - 1 } else { to.left() };
        to.put(&vec![io.offset as u8 + b'0'; length])
    }

    fn takes_parts(&self, write: bool) -> bool {
        !write
    }

    fn seek_size(&self) -> Option<u64> {
        Some(0)
    }
}

#[test]
fn a_file_may_take_parts_one_by_one() {
    machine(|| {
        let node = Inode::new(&ANONYMOUS, 0o600, InodeContent::Other);
        let file = OpenFile::new(Box::new(Short), node, abi::O_RDWR).unwrap();
        let parts = [part(MEMORY, 3), part(0, 0), part(MEMORY + 3, 4), part(MEMORY + 7, 5)];
        assert_eq!((file.read(&mut IoBuf::vector(&parts)), file.position()), (Ok(6), 6));
        assert_eq!(memory(8), b"000333\0\0", "a part that is short is the last");
        assert_eq!(file.read_at(1, &mut IoBuf::vector(&parts)), Ok(12));
        assert_eq!(memory(12), b"111444488888");
        assert_eq!(file.write(&mut IoSource::vector(&parts)), Err(Errno::EINVAL));
    });
}
