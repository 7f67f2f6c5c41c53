// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pipes: what goes in at one end comes out at the other.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use exo_core::{
    errno::Errno,
    io_buf::{IoBuf, IoSource},
    user::IoVec,
};
use exo_hal::mm::frame;
use exo_vfs::{
    inode::{InodeContent, kind},
    pipe::{MOST_CAPACITY, Outlet, Pipe, end},
    poll::{Events, ready},
};
use linux_raw_sys::{general as abi, ioctl};
use parking_lot::Mutex;

use crate::support::{
    MEMORY, MEMORY_SIZE, fill, kill_self, let_others_run, machine, make_with, memory, open, read, start,
    take_signals, try_open, write,
};

const CAPACITY: usize = 65536;
const BAD: usize = MEMORY + MEMORY_SIZE;

fn part(base: usize, length: usize) -> IoVec {
    IoVec { base, length }
}

fn all(file: &exo_vfs::OpenFile) -> Events {
    ready(file, Events::all())
}

#[test]
fn bytes_come_out_in_the_order_in_which_they_went_in() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        assert_eq!((write(&writer, b"one"), write(&writer, b"two")), (Ok(3), Ok(3)));
        assert_eq!(read(&reader, 4).unwrap(), b"onet");
        assert_eq!(read(&reader, 0).unwrap(), b"");
        assert_eq!(read(&reader, 100).unwrap(), b"wo");
        assert_eq!(read(&writer, 1), Err(Errno::EBADF));
        assert_eq!(write(&reader, b"x"), Err(Errno::EBADF));
    });
}

#[test]
fn a_pipe_ends_when_nobody_can_write_any_more() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let other = writer.clone();
        write(&writer, b"last").unwrap();
        drop(writer);
        assert!(!all(&reader).contains(Events::HUP));
        drop(other);
        assert!(all(&reader).contains(Events::HUP | Events::IN));
        assert_eq!(read(&reader, 9).unwrap(), b"last");
        assert_eq!((read(&reader, 9).unwrap(), read(&reader, 9).unwrap()), (vec![], vec![]));
    });
}

#[test]
fn a_write_that_nobody_can_read_gives_sigpipe() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        drop(reader);
        assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE));
        assert_eq!(take_signals(), [abi::SIGPIPE]);
        assert!(all(&writer).contains(Events::ERR));
    });
}

#[test]
fn a_reader_waits_for_bytes() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let task = start(move || {
            assert_eq!(reader.read(&mut IoBuf::user(MEMORY, 9)), Ok(4));
            assert_eq!(reader.read(&mut IoBuf::user(MEMORY, 9)), Ok(0));
        });
        let_others_run();
        assert!(!task.has_ended());
        write(&writer, b"data").unwrap();
        let_others_run();
        assert!(!task.has_ended());
        drop(writer);
        task.join();
    });
}

#[test]
fn a_writer_waits_for_room() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let task = start(move || {
            assert_eq!(writer.write(&mut IoSource::user(MEMORY, CAPACITY + 10)), Ok(CAPACITY + 10))
        });
        let_others_run();
        assert!(!task.has_ended());
        assert_eq!(reader.read(&mut IoBuf::user(MEMORY, CAPACITY)), Ok(CAPACITY));
        task.join();
        assert_eq!(reader.read(&mut IoBuf::user(MEMORY, CAPACITY)), Ok(10));
    });
}

#[test]
fn a_writer_that_waits_learns_that_the_reader_has_gone() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let task = start(move || {
            assert_eq!(writer.write(&mut IoSource::user(MEMORY, CAPACITY)), Ok(CAPACITY));
            assert_eq!(writer.write(&mut IoSource::user(MEMORY, 1)), Err(Errno::EPIPE));
            assert_eq!(take_signals(), [abi::SIGPIPE]);
        });
        let_others_run();
        drop(reader);
        task.join();
    });
}

#[test]
fn a_wait_ends_with_a_signal() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let waits = start(move || assert_eq!(reader.read(&mut IoBuf::user(MEMORY, 1)), Err(Errno::RESTART)));
        let_others_run();
        waits.interrupt();
        waits.join();
        drop(writer);
        let (reader, writer) = end::new_pair(0).unwrap();
        let waits =
            start(move || assert_eq!(writer.write(&mut IoSource::user(MEMORY, CAPACITY + 1)), Ok(CAPACITY)));
        let_others_run();
        waits.interrupt();
        waits.join();
        drop(reader);
    });
}

