// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log as programs read it: syslog(2), which `dmesg` calls, and /dev/kmsg.

use core::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use alloc::{boxed::Box, format, string::String, vec::Vec};

use exo_hal::{log, sync::SpinLock, time};
use exo_logic::{
    credentials::capability,
    log_ring::{Cursor, LONGEST, Record},
};
use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    fallible,
    fs::{
        events::Events,
        file::{File, Io},
    },
    io_buf::{IoBuf, IoSource},
    sched::wait::{Ended, WaitQueue, wait_on},
    task::credentials::capable,
    user,
};

/// Facility "user" with level "notice", for what programs write without a priority (`default_message_loglevel` is Linux's 4).
const DEFAULT_PRIORITY: u8 = 8 | 4;
/// The longest line that a program may write, as on Linux.
const LONGEST_WRITTEN: usize = 1024 - 32;
/// How often who waits for a line looks whether there is one: lines are written with locks held, so nobody is woken then.
const LOOK_NS: u64 = 50_000_000;
/// Longest `<NNN>[SSSSS.UUUUUU] ` before and line break after a text.
const DECORATION: usize = 48;

/// Where syslog(2) goes on to read, and how much of that record was read.
static READ: SpinLock<(Cursor, usize)> = SpinLock::new((Cursor::START, 0));
/// What was cleared is not shown by syslog(2) any more.
static CLEARED: SpinLock<Cursor> = SpinLock::new(Cursor::START);
/// Who polls /dev/kmsg.
static READERS: WaitQueue = WaitQueue::new();
/// The number of the line that readers were woken for last.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// The line at `at`, or at the first that is kept if that is gone; none at the end.
fn line(at: Cursor, text: &mut [u8; LONGEST]) -> Option<Record> {
    match log::get(at, text) {
        Ok(record) => record,
        Err(_) => log::get(log::bounds().0, text).ok().flatten(),
    }
}

/// A line as syslog(2) shows it.
fn shown(record: &Record, text: &[u8; LONGEST]) -> Vec<u8> {
    let (seconds, micros) = (record.time_ns / 1_000_000_000, record.time_ns / 1000 % 1_000_000);
    let mut out = format!("<{}>[{seconds:5}.{micros:06}] ", record.priority).into_bytes();
    out.extend_from_slice(text.get(..record.length).unwrap_or_default());
    out.push(b'\n');
    out
}

/// syslog(2).
pub fn syslog(action: u32, to: usize, length: i32) -> Result {
    const READ_NEXT: u32 = 2;
    const READ_ALL: u32 = 3;
    const READ_CLEAR: u32 = 4;
    const CLEAR: u32 = 5;
    const CONSOLE_OFF: u32 = 6;
    const CONSOLE_ON: u32 = 7;
    const CONSOLE_LEVEL: u32 = 8;
    const SIZE_UNREAD: u32 = 9;
    const SIZE_BUFFER: u32 = 10;
    if !matches!(action, READ_ALL | SIZE_BUFFER) && !capable(capability::SYSLOG) {
        return Err(Errno::EPERM);
    }
    match action {
        // Open and close mean nothing on Linux either.
        0 | 1 => Ok(0),
        READ_NEXT | READ_ALL | READ_CLEAR => {
            let length = usize::try_from(length).map_err(|_| Errno::EINVAL)?;
            if to == 0 {
                return Err(Errno::EINVAL);
            }
            if length == 0 {
                return Ok(0);
            }
            if action == READ_NEXT {
                return read_next(to, length);
            }
            let end = log::bounds().1;
            let read = read_last(to, length)?;
            if action == READ_CLEAR {
                *CLEARED.lock() = end;
            }
            Ok(read)
        }
        CLEAR => {
            *CLEARED.lock() = log::bounds().1;
            Ok(0)
        }
        CONSOLE_OFF => {
            log::set_console_level(1);
            Ok(0)
        }
        CONSOLE_ON => {
            log::set_console_level(7);
            Ok(0)
        }
        CONSOLE_LEVEL => {
            log::set_console_level(
                u8::try_from(length).ok().filter(|l| (1..=8).contains(l)).ok_or(Errno::EINVAL)?,
            );
            Ok(0)
        }
        SIZE_UNREAD => {
            let (mut at, skip) = *READ.lock();
            let (mut text, mut size) = ([0; LONGEST], 0);
            while let Some(record) = line(at, &mut text) {
                size += shown(&record, &text).len();
                at = record.next;
            }
            Ok(size.saturating_sub(skip))
        }
        SIZE_BUFFER => Ok(log::SIZE),
        _ => Err(Errno::EINVAL),
    }
}

/// Waits until `condition` gives something, looking now and then.
fn wait<T>(mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    loop {
        match wait_on(&[&READERS], Some(time::now_ns() + LOOK_NS), true, &mut condition) {
            Ok(value) => return Ok(value),
            Err(Ended::TimedOut) => {}
            Err(Ended::Interrupted) => return Err(Errno::RESTART),
        }
    }
}

