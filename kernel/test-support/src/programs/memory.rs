// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program's memory: what it reads and writes itself, and a place for what it hands to the kernel.

use exo_hal::mm::user;
use linux_raw_sys::general as abi;
use parking_lot::Mutex;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::call;

/// Where a program's data is, which each has from the start, and its bytes.
pub const DATA: usize = 0x20_0000;
/// See [`DATA`].
pub const DATA_SIZE: usize = 2 << 20;
/// The first stack.
pub const STACK: usize = 0x7000_0000;
/// Its bytes.
pub const STACK_SIZE: usize = 256 << 10;

static NEXT: Mutex<usize> = Mutex::new(0);

/// Maps the program's data.
pub(super) fn map_data() {
    let (access, flags) =
        (abi::PROT_READ | abi::PROT_WRITE, abi::MAP_PRIVATE | abi::MAP_ANONYMOUS | abi::MAP_FIXED);
    call!(abi::__NR_mmap, DATA, DATA_SIZE, access, flags, -1, 0).expect("memory for data");
}

/// From now on the data is given out from its start again.
pub(super) fn reset() {
    *NEXT.lock() = 0;
}

/// Bytes of the program's data that nobody else uses soon, not set to anything, at a multiple of 64. The same in a child of fork.
pub fn reserve(bytes: usize) -> usize {
    let size = bytes.max(1).next_multiple_of(64);
    assert!(size <= DATA_SIZE, "so many bytes are no test's data");
    let mut next = NEXT.lock();
    let at = if *next + size > DATA_SIZE { 0 } else { *next };
    *next = at + size;
    DATA + at
}

/// The program writes.
#[track_caller]
pub fn write(at: usize, bytes: &[u8]) {
    assert_eq!(user::copy_out(at, bytes), Ok(()), "writing at {at:#x}");
}

/// Puts bytes into the program's data: their address.
#[track_caller]
pub fn put_bytes(bytes: &[u8]) -> usize {
    let at = reserve(bytes.len());
    write(at, bytes);
    at
}

/// The same for a value.
#[track_caller]
pub fn put<T: IntoBytes + Immutable + ?Sized>(value: &T) -> usize {
    put_bytes(value.as_bytes())
}

/// A string with its end.
#[track_caller]
pub fn string(text: &str) -> usize {
    put_bytes(&[text.as_bytes(), b"\0"].concat())
}

/// What the program reads.
#[track_caller]
pub fn get_bytes(at: usize, count: usize) -> Vec<u8> {
    let mut out = vec![0; count];
    assert_eq!(user::copy_in(&mut out, at), Ok(()), "reading at {at:#x}");
    out
}

/// A value that the program reads.
#[track_caller]
pub fn get<T: FromBytes>(at: usize) -> T {
    T::read_from_bytes(&get_bytes(at, size_of::<T>())).expect("so many bytes")
}