#[test]
fn without_waiting_there_is_an_error() {
    machine(|| {
        let (reader, writer) = end::new_pair(abi::O_NONBLOCK).unwrap();
        assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
        assert_eq!(writer.write(&mut IoSource::user(MEMORY, CAPACITY + 10)), Ok(CAPACITY));
        assert_eq!(writer.write(&mut IoSource::user(MEMORY, 1)), Err(Errno::EAGAIN));
        // Up to a page goes in whole or not at all.
        assert_eq!(reader.read(&mut IoBuf::user(MEMORY, 4095)), Ok(4095));
        assert_eq!(writer.write(&mut IoSource::user(MEMORY, 4096)), Err(Errno::EAGAIN));
        assert_eq!(writer.write(&mut IoSource::user(MEMORY, 4097)), Ok(4095), "more does not");
    });
}

#[test]
fn what_is_possible_is_told() {
    machine(|| {
        let (reader, writer) = end::new_pair(abi::O_NONBLOCK).unwrap();
        assert_eq!((all(&reader), all(&writer)), (Events::empty(), Events::OUT | Events::WRNORM));
        writer.write(&mut IoSource::user(MEMORY, CAPACITY - 4095)).unwrap();
        assert_eq!((all(&reader), all(&writer)), (Events::IN | Events::RDNORM, Events::empty()));
        assert_eq!(ready(&reader, Events::OUT), Events::empty());
        assert_eq!(reader.file().ioctl(ioctl::FIONREAD, MEMORY), Ok(0));
        assert_eq!(memory(4), (CAPACITY as u32 - 4095).to_le_bytes());
        assert_eq!(reader.file().ioctl(ioctl::FIONREAD, BAD), Err(Errno::EFAULT));
        assert_eq!(reader.file().ioctl(7, 0), Err(Errno::ENOTTY));
        assert!(reader.file().kernel_memory() >= CAPACITY / 2);
    });
}

#[test]
fn a_bad_address_loses_nothing() {
    machine(|| {
        let (reader, writer) = end::new_pair(abi::O_NONBLOCK).unwrap();
        assert_eq!(writer.write(&mut IoSource::user(BAD, 5)), Err(Errno::EFAULT));
        write(&writer, b"data").unwrap();
        assert_eq!(reader.read(&mut IoBuf::user(BAD, 5)), Err(Errno::EFAULT));
        assert_eq!(read(&reader, 9).unwrap(), b"data");
    });
}

#[test]
fn packets_are_read_one_by_one() {
    machine(|| {
        let (reader, writer) = end::new_pair(abi::O_NONBLOCK).unwrap();
        write(&writer, b"stream").unwrap();
        writer.set_flags(abi::O_DIRECT | abi::O_NONBLOCK);
        for packet in [&b"first"[..], b"second", b"third"] {
            write(&writer, packet).unwrap();
        }
        writer.set_flags(abi::O_NONBLOCK);
        write(&writer, b"more ").unwrap();
        write(&writer, b"stream").unwrap();
        assert_eq!(read(&reader, 100).unwrap(), b"stream");
        assert_eq!(read(&reader, 100).unwrap(), b"first");
        assert_eq!(read(&reader, 3).unwrap(), b"sec", "the rest of a packet is lost");
        assert_eq!(read(&reader, 100).unwrap(), b"third");
        assert_eq!(read(&reader, 100).unwrap(), b"more stream");
        writer.set_flags(abi::O_DIRECT | abi::O_NONBLOCK);
        assert_eq!(writer.write(&mut IoSource::user(MEMORY, 6000)), Ok(6000));
        assert_eq!(
            (reader.read(&mut IoBuf::user(MEMORY, 9000)), reader.read(&mut IoBuf::user(MEMORY, 9000))),
            (Ok(4096), Ok(1904))
        );
        // However short, each takes a page of the room.
        let count = (0..100).take_while(|_| write(&writer, b"x").is_ok()).count();
        assert_eq!(count, CAPACITY / 4096);
    });
}

