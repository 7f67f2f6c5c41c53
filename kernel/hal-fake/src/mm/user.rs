// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running program's memory: the pages that a test has mapped. All else gives [`BadAddress`].

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::{PAGE_SIZE, USER_END, sync};

/// The program handed over an address that it cannot use itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

type Pages = BTreeMap<usize, [u8; PAGE_SIZE]>;

/// By their numbers. There is one program's memory for all tasks.
static PAGES: Mutex<Pages> = Mutex::new(BTreeMap::new());

/// For tests: maps `pages` pages of zeros from `address` on, which is that of a page.
pub fn map(address: usize, pages: usize) {
    assert!(address % PAGE_SIZE == 0, "not the address of a page");
    let first = address / PAGE_SIZE;
    PAGES.lock().extend((first..first + pages).map(|page| (page, [0; PAGE_SIZE])));
}

/// For tests: takes `pages` pages from `address` on away.
pub fn unmap(address: usize, pages: usize) {
    let first = address / PAGE_SIZE;
    PAGES.lock().retain(|page, _| !(first..first + pages).contains(page));
}

pub(crate) fn reset() {
    PAGES.lock().clear();
}

fn check(address: usize, bytes: usize) -> Result<(), BadAddress> {
    sync::may_fault();
    match address.checked_add(bytes) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(BadAddress),
    }
}

/// Does `access(bytes of the page, index of the first of them)` for each page of a range, up to the first that is not mapped.
fn each_page(
    address: usize,
    bytes: usize,
    mut access: impl FnMut(&mut [u8], usize),
) -> Result<(), BadAddress> {
    check(address, bytes)?;
    let mut pages = PAGES.lock();
    let mut done = 0;
    while done < bytes {
        let at = address + done;
        let page = pages.get_mut(&(at / PAGE_SIZE)).ok_or(BadAddress)?;
        let offset = at % PAGE_SIZE;
        let size = (PAGE_SIZE - offset).min(bytes - done);
        access(&mut page[offset..offset + size], done);
        done += size;
    }
    Ok(())
}

/// Copies `out.len()` bytes from the program.
pub fn copy_in(out: &mut [u8], from: usize) -> Result<(), BadAddress> {
    each_page(from, out.len(), |page, at| out[at..at + page.len()].copy_from_slice(page))
}

/// Copies `bytes` to the program: those before a bad page even if there is one.
pub fn copy_out(to: usize, bytes: &[u8]) -> Result<(), BadAddress> {
    each_page(to, bytes.len(), |page, at| page.copy_from_slice(&bytes[at..at + page.len()]))
}

/// Writes `bytes` zeros to the program.
pub fn zero(to: usize, bytes: usize) -> Result<(), BadAddress> {
    each_page(to, bytes, |page, _| page.fill(0))
}

/// Does `access` to the word at `address`, a multiple of 4, and gives it as it was.
fn with_word(address: usize, access: impl FnOnce(u32) -> u32) -> Result<u32, BadAddress> {
    check(address, 4)?;
    if address % 4 != 0 {
        return Err(BadAddress);
    }
    let mut pages = PAGES.lock();
    let page = pages.get_mut(&(address / PAGE_SIZE)).ok_or(BadAddress)?;
    let word = page[address % PAGE_SIZE..].first_chunk_mut::<4>().ok_or(BadAddress)?;
    let old = u32::from_le_bytes(*word);
    *word = access(old).to_le_bytes();
    Ok(old)
}

/// Reads a word that other threads of the program may change; `address` must be a multiple of 4.
pub fn load_u32(address: usize) -> Result<u32, BadAddress> {
    with_word(address, |value| value)
}

/// Atomically replaces `expected` by `new` in a word of the program; gives the word as it was.
pub fn compare_exchange_u32(address: usize, expected: u32, new: u32) -> Result<u32, BadAddress> {
    with_word(address, |value| if value == expected { new } else { value })
}