/// What was not read yet, at least a byte.
fn read_next(to: usize, length: usize) -> Result {
    let mut text = [0; LONGEST];
    wait(|| line(READ.lock().0, &mut text).map(drop))?;
    let mut done = 0;
    while done < length {
        let (at, skip) = *READ.lock();
        let Some(record) = line(at, &mut text) else { break };
        let line = shown(&record, &text);
        let rest = line.get(skip..).unwrap_or_default();
        let part = rest.get(..rest.len().min(length - done)).unwrap_or_default();
        user::copy_out(to + done, part)?;
        done += part.len();
        let is_whole = part.len() == rest.len();
        *READ.lock() = if is_whole { (record.next, 0) } else { (at, skip + part.len()) };
    }
    Ok(done)
}

/// The last lines that fit into `length` bytes, whole ones.
fn read_last(to: usize, length: usize) -> Result {
    let mut out: Vec<u8> = fallible::list(log::SIZE * 2)?;
    let mut ends: Vec<usize> = fallible::list(log::SIZE / 11)?;
    let (mut at, mut text) = (*CLEARED.lock(), [0; LONGEST]);
    while let Some(record) = line(at, &mut text) {
        if out.len() + record.length + DECORATION > out.capacity() || ends.len() == ends.capacity() {
            break;
        }
        out.extend(shown(&record, &text));
        ends.push(out.len());
        at = record.next;
    }
    let too_much = out.len().saturating_sub(length);
    let start =
        if too_much == 0 { 0 } else { ends.into_iter().find(|end| *end >= too_much).unwrap_or(out.len()) };
    let part = out.get(start..).unwrap_or_default();
    user::copy_out(to, part)?;
    Ok(part.len())
}

/// Wakes who polls if there are new lines; called now and then.
pub fn tick() {
    let end = log::bounds().1.sequence;
    if TOLD.swap(end, Ordering::Relaxed) != end {
        READERS.wake_all();
    }
}

/// Opens /dev/kmsg.
pub fn open() -> Box<dyn File> {
    Box::new(Messages(SpinLock::new(log::bounds().0)))
}

/// An opened /dev/kmsg, with the place that is read next.
struct Messages(SpinLock<Cursor>);

impl File for Messages {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        let mut text = [0; LONGEST];
        let mut next = || match log::get(*self.0.lock(), &mut text) {
            Ok(None) => None,
            Ok(Some(record)) => Some(Ok(record)),
            Err(_) => Some(Err(Errno::EPIPE)),
        };
        let record = if io.no_wait { next().unwrap_or(Err(Errno::EAGAIN)) } else { wait(next)? };
        if record == Err(Errno::EPIPE) {
            *self.0.lock() = log::bounds().0;
        }
        // As on Linux, a record is gone even if the buffer turns out to be too small.
        let record = record?;
        let at = core::mem::replace(&mut *self.0.lock(), record.next);
        let mut out = String::with_capacity(record.length + DECORATION);
        // Writing to a string cannot fail.
        let _ = write!(out, "{},{},{},-;", record.priority, at.sequence, record.time_ns / 1000);
        let text = text.get(..record.length).unwrap_or_default();
        // What does not print is escaped, so that a record is one line.
        for byte in text {
            let _ = match byte {
                b' '..=b'~' if *byte != b'\\' => write!(out, "{}", char::from(*byte)),
                _ => write!(out, "\\x{byte:02x}"),
            };
        }
        out.push('\n');
        if out.len() > to.left() {
            return Err(Errno::EINVAL);
        }
        to.put_all(out.as_bytes())?;
        Ok(out.len())
    }

    fn takes_parts(&self, write: bool) -> bool {
        !write
    }

    fn splices(&self, _write: bool) -> bool {
        false
    }

    fn write(&self, _io: Io, from: &mut IoSource<'_>) -> Result {
        let length = from.left();
        if length > LONGEST_WRITTEN {
            return Err(Errno::EINVAL);
        }
        let mut bytes = fallible::list(length)?;
        bytes.resize(length, 0);
        from.take_all(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\n', '\0']);
        let given = text.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let given = given.and_then(|(number, text)| Some((number.parse::<u8>().ok()?, text)));
        let (priority, text) = given.unwrap_or((DEFAULT_PRIORITY, text));
        // A program is not the kernel: facility 0 is the kernel's own.
        let priority = if priority < 8 { priority | 8 } else { priority };
        log::line_at(priority, format_args!("{text}"));
        Ok(length)
    }

    fn seek(&self, distance: i64, whence: u32) -> Option<Result> {
        let place = match whence {
            _ if distance != 0 => return Some(Err(Errno::ESPIPE)),
            abi::SEEK_SET => log::bounds().0,
            abi::SEEK_DATA => *CLEARED.lock(),
            abi::SEEK_END => log::bounds().1,
            _ => return Some(Err(Errno::EINVAL)),
        };
        *self.0.lock() = place;
        Some(Ok(0))
    }

    fn events(&self) -> Events {
        let mut events = Events::OUT;
        events.set(Events::IN, *self.0.lock() != log::bounds().1);
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&READERS)
    }
}