#[test]
fn a_pipe_becomes_larger_and_smaller() {
    machine(|| {
        let (reader, writer) = end::new_pair(abi::O_NONBLOCK).unwrap();
        let pipe = end::of(&writer).unwrap();
        assert_eq!(pipe.capacity(), CAPACITY);
        assert_eq!((pipe.set_capacity(1), pipe.capacity()), (Ok(4096), 4096));
        assert_eq!(writer.write(&mut IoSource::user(MEMORY, 9000)), Ok(4096));
        assert_eq!(pipe.set_capacity(5000), Ok(8192));
        assert_eq!(writer.write(&mut IoSource::user(MEMORY, 9000)), Ok(4096));
        assert_eq!(pipe.set_capacity(4096), Err(Errno::EBUSY));
        assert_eq!(pipe.set_capacity(MOST_CAPACITY as u32), Ok(MOST_CAPACITY));
        assert_eq!(pipe.set_capacity(MOST_CAPACITY as u32 + 1), Err(Errno::EPERM));
        assert_eq!(pipe.set_capacity(u32::MAX), Err(Errno::EINVAL));
        assert_eq!(reader.read(&mut IoBuf::user(MEMORY, 9000)), Ok(8192));
        assert!(end::of(&open("/", 0)).is_none());
    });
}

#[test]
fn a_writer_that_waits_uses_the_room_of_a_larger_pipe() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let task = start(move || {
            assert_eq!(writer.write(&mut IoSource::user(MEMORY, CAPACITY + 10)), Ok(CAPACITY + 10))
        });
        let_others_run();
        assert!(!task.has_ended());
        end::of(&reader).unwrap().set_capacity(2 * CAPACITY as u32).unwrap();
        task.join();
        assert_eq!(end::of(&reader).unwrap().fill(), (CAPACITY + 10, true));
    });
}

#[test]
fn a_pipe_that_finds_no_memory_takes_nothing() {
    machine(|| {
        let (_reader, writer) = end::new_pair(abi::O_NONBLOCK).unwrap();
        fill(b"x");
        frame::exhaust();
        assert_eq!(writer.write(&mut IoSource::user(MEMORY, 1)), Err(Errno::ENOMEM));
        assert!(Pipe::new().is_err() && end::new_pair(0).is_err());
        frame::set_free(100);
        assert_eq!(writer.write(&mut IoSource::user(MEMORY, 1)), Ok(1));
    });
}

#[test]
fn who_is_killed_stops_in_a_long_read_or_write() {
    machine(|| {
        let (reader, writer) = end::new_pair(abi::O_NONBLOCK).unwrap();
        kill_self();
        let written = writer.write(&mut IoSource::user(MEMORY, CAPACITY)).unwrap();
        assert!(written < CAPACITY);
        writer.write(&mut IoSource::user(MEMORY, CAPACITY - written)).unwrap();
        kill_self();
        assert!(reader.read(&mut IoBuf::user(MEMORY, CAPACITY)).unwrap() < CAPACITY);
    });
}

fn make_fifo(path: &str) {
    let content = InodeContent::Fifo(Pipe::new().unwrap());
    make_with(path, kind::FIFO | 0o600, content).unwrap();
}

#[test]
fn both_sides_of_a_named_pipe_wait_for_each_other() {
    machine(|| {
        make_fifo("/fifo");
        let task = start(|| {
            let reader = open("/fifo", abi::O_RDONLY);
            assert_eq!(read(&reader, 9).unwrap(), b"data");
        });
        let_others_run();
        assert!(!task.has_ended());
        let writer = open("/fifo", abi::O_WRONLY);
        write(&writer, b"data").unwrap();
        task.join();
        drop(writer);
        let task = start(|| drop(open("/fifo", abi::O_WRONLY)));
        let_others_run();
        assert!(!task.has_ended());
        let reader = open("/fifo", abi::O_RDONLY);
        task.join();
        assert_eq!(read(&reader, 9).unwrap(), b"");
    });
}

#[test]
fn a_named_pipe_is_opened_without_waiting() {
    machine(|| {
        make_fifo("/fifo");
        assert_eq!(try_open("/fifo", abi::O_WRONLY | abi::O_NONBLOCK).err(), Some(Errno::ENXIO));
        let reader = open("/fifo", abi::O_RDONLY | abi::O_NONBLOCK);
        assert_eq!(all(&reader), Events::empty(), "nobody has left yet");
        let writer = open("/fifo", abi::O_WRONLY | abi::O_NONBLOCK);
        drop(writer);
        assert!(all(&reader).contains(Events::HUP));
        let both = open("/fifo", abi::O_RDWR);
        write(&both, b"self").unwrap();
        assert_eq!(read(&both, 9).unwrap(), b"self");
    });
}

