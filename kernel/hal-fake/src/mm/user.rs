// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running program's memory: what the page tables show that the CPU has loaded, or, if it has none, the pages that a test has mapped.
//! All else gives [`BadAddress`].

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use parking_lot::Mutex;

use super::{contents::Contents, frame::Frame, paging};
use crate::{PAGE_SIZE, USER_END, hooks, sync};

/// The program handed over an address that it cannot use itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

/// By their numbers. There is one program's memory for all tasks.
static PAGES: Mutex<BTreeMap<usize, Contents>> = Mutex::new(BTreeMap::new());

/// For tests without page tables: maps `pages` pages of zeros from `address` on, which is that of a page.
pub fn map(address: usize, pages: usize) {
    assert!(address % PAGE_SIZE == 0, "not the address of a page");
    let first = address / PAGE_SIZE;
    PAGES.lock().extend((first..first + pages).map(|page| (page, Contents::filled(0))));
}

/// For tests without page tables: takes `pages` pages from `address` on away.
pub fn unmap(address: usize, pages: usize) {
    let first = address / PAGE_SIZE;
    PAGES.lock().retain(|page, _| !(first..first + pages).contains(page));
}

pub(crate) fn reset() {
    PAGES.lock().clear();
}

thread_local! {
    static NOW: Cell<bool> = const { Cell::new(false) };
}

/// For tests: whether a fault of this task may sleep, which it may unless it copies [`without_waiting`].
pub fn may_wait() -> bool {
    !NOW.get()
}

/// Does `copy`, in which each copy that would have to wait for a page gives [`BadAddress`], as in [`now`]. It does not sleep otherwise either:
/// it is for who holds a lock.
pub fn without_waiting<T>(copy: impl FnOnce() -> T) -> T {
    let before = NOW.replace(true);
    let result = copy();
    NOW.set(before);
    result
}

fn check(address: usize, bytes: usize) -> Result<(), BadAddress> {
    if may_wait() {
        sync::may_sleep();
    } else {
        sync::may_fault();
    }
    match address.checked_add(bytes) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(BadAddress),
    }
}

/// Does `access` with the page that `address` is in, as a CPU does: the kernel is asked for what is missing until it gives up.
fn with_page(address: usize, write: bool, access: &mut dyn FnMut(&Contents)) -> Result<(), BadAddress> {
    let Some(space) = paging::loaded() else {
        return PAGES.lock().get(&(address / PAGE_SIZE)).map(access).ok_or(BadAddress);
    };
    while !space.access(address, write, access) {
        if !(hooks::get().copy_fault)(address, write) {
            return Err(BadAddress);
        }
    }
    Ok(())
}

/// Does `access(page, offset in it, bytes done, bytes)` for each page of a range, up to the first that cannot be had.
fn each_page(
    address: usize,
    bytes: usize,
    write: bool,
    mut access: impl FnMut(&Contents, usize, usize, usize),
) -> Result<(), BadAddress> {
    check(address, bytes)?;
    let mut done = 0;
    while done < bytes {
        let at = address + done;
        let offset = at % PAGE_SIZE;
        let count = (PAGE_SIZE - offset).min(bytes - done);
        with_page(at, write, &mut |page| access(page, offset, done, count))?;
        done += count;
    }
    Ok(())
}

/// Copies `out.len()` bytes from the program.
pub fn copy_in(out: &mut [u8], from: usize) -> Result<(), BadAddress> {
    each_page(from, out.len(), false, |page, offset, done, count| {
        page.read(offset, &mut out[done..done + count]);
    })
}

/// Copies `bytes` to the program: those before a bad page even if there is one.
pub fn copy_out(to: usize, bytes: &[u8]) -> Result<(), BadAddress> {
    each_page(to, bytes.len(), true, |page, offset, done, count| {
        page.write(offset, &bytes[done..done + count]);
    })
}

/// Writes `bytes` zeros to the program.
pub fn zero(to: usize, bytes: usize) -> Result<(), BadAddress> {
    each_page(to, bytes, true, |page, offset, _, count| page.zero(offset, count))
}

/// Copies from a frame to the program; the range must lie within the frame.
pub fn frame_to_user(frame: &Frame, offset: usize, to: usize, bytes: usize) -> Result<(), BadAddress> {
    check(to, bytes)?;
    check_frame(offset, bytes)?;
    let mut copy = vec![0; bytes];
    frame.read(offset, &mut copy);
    copy_out(to, &copy)
}

/// Copies from the program to a frame, and those before a bad page even if there is one; the range must lie within the frame.
pub fn user_to_frame(frame: &Frame, offset: usize, from: usize, bytes: usize) -> Result<(), BadAddress> {
    check_frame(offset, bytes)?;
    let mut copy = vec![0; bytes];
    each_page(from, bytes, false, |page, at, done, count| {
        page.read(at, &mut copy[done..done + count]);
        frame.write(offset + done, &copy[done..done + count]);
    })
}

fn check_frame(offset: usize, bytes: usize) -> Result<(), BadAddress> {
    if offset.checked_add(bytes).is_some_and(|end| end <= PAGE_SIZE) { Ok(()) } else { Err(BadAddress) }
}

/// Does `access` to the word at `address`, a multiple of 4, which it may change if `write`.
fn with_word(address: usize, write: bool, access: impl Fn(&AtomicU32) -> u32) -> Result<u32, BadAddress> {
    check(address, 4)?;
    if address % 4 != 0 {
        return Err(BadAddress);
    }
    let mut value = 0;
    with_page(address, write, &mut |page| value = access(&page.words()[address % PAGE_SIZE / 4]))?;
    Ok(value)
}

/// Reads a word that other threads of the program may change; `address` must be a multiple of 4.
pub fn load_u32(address: usize) -> Result<u32, BadAddress> {
    with_word(address, false, |word| word.load(Ordering::SeqCst))
}

/// Atomically replaces `expected` by `new` in a word of the program; gives the word as it was.
pub fn compare_exchange_u32(address: usize, expected: u32, new: u32) -> Result<u32, BadAddress> {
    with_word(address, true, |word| {
        word.compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst).unwrap_or_else(|old| old)
    })
}

/// The same for who holds a lock: what would have to wait for a page is [`BadAddress`].
pub mod now {
    use super::{BadAddress, without_waiting};

    /// Copies `out.len()` bytes from the program.
    pub fn copy_in(out: &mut [u8], from: usize) -> Result<(), BadAddress> {
        without_waiting(|| super::copy_in(out, from))
    }

    /// Copies `bytes` to the program.
    pub fn copy_out(to: usize, bytes: &[u8]) -> Result<(), BadAddress> {
        without_waiting(|| super::copy_out(to, bytes))
    }

    /// Writes `bytes` zeros to the program.
    pub fn zero(to: usize, bytes: usize) -> Result<(), BadAddress> {
        without_waiting(|| super::zero(to, bytes))
    }

    /// Reads a word that other threads of the program may change; `address` must be a multiple of 4.
    pub fn load_u32(address: usize) -> Result<u32, BadAddress> {
        without_waiting(|| super::load_u32(address))
    }

    /// Atomically replaces `expected` by `new` in a word of the program; gives the word as it was.
    pub fn compare_exchange_u32(address: usize, expected: u32, new: u32) -> Result<u32, BadAddress> {
        without_waiting(|| super::compare_exchange_u32(address, expected, new))
    }
}
