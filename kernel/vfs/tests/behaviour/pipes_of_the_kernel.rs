// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pipes whose other end is the kernel: what splice moves, and what a terminal takes out of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use exo_core::{
    errno::Errno,
    io_buf::{IoBuf, IoSource},
    user::IoVec,
};
use exo_vfs::{
    pipe::{Outlet, Pipe, end},
    poll::Events,
};
use linux_raw_sys::general as abi;
use parking_lot::Mutex;

use crate::{
    pipes::{BAD, CAPACITY, all},
    support::{MEMORY, fill, let_others_run, machine, memory, read, start, write},
};

fn part(base: usize, length: usize) -> IoVec {
    IoVec { base, length }
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
        let (_other_reader, other_writer) = end::new_pair(abi::O_NONBLOCK).unwrap();
        let to = end::of(&other_writer).unwrap();
        write(&writer, &[b'a'; 5000]).unwrap();
        let taken = pipe.drain(9000, false, |_, from| {
            assert_eq!(pipe.fill(), (5000, false));
            assert!(all(&reader).contains(Events::IN));
            assert_eq!(reader.read(&mut IoBuf::user(MEMORY, 1)), Err(Errno::EAGAIN));
            assert_eq!(pipe.drain(1, true, |_, _| Ok(1)), Err(Errno::EAGAIN));
            // What comes meanwhile is behind it.
            assert_eq!(write(&writer, &[b'b'; 5000]), Ok(3192));
            assert_eq!(reader.read(&mut IoBuf::user(MEMORY, 1)), Err(Errno::EAGAIN));
            assert_eq!((pipe.wait_for_bytes(true), pipe.offer(9, <[u8]>::len)), (Err(Errno::EAGAIN), 0));
            assert_eq!(pipe.move_to(to, 9, false, true), Err(Errno::EAGAIN));
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