#[test]
fn waiting_for_the_other_side_ends_with_a_signal() {
    machine(|| {
        make_fifo("/fifo");
        let task = start(|| assert_eq!(try_open("/fifo", abi::O_RDONLY).err(), Some(Errno::RESTART)));
        let_others_run();
        task.interrupt();
        task.join();
        assert_eq!(try_open("/fifo", abi::O_WRONLY | abi::O_NONBLOCK).err(), Some(Errno::ENXIO));
    });
}

#[test]
fn an_end_is_opened_again_without_waiting() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        drop(writer);
        let again = end::open_named(end::of(&reader).unwrap(), &reader.path(), abi::O_RDONLY).unwrap();
        assert_eq!(read(&again, 1).unwrap(), b"");
    });
}

#[test]
fn bytes_move_from_pipe_to_pipe() {
    machine(|| {
        let (from_reader, from_writer) = end::new_pair(0).unwrap();
        let (to_reader, to_writer) = end::new_pair(0).unwrap();
        let (from, to) = (end::of(&from_reader).unwrap(), end::of(&to_writer).unwrap());
        assert_eq!(from.move_to(to, 5, false, true), Err(Errno::EAGAIN));
        write(&from_writer, &[b'x'; 1000]).unwrap();
        write(&from_writer, b"abcdef").unwrap();
        assert_eq!(from.move_to(to, 1000, true, false), Ok(1000));
        assert_eq!(from.move_to(to, 1003, false, false), Ok(1003));
        assert_eq!(to_reader.read(&mut IoBuf::user(MEMORY, 9000)), Ok(2003));
        assert_eq!(memory(2003)[1999..], *b"xabc");
        assert_eq!(read(&from_reader, 9).unwrap(), b"def");
        drop(from_writer);
        assert_eq!(from.move_to(to, 9, false, false), Ok(0));
    });
}

/// Takes up to `most` bytes out of a pipe, `step` at a time.
fn drained(pipe: &Pipe, most: usize, step: usize) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    let count = pipe.drain(most, true, |done, from| {
        assert_eq!(done, out.len());
        let mut bytes = vec![0; from.left().min(step)];
        from.take_all(&mut bytes).unwrap();
        out.extend(bytes);
        Ok(out.len() - done)
    })?;
    assert_eq!(count, out.len());
    Ok(out)
}

#[test]
fn bytes_move_between_a_pipe_and_the_kernel() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let pipe = end::of(&reader).unwrap();
        assert_eq!(pipe.wait_for_bytes(true), Err(Errno::EAGAIN));
        assert_eq!(drained(pipe, 9, 9), Err(Errno::EAGAIN));
        assert_eq!(pipe.wait_for_room(true), Ok(CAPACITY));
        assert_eq!(pipe.put(&mut IoSource::kernel(b"kernel")), Ok(6));
        assert_eq!((pipe.wait_for_bytes(false), pipe.fill()), (Ok(6), (6, false)));
        assert_eq!(drained(pipe, 3, 9).unwrap(), b"ker");
        assert_eq!(drained(pipe, 3, 2).unwrap(), b"ne", "what is not taken stays");
        assert_eq!(read(&reader, 9).unwrap(), b"l");
        // As on Linux, a packet stays one when it has lost its beginning.
        writer.set_flags(abi::O_DIRECT);
        write(&writer, b"packet").unwrap();
        write(&writer, b"next").unwrap();
        assert_eq!(drained(pipe, 4, 9).unwrap(), b"pack");
        assert_eq!(
            (read(&reader, 99).unwrap(), read(&reader, 99).unwrap()),
            (b"et".to_vec(), b"next".to_vec())
        );
        drop(writer);
        assert_eq!((pipe.wait_for_bytes(false), pipe.fill()), (Ok(0), (0, true)));
        assert_eq!(drained(pipe, 9, 9).unwrap(), b"");
        let pipe = pipe.clone();
        drop(reader);
        assert_eq!(pipe.wait_for_room(false), Err(Errno::EPIPE));
    });
}

