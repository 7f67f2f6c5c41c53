// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an ioctl costs that does nothing: the measure for those that do something.
//!
//! `RNDGETENTCNT` on `/dev/urandom` goes the way of every ioctl of a character device (the system call, the file, the security
//! hooks, the driver's `unlocked_ioctl`), where the driver copies one `int` to the program, and back. It takes no lock and works
//! nothing out: since Linux 5.18 the answer is a plain variable. An ioctl that fails earlier on that way (any on `/dev/null`, which
//! has no driver function) would leave out layers that RAND64 cannot avoid.

use std::fs::File;

use rustix::ioctl::{Getter, Opcode, ioctl, opcode};

use super::{Source, Step, Ways};
use crate::Failure;

/// `RNDGETENTCNT` of `linux/random.h`: `_IOR('R', 0x00, int)`.
const RNDGETENTCNT: Opcode = opcode::read::<i32>(b'R', 0);

/// Calls in a step.
const CALLS: u64 = 64;

/// The cheapest ioctl that a driver answers.
#[derive(Debug)]
pub(crate) struct NullIoctl;

struct Open(File);

impl Ways for NullIoctl {
    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        let file = File::open("/dev/urandom").map_err(|error| format!("/dev/urandom: {error}"))?;
        Ok(Box::new(Open(file)))
    }
}

impl Source for Open {
    fn step(&mut self) -> Result<Step, Failure> {
        let mut sum = 0_u64;
        for _ in 0..CALLS {
            // SAFETY: RNDGETENTCNT writes an int through the pointer, of which all values are valid, and keeps nothing.
            let bits = unsafe { ioctl(&self.0, Getter::<RNDGETENTCNT, i32>::new()) }?;
            sum = sum.wrapping_add(bits.unsigned_abs().into());
        }
        Ok(Step { operations: CALLS, bytes: CALLS * 4, sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_of_linux() {
        assert_eq!(RNDGETENTCNT, 0x8004_5200);
        assert_eq!(NullIoctl.open().unwrap().step().unwrap().operations, CALLS);
    }
}
