// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pipes: what goes in at one end comes out at the other.

use exo_core::{
    errno::Errno,
    io_buf::{IoBuf, IoSource},
};
use exo_hal::mm::frame;
use exo_vfs::{
    inode::{InodeContent, kind},
    pipe::{MOST_CAPACITY, Pipe, end},
    poll::{Events, ready},
};
use linux_raw_sys::{general as abi, ioctl};

use crate::support::{
    MEMORY, MEMORY_SIZE, fill, kill_self, let_others_run, machine, make_with, memory, open, read, start,
    take_signals, try_open, write,
};

/// Bytes that fit into a pipe.
pub(crate) const CAPACITY: usize = 65536;
/// Nothing is there.
pub(crate) const BAD: usize = MEMORY + MEMORY_SIZE;

/// All that is ready.
pub(crate) fn all(file: &exo_vfs::OpenFile) -> Events {
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
