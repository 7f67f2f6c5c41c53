// SPDX-License-Identifier: MIT OR Apache-2.0
//! The message: reading and writing `/dev/procmon`.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use procmon::Monitor;
use rustix::io::Errno;

use super::machine::{open, set_parameter};
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};
use crate::raw::{self, Access, Memory, PAGE, Place};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("what_was_written_is_read", what_was_written_is_read),
        Test::new("a_read_goes_on_where_the_last_one_ended", a_read_goes_on_where_the_last_one_ended),
        Test::new("a_position_past_the_end_reads_nothing", a_position_past_the_end_reads_nothing),
        Test::new("seeking_knows_the_end_and_refuses_the_space_before_the_start", seeking),
        Test::new("a_message_longer_than_buffer_size_is_refused", too_long_a_message_is_refused),
        Test::new("buffer_size_is_read_alike_wherever_it_is_written", buffer_size_is_read_alike),
        Test::new("a_write_replaces_the_whole_message", a_write_replaces_the_whole_message),
        Test::new("a_bad_buffer_gives_efault_and_moves_nothing", a_bad_buffer_gives_efault),
        Test::long("writers_and_readers_never_see_half_a_message", writers_and_readers),
    ]
}

fn what_was_written_is_read(_: &Options) -> Result<(), Stop> {
    let mut file = open()?;
    for message in [&b"Hello Kernel\n"[..], b"", b"\0\xff\n", &[b'x'; 1024]] {
        assert_eq!(file.write(message)?, message.len());
        let mut read = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut read)?;
        assert_eq!(read, message);
        assert_eq!(Monitor::open()?.message()?, message, "through another file");
    }
    Ok(())
}

fn a_read_goes_on_where_the_last_one_ended(_: &Options) -> Result<(), Stop> {
    let mut file = open()?;
    file.write_all(b"0123456789")?;
    let mut part = [0; 4];
    for expected in [&b"0123"[..], b"4567", b"89", b"", b""] {
        let length = file.read(&mut part)?;
        assert_eq!(&part[..length], expected);
    }
    let mut part = [0; 3];
    assert_eq!(file.read_at(&mut part, 5)?, 3);
    assert_eq!(&part, b"567");
    assert_eq!(file.stream_position()?, 10, "pread has moved the position");
    Ok(())
}

/// Offset plus count must not be added up before they were looked at.
fn a_position_past_the_end_reads_nothing(_: &Options) -> Result<(), Stop> {
    let mut file = open()?;
    file.write_all(b"short")?;
    let mut buffer = [0; 64];
    for offset in [5, 6, 1024, 1 << 32, i64::MAX as u64 - 64] {
        assert_eq!(file.read_at(&mut buffer, offset)?, 0, "at {offset}");
    }
    // The kernel itself refuses what would end past the largest position.
    for offset in [i64::MAX as u64 - 63, i64::MAX as u64, u64::MAX] {
        assert_eq!(rustix::io::pread(&file, &mut buffer, offset), Err(Errno::INVAL), "at {offset:#x}");
    }
    file.seek(SeekFrom::Start(1 << 40))?;
    assert_eq!(file.read(&mut buffer)?, 0);
    Ok(())
}

fn seeking(_: &Options) -> Result<(), Stop> {
    let mut file = open()?;
    file.write_all(b"0123456789")?;
    assert_eq!(file.seek(SeekFrom::End(0))?, 10);
    assert_eq!(file.seek(SeekFrom::End(-3))?, 7);
    assert_eq!(file.seek(SeekFrom::Current(1))?, 8);
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    assert_eq!(rest, b"89");
    for before_the_start in [SeekFrom::Current(-11), SeekFrom::End(-11)] {
        let error = file.seek(before_the_start).err().and_then(|error| error.raw_os_error());
        assert_eq!(error, Some(Errno::INVAL.raw_os_error()), "{before_the_start:?}");
    }
    assert_eq!(file.stream_position()?, 10, "a refused seek has moved the position");
    Ok(())
}

/// Of a part that was taken, a program would write the rest as a message of its own.
fn too_long_a_message_is_refused(_: &Options) -> Result<(), Stop> {
    let mut file = open()?;
    let refused = |file: &mut std::fs::File, bytes: &[u8]| {
        let error = file.write(bytes).err().and_then(|error| error.raw_os_error());
        assert_eq!(error, Some(Errno::MSGSIZE.raw_os_error()), "{} bytes", bytes.len());
    };
    assert_eq!(file.write(&[b'a'; 1024])?, 1024, "with the default buffer_size");
    refused(&mut file, &[b'b'; 1025]);
    refused(&mut file, &[b'b'; 5000]);
    assert_eq!(Monitor::open()?.message()?, [b'a'; 1024], "a refused message has changed it");
    set_parameter("buffer_size", "16")?;
    assert_eq!(Monitor::open()?.message()?, [b'a'; 1024], "a smaller buffer_size has cut the old message");
    refused(&mut file, &[b'b'; 17]);
    assert_eq!(file.write(&[b'b'; 16])?, 16);
    assert_eq!(Monitor::open()?.message()?, [b'b'; 16]);
    set_parameter("buffer_size", "1048576")?;
    let long: Vec<u8> = (0..1_048_576_u32).map(|number| number.to_le_bytes()[0]).collect();
    assert_eq!(file.write(&long)?, long.len());
    assert!(Monitor::open()?.message()? == long, "a long message is another one now");
    Ok(())
}

