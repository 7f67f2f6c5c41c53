// SPDX-License-Identifier: MIT OR Apache-2.0
//! poll and select.

use alloc::vec::Vec;

use exo_hal::{PAGE_SIZE, time};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::{Errno, Result},
    fallible,
    fs::poll::{Events, Question, poll as wait},
    room,
    sched::spans,
    signal::{self, SignalSet},
    task::{current, limits::index},
    user::{self, TimeSpec, TimeVal},
};

/// `struct pollfd`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct PollFd {
    fd: i32,
    events: u16,
    answer: u16,
}

fn after(ns: u64) -> Option<u64> {
    Some(time::now_ns().saturating_add(ns))
}

fn poll_until(list: usize, count: usize, deadline: Option<u64>) -> Result {
    // A call that goes on after a signal waits for the rest of its time.
    let deadline = current().interrupted_wait().or(deadline);
    if count as u64 > current().process.limits.lock()[index::NOFILE].soft {
        return Err(Errno::EINVAL);
    }
    let at = |index: usize| list.checked_add(index * size_of::<PollFd>()).ok_or(Errno::EFAULT);
    // What each entry needs here and while waiting; the number is the program's choice, and the memory is the kernel's.
    const KERNEL_BYTES: usize = size_of::<PollFd>() + 2 * size_of::<Question>();
    if !room::has_room((count * KERNEL_BYTES).div_ceil(PAGE_SIZE)) {
        return Err(Errno::ENOMEM);
    }
    let files = current().files.arc();
    let mut entries = Vec::new();
    entries.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    let mut questions = Vec::new();
    for index in 0..count {
        let entry: PollFd = user::read(at(index)?)?;
        if entry.fd >= 0 {
            let events = Events::from_bits_truncate(entry.events);
            questions.push(Question { file: files.get(entry.fd).ok(), events, index });
        }
        entries.push(entry);
        if spans::point() {
            return Err(Errno::EINTR);
        }
    }
    let answers = wait(&questions, deadline).inspect_err(|_| {
        if let Some(deadline) = deadline {
            current().interrupt_wait(deadline);
        }
    })?;
    // Both in the order of places.
    let mut answered = answers.iter().peekable();
    for (index, entry) in entries.iter_mut().enumerate() {
        entry.answer = answered.next_if(|(of, _)| *of == index).map_or(0, |(_, events)| events.bits());
        user::write(at(index)?, entry)?;
        if spans::point() {
            return Err(Errno::EINTR);
        }
    }
    // Each holds a file.
    for question in questions {
        drop(question);
        let _ = spans::point();
    }
    Ok(answers.len())
}

pub(super) fn poll(list: usize, count: usize, timeout: i32) -> Result {
    let deadline = if timeout < 0 { None } else { after(timeout as u64 * 1_000_000) };
    poll_until(list, count, deadline)
}

/// Waits with another signal mask, if one is given.
pub(super) fn with_mask(mask: usize, size: usize, wait: impl FnOnce() -> Result) -> Result {
    if mask != 0 {
        if size != 8 {
            return Err(Errno::EINVAL);
        }
        signal::set_temporary_mask(&current(), SignalSet(user::read(mask)?));
    }
    let result = wait();
    let is_interrupted = result.is_err_and(|error| error == Errno::EINTR || error.is_restart());
    if mask != 0 && !is_interrupted {
        // What was waited for comes first: a signal that the mask let through is blocked again.
        signal::end_temporary_mask(&current());
    }
    result
}

pub(super) fn ppoll(list: usize, count: usize, timeout: usize, mask: usize, size: usize) -> Result {
    let deadline = if timeout == 0 { None } else { after(user::read::<TimeSpec>(timeout)?.to_ns()?) };
    with_mask(mask, size, || poll_until(list, count, deadline))
}

const SETS: [(Events, Events); 3] = [
    (Events::IN, Events::IN.union(Events::HUP).union(Events::ERR)),
    (Events::OUT, Events::OUT.union(Events::ERR)),
    (Events::PRI, Events::PRI),
];

