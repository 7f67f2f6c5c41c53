// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's registers and a page that it can reach, both of which others change: no reference into either is given out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mlock, mmap, mmap_anonymous, munmap};

/// Bytes of the registers that are used.
const REGISTERS: usize = 4096;
const PAGE: usize = 4096;

/// A mapping of this process, gone with this.
#[derive(Debug)]
struct Mapping(*mut u8);

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: one whole page that was mapped for this and to which no reference exists.
        let _ = unsafe { munmap(self.0.cast(), PAGE) };
    }
}

/// Registers of a device.
#[derive(Debug)]
pub(crate) struct Registers(Mapping);

impl Registers {
    /// The first ones of the region of that file.
    pub(crate) fn map(resource: &File) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap(ptr::null_mut(), REGISTERS, protection, MapFlags::SHARED, resource, 0) }?;
        Ok(Self(Mapping(start.cast())))
    }

    fn place<T>(&self, offset: usize) -> *mut T {
        assert!(offset % size_of::<T>() == 0 && offset + size_of::<T>() <= REGISTERS, "{offset:#x}");
        // SAFETY: just checked to be inside the mapping.
        unsafe { self.0.0.add(offset) }.cast()
    }

    /// Reads a register of 32 bits.
    pub(crate) fn read32(&self, offset: usize) -> u32 {
        // SAFETY: inside the mapping and aligned, and of integers all values are valid.
        unsafe { self.place::<u32>(offset).read_volatile() }
    }

    /// Writes a register of 32 bits.
    pub(crate) fn write32(&self, offset: usize, value: u32) {
        // SAFETY: inside the mapping and aligned.
        unsafe { self.place::<u32>(offset).write_volatile(value) }
    }

    /// Writes a register of 64 bits.
    pub(crate) fn write64(&self, offset: usize, value: u64) {
        // SAFETY: inside the mapping and aligned.
        unsafe { self.place::<u64>(offset).write_volatile(value) }
    }
}

/// A page of zeros that stays where it is.
#[derive(Debug)]
pub(crate) struct Page(Mapping);

impl Page {
    pub(crate) fn new() -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), PAGE, protection, MapFlags::PRIVATE) }?;
        let page = Self(Mapping(start.cast()));
        page.write(0, &[0]); // So that it has a place of its own.
        // SAFETY: the page is this one's own.
        unsafe { mlock(start, PAGE) }?;
        Ok(page)
    }

    /// Where devices see it, where no IOMMU stands between: proc_pid_pagemap(5).
    pub(crate) fn physical_address(&self) -> io::Result<u64> {
        let mut entry = [0; 8];
        File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, (self.0.0.addr() / PAGE * 8) as u64)?;
        match u64::from_ne_bytes(entry) & ((1 << 55) - 1) {
            0 => Err(io::Error::other("the kernel does not say where memory is: this must run as root")),
            frame => Ok(frame * PAGE as u64),
        }
    }

    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        for (place, byte) in bytes.iter().enumerate() {
            assert!(offset + place < PAGE);
            // SAFETY: just checked to be inside the page.
            unsafe { self.0.0.add(offset + place).write_volatile(*byte) };
        }
    }

    pub(crate) fn read(&self, offset: usize, count: usize) -> Vec<u8> {
        assert!(offset + count <= PAGE);
        // SAFETY: just checked to be inside the page; of bytes all values are valid.
        (0..count).map(|place| unsafe { self.0.0.add(offset + place).read_volatile() }).collect()
    }
}