#[test]
fn what_a_pipe_has_lent_is_nobody_elses_and_still_takes_its_room() {
    machine(|| {
        let (reader, writer) = end::new_pair(abi::O_NONBLOCK).unwrap();
        let pipe = end::of(&reader).unwrap();
        pipe.set_capacity(8192).unwrap();
        write(&writer, &[b'a'; 5000]).unwrap();
        let taken = pipe.drain(9000, false, |_, from| {
            assert_eq!(pipe.fill(), (5000, false));
            assert!(all(&reader).contains(Events::IN));
            assert_eq!(reader.read(&mut IoBuf::user(MEMORY, 1)), Err(Errno::EAGAIN));
            assert_eq!(pipe.drain(1, true, |_, _| Ok(1)), Err(Errno::EAGAIN));
            // What comes meanwhile is behind it.
            assert_eq!(write(&writer, &[b'b'; 5000]), Ok(3192));
            from.skip(4990);
            Ok(4990)
        });
        assert_eq!((taken, pipe.fill()), (Ok(4990), (3202, false)));
        assert_eq!(read(&reader, 12).unwrap(), b"aaaaaaaaaabb");
        drop(writer);
        // The end is not seen before what is lent.
        assert_eq!(
            pipe.drain(9000, false, |_, _| {
                assert_eq!(reader.read(&mut IoBuf::user(MEMORY, 1)), Err(Errno::EAGAIN));
                Err(Errno::ENOSPC)
            }),
            Err(Errno::ENOSPC)
        );
        assert_eq!(read(&reader, 9000).unwrap().len(), 3190);
        assert_eq!(pipe.drain(9000, false, |_, _| Ok(1)), Ok(0));
    });
}

#[test]
fn a_reader_waits_for_what_is_lent() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        write(&writer, b"content").unwrap();
        drop(writer);
        let pipe = end::of(&reader).unwrap().clone();
        let mut other = None;
        let taken = pipe.drain(9, false, |_, from| {
            let reader = reader.clone();
            other = Some(start(move || assert_eq!(read(&reader, 9).unwrap(), b"tent")));
            let_others_run();
            from.skip(3);
            Ok(3)
        });
        assert_eq!(taken, Ok(3));
        other.unwrap().join();
    });
}

#[test]
fn a_pipe_is_filled_from_a_program_as_far_as_there_is_room() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let pipe = end::of(&writer).unwrap();
        fill(b"onetwo");
        let parts = [part(MEMORY, 3), part(0, 0), part(MEMORY + 3, 3), part(BAD, 3)];
        assert_eq!(
            pipe.fill_from(&mut IoSource::vector(&parts), false),
            Ok(6),
            "the parts before the bad one"
        );
        assert_eq!(pipe.fill_from(&mut IoSource::vector(&parts[3..]), false), Err(Errno::EFAULT));
        assert_eq!(pipe.read_now(&mut IoBuf::vector(&parts), false), Ok(6));
        assert_eq!(pipe.fill_from(&mut IoSource::user(MEMORY, CAPACITY + 10), false), Ok(CAPACITY));
        assert_eq!(pipe.fill_from(&mut IoSource::user(MEMORY, 1), true), Err(Errno::EAGAIN));
        drop(reader);
    });
}

/// Takes what comes into a pipe, up to two bytes at a time.
#[derive(Default)]
struct Drain {
    pipe: Mutex<Option<Arc<Pipe>>>,
    taken: Mutex<Vec<u8>>,
    left: AtomicUsize,
}

impl Outlet for Drain {
    fn filled(&self) {
        let Some(pipe) = self.pipe.lock().clone() else { return };
        while pipe.offer(2, |bytes| {
            self.taken.lock().extend(bytes);
            bytes.len()
        }) > 0
        {}
    }

    fn left(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_outlet_takes_what_is_written() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let pipe = end::of(&reader).unwrap().clone();
        let drain = Arc::new(Drain::default());
        *drain.pipe.lock() = Some(pipe.clone());
        pipe.set_outlet(drain.clone()).unwrap();
        assert_eq!(pipe.set_outlet(drain.clone()), Err(Errno::EBUSY));
        write(&writer, b"hello").unwrap();
        assert_eq!((&drain.taken.lock()[..], pipe.fill()), (&b"hello"[..], (0, false)));
        drop(writer);
        assert_eq!(drain.left.load(Ordering::Relaxed), 1);
        drain.pipe.lock().take();
    });
}

#[test]
fn what_is_offered_and_not_taken_stays() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let pipe = end::of(&reader).unwrap();
        write(&writer, b"hello").unwrap();
        assert_eq!(pipe.offer(9, |bytes| bytes.len() - 2), 3);
        assert_eq!(pipe.offer(1, |bytes| bytes.len()), 1);
        let mut shown = Vec::new();
        pipe.show_in_crash(|bytes| shown.extend_from_slice(bytes));
        assert_eq!(shown, b"o");
    });
}