fn select_until(count: i32, sets: [usize; 3], deadline: Option<u64>) -> Result {
    let files = current().files.arc();
    // As on Linux, nobody looks at what is above the table.
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?.min(files.size());
    let words = count.div_ceil(64);
    let mut asked = [const { Vec::new() }; 3];
    for (bits, &set) in asked.iter_mut().zip(&sets) {
        *bits = fallible::list(words)?;
        bits.resize(words, 0u64);
        for (index, word) in bits.iter_mut().enumerate().filter(|_| set != 0) {
            *word = user::read(set.wrapping_add(index * 8))?;
        }
    }
    let has = |bits: &[u64], fd: usize| bits.get(fd / 64).is_some_and(|w| (w >> (fd % 64)) & 1 != 0);
    let mut questions = Vec::new();
    for fd in 0..count {
        let mut events = Events::empty();
        for (bits, (ask, _)) in asked.iter().zip(SETS) {
            events.set(ask, has(bits, fd));
        }
        if !events.is_empty() {
            fallible::push(
                &mut questions,
                Question { file: Some(files.get(fd as i32)?), events, index: fd },
            )?;
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
    }
    let answers = wait(&questions, deadline)?;
    let mut total = 0;
    for ((bits, &set), (_, counts_as)) in asked.iter().zip(&sets).zip(SETS) {
        let mut out = fallible::list(words)?;
        out.resize(words, 0u64);
        for (fd, events) in &answers {
            if has(bits, *fd) && events.intersects(counts_as) {
                total += 1;
                if let Some(word) = out.get_mut(fd / 64) {
                    *word |= 1 << (fd % 64);
                }
            }
        }
        for (index, word) in out.iter().enumerate().filter(|_| set != 0) {
            user::write(set.wrapping_add(index * 8), word)?;
        }
    }
    Ok(total)
}

/// Does `wait` with the deadline that `timeout` nanoseconds from now is, and hands what is left then to `tell`. A call that is done again
/// waits for what is left.
fn with_rest(
    timeout: Option<u64>,
    wait: impl FnOnce(Option<u64>) -> Result,
    tell: impl FnOnce(u64) -> Result<()>,
) -> Result {
    let deadline = timeout.and_then(after);
    let result = wait(deadline);
    let left = deadline.map_or(0, |deadline| deadline.saturating_sub(time::now_ns()));
    match result {
        Err(error) if error == Errno::EFAULT || error == Errno::EINVAL => result,
        // Where it cannot be told, the call cannot go on either.
        _ if timeout.is_some_and(|ns| ns > 0) && tell(left).is_err() => {
            result.map_err(|error| if error.is_restart() { Errno::EINTR } else { error })
        }
        _ => result,
    }
}

pub(super) fn select(count: i32, read: usize, write: usize, except: usize, timeout: usize) -> Result {
    const MICROSECONDS: i64 = 1_000_000;
    let given = if timeout == 0 { None } else { Some(user::read::<TimeVal>(timeout)?) };
    let given = given.map(|time| {
        // As on Linux, there may be more than a second of microseconds.
        let seconds = time.seconds.saturating_add(time.microseconds.div_euclid(MICROSECONDS));
        TimeVal { seconds, microseconds: time.microseconds.rem_euclid(MICROSECONDS) }.to_ns()
    });
    with_rest(
        given.transpose()?,
        |deadline| select_until(count, [read, write, except], deadline),
        |left| user::write(timeout, &TimeVal::from_ns(left)),
    )
}

pub(super) fn pselect6(
    count: i32,
    read: usize,
    write: usize,
    except: usize,
    timeout: usize,
    mask: usize,
) -> Result {
    let given = if timeout == 0 { None } else { Some(user::read::<TimeSpec>(timeout)?.to_ns()?) };
    let [mask, size] = if mask == 0 { [0, 8] } else { user::read::<[usize; 2]>(mask)? };
    with_rest(
        given,
        |deadline| with_mask(mask, size, || select_until(count, [read, write, except], deadline)),
        |left| user::write(timeout, &TimeSpec::from_ns(left)),
    )
}
