// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers from the device's register itself, one a read, without driver and system call: what emulated hardware costs.

use std::fs::OpenOptions;
use std::ptr::NonNull;

use my_rng_abi::registers::{BAR0_SIZE, IDENT, IDENT_VALUE, RAND32};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::{Source, Step, Ways};
use crate::Failure;
use crate::pci::Unbound;

/// Reads in a step. One takes some ten µs, because each leaves the virtual machine for the device's process.
const READS: u64 = 16;

/// The registers of a device that no driver uses.
#[derive(Debug)]
pub(crate) struct Registers(pub(crate) Unbound);

impl Ways for Registers {
    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        let bar = Bar::map(&self.0)?;
        match bar.read(IDENT)? {
            IDENT_VALUE => Ok(Box::new(bar)),
            other => {
                Err(format!("its identification register reads {other:#x}; expected {IDENT_VALUE:#x}").into())
            }
        }
    }
}

impl Source for Bar {
    fn step(&mut self) -> Result<Step, Failure> {
        let mut sum = 0_u64;
        for _ in 0..READS {
            sum = sum.wrapping_add(self.read(RAND32)?.into());
        }
        Ok(Step { operations: READS, bytes: READS * 4, sum })
    }
}

/// BAR 0, mapped into this program.
///
/// INVARIANT: `start` is the page-aligned start of a mapping of [`BAR0_SIZE`] bytes, which lives as long as this value.
#[derive(Debug)]
struct Bar {
    start: NonNull<u8>,
}

impl Bar {
    fn map(device: &Unbound) -> Result<Self, Failure> {
        let path = device.resource(0);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that Rust knows of.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                BAR0_SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        }
        .map_err(|error| format!("{} cannot be mapped: {error}", path.display()))?;
        let start = NonNull::new(start.cast()).ok_or("the registers were mapped at address 0")?;
        // The invariant holds: this is that mapping, and only `drop` unmaps it.
        Ok(Self { start })
    }

    /// Reads the 32-bit register at `offset`.
    fn read(&self, offset: usize) -> Result<u32, Failure> {
        if offset % 4 != 0 || offset >= BAR0_SIZE {
            return Err(format!("there is no register at {offset:#x}").into());
        }
        // SAFETY: by the invariant and the check above, these four bytes are mapped and aligned; registers have no other
        // owner in this program, and reading them has no effect on its memory.
        Ok(unsafe { self.start.add(offset).cast::<u32>().read_volatile() })
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // SAFETY: by the invariant this is a mapping of that size; nobody can use it after this value. It cannot fail for a
        // mapping that is there.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), BAR0_SIZE) };
    }
}