fn buffer_size_is_read_alike(_: &Options) -> Result<(), Stop> {
    if is_exo_kernel() {
        return skip("this kernel takes decimal numbers only");
    }
    let files = ["/sys/class/procmon/procmon/buffer_size", "/sys/module/procmon/parameters/buffer_size"];
    for (text, size) in [("100\n", "100"), ("0x40\n", "64"), ("0100\n", "64"), ("512", "512")] {
        for file in files {
            std::fs::write(file, text)?;
            for shown in files {
                assert_eq!(std::fs::read_to_string(shown)?.trim(), size, "{text:?} written to {file}");
            }
        }
    }
    for text in ["", "\n", "100 bytes", "-1", "0", "99999999999", "1048577"] {
        for file in files {
            let error = std::fs::write(file, text).err().and_then(|error| error.raw_os_error());
            // A write of nothing is no write.
            let expected = (!text.is_empty()).then(|| Errno::INVAL.raw_os_error());
            assert_eq!(error, expected, "{text:?} written to {file}");
        }
    }
    set_parameter("buffer_size", "1024")
}

fn a_write_replaces_the_whole_message(_: &Options) -> Result<(), Stop> {
    let mut file = open()?;
    file.write_all(b"a long message")?;
    file.write_all(b"new")?;
    assert_eq!(Monitor::open()?.message()?, b"new");
    file.write_all_at(b"at an offset", 100)?;
    assert_eq!(Monitor::open()?.message()?, b"at an offset", "the offset of a write matters");
    Ok(())
}

/// Not the end of the file, as which the kernel's own helper would show it.
fn a_bad_buffer_gives_efault(_: &Options) -> Result<(), Stop> {
    let mut file = open()?;
    for length in [5, 600] {
        file.write_all(&vec![b'x'; length])?;
        file.seek(SeekFrom::Start(0))?;
        let closed = Memory::new(Access::None)?;
        for place in [Place::Null, Place::Kernel, Place::NonCanonical, Place::In(&closed, 0)] {
            assert_eq!(raw::read(&file, place, 600), Err(Errno::FAULT), "{length} bytes to {place:x?}");
        }
        assert_eq!(file.stream_position()?, 0, "a failed read has moved the position");
        let full = Memory::new(Access::Full)?;
        assert_eq!(raw::read(&file, Place::In(&full, PAGE - 4), 600), Ok(4), "what fits on the page");
        assert_eq!(file.stream_position()?, 4);
    }
    Ok(())
}

/// How long a message of the storm is: more than what goes through the stack, less than a page.
const STORM: usize = 1000;

fn writers_and_readers(options: &Options) -> Result<(), Stop> {
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let length = |letter: u8| STORM - usize::from(letter - b'a') * 37;
    open()?.write_all(&vec![b'a'; length(b'a')])?;
    let writer = |letters: std::ops::RangeInclusive<u8>| -> Result<u64, procmon::Error> {
        let monitor = Monitor::open()?;
        let mut written = 0;
        for letter in letters.cycle_until(&done) {
            monitor.set_message(&vec![letter; length(letter)])?;
            written += 1;
        }
        Ok(written)
    };
    let reader = || -> Result<(), Stop> {
        let monitor = Monitor::open()?;
        while !done.load(Ordering::Relaxed) {
            let message = monitor.message()?;
            reads.fetch_add(1, Ordering::Relaxed);
            let Some(&letter) = message.first() else { return fail("an empty message") };
            let expected = length(letter);
            if message.len() != expected || message.iter().any(|&other| other != letter) {
                return fail(format!("not one message: {:?}", String::from_utf8_lossy(&message)));
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let writers = [scope.spawn(|| writer(b'a'..=b'm')), scope.spawn(|| writer(b'n'..=b'z'))];
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(reader)).collect();
        // A minute with `--loops 240` and above.
        thread::sleep((Duration::from_millis(250) * options.loops).min(Duration::from_secs(60)));
        done.store(true, Ordering::Relaxed);
        for writer in writers {
            let written = writer.join().map_err(|_| Stop::Failed("a writer has panicked".to_owned()))??;
            assert!(written > 0, "a writer has written nothing");
        }
        readers.into_iter().try_for_each(|reader| {
            reader.join().map_err(|_| Stop::Failed("a reader has panicked".to_owned()))?
        })
    })?;
    assert!(reads.load(Ordering::Relaxed) > 20, "hardly any message was read");
    Ok(())
}

/// Going around a range until told to stop.
trait CycleUntil {
    fn cycle_until(self, done: &AtomicBool) -> impl Iterator<Item = u8>;
}

impl CycleUntil for std::ops::RangeInclusive<u8> {
    fn cycle_until(self, done: &AtomicBool) -> impl Iterator<Item = u8> {
        self.cycle().take_while(|_| !done.load(Ordering::Relaxed))
    }
}
